"""Polygons of classes: exactly the pixels' areas, in one piece across the pieces of an export, as OGR reads them."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
from rasterio import features

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.errors import ArgumentError, MusesError
from muses_lab.export.formats import geopackage
from muses_lab.raster.asset import Band
from muses_lab.style import Style
from tests.helpers.made_scenes import CORNER, Made, window, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

ROWS, COLS = 560, 1040
WHOLE = window(ROWS, COLS)
STYLE = Style(classes={1: ("water, still", "#2b6cb0"), 2: ("forest", "forestgreen")})


@pytest.fixture(scope="module")
def cover(made_once: Made) -> Chain:
    """Classes 1 to 3 with a lake across the pieces' edges, a diagonal of single pixels, a ring, and missing pixels."""
    values = np.full((ROWS, COLS), 3, np.uint8)
    values[400:540, 450:700] = 1  # over the corner of four pieces
    for n in range(20):
        values[20 + n, 30 + n] = 2
    values[100:200, 800:900] = 2
    values[130:170, 830:870] = 3
    values[:10, :10] = 0
    path = write_tif(made_once.folder / "cover.tif", values)
    later = write_tif(made_once.folder / "later.tif", np.where(values == 1, 2, values).astype(np.uint8))
    scenes = [
        made_once.scene("a", "2018-06-10", {"C": made_once.asset(path)}, grid="MADE-1"),
        made_once.scene("b", "2018-06-20", {"C": made_once.asset(later)}, grid="MADE-1"),
    ]
    return made_once.chain([Band("C", nodata=0.0, categorical=True)], scenes).drop("bands")


def export(chain: Chain, path: Path, box=WHOLE, **options) -> Path:
    return chain.export(path, box, progress=False, **options).wait(120)


def test_polygons_are_the_pixels_of_each_class(cover: Chain, tmp_path: Path) -> None:
    chain = cover.first("t")
    path = export(chain, tmp_path / "cover.gpkg", style=STYLE, title="Land cover")
    found = geopandas.read_file(path, layer="Land cover")
    assert found.crs.to_epsg() == 32631 and found.geometry.is_valid.all()
    lake = found[found.value == 1]
    assert len(lake) == 1, "one polygon across the pieces' edges"
    assert lake["class"].item() == "water, still" and lake.colour.item() == "#2b6cb0"
    assert lake.total_bounds.tolist() == [
        CORNER[0] + 4500, CORNER[1] - 5400, CORNER[0] + 7000, CORNER[1] - 4000,
    ]  # fmt: skip
    assert lake.area.item() == 140 * 250 * 100 and abs(lake.area_m2.item() / lake.area.item() - 1) < 2e-3
    forest = found[found.value == 2]
    assert sorted(forest.area) == [100] * 20 + [(100 * 100 - 40 * 40) * 100], "corners do not join; a ring has a hole"
    assert found[found.value == 3]["class"].isna().all(), "the style has no such class"
    expected = chain.compute(WHOLE).values
    assert found.area.sum() == np.isfinite(expected).sum() * 100
    burnt = features.rasterize(
        zip(found.geometry, found.value, strict=True), out_shape=WHOLE.shape, transform=WHOLE.affine, fill=0
    )
    assert np.array_equal(burnt, np.nan_to_num(expected))
    assert [p.name for p in tmp_path.iterdir()] == ["cover.gpkg"]


def test_ogr_of_debian_opens_it(cover: Chain, tmp_path: Path) -> None:
    path = export(cover.first("t"), tmp_path / "cover.gpkg", style=STYLE, values=[1])
    told = subprocess.run(["ogrinfo", "-so", "-al", path], capture_output=True, check=True, text=True)
    assert "Feature Count: 1" in told.stdout and "Geometry: Polygon" in told.stdout and "UTM zone 31N" in told.stdout
    assert "Warning" not in told.stderr and "ERROR" not in told.stderr
    for field in ("value: Integer", "class: String", "colour: String", "area_m2: Real"):
        assert field in told.stdout


def test_each_date_is_a_layer_and_what_made_it_is_told(cover: Chain, tmp_path: Path) -> None:
    path = export(cover, tmp_path / "cover.gpkg")
    assert [name for name, _ in pyogrio.list_layers(path)] == ["2018-06-10T10:50:00Z", "2018-06-20T10:50:00Z"]
    later = geopandas.read_file(path, layer="2018-06-20T10:50:00Z")
    assert set(later.value) == {2, 3}
    said = geopackage.WRITER.texts(path)
    assert said["MUSES_CHAIN"] == cover.published.chain_hash and json.loads(said["MUSES_DOCUMENT"])
    assert geopackage.WRITER.is_written(path, cover.published.chain_hash, WHOLE)
    assert not geopackage.WRITER.is_written(tmp_path / "no.gpkg", cover.published.chain_hash, WHOLE)
    first = path.read_bytes()
    export(cover, path, overwrite=True)
    assert path.read_bytes() == first, "the same chain gives the same bytes"


def test_a_condition_has_the_polygons_of_where_it_is_true(cover: Chain, tmp_path: Path) -> None:
    path = export(cover.first("t") == 2, tmp_path / "a.gpkg", values=[1])
    assert len(geopandas.read_file(path)) == 21
    none = export(cover.first("t") == 7, tmp_path / "b.gpkg", values=[1])
    assert len(geopandas.read_file(none)) == 0, "a layer without polygons"


def test_areas_are_square_metres_whatever_the_reference_system(cover: Chain, tmp_path: Path) -> None:
    chain, found = cover.first("t"), {}
    for crs, resolution in (("EPSG:32631", 10), ("EPSG:3857", 10), ("EPSG:4326", 0.0001), ("EPSG:3035", 10)):
        box = ml.Window.from_bounds((1.36, 43.58, 1.42, 43.63), crs=crs, resolution=resolution)
        table = geopandas.read_file(export(chain, tmp_path / f"{crs[5:]}.gpkg", box, values=[1]))
        assert table.crs.to_epsg() == int(crs[5:])
        found[crs] = table.area_m2.sum()
    assert all(abs(area / 3.5e6 - 1) < 0.02 for area in found.values()), found


def test_two_at_once_have_each_its_own_date(cover: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The date is a setting of the whole process: while one writes, the other has to wait."""
    real, within, both, most = pyogrio.write_dataframe, [], threading.Event(), []

    def write(*args: Any, **options: Any) -> None:
        within.append(None)
        most.append(len(within))
        if len(within) == 2:
            both.set()
        both.wait(1)
        real(*args, **options)
        within.pop()

    alone = [export(cover.dates(day), tmp_path / f"{day}.gpkg", style=STYLE) for day in ("2018-06-10", "2018-06-20")]
    monkeypatch.setattr(pyogrio, "write_dataframe", write)
    (tmp_path / "together").mkdir()
    jobs = [
        cover.dates(path.stem).export(tmp_path / "together" / path.name, WHOLE, style=STYLE, progress=False)
        for path in alone
    ]
    together = [job.wait(120) for job in jobs]
    assert max(most) == 1
    for one, other in zip(alone, together, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_what_is_not_made_of_classes_is_said(cover: Chain, tmp_path: Path) -> None:
    with pytest.raises(MusesError, match=r"classes, which are whole numbers, and a value is 1.5.*chain > 0.4"):
        export(cover.first("t") / 2, tmp_path / "a.gpkg")
    for wrong in ([], 3, ["x"]):
        with pytest.raises(ArgumentError, match="values="):
            cover.first("t").export(tmp_path / "a.gpkg", WHOLE, values=wrong)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_noticed(cover: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = geopackage.areas, [1]

    def wrong(shapes, box):
        if left and left.pop():
            shapes[-1] = shapes[-1].buffer(-50)
        return real(shapes, box)

    monkeypatch.setattr(geopackage, "areas", wrong)
    path = export(cover.first("t"), tmp_path / "a.gpkg")
    assert not left and geopandas.read_file(path).area.sum() == np.isfinite(cover.first("t").compute(WHOLE)).sum() * 100

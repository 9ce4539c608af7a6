"""Real rasters, both ways in: all pixels and what is missing as rasterio has them, at full resolution and at every
stored overview."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds

import muses_lab as ml
from muses_lab.catalog import open_catalog
from muses_lab.catalog.register import add

DATA = Path(os.environ.get("MUSES_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FILES = sorted(p for p in DATA.rglob("*") if p.suffix.lower() in (".tif", ".tiff", ".jp2")) if DATA.exists() else []
MOST_BANDS = 15
"""Stacks of dates and bands have tests of their own."""
MOST_PIXELS = {4: 4_000_000, 1: 20_000_000}
"""Of a file, by which of them are looked at."""


def check(path: Path, folder: Path) -> str:
    """What became of a raster: "equal", or the sentence that refused it."""
    report = add([path], catalog=folder / "catalogue", collection="c", date="2020-01-01")
    if report.failed:
        return report.failed[0].reason
    with rasterio.open(path) as file:
        overviews = file.overviews(1)
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    bare = {
        "type": "Feature", "stac_version": "1.0.0", "id": "bare", "collection": "c", "links": [],
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "assets": {"data": {"href": path.name, "roles": ["data"]}},
    }  # fmt: skip
    (folder / path.name).symlink_to(path)
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [bare]}))
    ml.settings.register_catalog(open_catalog(folder / "items.json").id, str(folder), [str(path.parent)])
    for catalog in (open_catalog(folder / "catalogue"), open_catalog(folder / "items.json")):
        chain = ml.collection("c", catalog).max("t")
        for number, factor in enumerate([1, *overviews]):
            compare(chain, path, number - 1, factor)
    return "equal"


def compare(chain: ml.Chain, path: Path, overview: int, factor: int) -> None:
    """Pixels of an overview (-1: of the file) whose centres lie within the file; its last ones may reach beyond."""
    like = ml.Window.like(path)
    with rasterio.open(path, **({"overview_level": overview} if overview >= 0 else {})) as file:
        values = file.read(masked=True).astype(np.float64)
        physical = values * np.array(file.scales)[:, None, None] + np.array(file.offsets)[:, None, None]
    wanted = physical.filled(np.nan)
    if factor > 1:
        rows, cols = (int(np.floor(size / factor - 0.5 - 1e-9)) + 1 for size in like.shape)
        like = GeoBox((rows, cols), like.affine @ Affine.scale(factor), like.crs)
        wanted = wanted[:, :rows, :cols]
    found = chain.compute(like).values.reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, err_msg=f"{path}, overview {factor}")


def checked(every: int, folder: Path) -> dict[str, str]:
    found = {}
    for number, path in enumerate(FILES[::every]):
        with rasterio.open(path) as file:
            fits = file.count <= MOST_BANDS and file.width * file.height < MOST_PIXELS[every]
        if fits:
            (folder / str(number)).mkdir()
            found[path.name] = check(path, folder / str(number))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not FILES, reason=f"there are no real data in {DATA}")
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.thorough)])
def test_real_rasters_are_equal_both_ways_in(every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    found = checked(every, tmp_path)
    refused = {name: reason for name, reason in found.items() if reason != "equal"}
    assert len(found) - len(refused) > 5
    assert all("coordinate reference system" in reason or "ground control" in reason for reason in refused.values())

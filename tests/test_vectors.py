"""Vectors: read from every format, refused where they are not what they say, burnt, reduced over; against GeoPandas,
rasterio and NumPy."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rasterio.features import geometry_mask, rasterize

import muses_lab as ml
from muses_lab.api.vectors import RepairedVectors
from muses_lab.document.artefacts import Artefact
from muses_lab.errors import ArgumentError, DocumentError, GridError
from muses_lab.operators import registry
from muses_lab.operators.drawing import Drawing
from muses_lab.operators.vectors import VECTORS, Features
from muses_lab.raster.asset import Band
from muses_lab.zonal import OutsideData
from tests.helpers.made_scenes import CORNER, UTM31, Made, values, window, write_tif
from tests.helpers.refusals import refused

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 600
X, Y = CORNER
DATES = ("2020-01-01", "2020-02-01", "2020-03-01")


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    """(date, row, column); 0 is missing."""
    return np.random.default_rng(3).integers(0, 200, (3, SIZE, SIZE)).astype(np.uint8)


@pytest.fixture(scope="module")
def series(made_once: Made, numbers: np.ndarray) -> ml.Chain:
    scenes = []
    for day, image in zip(DATES, numbers, strict=True):
        path = write_tif(made_once.folder / f"vectors-{day}.tif", image)
        scenes.append(made_once.scene(f"v{day}", day, {"B": made_once.asset(path)}, grid="VECTORS-1"))
    return made_once.chain([Band("B", nodata=0.0)], scenes).band("B")


@pytest.fixture(scope="module")
def image(series: ml.Chain) -> ml.Chain:
    """The first date."""
    return series.dates("2020-01-01").first("t")


@pytest.fixture(scope="module")
def fields() -> geopandas.GeoDataFrame:
    """Overlapping polygons, over two blocks, one of them with a hole, one of two parts."""
    middle = shapely.Point(X + 4003.1, Y - 3001.7)
    ring = middle.buffer(900).difference(middle.buffer(300))
    parts = shapely.MultiPolygon(
        [shapely.box(X + 101, Y - 402, X + 303, Y - 107), shapely.box(X + 502, Y - 903, X + 857, Y - 444)]
    )
    shapes = [
        shapely.box(X + 3152, Y - 2058, X + 5553, Y - 1234),
        ring,
        parts,
        shapely.Point(X + 5300, Y - 5200).buffer(123),
    ]
    columns = {"crop": ["blé", "maïs", "blé", "orge"], "code": [3, 1, 3, 250], "yield": [7.5, 9.25, 6.0, 5.125]}
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs=UTM31)


BOX = window(SIZE, SIZE)


# -------------------------------------------------------------------------------------------------------- reading


def written(fields: geopandas.GeoDataFrame, folder: Path) -> dict[str, Path]:
    paths = {name: folder / f"fields.{name}" for name in ("gpkg", "geojson", "shp", "parquet", "zip")}
    fields.to_file(paths["gpkg"], layer="fields")
    fields.to_file(paths["geojson"], COORDINATE_PRECISION=17)
    fields.to_file(paths["shp"], encoding="UTF-8")
    fields.to_parquet(paths["parquet"])
    with zipfile.ZipFile(paths["zip"], "w") as archive:
        for end in ("shp", "shx", "dbf", "prj", "cpg"):
            archive.write(folder / f"fields.{end}", f"some folder/fields.{end}")
    return paths


def test_every_format_holds_the_same(fields: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    given: dict[str, Any] = {**written(fields, tmp_path), "frame": fields}
    given["object"] = json.loads((tmp_path / "fields.geojson").read_text())
    for name, source in given.items():
        found = ml.vectors(source)
        assert found.crs == UTM31 and len(found) == 4 and found.columns == ("crop", "code", "yield"), name
        assert found.column("crop") == ("blé", "maïs", "blé", "orge"), name
        assert found.column("code") == (3, 1, 3, 250) and found.column("yield") == (7.5, 9.25, 6.0, 5.125), name
        assert all(a.equals(b) for a, b in zip(found.shapes, fields.geometry, strict=True)), name
        table = found.table()
        assert table.crs == fields.crs and list(table["crop"]) == list(fields["crop"])
    latin = tmp_path / "latin"
    latin.mkdir()
    fields.to_file(latin / "fields.shp", encoding="ISO-8859-1")
    assert ml.vectors(latin / "fields.shp").column("crop")[0] == "blé"


def test_layers_are_named(fields: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    path = tmp_path / "two.gpkg"
    fields.to_file(path, layer="a")
    fields.iloc[:2].to_file(path, layer="b")
    assert len(ml.vectors(path, layer="b")) == 2
    for layer in (None, "c"):
        with pytest.raises(ArgumentError, match=r"of its layers \('a', 'b'\) one is needed"):
            ml.vectors(path, layer=layer)
    with pytest.raises(ArgumentError, match="only files have layers"):
        ml.vectors(fields, layer="a")


def test_a_reference_system_that_is_missing_or_wrong_is_told(fields: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    bare = fields.set_crs(None, allow_override=True)
    with pytest.raises(ArgumentError, match=r"no reference system: crs=…"):
        ml.vectors(bare)
    assert ml.vectors(bare, crs=UTM31).crs == UTM31
    with pytest.raises(ArgumentError, match=r"is in EPSG:32631, not in EPSG:2154: .reproject"):
        ml.vectors(fields, crs="EPSG:2154")
    with pytest.raises(ArgumentError, match=r"which are no degrees of EPSG:4326: crs=…"):
        ml.vectors(bare, crs=4326)
    with pytest.raises(ArgumentError, match=r"look like degrees and not like EPSG:32631: give crs=4326"):
        ml.vectors(fields.to_crs(4326).set_crs(UTM31, allow_override=True))
    fields.to_file(tmp_path / "fields.shp")
    (tmp_path / "fields.prj").unlink()
    with pytest.raises(ArgumentError, match=r"no .prj beside it.* crs=…"):
        ml.vectors(tmp_path / "fields.shp")
    assert ml.vectors(tmp_path / "fields.shp", crs=UTM31).crs == UTM31
    (tmp_path / "fields.shx").unlink()
    with pytest.raises(ArgumentError, match=r"no .shx beside it"):
        ml.vectors(tmp_path / "fields.shp", crs=UTM31)
    pd.DataFrame({"n": [1], "geometry": [shapely.to_wkb(fields.geometry[0])]}).to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(ArgumentError, match="no reference system"):
        ml.vectors(tmp_path / "plain.parquet")
    assert ml.vectors(tmp_path / "plain.parquet", crs=UTM31).shapes[0].equals(fields.geometry[0])


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.shp").write_text("<OGRVRTDataSource/>")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04" + bytes(50))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1" + bytes(50))
    (tmp_path / "broken.geojson").write_text('{"type": "Feat')
    for source, told in (
        ("none.gpkg", "there is no such file"),
        ("text.shp", "it is no GeoPackage"),
        ("broken.zip", "the archive cannot be read"),
        ("broken.parquet", "it cannot be read"),
        ("broken.geojson", "Unterminated|Expecting|Invalid"),
        (7, "give the path of a file"),
    ):
        with pytest.raises(ArgumentError, match=told):
            ml.vectors(tmp_path / source if isinstance(source, str) else source)


BOW = shapely.Polygon([(X + 100, Y - 100), (X + 900, Y - 900), (X + 900, Y - 100), (X + 100, Y - 900)])


def test_invalid_geometries_are_repaired_and_told_or_refused_by_id(
    fields: geopandas.GeoDataFrame, image: ml.Chain
) -> None:
    frame = geopandas.GeoDataFrame(geometry=[fields.geometry[0], BOW, None], index=[7, 8, 9], crs=UTM31)
    with pytest.warns(RepairedVectors, match=r"feature 8 was not valid \(Self-int.*; feature 9 has no geometry"):
        found = ml.vectors(frame)
    assert found.ids == (7, 8) and found.shapes[1].is_valid
    assert found.shapes[1].area == shapely.make_valid(BOW).area
    flat = shapely.Polygon([(X, Y), (X + 100, Y), (X + 200, Y)])
    with pytest.raises(ArgumentError, match=r"feature 0 is not valid .*nothing is left"):
        ml.vectors(geopandas.GeoDataFrame(geometry=[flat], crs=UTM31))
    document = json.loads(geopandas.GeoSeries([BOW], crs=UTM31).to_crs(4326).to_json())
    with pytest.raises(ArgumentError, match=r"feature '?0'? is not valid"):
        image.filter_spatial(document)


def test_content_names_them(fields: geopandas.GeoDataFrame) -> None:
    found = ml.vectors(fields)
    artefact = Artefact.of(VECTORS, found)
    again = VECTORS.parse(artefact.body)
    assert VECTORS.write(again) == artefact.body and again.ids == found.ids and again.properties == found.properties
    assert pickle.loads(pickle.dumps(found)).column("crop") == found.column("crop")
    assert Artefact.of(VECTORS, ml.vectors(fields.iloc[::-1])).digest != artefact.digest, "the order counts"


# --------------------------------------------------------------------------------------------------- their methods


def test_filter(fields: geopandas.GeoDataFrame) -> None:
    found = ml.vectors(fields)
    assert found.filter("crop = 'blé' AND code > 2").ids == (0, 2)
    assert found.filter(crop=["orge", "maïs"]).ids == found.filter("code <> 3").ids == (1, 3)
    for wrong, told in (("crops = 'blé'", "did you mean 'crop'"), ("crop = 'riz'", "none of the 4 features")):
        with pytest.raises(Exception, match=told):
            found.filter(wrong)
    with pytest.raises(ArgumentError, match="there is no attribute 'kind'; there are 'crop'"):
        found.filter(kind=1)


@pytest.mark.parametrize("relation", ["intersects", "within", "disjoint", "contains"])
def test_relations_are_those_of_geopandas(fields: geopandas.GeoDataFrame, relation: str) -> None:
    other = geopandas.GeoDataFrame(
        geometry=[shapely.box(X, Y - 3500, X + 4500, Y - 0.5), fields.geometry[3].centroid], crs=UTM31
    )
    expected = [any(getattr(shape, relation)(o) for o in other.geometry) for shape in fields.geometry]
    if relation == "disjoint":
        expected = [all(shape.disjoint(o) for o in other.geometry) for shape in fields.geometry]
    if not any(expected):
        with pytest.raises(ArgumentError, match="none of the 4"):
            ml.vectors(fields).related(other, relation)
    else:
        found = ml.vectors(fields).related(other, relation)
        assert list(found.ids) == [n for n, e in enumerate(expected) if e]


def test_a_buffer_is_in_metres_whatever_the_system(fields: geopandas.GeoDataFrame) -> None:
    expected = fields.geometry.buffer(60, quad_segs=16)
    assert all(a.equals(b) for a, b in zip(ml.vectors(fields).buffer(60).shapes, expected, strict=True))
    for crs in (4326, 3857):
        grown = ml.vectors(fields.to_crs(crs)).buffer(60)
        assert grown.crs == f"EPSG:{crs}"
        areas = geopandas.GeoSeries(list(grown.shapes), crs=crs).to_crs(UTM31).area
        np.testing.assert_allclose(areas, expected.area, rtol=2e-4)
    with pytest.warns(RepairedVectors, match="feature 3 shrank to nothing"):
        assert ml.vectors(fields).buffer(-130).ids == (0, 1, 2)
    with pytest.raises(ArgumentError, match="nothing is left"):
        ml.vectors(fields).buffer(-5000)
    with pytest.raises(ArgumentError, match=r"is 40° wide, too wide"):
        ml.vectors(shapely.box(-20, 0, 20, 10)).buffer(10)


def test_reproject(fields: geopandas.GeoDataFrame) -> None:
    found, expected = ml.vectors(fields).reproject("EPSG:2154"), fields.to_crs(2154).geometry
    assert found.crs == "EPSG:2154" and found.column("crop")[1] == "maïs"
    assert all(a.equals_exact(b, 1e-6) for a, b in zip(found.shapes, expected, strict=True))
    with pytest.raises(ArgumentError, match="has no place in EPSG:32631"):
        ml.vectors(shapely.box(92.5, -0.5, 93.5, 0.5)).reproject(32631)


# ----------------------------------------------------------------------------------------------------------- burnt


@pytest.mark.parametrize("attribute", ["code", "yield", "crop", None])
@pytest.mark.parametrize("all_touched", [False, True])
def test_burnt_attributes_are_those_of_rasterio(
    image: ml.Chain, fields: geopandas.GeoDataFrame, attribute: str | None, all_touched: bool
) -> None:
    found = ml.vectors(fields)
    numbers = {"crop": [1, 2, 1, 3], None: [1] * 4}.get(attribute) or list(fields[attribute])
    expected = rasterize(
        list(zip(fields.geometry, numbers, strict=True)), BOX.shape, fill=np.nan, transform=BOX.affine,
        all_touched=all_touched, dtype=np.float32,
    )  # fmt: skip
    drawn = values(found.burn(attribute, all_touched).where(~image.is_nodata() | image.is_nodata()), BOX)
    assert drawn.dtype == np.float32 and 0.05 < np.isfinite(drawn).mean() < 0.95
    np.testing.assert_array_equal(drawn, expected)
    assert found.classes("crop") == {1: "blé", 2: "maïs", 3: "orge"} and found.classes("code") == {}


def test_lines_and_points_are_drawn(image: ml.Chain) -> None:
    line = shapely.LineString([(X + 17.3, Y - 13.1), (X + 4321.7, Y - 2347.9), (X + 5003, Y - 5901)])
    points = shapely.MultiPoint([(X + 5.0, Y - 5.0), (X + 5990, Y - 3000), (X + 777, Y - 5555)])
    frame = geopandas.GeoDataFrame({"n": [5.0, 9.0]}, geometry=[points, line], crs=UTM31)
    expected = rasterize(
        [(points, 5), (line, 9)], BOX.shape, fill=np.nan, transform=BOX.affine, all_touched=True, dtype="f4"
    )
    here = values(image.is_nodata() * 0 + ml.vectors(frame).burn("n"), BOX)
    np.testing.assert_array_equal(here, expected)
    kept = values(image.filter_spatial(frame), BOX)
    np.testing.assert_array_equal(kept, np.where(np.isnan(expected), np.nan, values(image, BOX)))


def test_burnt_in_degrees_is_burnt_there(image: ml.Chain, fields: geopandas.GeoDataFrame) -> None:
    dense = fields.set_geometry(fields.geometry.segmentize(1.0)).to_crs(4326)
    chain = image.is_nodata() * 0
    drawn = [values(chain + ml.vectors(frame).burn("code"), BOX) for frame in (fields, dense)]
    assert ((drawn[0] != drawn[1]) & ~(np.isnan(drawn[0]) & np.isnan(drawn[1]))).mean() < 1e-4, (
        "centres next to an edge"
    )


@hypothesis_settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_window_is_the_same_part_of_one_drawing(data: st.DataObject) -> None:
    corner = st.tuples(st.floats(0, 6000), st.floats(0, 6000))
    shapes = [
        shapely.Polygon([(X + a, Y - b) for a, b in data.draw(st.lists(corner, min_size=3, max_size=6))]).convex_hull
        for _ in range(4)
    ]
    drawing = Drawing(UTM31, shapes)
    whole = drawing.numbers(BOX)
    r, c = data.draw(st.integers(0, 500)), data.draw(st.integers(0, 500))
    h, w = data.draw(st.integers(1, 99)), data.draw(st.integers(1, 99))
    np.testing.assert_array_equal(drawing.numbers(BOX[r : r + h, c : c + w]), whole[r : r + h, c : c + w])


def test_a_drawing_needs_a_grid_and_numbers(image: ml.Chain, fields: geopandas.GeoDataFrame) -> None:
    found = ml.vectors(fields)
    with pytest.raises(GridError, match="has no grid of its own: combine it"):
        found.burn().compute(BOX)
    with pytest.raises(ArgumentError, match="there is no attribute 'x'"):
        found.burn("x")
    for column, told in (([1, "a", 2, 3], "is the text 'a'"), ([1, 2, 3, 1 << 25], "whole numbers up to 16777216")):
        with pytest.raises(ArgumentError, match=told):
            ml.vectors(fields.assign(n=pd.Series(column, dtype=object))).burn("n")
    unknown = values(image.is_nodata() * 0 + ml.vectors(fields.assign(code=[1, None, 2, 3])).burn("code"), BOX)
    assert sorted(np.unique(unknown[np.isfinite(unknown)])) == [1, 2, 3]


def test_what_is_burnt_is_computed_with_dates_and_compiled_chains(
    series: ml.Chain, numbers: np.ndarray, fields: geopandas.GeoDataFrame
) -> None:
    inside = ml.vectors(fields).burn("code")
    inner = geometry_mask(fields.geometry[[0, 2]], BOX.shape, BOX.affine, invert=True)
    inner &= ~geometry_mask(fields.geometry[[1]], BOX.shape, BOX.affine, invert=True)
    stack = np.where(numbers == 0, np.nan, numbers.astype(np.float32))
    expected = np.where(inner, np.nanmax(np.where(np.isnan(stack), -1, stack), axis=0), np.nan)
    expected[expected < 0] = np.nan
    found = values(series.where(inside == 3).max("t"), BOX)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(values(series.max("t").where(inside == 3), BOX), expected)
    assert (
        ml.Chain.from_json(json.dumps((inside * series.max("t")).to_json(artefacts=True))).compute(BOX).notnull().any()
    )


# ---------------------------------------------------------------------------------------------------- reduced over


def reduced(stack: np.ndarray, shape: Any, reduce: Any) -> np.ndarray:
    mask = geometry_mask([shape], BOX.shape, BOX.affine, invert=True)
    return np.array([reduce(image[mask]) for image in stack])


def count(values: np.ndarray) -> int:
    return int(np.isfinite(values).sum())


@pytest.mark.parametrize(
    "name, reduce", [("mean", np.nanmean), ("median", np.nanmedian), ("max", np.nanmax), ("count", count)]
)  # fmt: skip
def test_a_table_is_what_numpy_makes_of_the_pixels(
    series: ml.Chain, numbers: np.ndarray, fields: geopandas.GeoDataFrame, name: str, reduce: Any
) -> None:
    stack = np.where(numbers == 0, np.nan, numbers.astype(np.float32))
    found = series.aggregate_spatial(fields, name).compute()
    assert found.dims == ("geometry", "t") and found.dtype == np.float32 and list(found.feature.values) == [0, 1, 2, 3]
    expected = [reduced(stack, shape, reduce) for shape in fields.geometry]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    frame = series.aggregate_spatial(fields, name).table()
    assert list(frame.columns) == ["crop", "code", "yield", "geometry", "t", "value"] and len(frame) == 12
    np.testing.assert_allclose(frame["value"].to_numpy().reshape(4, 3), expected, rtol=1e-6)
    renamed = series.aggregate_spatial(fields.rename(columns={"code": "value"}), name).table()
    assert list(renamed["value"][:4]) == [3, 3, 3, 1] and list(renamed["chain_value"]) == list(frame["value"])
    assert list(frame["t"].dt.month) == [1, 2, 3] * 4 and list(frame["crop"][:4]) == ["blé"] * 3 + ["maïs"]


def test_bands_counts_and_what_follows(image: ml.Chain, numbers: np.ndarray, fields: geopandas.GeoDataFrame) -> None:
    both = ml.stack(a=image, b=image * 2)
    table = both.aggregate_spatial(ml.vectors(fields), "mean")
    assert isinstance(table, ml.Table) and table.features.column("crop")[3] == "orge"
    found = table.compute()
    assert found.dims == ("geometry", "bands") and list(found.bands.values) == ["a", "b"]
    np.testing.assert_allclose((table * 10 + 1).compute(), found * 10 + 1, rtol=1e-6)
    np.testing.assert_allclose(table.band("b").compute(), found.sel(bands="b"))
    np.testing.assert_array_equal((table.band("b") > 150).compute(), (found.sel(bands="b") > 150).astype("f4"))
    counted = image.aggregate_spatial(fields, "mean", target_dimension="n").compute()
    masks = [geometry_mask([s], BOX.shape, BOX.affine, invert=True) for s in fields.geometry]
    assert list(counted.n.values) == ["value", "total_count", "valid_count"]
    np.testing.assert_array_equal(counted.sel(n="total_count"), [m.sum() for m in masks])
    np.testing.assert_array_equal(counted.sel(n="valid_count"), [(numbers[0][m] > 0).sum() for m in masks])
    again = pickle.loads(pickle.dumps(table))
    assert isinstance(again, ml.Table) and again.identical(table)
    with pytest.raises(DocumentError, match="'muses:connected_components' needs pixels"):
        (table.band("a") > 1).connected_components().compute()
    with pytest.raises(DocumentError, match="combines a table"):
        (table + both).compute()
    for wrong in (lambda: (both + table).compute(BOX), lambda: table.plan(BOX), lambda: table.at(1.4, 43.6)):
        with pytest.raises(DocumentError, match="gives a table of features"):
            wrong()
    with pytest.raises(ArgumentError, match="a table has no window"):
        table.compute(BOX)
    with refused("TargetDimensionExists"):
        image.aggregate_spatial(fields, "mean", target_dimension="t")
    with pytest.raises(
        ArgumentError, match="reducer='averege' is no reducer.*'average'|reducer='averege' is no reducer"
    ):
        image.aggregate_spatial(fields, "averege")


def test_features_outside_and_too_small_are_told(image: ml.Chain, numbers: np.ndarray) -> None:
    shapes = [shapely.box(X + 1001, Y - 1004, X + 1004, Y - 1001), shapely.Point(X + 1005, Y - 1005)]
    shapes += [shapely.box(X - 90_000, Y, X - 89_000, Y + 1000), shapely.box(X + 5900, Y - 200, X + 9000, Y - 100)]
    frame = geopandas.GeoDataFrame(geometry=shapes, index=["small", "point", "far", "edge"], crs=UTM31)
    table = image.aggregate_spatial(frame, "mean")
    with pytest.warns(OutsideData, match=r"2 of 4 features \(with the ids 'small', 'far'\)"):
        found = table.compute().values
    assert np.isnan(found[[0, 2]]).all()
    pixel = float(numbers[0, 100, 100])
    assert found[1] == pixel or (pixel == 0 and np.isnan(found[1]))
    edge = numbers[0, 10:20, 590:600].astype(float)
    np.testing.assert_allclose(found[3], edge[edge > 0].mean(), rtol=1e-6)


def test_a_line_has_the_pixels_that_it_goes_through(image: ml.Chain, numbers: np.ndarray) -> None:
    line = shapely.LineString([(X + 17.3, Y - 23.1), (X + 4321.7, Y - 2347.9)])
    there = rasterize([line], BOX.shape, transform=BOX.affine, all_touched=True).astype(bool) & (numbers[0] > 0)
    found = image.aggregate_spatial(geopandas.GeoSeries([line], crs=UTM31), "sum").compute()
    np.testing.assert_allclose(found.item(), numbers[0][there].sum(dtype=float), rtol=1e-6)


def test_a_coarser_resolution_uses_the_level(image: ml.Chain, fields: geopandas.GeoDataFrame) -> None:
    coarse = image.aggregate_spatial(fields.iloc[:2], "count").compute(resolution=40)
    fine = image.aggregate_spatial(fields.iloc[:2], "count").compute()
    np.testing.assert_allclose(coarse * 16, fine, rtol=0.05)
    with pytest.raises(ArgumentError, match="is not the size of a pixel"):
        image.aggregate_spatial(fields, "mean").compute(resolution=-1)


def test_features_in_two_zones_use_the_grid_that_they_lie_in(made_once: Made) -> None:
    scenes, frames = [], []
    for n, (crs, corner) in enumerate({"EPSG:32631": (735_000.0, 4.8e6), "EPSG:32632": (249_000.0, 4.8e6)}.items()):
        path = write_tif(
            made_once.folder / f"zone-{n}.tif", np.full((100, 100), 10 * (n + 1), np.uint8), corner=corner, crs=crs
        )
        scenes.append(made_once.scene(f"zone-{n}", "2020-01-01", {"B": made_once.asset(path)}, crs, grid=f"Z-{n}"))
        box = shapely.box(corner[0] + 5 + 800 * n, corner[1] - 900, corner[0] + 95 + 800 * n, corner[1] - 805)
        frames.append(geopandas.GeoSeries([box], crs=crs).to_crs(4326))
    chain = made_once.chain([Band("B")], scenes).band("B").first("t")
    places = pd.concat(frames, ignore_index=True)
    found = chain.aggregate_spatial(places, "mean").compute()
    np.testing.assert_allclose(found, [10, 20])
    pixels = chain.aggregate_spatial(places, "count").compute().values
    assert ((pixels > 70) & (pixels < 100)).all()


# -------------------------------------------------------------------------------------------------------- documents


def node(process: str, **arguments: Any) -> dict[str, Any]:
    return {"process_id": process, "arguments": arguments}


def ending(image: ml.Chain, nodes: dict[str, Any]) -> dict[str, Any]:
    """The document of an image (node `image`) with nodes after it; the last is the result."""
    document = image.to_json(artefacts=True)
    graph = document["process_graph"]
    (name,) = (n for n, about in graph.items() if about.pop("result", False))
    text = json.dumps({**graph, **nodes}).replace('"image"', json.dumps(name))
    document["process_graph"] = json.loads(text)
    document["process_graph"][list(nodes)[-1]]["result"] = True
    return document


MEAN = {"process_graph": {"m": {**node("mean", data={"from_parameter": "data"}), "result": True}}}


def test_vectors_of_a_document_are_made_when_it_is_read(image: ml.Chain, fields: geopandas.GeoDataFrame) -> None:
    geojson = json.loads(fields.to_crs(4326).to_json(to_wgs84=True))
    chain = ml.Chain.from_json(
        ending(
            image,
            {
                "load": node("load_geojson", data=geojson, properties=["crop"]),
                "utm": node("vector_reproject", data={"from_node": "load"}, projection=32631),
                "grown": node("vector_buffer", geometries={"from_node": "utm"}, distance=30),
                "table": node(
                    "aggregate_spatial", data={"from_node": "image"}, geometries={"from_node": "grown"}, reducer=MEAN
                ),
            },
        )
    )  # fmt: skip
    assert isinstance(chain, ml.Table) and "load_geojson" not in json.dumps(chain.to_json())
    expected = image.aggregate_spatial(ml.vectors(fields.to_crs(4326)).reproject(32631).buffer(30), "mean")
    np.testing.assert_allclose(chain.compute(), expected.compute(), rtol=1e-6)
    assert chain.table().columns[0] == "crop"
    masked = ml.Chain.from_json(
        ending(
            image,
            {
                "load": node("load_geojson", data=geojson),
                "some": node("filter_vector", data={"from_node": "load"}, geometries=geojson["features"][0]),
                "kept": node("mask_polygon", data={"from_node": "image"}, mask={"from_node": "some"}),
            },
        )
    )  # fmt: skip
    some = [n for n, shape in enumerate(fields.geometry) if shape.intersects(fields.geometry[0])]
    assert 0 < len(some) < 4
    assert masked.identical(image.mask_polygon(fields.to_crs(4326).iloc[some]))


def test_a_document_that_is_wrong_names_the_node(image: ml.Chain, fields: geopandas.GeoDataFrame) -> None:
    geojson = json.loads(fields.iloc[:1].to_crs(4326).to_json(to_wgs84=True))
    load = node("load_geojson", data=geojson)
    for nodes, told in (
        (
            {"load": load, "b": node("vector_buffer", geometries={"from_node": "load"}, distance=30)},
            "UnitMismatch",
        ),
        ({"load": node("load_geojson", data={"type": "Feature", "geometry": 7})}, "objects"),
        ({"load": node("load_geojson", data=geojson, properties=["no"])}, "no feature has the property 'no'"),
    ):
        use = {"k": node("filter_spatial", data={"from_node": "image"}, geometries={"from_node": list(nodes)[-1]})}
        with refused(told):
            ml.Chain.from_json(ending(image, {**nodes, **use}))
    wrong = node("filter_spatial", data={"from_node": "load"}, geometries=geojson)
    with pytest.raises(DocumentError, match="must be a data cube"):
        ml.Chain.from_json(ending(image, {"load": load, "x": wrong}))


def test_features_of_a_file_have_limits() -> None:
    with pytest.raises(ValueError, match="features; the limit is"):
        Features.of(4326, [shapely.Point(0, 0)] * 200_001)


def test_a_worker_gets_the_features(image: ml.Chain, fields: geopandas.GeoDataFrame) -> None:
    chain = image.filter_spatial(fields)
    np.testing.assert_array_equal(chain.compute(BOX), values(chain, BOX))
    published = chain.published
    assert {a.kind for a in published.artefacts.values()} >= {VECTORS}
    assert registry["muses:burn"].artefacts == ("vectors",)


def test_nothing_is_left_behind(fields: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    """A file that is gone is not asked for again."""
    path = written(fields, tmp_path)["zip"]
    found = ml.vectors(path)
    shutil.rmtree(tmp_path)
    assert list(found.table()["crop"]) == list(fields["crop"])

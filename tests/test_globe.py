"""Longitudes go round: outlines across 180°, in the four ways in which they are written; queries; cropping."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

import muses_lab as ml
from muses_lab.catalog import Query
from muses_lab.catalog.register import add
from muses_lab.errors import WindowError
from muses_lab.globe import around, on_globe, wrap_bounds

pytestmark = pytest.mark.usefixtures("in_threads")


def ring(west: float, south: float, east: float, north: float) -> shapely.Polygon:
    return shapely.Polygon([(west, south), (east, south), (east, north), (west, north)])


def ways(west: float, south: float, east: float, north: float) -> dict[str, shapely.Geometry]:
    """A box (east beyond 180) in the ways in which items write it."""
    return {
        "in two parts": shapely.MultiPolygon([ring(west, south, 180, north), ring(-180, south, east - 360, north)]),
        "beyond 180": ring(west, south, east, north),
        "below -180": ring(west - 360, south, east - 360, north),
        "jumping": ring(west, south, east - 360, north),
    }


boxes = st.tuples(st.floats(150, 179.9), st.floats(-80, 60), st.floats(180.1, 200), st.floats(0.1, 20))


@given(boxes, st.floats(140, 220), st.floats(-85, 85))
def test_every_way_of_crossing_180_is_the_same_place(box, lon: float, lat: float) -> None:
    west, south, east, height = box
    point = shapely.Point((lon + 180) % 360 - 180, lat)
    inside = ring(west, south, east, south + height)
    if abs(inside.exterior.distance(shapely.Point(lon, lat))) < 1e-6:
        return
    for name, geometry in ways(west, south, east, south + height).items():
        found = on_globe(geometry)
        assert found.bounds[0] >= -180 and found.bounds[2] <= 180
        assert found.area == pytest.approx(inside.area), name
        assert found.intersects(point) == inside.contains(shapely.Point(lon, lat)), name


@pytest.mark.parametrize("pole", [90, -90])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_ring_round_a_pole_holds_the_pole(pole: int, direction: int) -> None:
    lon = direction * np.arange(-170, 181, 20.0)
    found = on_globe(shapely.Polygon([(x, 0.8 * pole) for x in lon]))
    for x in (-179, -100, 0, 60, 179):
        assert found.contains(shapely.Point(x, pole * 0.95)) and not found.contains(shapely.Point(x, pole * 0.7))


def test_what_lies_round_the_world_stays_round_the_world() -> None:
    for width in (180, 179.95):
        world = ring(-width, -90, width, 90)
        assert on_globe(world).equals(world)
    assert on_globe(ring(-180.5, -90, 180.5, 90)).area == pytest.approx(360 * 180)
    assert on_globe(ring(0, -90, 360, 90)).area == pytest.approx(360 * 180)


def test_what_is_no_outline_harms_nothing() -> None:
    for odd in (ring(-1e12, 0, 1e12, 1), shapely.Polygon(), shapely.Polygon([(170, 0), (190, 1), (190, 0), (170, 1)])):
        on_globe(odd)


def test_bounds_beyond_180_are_bounds_across_it() -> None:
    assert wrap_bounds(178, -18, 182, -16) == (178, -18, -178, -16)
    assert wrap_bounds(-182, -18, -178, -16) == (178, -18, -178, -16)
    assert wrap_bounds(0, -90, 360, 90) == (-180, -90, 180, 90)
    assert wrap_bounds(-180, -90, 180, 90) == (-180, -90, 180, 90)
    assert wrap_bounds(260, 10, 270, 20) == (-100, 10, -90, 20)


# ---------------------------------------------------------------------------------------------------- in a catalogue


def tif(path: Path, epsg: int, corner: tuple[float, float], pixel: float, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    at = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    with rasterio.open(path, "w", "GTiff", 64, 64, 1, f"EPSG:{epsg}", at, "uint8") as file:
        file.write(np.full((64, 64), value, np.uint8), 1)
    return path


@pytest.fixture(scope="module")
def fiji(tmp_path_factory) -> Path:
    """A catalogue of three rasters: west and east of 180°, and in Africa at the same latitude."""
    folder, paths = tmp_path_factory.mktemp("fiji"), []
    for value, (name, epsg, lon) in enumerate(
        [("west", 32760, 179.4), ("east", 32701, -179.4), ("africa", 32735, 25)], 1
    ):
        x, y = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, -17)
        paths.append(tif(folder / f"{name}_20200601.tif", epsg, (round(x) - 3200, round(y) + 3200), 100, value))
    add(paths, catalog=folder / "catalogue", collection="c")
    return folder / "catalogue"


@pytest.mark.parametrize("bounds", [(179, -18, -179, -16), (179, -18, 181, -16), (-181, -18, -179, -16)])
def test_a_box_across_180_chooses_the_scenes_on_both_sides_for_table_and_pixels(fiji: Path, bounds) -> None:
    chosen = ml.collection("c", ml.open_catalog(str(fiji))).bbox(*bounds)
    assert sorted(chosen.table().index) == ["east_20200601", "west_20200601"]
    chain = chosen.band("b1").max("t")
    assert sorted(s.id for found in chain.published.scenes.values() for s in found.scenes) == sorted(
        chosen.table().index
    )
    assert [float(chain.at(lon, -17)) for lon in (179.4, -179.4, 180.6, 25)] == pytest.approx(
        [1, 2, 2, np.nan], nan_ok=True
    )


def test_geometries_across_180_choose_what_they_touch(fiji: Path) -> None:
    every = ml.collection("c", ml.open_catalog(str(fiji)))
    for name, geometry in ways(179, -18, 181, -16).items():
        found = every.intersects(json.loads(shapely.to_geojson(geometry)))
        assert sorted(found.table().index) == ["east_20200601", "west_20200601"], name


def test_surroundings_reach_across_180(fiji: Path) -> None:
    every = ml.collection("c", ml.open_catalog(str(fiji)))
    assert list(every.near("Labasa,FJ", 80_000).table().index) == ["west_20200601"]
    assert sorted(every.near("Labasa,FJ", 150_000).table().index) == ["east_20200601", "west_20200601"]


def test_a_crop_beyond_180_keeps_what_is_there(fiji: Path) -> None:
    chain = ml.collection("c", ml.open_catalog(str(fiji))).band("b1").max("t").crop(179, -18, 181, -16)
    assert [float(chain.at(lon, -17)) for lon in (179.4, -179.4)] == [1, 2]
    assert np.isnan(float(chain.at(25, -17)))


def test_items_written_in_any_way_are_found_from_both_sides(tmp_path: Path) -> None:
    x, y = pyproj.Transformer.from_crs(4326, 32701, always_xy=True).transform(-180, 10)
    path = tif(tmp_path / "a.tif", 32701, (round(x) - 32_000, round(y) + 32_000), 1000, 1)
    with rasterio.open(path) as file:
        place = {"proj:code": "EPSG:32701", "proj:transform": list(file.transform)[:6], "proj:shape": [64, 64]}
    for n, geometry in enumerate(ways(179.7, 9.7, 180.3, 10.3).values()):
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": "a", "collection": "c", "links": [],
            "geometry": json.loads(shapely.to_geojson(geometry)),
            "properties": {"datetime": "2020-06-01T00:00:00Z", **place},
            "assets": {"b": {"href": str(path), "roles": ["data"]}},
        }  # fmt: skip
        file = tmp_path / f"{n}.json"
        file.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
        catalog = ml.open_catalog(str(file))
        for box in ((179.75, 9.8, 179.95, 10.2), (-179.95, 9.8, -179.75, 10.2), (179.9, 9.9, -179.9, 10)):
            assert catalog.count(Query("c", bbox=box)) == 1
        for box in ((170, 9.8, 179.6, 10.2), (-179.6, 9.8, -170, 10.2), (0, 9.8, 10, 10.2)):
            assert catalog.count(Query("c", bbox=box)) == 0


@pytest.mark.parametrize(
    ("epsg", "corner"), [(3995, (-4000, 4000)), (3031, (-3200, 3200)), (3995, (-300_000, 100_000))]
)
def test_a_raster_near_a_pole_has_values_at_its_points(
    tmp_path: Path, epsg: int, corner: tuple[float, float], fresh_home: Path
) -> None:
    path = tif(tmp_path / "polar_20200601.tif", epsg, corner, 100, 7)
    add([path], catalog=tmp_path / "catalogue", collection="c")
    chain = ml.collection("c", ml.open_catalog(tmp_path / "catalogue")).max("t")
    back = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
    for col, row in ((0, 0), (20, 41), (63, 63)):
        lon, lat = back.transform(corner[0] + 100 * (col + 0.5), corner[1] - 100 * (row + 0.5))
        assert chain.at(lon, lat).item() == 7
    x, y = corner[0] - 500, corner[1] + 500  # beside it
    assert np.isnan(chain.at(*back.transform(x, y)).item())


@pytest.mark.parametrize("crs, resolution, wide", [("EPSG:4326", 0.001, 1.3), ("EPSG:3857", 100, 145_000)])
def test_a_footprint_across_180_has_the_scenes_of_both_sides(
    fiji: Path, tmp_path: Path, crs: str, resolution: float, wide: float
) -> None:
    chain = ml.collection("c", ml.open_catalog(str(fiji))).bbox(179, -18, -179, -16).band("b1").max("t")
    path = chain.export(tmp_path / "a.tif", "footprint", crs=crs, resolution=resolution, progress=False).wait(60)
    with rasterio.open(path) as file:
        values = file.read(1)
        assert file.bounds.right - file.bounds.left == pytest.approx(wide, rel=0.05), "not round the world"
    numbers, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    assert list(numbers) == [1, 2] and counts[0] == pytest.approx(counts[1], rel=0.02)


def test_a_system_that_ends_at_180_is_refused_there(fiji: Path) -> None:
    chain = ml.collection("c", ml.open_catalog(str(fiji))).bbox(179, -18, -179, -16).band("b1").max("t")
    with pytest.raises(WindowError, match="on both sides of 180°, which are the two ends of EPSG:8857"):
        chain.plan("footprint", crs="EPSG:8857", resolution=100)


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(0, 350)), min_size=1, max_size=6))
def test_the_shortest_span_around_others_holds_them(spans: list[tuple[float, float]]) -> None:
    west, east = around((begin, begin + width) for begin, width in spans)
    assert -180 <= west < 180 and east - west <= 360 + 1e-9
    for begin, width in spans:
        assert (
            (begin - west) % 360 + width <= east - west + 1e-6
            or (begin - west) % 360 > 360 - 1e-6
            or (east - west == 360)
        )
    if len(spans) == 1:
        assert east - west == pytest.approx(spans[0][1], abs=1e-9)

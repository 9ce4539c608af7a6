"""One overpass is one step of t: what is one observation, what is two, and which copies are left out and named."""

from __future__ import annotations

import datetime as dt
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import transform_geom

import muses_lab as ml
from muses_lab.api.collection import Collection
from muses_lab.products import Problem
from muses_lab.products import scenes as scenes_of
from muses_lab.raster.asset import Asset, Band
from muses_lab.scenes.observations import observe
from muses_lab.scenes.scene import Scene, Scenes
from tests.helpers.examples import examples
from tests.helpers.made_scenes import CORNER, UTM31, Made, chain_of, values, window, write_tif
from tests.oracles.observations import rectangles_overlap

SIZE = 64
BAND = Band("B", dtype="float32", nodata=-1.0)

# ------------------------------------------------------------------------------------------------- made-up metadata


def ring(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [corners]}


def scene(
    id: str,
    time: str,
    x: float = 0,
    y: float = 0,
    size: float = 100_000,
    crs: str = UTM31,
    bands: str = "B",
    **stated: Any,
) -> Scene:
    """A square of so many metres, its corner so many metres east and south of 300 000, 4 800 000."""
    transform = (size / 100, 0.0, 300_000.0 + x, 0.0, -size / 100, 4_800_000.0 - y)
    assets = {band: Asset(f"{id}-{band}.tif", transform, (100, 100)) for band in bands}
    west, north = 0.5 + x / 80_000, 43.3 - y / 111_000
    stated.setdefault("footprint", ring(west, north - size / 111_000, west + size / 80_000, north))
    return Scene(id, time, crs, assets, stated.pop("platform", "p"), **stated)


def groups(*scenes: Scene) -> list[set[str]]:
    """Ids of each observation in order of time, without the copies that are folded."""
    observed = observe(scenes)
    kept = [row for row in range(len(scenes)) if row not in observed.copies]
    found = [{scenes[row].id for row in kept if observed.number[row] == n} for n in range(len(observed.instants))]
    assert sorted(id for group in found for id in group) == sorted(scenes[row].id for row in kept)
    return found


def folded(*scenes: Scene) -> dict[str, str]:
    return {scenes[older].id: scenes[newer].id for older, newer in observe(scenes).copies.items()}


def test_tiles_of_one_pass_are_one_observation_also_over_midnight_and_long_passes() -> None:
    start = dt.datetime(2020, 12, 31, 23, 50)
    tiles = [
        scene(f"t{n}", (start + dt.timedelta(minutes=9 * n)).isoformat() + "Z", y=90_200 * n, size=100_000)
        for n in range(5)
    ]
    assert groups(*tiles) == [{t.id for t in tiles}]
    late = scene("late", "2021-01-01T00:36:01Z", y=5e6)
    assert groups(*tiles, late) == [{t.id for t in tiles}, {"late"}], "ten minutes and a second after the last"
    assert observe([*tiles, late]).instants.tolist()[0] == np.datetime64("2020-12-31T23:50", "ns").astype(int)


def test_a_pass_over_180_degrees_is_one_observation() -> None:
    west = scene("west", "2020-06-01T22:10:00Z", crs="EPSG:32660", footprint=ring(179.0, -17, 180.0, -16))
    east = scene("east", "2020-06-01T22:10:04Z", crs="EPSG:32601", footprint=ring(-180.0, -17, -179.0, -16))
    across = scene("across", "2020-06-01T22:10:09Z", y=1e5, crs="EPSG:32601", footprint=ring(-180.5, -18, -179.5, -17))
    assert groups(west, east, across) == [{"west", "east", "across"}]
    turned = [[179.5, -17], [-179.5, -17], [-179.5, -16], [179.5, -16], [179.5, -17]]
    jumping = replace(east, id="jumping", footprint={"type": "Polygon", "coordinates": [turned]})
    beyond = replace(
        east, id="beyond", crs="EPSG:32660", datetime="2020-06-01T22:13:00Z", footprint=ring(179.5, -17, 180.5, -16)
    )
    below = replace(beyond, id="below", datetime="2020-06-01T22:16:00Z", footprint=ring(-180.5, -17, -179.5, -16))
    assert groups(jumping, beyond) == [{"jumping"}, {"beyond"}], "the same ground, written in two ways"
    assert groups(beyond, replace(below, crs="EPSG:32601")) == [{"beyond"}, {"below"}]


def test_day_and_night_of_a_radar_and_two_satellites_of_one_day_are_two() -> None:
    night = scene("night", "2020-06-01T05:50:00Z", relative_orbit=8, orbit_state="descending")
    day = scene("day", "2020-06-01T17:40:00Z", relative_orbit=30, orbit_state="ascending")
    assert groups(night, day) == [{"night"}, {"day"}]
    a, b = scene("a", "2020-06-01T10:50:00Z", platform="s2a"), scene("b", "2020-06-01T10:50:00Z", platform="s2b")
    assert groups(a, b) == [{"a"}, {"b"}] and folded(a, b) == {}
    upper = replace(scene("upper", "2020-06-01T10:50:14Z", y=90_000), platform="S2A")
    assert groups(a, upper) == [{"a", "upper"}], "platforms are written in small and in capital letters"
    other = scene("other", "2020-06-01T05:51:00Z", y=90_000, relative_orbit=9)
    assert groups(night, other) == [{"night"}, {"other"}]
    silent = scene("silent", "2020-06-01T05:51:00Z", y=90_000)
    assert groups(night, silent) == [{"night", "silent"}], "who says nothing goes with the others"


@pytest.mark.parametrize("minutes", [1, 5, 10, 15, 60])
def test_a_geostationary_series_has_a_step_for_each_image_and_its_tiles_are_mosaicked(minutes: int) -> None:
    start = dt.datetime(2020, 6, 1)
    images = [
        scene(
            f"{n:02}{tile}",
            (start + dt.timedelta(minutes=minutes * n, seconds=10 * tile)).isoformat() + "Z",
            x=1e5 * tile,
        )
        for n in range(20)
        for tile in range(3)
    ]
    assert groups(*images) == [{f"{n:02}{tile}" for tile in range(3)} for n in range(20)]
    assert groups(*(i for i in images if i.id.endswith("1"))) == [{f"{n:02}1"} for n in range(20)]


def test_rows_of_landsat_and_tiles_of_two_zones_do_not_cover_each_other() -> None:
    """Rectangles around tilted rows share a quarter, tiles of two zones may share all."""
    rows = [scene(f"row{n}", f"2020-06-01T10:40:{24 * n:02}Z", x=-35e3 * n, y=165e3 * n, size=230e3) for n in range(3)]
    assert groups(*rows) == [{"row0", "row1", "row2"}]
    zones = [
        scene("31T", "2020-06-01T10:40:00Z", grid="MGRS-31TCJ"),
        scene("30T", "2020-06-01T10:40:03Z", crs="EPSG:32630", grid="MGRS-30TYP"),
    ]
    assert groups(*zones) == [{"31T", "30T"}] and folded(*zones) == {}


def test_two_halves_of_one_tile_are_one_observation_and_two_looks_at_half_of_it_are_two() -> None:
    west, east = ring(0.5, 42.4, 1.1, 43.3), ring(1.05, 42.4, 1.75, 43.3)
    first = scene("first", "2020-06-01T10:50:00Z", footprint=west)
    assert groups(first, scene("rest", "2020-06-01T10:50:20Z", footprint=east)) == [{"first", "rest"}]
    assert groups(first, scene("again", "2020-06-01T10:55:00Z", footprint=west)) == [{"first"}, {"again"}]


# ---------------------------------------------------------------------------------------------------------- copies


def test_of_copies_the_highest_baseline_then_the_latest_then_the_last_id_is_used() -> None:
    time = "2020-06-01T10:50:00Z"
    old = scene("z-old", time, baseline="02.14", processed="2023-01-01T00:00:00Z")
    new = scene("a-new", time, baseline="05.00", processed="2022-01-01T00:00:00Z")
    assert folded(old, new) == {"z-old": "a-new"}
    late = scene("a-late", "2020-06-01T10:50:00.4Z", processed="2022-01-01T00:00:00Z")
    early = scene("b-early", time, processed="2021-01-01T00:00:00Z")
    assert folded(late, early) == {"b-early": "a-late"}
    assert folded(scene("a", time), scene("b", time)) == {"a": "b"}
    assert set(folded(*(scene(f"c{n}", time) for n in range(5)))) == {f"c{n}" for n in range(4)}


def test_a_tile_of_one_orbit_is_seen_once_in_a_pass_whatever_time_its_copies_state() -> None:
    tile = {"grid": "MGRS-31TCJ", "relative_orbit": 51}
    a, b = scene("a", "2020-06-01T10:50:00Z", **tile), scene("b", "2020-06-01T10:50:07Z", **tile)
    assert folded(a, b) == {"a": "b"} and groups(a, b) == [{"b"}]
    stereo = replace(a, relative_orbit=None), replace(b, relative_orbit=None)
    assert groups(*stereo) == [{"a"}, {"b"}], "nothing says that it was not seen twice"


def test_what_a_newer_copy_lacks_is_not_lost() -> None:
    time = "2020-06-01T10:50:00Z"
    whole = scene("whole", time, processed="2020")
    half = scene("half", time, processed="2021", footprint=ring(0.5, 42.4, 1.2, 43.3))
    assert folded(whole, half) == {} and groups(whole, half) == [{"whole", "half"}]
    assert folded(replace(whole, processed="2022"), half) == {"half": "whole"}
    bands = scene("bands", time, bands="BC", processed="2020")
    assert folded(bands, replace(whole, processed="2021")) == {}
    other = scene("other", "2020-06-01T10:50:00Z", bands="C")
    assert groups(whole, other) == [{"whole", "other"}] and folded(whole, other) == {}, "bands in files of their own"


@pytest.mark.parametrize(
    "footprint",
    [
        None,
        {},
        {"type": "Polygon", "coordinates": []},
        ring(1, 43, 1, 43),
        {"type": "Polygon", "coordinates": [[[0.5, 42.4], [1.7, 43.3], [1.7, 42.4], [0.5, 43.3], [0.5, 42.4]]]},
    ],
)
def test_where_a_footprint_says_nothing_the_rectangle_counts(footprint) -> None:
    a, b, c = (scene(id, f"2020-06-01T10:5{n}:00Z", footprint=footprint) for n, id in enumerate("abc"))
    assert groups(a, b, c) == [{"a"}, {"b"}, {"c"}]
    assert groups(a, scene("next", "2020-06-01T10:50:30Z", y=95_000, footprint=footprint)) == [{"a", "next"}]


# -------------------------------------------------------------------------------------------------------- properties

ZONES = {"EPSG:32631": 3.0, "EPSG:32632": 9.0}


@st.composite
def lists(draw) -> list[Scene]:
    found = []
    for n in range(draw(st.integers(1, 14))):
        seconds = draw(st.sampled_from([0, 1, 2, 30, 300, 600, 601, 1200, 43_200, 86_400]))
        time = (dt.datetime(2020, 6, 1, 23, 55) + dt.timedelta(seconds=seconds)).isoformat() + "Z"
        found.append(
            scene(
                f"s{n:02}", time, x=draw(st.sampled_from([0, 3e4, 9e4])), y=draw(st.sampled_from([0, 9e4])),
                crs=draw(st.sampled_from(sorted(ZONES))), bands=draw(st.sampled_from(["B", "BC", "C"])),
                platform=draw(st.sampled_from(["a", None])), relative_orbit=draw(st.sampled_from([7, 8, None])),
                grid=draw(st.sampled_from(["T1", None])), baseline=draw(st.sampled_from(["1", "2", None])),
            )
        )  # fmt: skip
    return found


@settings(max_examples=examples(80))
@given(lists(), st.randoms())
def test_the_order_of_scenes_never_matters_and_each_is_in_one_observation_or_folded(made: list[Scene], random) -> None:
    shuffled = random.sample(made, len(made))
    assert groups(*made) == groups(*shuffled) and folded(*made) == folded(*shuffled)
    found, copies = groups(*made), folded(*made)
    assert sorted([*(id for group in found for id in group), *copies]) == [s.id for s in made]
    assert not copies.keys() & set(copies.values()), "what stands for a copy is there itself"
    by_id = {s.id: s for s in made}
    for group in found:
        assert group and len({by_id[id].platform for id in group}) == 1
        seen = group | {
            copy for copy, id in copies.items() if id in group
        }  # what was folded was seen in this pass, too
        times = sorted(np.datetime64(by_id[id].datetime[:-1], "s") for id in seen)
        assert max(np.diff(times), default=np.timedelta64(0, "s")) <= np.timedelta64(10, "m")
        for a in group:
            for b in group - {a}:
                one, two = by_id[a], by_id[b]
                if one.crs == two.crs and rectangles_overlap(one, two):
                    within = abs(np.datetime64(one.datetime[:-1], "s") - np.datetime64(two.datetime[:-1], "s"))
                    assert within <= np.timedelta64(1, "s") or one.grid == two.grid is not None
    instants = observe(made).instants
    assert (np.diff(instants) > np.timedelta64(0, "ns")).all() and len(instants) == len(found)


# ----------------------------------------------------------------------------------------------- pixels, both ways in

Image = tuple[str, dict[str, Any], int, float]
"""Id, STAC properties, pixels east of the corner, value."""
NIGHT = {"platform": "sentinel-1a", "sat:relative_orbit": 8, "sat:orbit_state": "descending"}
DAY = {"platform": "sentinel-1a", "sat:relative_orbit": 30, "sat:orbit_state": "ascending"}
CASES: dict[str, tuple[list[Image], list[list[int]]]] = {
    "hourly": (
        [(f"h{h:02}", {"datetime": f"2020-06-01T{h:02}:00:00Z"}, 0, h) for h in range(24)],
        [[h] for h in range(24)],
    ),
    "every quarter of an hour over midnight": (
        [(f"q{n}", {"datetime": t, "platform": "msg-4"}, 0, n) for n, t in enumerate(
            ["2020-06-01T23:30:00Z", "2020-06-01T23:45:00Z", "2020-06-02T00:00:00Z", "2020-06-02T00:15:00Z"])],
        [[0], [1], [2], [3]],
    ),
    "day and night of a radar": (
        [
            ("night", {**NIGHT, "datetime": "2020-06-01T05:50:00Z"}, 0, 2),
            ("day", {**DAY, "datetime": "2020-06-01T17:40:00Z"}, 0, 6),
        ],
        [[0], [1]],
    ),
    "two satellites of one day": (
        [(f"s{n}", {"platform": p, "datetime": "2020-06-01T10:50:00Z"}, 0, n + 1.0) for n, p in enumerate("ab")],
        [[0], [1]],
    ),
    "two tiles of one pass, and the next day's": (
        [
            ("west", {"platform": "s2a", "datetime": "2020-06-01T23:59:58Z"}, 0, 1),
            ("east", {"platform": "s2a", "datetime": "2020-06-02T00:00:04Z"}, 58, 5),
            ("next", {"platform": "s2a", "datetime": "2020-06-06T23:59:58Z"}, 0, 9),
        ],
        [[0, 1], [2]],
    ),
    "reprocessed": (
        [
            ("a-new", {"platform": "s2a", "datetime": "2020-06-01T10:50:00Z", "s2:processing_baseline": "03.01"}, 0, 7),
            ("b-old", {"platform": "s2a", "datetime": "2020-06-01T10:50:00Z", "s2:processing_baseline": "02.14"}, 0, 3),
            ("other", {"platform": "s2a", "datetime": "2020-06-06T10:50:00Z"}, 0, 1),
        ],
        [[0], [2]],
    ),
}  # fmt: skip


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[list[Image]], Collection]:
    def open_them(images: list[Image]) -> Collection:
        items = []
        for id, properties, east, value in images:
            corner = (CORNER[0] + 10 * east, CORNER[1])
            path = write_tif(tmp_path / f"{id}.tif", np.full((SIZE, SIZE), value, np.float32), corner=corner)
            box = [corner[0], corner[1] - 10 * SIZE, corner[0] + 10 * SIZE, corner[1]]
            items.append({
                "type": "Feature", "stac_version": "1.0.0", "id": id, "collection": "c", "links": [],
                "geometry": transform_geom(UTM31, "EPSG:4326", ring(*box), precision=6), "properties": properties,
                "assets": {"B": {"href": str(path), "type": "image/tiff; application=geotiff", "roles": ["data"],
                                 "proj:code": UTM31, "proj:shape": [SIZE, SIZE],
                                 "proj:transform": [10, 0, corner[0], 0, -10, corner[1]]}},
            })  # fmt: skip
        path = tmp_path / "items.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": items[::-1]}))
        return ml.collection("c", ml.open_catalog(str(path)))

    return open_them


@pytest.mark.parametrize("name", CASES)
def test_reducers_series_tiles_and_exports_see_each_overpass_once(name: str, opened, tmp_path: Path) -> None:
    images, overpasses = CASES[name]
    cube = np.full((len(overpasses), SIZE, 128), np.nan)
    for step, members in enumerate(overpasses):
        for _, _, east, value in [images[n] for n in members][::-1]:  # the first lies on top
            cube[step, :, east : east + SIZE] = value
    band, box = opened(images).band("B"), window(SIZE, 128)
    found = band.compute(box)
    assert found.sizes["t"] == len(overpasses)
    np.testing.assert_array_equal(found.values, cube)
    starts = [min(np.datetime64(images[n][1]["datetime"][:-1], "ns") for n in members) for members in overpasses]
    assert (found.t.values - np.array(starts) < np.timedelta64(9, "ns")).all()
    used = {n for members in overpasses for n in members}
    assert (found.attrs["scenes_used"], found.attrs["scenes_found"]) == (len(used), len(used))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns that no scene covers
        expected = {"mean": np.nanmean(cube, 0), "max": np.nanmax(cube, 0), "median": np.nanmedian(cube, 0)}
    for reducer, right in expected.items():
        np.testing.assert_allclose(getattr(band, reducer)("t").compute(box).values, right, rtol=1e-6)
    lon, lat = place(30.5, 30.5)
    np.testing.assert_array_equal(band.at(lon, lat).values, cube[:, 30, 30])
    path = tmp_path / "mean.tif"
    band.mean("t").export(path, box, progress=False).wait(60)
    with rasterio.open(path) as file:
        np.testing.assert_allclose(file.read(1), expected["mean"].astype(np.float32), rtol=1e-6)
    tile = band.mean("t").compute(ml.Window.tile(15, *tile_at(15, lon, lat))).values
    assert np.unique(tile[np.isfinite(tile)]).tolist() == pytest.approx(
        np.unique(expected["mean"][np.isfinite(expected["mean"])]).tolist()
    )


def place(column: float, row: float) -> tuple[float, float]:
    x, y = CORNER[0] + 10 * column, CORNER[1] - 10 * row
    point = transform_geom(UTM31, "EPSG:4326", {"type": "Point", "coordinates": [x, y]})
    return tuple(point["coordinates"])


def tile_at(zoom: int, lon: float, lat: float) -> tuple[int, int]:
    n, phi = 2**zoom, np.radians(lat)
    return int((lon + 180) / 360 * n), int((1 - np.arcsinh(np.tan(phi)) / np.pi) / 2 * n)


def test_folded_copies_are_named_with_the_one_that_is_used(opened) -> None:
    collection = opened(CASES["reprocessed"][0])
    (said,) = collection.resolve().problems
    assert said == (
        "b-old: it is another copy of the acquisition of 'a-new', which is used because its processing baseline is "
        "03.01, not 02.14"
    )


def test_what_items_say_of_their_orbit_and_processing_is_kept() -> None:
    def item(**properties: Any) -> dict[str, Any]:
        asset = {"href": "https://example.org/b.tif", "roles": ["data"], "proj:code": UTM31, "proj:shape": [9, 9],
                 "proj:transform": [10, 0, 3e5, 0, -10, 48e5]}  # fmt: skip
        return {"id": "i", "assets": {"B": asset}, "properties": {"datetime": "2020-06-01T10:50:00Z", **properties}}

    def kept(**properties: Any) -> tuple:
        problems: list[Problem] = []
        (found,) = scenes_of([item(**properties)], {"id": "c"}, "c", problems).scenes
        assert not problems
        return found.relative_orbit, found.orbit_state, found.baseline, found.processed

    assert kept() == (None, None, None, None)
    orbit = {"sat:relative_orbit": 51, "sat:orbit_state": "Ascending"}
    assert kept(**orbit, created="2021-01-01T01:00:00+01:00") == (51, "ascending", None, "2021-01-01T00:00:00Z")
    product = "S2A_MSIL2A_20200601T105031_N0500_R051_T31TCJ_20230101T000000.SAFE"
    assert kept(**{"s2:product_uri": product, "s2:processing_baseline": "05.00"}) == (51, None, "05.00", None)
    assert kept(**{"landsat:wrs_path": "198", "created": "long ago"}) == (198, None, None, None)
    assert kept(**{"sat:relative_orbit": "many", "sat:orbit_state": 7.5, "processing:version": {}})[::2] == (None, None)
    plain = Scene("a", "2020-06-01T10:50:00Z", UTM31, {})
    assert not {"relative_orbit", "orbit_state", "baseline", "processed"} & set(
        json.loads(Scenes("c", "c", (), (plain,)).texts[0])
    )


def test_where_a_newer_copy_has_no_data_the_older_one_shows(tmp_path: Path) -> None:
    """Half of a tile processed again: the newer one on top, one step, nothing lost."""
    made = Made(tmp_path)
    old = write_tif(tmp_path / "old.tif", np.full((SIZE, SIZE), 3, np.float32))
    new = write_tif(tmp_path / "new.tif", np.full((SIZE, SIZE // 2), 7, np.float32))
    scenes = made.scenes(
        [BAND],
        [made.scene("a-old", "2020-06-01", {"B": made.asset(old)}, processed="2020-06-02T00:00:00Z"),
         made.scene("b-new", "2020-06-01", {"B": made.asset(new)}, processed="2023-01-01T00:00:00Z")],
    )  # fmt: skip
    expected = np.full((SIZE, SIZE), 3.0)
    expected[:, : SIZE // 2] = 7
    for chain in (
        chain_of(scenes),
        chain_of(Scenes(scenes.collection, scenes.catalog, scenes.bands, scenes.scenes[::-1])),
    ):
        np.testing.assert_array_equal(values(chain, window(SIZE, SIZE)), expected[None, None])
        for reducer in ("mean", "max", "min", "median"):
            np.testing.assert_array_equal(values(getattr(chain, reducer)("t"), window(SIZE, SIZE)), expected[None])

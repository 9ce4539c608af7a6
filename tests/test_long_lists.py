"""Long lists of scenes: what is known of them in bulk is what one scene at a time tells, and is made once."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rfc8785
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.engine.mosaic import layout
from muses_lab.engine.published import Published
from muses_lab.errors import GridError
from muses_lab.publish.artefacts import load_published
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.grid import (
    Rect,
    bounds_of,
)
from muses_lab.scenes import source as source_module
from muses_lab.scenes.grid_index import Nearby
from muses_lab.scenes.scene import Scene, Scenes, canonical
from muses_lab.scenes.source import Placed, Source, source_of
from muses_lab.scenes.table import Columns
from muses_lab.scenes.wire import PackedScenes, pack, unpack
from muses_lab.store.sql import SqlStore
from tests.helpers.examples import examples
from tests.helpers.made_scenes import chain_of, forget_lists
from tests.oracles.observations import times_of

few = settings(max_examples=examples(10))
BANDS = (Band("B", resolution=10.0), Band("C", resolution=20.0))

# -------------------------------------------------------------------------------------------------- made-up scenes


def degrees(crs: str, points: list[tuple[float, float]]) -> list[list[float]]:
    there = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    return [[round(v, 6) for v in there.transform(*p)] for p in points]


@st.composite
def scene_lists(draw, least: int = 1, most: int = 30) -> Scenes:
    """Tiles of several zones, with and without grid codes and footprints, cut by swaths, of two platforms."""
    scenes = []
    for number in range(draw(st.integers(least, most))):
        zone, column, row = draw(st.sampled_from([30, 31, 32])), draw(st.integers(0, 3)), draw(st.integers(0, 3))
        crs, size = f"EPSG:326{zone}", 5120.0
        west, north = 300_000 + column * 10_000.0, 4_900_000 - row * 10_000.0
        coded = draw(st.booleans())
        east, south = west + size, north - size
        corners = [(west, north), (east, north), (east, south), (west, south), (west, north)]
        match draw(st.sampled_from(["all", "cut", "hole", "none", "elsewhere", "3d"])):
            case "none":
                footprint = None
            case "cut":
                cut = draw(st.floats(500, 4500))
                points = [(west + cut, north), (east, north), (east, south), (west, south), (west + cut, north)]
                footprint = {"type": "Polygon", "coordinates": [degrees(crs, points)]}
            case "hole":
                inner = [(west + 1e3, north - 1e3), (west + 3e3, north - 1e3), (west + 1e3, south + 1e3)]
                inner.append(inner[0])
                footprint = {"type": "Polygon", "coordinates": [degrees(crs, corners), degrees(crs, inner)]}
            case "elsewhere":
                footprint = {"type": "Polygon", "coordinates": [degrees(crs, [(x + 3e5, y) for x, y in corners])]}
            case "3d":
                footprint = {"type": "Polygon", "coordinates": [[[*p, 100.0] for p in degrees(crs, corners)]]}
            case _:
                footprint = {"type": "Polygon", "coordinates": [degrees(crs, corners)]}
        time = dt.datetime(2018, 1, 1, draw(st.integers(0, 23)), 50) + dt.timedelta(days=draw(st.integers(0, 9)))
        assets = {
            "B": Asset(f"{number}/B.tif", (10.0, 0.0, west, 0.0, -10.0, north), (512, 512), size=number),
            "C": Asset(f"{number}/C.tif", (20.0, 0.0, west, 0.0, -20.0, north), (256, 256), scale=1e-5),
        }
        scenes.append(
            Scene(
                f"s{number}", time.isoformat() + "Z", crs, assets, draw(st.sampled_from(["a", "b", None])),
                f"T{zone}-{column}{row}" if coded else None, footprint, draw(st.one_of(st.none(), st.floats(0, 100))),
            )
        )  # fmt: skip
    return Scenes("made", "nowhere", BANDS, tuple(scenes))


# --------------------------------------------------------------------------------------------- one scene at a time


def rectangle_of(scene: Scene) -> shapely.Geometry:
    asset = scene.assets["B"]
    a, _, west, _, _, north = asset.transform
    return shapely.box(west, north - a * asset.shape[0], west + a * asset.shape[1], north)


def footprint_of(scene: Scene) -> shapely.Geometry:
    rectangle = rectangle_of(scene)
    if scene.footprint is None:
        return rectangle
    shape = shapely.make_valid(Geometry(scene.footprint, "EPSG:4326").to_crs(scene.crs).geom).intersection(rectangle)
    return rectangle if shape.is_empty or shape.area > 0.999 * rectangle.area else shape


@few
@given(scene_lists(), st.booleans())
def test_grids_places_footprints_and_dates_are_those_of_each_scene(scenes: Scenes, travelled: bool) -> None:
    source = Source(unpack(pack(scenes, Columns.of(scenes))) if travelled else scenes)
    times = times_of(scenes)
    assert source.axis == tuple(sorted(set(times.values())))
    seen: dict[str, list[Placed]] = {}
    for id, grid in source.grids.items():
        seen[id] = source.on(id, grid.extent)
        shapes = {shapely.to_wkb(shape): shape for shape in (footprint_of(p.scene) for p in seen[id])}
        union = shapely.union_all([shapes[k] for k in sorted(shapes)])
        full = shapely.box(*union.bounds)
        assert source.footprints[id] == (full if union.area > 0.999 * full.area else union)
        assert source.outlines[id].equals(shapely.union_all([rectangle_of(p.scene) for p in seen[id]]))
        clouds: dict[np.datetime64, list[float]] = {}
        for placed in seen[id]:
            known = placed.scene.cloud_cover
            clouds.setdefault(placed.time, []).extend([] if known is None else [known])
        assert source.dates(id).keys() == clouds.keys()
        for time, found in source.dates(id).items():
            assert math.isnan(found) if not clouds[time] else found == pytest.approx(np.mean(clouds[time]))
    every = [placed for list in seen.values() for placed in list]
    assert sorted(p.scene.id for p in every) == sorted(s.id for s in scenes.scenes)
    by_id = {s.id: s for s in scenes.scenes}
    for id, placed_there in seen.items():
        assert [p.time for p in placed_there] == sorted(p.time for p in placed_there) or len(source.axis) > 1
        grid = source.grids[id]
        for placed in placed_there:
            scene = by_id[placed.scene.id]
            assert placed.scene == scene and placed.time == times[scene.id]
            _, _, west, _, _, north = scene.assets["B"].transform
            r0, c0 = round((grid.origin[1] - north) / 10), round((west - grid.origin[0]) / 10)
            assert placed.rect == Rect(r0, r0 + 512, c0, c0 + 512) and grid.extent.contains(placed.rect)


@few
@given(scene_lists(), st.data())
def test_what_touches_a_rectangle_is_found_whatever_dates_are_asked_for(scenes: Scenes, data) -> None:
    source = Source(scenes)
    id = data.draw(st.sampled_from(sorted(source.grids)))
    grid = source.grids[id]
    r0 = data.draw(st.integers(grid.extent.r0 - 100, grid.extent.r1))
    c0 = data.draw(st.integers(grid.extent.c0 - 100, grid.extent.c1))
    rect = Rect(r0, r0 + data.draw(st.integers(1, 600)), c0, c0 + data.draw(st.integers(1, 600)))
    times = data.draw(st.one_of(st.none(), st.frozensets(st.sampled_from(source.axis))))
    expected = [
        p.scene.id
        for p in source.on(id, grid.extent)
        if (times is None or p.time in times) and not p.rect.intersection(rect).empty
    ]
    assert [p.scene.id for p in source.on(id, rect, times)] == expected
    assert source.found(grid, rect, times) == expected
    assert source.on("no grid", rect) == []


def test_scenes_of_one_grid_code_in_two_systems_are_an_error() -> None:
    def scene(id: str, crs: str) -> Scene:
        return Scene(id, "2018-01-01T00:00:00Z", crs, {"B": Asset("x", (10, 0, 3e5, 0, -10, 49e5), (9, 9))}, None, "T")

    same = Scenes("c", "c", BANDS, (scene("a", "EPSG:32631"), scene("b", "epsg:32631")))
    assert len(Source(same).grids) == 1
    with pytest.raises(GridError, match="'a' and 'b' of grid 'T@10' have different CRS"):
        Source(Scenes("c", "c", BANDS, (scene("a", "EPSG:32631"), scene("b", "EPSG:32632"))))


# --------------------------------------------------------------------------------------------------- far and near


def tile_at(zoom: int, lon: float, lat: float) -> GeoBox:
    n = 2**zoom
    y = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * n)
    return ml.Window.tile(zoom, int((lon + 180) / 360 * n), y)


@pytest.mark.slow
@few
@given(scene_lists(20, 40), st.integers(5, 15), st.floats(-4, 14), st.floats(43, 45))
def test_no_grid_that_a_window_touches_is_taken_for_far_away(scenes: Scenes, zoom: int, lon: float, lat: float) -> None:
    prepared = chain_of(scenes).published.prepared
    box = tile_at(zoom, lon, lat)
    near = set(prepared.candidates(prepared.output, box))
    outline = box.extent
    for id, grid in prepared.output.grids.items():
        if outline.to_crs(grid.crs, resolution=1000).geom.intersects(prepared.footprint(prepared.output, id)):
            assert id in near
    assert near <= set(prepared.output.grids)


def world(count: int) -> Scenes:
    """Tiles all over the zones of the north, `count` of them, one date each."""
    scenes = []
    for number in range(count):
        zone, row = 1 + number % 60, number // 60
        crs, west, north = f"EPSG:326{zone:02d}", 399_960.0, 1_000_020.0 + 100_000 * row
        edge = 109_800.0
        corners = [
            (west, north),
            (west + edge, north),
            (west + edge, north - edge),
            (west, north - edge),
            (west, north),
        ]
        ring = degrees(crs, corners)
        asset = Asset(f"{number}.tif", (10.0, 0.0, west, 0.0, -10.0, north), (10980, 10980))
        footprint = {"type": "Polygon", "coordinates": [ring]}
        time = (dt.datetime(2018, 1, 1, 10) + dt.timedelta(hours=number)).isoformat() + "Z"
        scenes.append(Scene(f"s{number}", time, crs, {"B": asset}, "a", f"MGRS-{zone}-{row}", footprint))
    return Scenes("world", "nowhere", (Band("B"),), tuple(scenes))


def test_a_window_looks_at_its_own_grids_of_many() -> None:
    """Counted, not timed: grids, footprints and scenes are made for what the window touches."""
    scenes = world(1200)
    packed = unpack(source_of(scenes).packed)
    assert isinstance(packed.scenes, PackedScenes)
    source = Source(packed)
    prepared = chain_of(scenes).published.prepared
    box = tile_at(9, 2.5, 17.6)
    near = prepared.candidates(prepared.output, box)
    assert len(near) < 20 < len(prepared.output.grids)
    view = layout(prepared, box)
    assert {part.grid.id for part in view.parts} == {"MGRS-31-10@10"} and view.found == ("s630",)
    grid = source.grids["MGRS-31-10@10"]
    placed = source.on(grid.id, grid.extent)
    assert [p.scene for p in placed] == [s for s in scenes.scenes if s.grid == "MGRS-31-10"]
    assert len(packed.scenes._made) == 1, "one chunk of scenes unpacked"
    assert list(source._placings) == [grid.id] and len(source.grids._made) == 1


def test_places_far_from_their_footprints_and_footprints_across_the_date_line_are_near_everything() -> None:
    scenes = list(world(60).scenes)
    wrong = {"type": "Polygon", "coordinates": [[[100, 60], [101, 60], [101, 61], [100, 61], [100, 60]]]}
    scenes[7] = Scene(**{**fields(scenes[7]), "footprint": wrong})
    scenes[8] = Scene(**{**fields(scenes[8]), "footprint": None})
    near = Nearby(Columns.of(Scenes("c", "c", (Band("B"),), tuple(scenes))))
    box = GeoBox((10, 10), ml.Window.tile(12, 2200, 1950).affine, "EPSG:3857")
    found = near.to(bounds_of(box), "EPSG:3857")
    assert scenes[7].grid + "@10" in found and scenes[8].grid + "@10" in found
    assert len(found) < 15


def fields(scene: Scene) -> dict[str, object]:
    return {name: getattr(scene, name) for name in Scene.__dataclass_fields__}


# ------------------------------------------------------------------------------------------------ kept and shared


def test_chains_over_one_list_share_its_source_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = world(70)
    first, second = chain_of(scenes).max("t"), chain_of(scenes).min("t")
    (a,), (b,) = first.published.prepared.sources.values(), second.published.prepared.sources.values()
    assert a is b
    travelled = Published.from_payload(first.published.payload)
    (c,) = travelled.prepared.sources.values()
    assert c is a, "nor is a list unpacked that is here"
    monkeypatch.setattr(source_module, "_KEPT_SCENES", 150)
    for number in range(3):
        source_of(Scenes("other", str(number), (Band("B"),), scenes.scenes))
    assert source_module.known_source(scenes.digest) is None
    assert sum(len(s.scenes) for s in source_module._sources.values()) <= 150


@few
@given(scene_lists())
def test_a_payload_holds_the_chain_its_lists_and_its_results(scenes: Scenes) -> None:
    published = chain_of(scenes).max("t").published.with_results({"ab" * 32: b"\0\1\2", "cd" * 32: b""})
    payload = published.payload
    forget_lists()
    again = Published.from_payload(payload)
    assert (again.document, again.hash, again.results) == (published.document, published.hash, published.results)
    ((digest, there),) = again.scenes.items()
    assert digest == there.digest == scenes.digest and isinstance(there.scenes, PackedScenes)
    assert there == scenes and there.to_bytes() == scenes.to_bytes() and there.to_json() == scenes.to_json()
    assert there.scenes[-1] == scenes.scenes[-1] and there.scenes[1:3] == scenes.scenes[1:3]


def test_a_long_published_list_is_kept_ready_for_use(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}")
    for count, ready in ((300, True), (30, False)):
        chain: Chain = chain_of(world(count)).max("t")
        name = chain.publish(store)
        forget_lists()
        ((digest, found),) = load_published(name, store).scenes.items()
        assert isinstance(found.scenes, PackedScenes) == ready
        assert found.digest == digest and found.to_bytes() == store.artefact(digest)
        forget_lists()


# ---------------------------------------------------------------------------------------------------- canonical JSON

numbers = st.one_of(st.integers(-(10**17), 10**17), st.floats(allow_nan=False, allow_infinity=False))
names = st.text(max_size=5)
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.floats(-1e6, 1e6), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=examples(100))
@given(documents)
def test_the_quick_canonical_text_is_that_of_rfc_8785(document) -> None:
    try:
        expected = rfc8785.dumps(document)
    except rfc8785.CanonicalizationError:  # whole numbers that a double cannot hold
        with pytest.raises(rfc8785.CanonicalizationError):
            canonical(document)
        return
    assert canonical(document).encode() == expected


@few
@given(scene_lists())
def test_a_list_has_the_bytes_of_its_document(scenes: Scenes) -> None:
    assert scenes.to_bytes() == rfc8785.dumps(json.loads(json.dumps(scenes.to_json())))
    assert Scenes.from_json(json.loads(scenes.to_bytes())) == scenes
    plain = Scenes("c", "c", BANDS, tuple(Scene(**{**fields(s), "cloud_cover": None}) for s in scenes.scenes))
    assert b"cloud_cover" not in plain.to_bytes(), "lists without it keep their digest"

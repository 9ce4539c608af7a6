"""The service's parts that need no server: sharing, tile arithmetic, what failures may say, reports."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import sqlite3
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.gridspec import GridSpec
from sqlalchemy.exc import OperationalError

from muses_lab import settings
from muses_lab.compute.windows import WindowReport
from muses_lab.errors import Cancelled, MusesError, NotFound, ReadError, Timeout
from muses_lab.service.failures import BadRequest, disk_full, public
from muses_lab.service.once import Once
from muses_lab.service.reports import LONGEST_LIST, Reports, SceneNumbers, tile_report
from muses_lab.service.tile import MAX_LATITUDE, Tile, TilePixel
from tests.helpers.examples import examples

# Loading once


def test_all_who_ask_meanwhile_get_what_is_loaded_once() -> None:
    loaded: list[str] = []

    async def load(key: str) -> str:
        loaded.append(key)
        await asyncio.sleep(0.01)
        return key.upper()

    async def main() -> None:
        once: Once[str] = Once(2)
        assert await asyncio.gather(*(once.get("a", load) for _ in range(5))) == ["A"] * 5
        assert await once.get("a", load) == "A" and once.known("a") == "A" and once.known("b") is None
        assert loaded == ["a"]
        await once.get("b", load)
        await once.get("a", load)
        await once.get("c", load)  # b was used longest ago
        await once.get("a", load)
        await once.get("b", load)
        assert loaded == ["a", "b", "c", "b"] and len(once) == 2

    asyncio.run(main())


def test_loading_goes_on_when_an_asker_leaves_and_failures_are_not_kept() -> None:
    gate = asyncio.Event()
    tries: list[str] = []

    async def load(key: str) -> str:
        tries.append(key)
        await gate.wait()
        if len(tries) == 1:
            raise ReadError("the store is away")
        return key

    async def main() -> None:
        once: Once[str] = Once(2)
        first, second = (asyncio.ensure_future(once.get("a", load)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gate.set()
        with pytest.raises(ReadError):
            await second
        assert len(once) == 0
        assert await once.get("a", load) == "a" and tries == ["a", "a"]

    asyncio.run(main())


def test_what_is_only_kept_for_some_time_is_loaded_again_after_it() -> None:
    loaded: list[str] = []

    async def load(key: str) -> str:
        loaded.append(key)
        return key

    async def main() -> None:
        once: Once[str] = Once(2, lambda value: 0.0 if value == "brief" else None)
        for _ in range(2):
            for key in ("brief", "long"):
                await once.get(key, load)
            await asyncio.sleep(0.01)
        assert loaded == ["brief", "long", "brief"] and once.known("brief") is None

    asyncio.run(main())


# Tiles


@hypothesis.settings(max_examples=examples(20))
@given(st.integers(0, 20), st.floats(-180, 179.999), st.floats(-MAX_LATITUDE, MAX_LATITUDE))
def test_a_place_is_in_the_pixel_found_for_it(zoom: int, lon: float, lat: float) -> None:
    place = TilePixel.at(lon, lat, zoom)
    Tile.parse(*map(str, place.tile))
    box = GridSpec.web_tiles(zoom)[place.tile.x, place.tile.y]
    pixel = box[place.row : place.row + 1, place.col : place.col + 1].extent.to_crs("EPSG:4326").boundingbox
    slack = 2e-8  # odc-geo rounds the pyramid's corner: 1 mm
    assert pixel.left - slack <= lon <= pixel.right + slack
    assert pixel.bottom - slack <= lat <= pixel.top + slack


@pytest.mark.parametrize(
    "parts", [("a", "0", "0"), ("1.5", "0", "0"), ("", "0", "0"), ("1", "0x1", "0"), ("٣", "0", "0")]
)
def test_malformed_tiles_are_bad_requests(parts: tuple) -> None:
    with pytest.raises(BadRequest, match="whole number"):
        Tile.parse(*parts)


@pytest.mark.parametrize(
    "parts", [("25", "0", "0"), ("-1", "0", "0"), ("3", "8", "0"), ("3", "0", "-1"), ("0", "9" * 12, "0")]
)
def test_tiles_off_the_map_are_not_found(parts: tuple) -> None:
    with pytest.raises(NotFound, match="from 0 to"):
        Tile.parse(*parts)


# What failures may say


def test_private_paths_and_signatures_stay_here(tmp_path: Path) -> None:
    settings.register_catalog("private", str(tmp_path / "catalogue"), [str(tmp_path / "elsewhere")])
    text = (
        f"{tmp_path}/catalogue/s2/B04.tif: not recognized; see /home/ada/.aws/credentials, "
        "C:\\Users\\ada\\key.pem or https://ada:pw@example.org/a/b.tif?sig=SECRET&x=1 "
        f"and {tmp_path}/elsewhere/x.tif, file:///home/ada/y.tif"
    )
    said = public(text)
    assert said == (
        "s2/B04.tif: not recognized; see …/credentials, …/key.pem or https://example.org/a/b.tif?… and x.tif, …/y.tif"
    )
    assert public({"a": [text, 3, None]}) == {"a": [said, 3, None]}


@pytest.mark.parametrize(
    "text", ["3 of 12 scenes", "m/s", "either/or", "B04.tif", "tiles/a/b", "vmin=0 must be below vmax=-1", "EPSG:32631"]
)
def test_ordinary_words_are_left_alone(text: str) -> None:
    assert public(text) == text


# Reports


def report(used: int, found: int, levels: tuple = (20.0,), failed: tuple = ()) -> WindowReport:
    every = [f"scene-{number}" for number in range(found)]
    return WindowReport(frozenset(every[:used]), frozenset(every), failed, levels)


def test_status_sums_up_the_zoom_shown_last() -> None:
    reports = Reports()
    assert reports.summary("c")["tiles"] == 0
    reports.done("c", Tile(5, 0, 0), report(1, 40, (320.0,)))
    reports.done("c", Tile(9, 1, 1), report(10, 12, (10.0,), (("S2_a", "/secret/folder/a.tif: gone"),)))
    reports.done("c", Tile(9, 1, 2), report(12, 12, (10.0, 20.0)))
    reports.failed("c", Tile(9, 2, 2), ReadError("cannot read /secret/folder/x.tif"))
    reports.failed("c", Tile(9, 3, 3), Cancelled("left"))
    summary = reports.summary("c")
    assert (summary["zoom"], summary["tiles"], summary["scenes_used"], summary["scenes_found"]) == (9, 2, 12, 12)
    assert summary["metres_per_pixel"] == [10, 20]
    assert summary["failed"] == [{"id": "S2_a", "reason": "…/a.tif: gone"}]
    (error,) = summary["errors"]
    assert (error["code"], error["message"], error["x"]) == ("read-failed", "cannot read …/x.tif", 2)
    assert reports.summary("c", 5)["scenes_found"] == 40
    reports.done("c", Tile(9, 2, 2), report(12, 12))
    assert reports.summary("c")["errors"] == []
    assert reports.summary("other")["tiles"] == 0


def test_a_tile_reports_its_scenes_as_bits() -> None:
    """What the page reads: which of the chain's scenes the tile touches, and which of those it uses."""
    numbers = SceneNumbers(f"scene-{n}" for n in range(20))
    seen = WindowReport(
        used=frozenset({"scene-3", "scene-12"}),
        found=frozenset({"scene-0", "scene-3", "scene-12", "scene-13"}),
        failed=(("scene-0", "gone"),),
        levels=(20.0,),
        thinned=(48, 300),
        native=(10.0,),
    )
    told = json.loads(tile_report(numbers, seen, (7, 65_536)))
    bits = {name: [f"{byte:08b}" for byte in base64.b64decode(text)] for name, text in told.pop("bits").items()}
    assert bits == {"found": ["10010000", "00001100"], "used": ["01100000"]}
    assert told == {
        "scenes": [2, 4],
        "levels": [20.0],
        "native": [10.0],
        "thinned": [48, 300],
        "failed": 1,
        "holes": [7, 65_536],
    }


def test_a_very_long_list_of_scenes_does_not_make_a_header_that_proxies_refuse() -> None:
    for count, bits in ((LONGEST_LIST, True), (LONGEST_LIST + 1, False)):
        every = frozenset(map(str, range(count)))
        text = tile_report(SceneNumbers(every), WindowReport(every, every, (), (10.0,), native=(10.0,)))
        assert len(text) < 16_000 and ("bits" in json.loads(text)) is bits


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_is_told_as_such(tmp_path: Path, wrapped: bool) -> None:
    with pytest.raises(OSError) as full, open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    database = sqlite3.connect(tmp_path / "small.sqlite")
    database.execute("create table t (x)")
    database.execute("pragma max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as sqlite_full:
        database.execute("insert into t values (zeroblob(100000))")
    for error in (full.value, sqlite_full.value):
        told = disk_full(OperationalError("insert", {}, error) if wrapped else error)
        assert told is not None and (told.code, told.http_status) == ("disk-full", 507)
    assert disk_full(OSError(errno.ENOENT, "no such file")) is None


def test_errors_of_the_library_keep_their_code() -> None:
    assert issubclass(Timeout, MusesError) and Timeout("x").http_status == 504

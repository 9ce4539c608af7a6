"""What the kernel does with a file that was dropped on the map."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

import muses_lab as ml
from muses_lab import uploaded
from muses_widgets import Map

pytestmark = pytest.mark.usefixtures("in_threads", "fresh_home")


def dropped(*files: tuple[str, bytes]) -> str:
    """The id of an upload of these files."""
    id = secrets.token_hex(16)
    uploaded.folder(id).mkdir(parents=True)
    for name, body in files:
        (uploaded.folder(id) / name).write_bytes(body)
    return id


def opened(m: Map, id: str, name: str) -> dict[str, Any]:
    m.panel._handle_custom_msg({"section": "files", "do": "open", "id": id, "name": name}, [])
    return m.panel.sections["files"]["files"][0]


@pytest.fixture
def raster(tmp_path: Path) -> bytes:
    with rasterio.open(
        tmp_path / "dem.tif", "w", driver="GTiff", count=1, height=20, width=30, dtype="float32", crs="EPSG:4326",
        transform=rasterio.transform.from_origin(1.4, 43.6, 0.001, 0.001),
    ) as file:  # fmt: skip
        file.write(np.arange(600, dtype="float32").reshape(1, 20, 30))
    return (tmp_path / "dem.tif").read_bytes()


def test_a_raster_is_a_layer_and_its_line_of_python_opens_it(raster: bytes) -> None:
    m = Map()
    told = opened(m, dropped(("Höhen 1.tif", raster)), "Höhen 1.tif")
    assert told["state"] == "shown" and m.layer("Höhen 1") is not None
    assert eval(told["code"], {"ml": ml}).identical(m.layer("Höhen 1").chain)


def test_a_file_replaces_no_layer_that_is_there(raster: bytes) -> None:
    m = Map()
    for wanted in (["dem"], ["dem", "dem 2"]):
        opened(m, dropped(("dem.tif", raster)), "dem.tif")
        assert sorted(tiles.name for tiles in m.stack()) == wanted


def test_a_broken_file_is_told_and_the_next_one_is_shown(raster: bytes) -> None:
    m = Map()
    told = opened(m, dropped(("dem.tif", raster[:100])), "dem.tif")
    assert told["state"] == "failed" and "dem.tif" in told["text"] and told["code"] == ""
    assert opened(m, dropped(("dem.tif", raster)), "dem.tif")["state"] == "shown"
    assert [one["state"] for one in m.panel.sections["files"]["files"]] == ["shown", "failed"]


def test_what_did_not_arrive_is_told() -> None:
    told = opened(Map(), dropped(), "dem.tif")
    assert told["state"] == "failed" and "did not arrive" in told["text"]


def test_an_entry_is_forgotten_and_its_layer_stays(raster: bytes) -> None:
    m = Map()
    id = dropped(("dem.tif", raster))
    opened(m, id, "dem.tif")
    m.panel._handle_custom_msg({"section": "files", "do": "forget", "id": id}, [])
    assert m.panel.sections["files"] == {"files": []} and m.layer("dem") is not None


def test_scenes_are_registered(sample_catalog: Path) -> None:
    m = Map()
    items = next(sample_catalog.glob("*/items.parquet"))
    id = dropped()
    shutil.copy(items, uploaded.folder(id) / "items.parquet")
    told = opened(m, id, "items.parquet")
    assert told["state"] == "registered" and told["text"].endswith("scenes, registered as 'sentinel-2-l2a'")
    assert len(eval(told["code"], {"ml": ml})) == int(told["text"].split()[0]) > 0


def test_points_of_a_table_are_drawn_and_the_map_goes_there() -> None:
    m = Map(center=(0, 0), zoom=5)
    told = opened(m, dropped(("samples.csv", b"lon,lat,crop\n1.4,43.6,wheat\n1.5,43.7,maize\n")), "samples.csv")
    assert told["state"] == "shown" and told["text"] == "2 features in EPSG:4326, with lon, lat, crop"
    layer = next(one for one in m.others if one.name == "samples")
    assert len(layer.data["features"]) == 2
    lat, lon = m.center
    assert 43.5 < lat < 43.8 and 1.3 < lon < 1.6, "they were out of sight"


def test_the_map_stays_where_the_data_are_in_sight(raster: bytes) -> None:
    m = Map(center=(43.6, 1.42), zoom=11)
    opened(m, dropped(("dem.tif", raster)), "dem.tif")
    assert m.center == [43.6, 1.42] and m.zoom == 11
    m.center = (10, 10)
    opened(m, dropped(("again.tif", raster)), "again.tif")
    assert m.center[0] == pytest.approx(43.59, abs=0.02)


def test_a_saved_view_is_recognised_and_shown_in_the_map(raster: bytes, tmp_path: Path) -> None:
    (tmp_path / "heights.tif").write_bytes(raster)
    sent = Map(center=(43.59, 1.41), zoom=13)
    sent.add(str(tmp_path / "heights.tif"), name="Heights")
    sent.save_view(tmp_path / "view.json")
    m = Map()
    m.add(str(tmp_path / "heights.tif"), name="Mine")
    m.areas.add(shapely.Point(1.4, 43.6), name="Well")
    id = dropped(("view.json", (tmp_path / "view.json").read_bytes()))
    told = opened(m, id, "view.json")
    assert (told["state"], told["text"]) == ("view", "A saved view of Heights")
    assert [t.name for t in eval(told["code"], {"Map": Map}).stack()] == ["Heights"]
    assert [t.name for t in m.stack()] == ["Mine"], "nothing is replaced before it is asked for"
    m.panel._handle_custom_msg({"section": "files", "do": "show", "id": id, "name": "view.json"}, [])
    assert [t.name for t in m.stack()] == ["Heights"] and m.zoom == 13
    assert [area.name for area in m.areas] == ["Well"]
    broken = opened(m, dropped(("view.json", b'{"type": "muses:view", "version": 99}')), "view.json")
    assert broken["state"] == "failed" and "version 99" in broken["text"]

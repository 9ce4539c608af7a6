"""What the file says and the item does not; and items and files that contradict each other. Compared with rasterio."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.warp import transform_geom

import muses_lab as ml
from muses_lab.catalog.register import add
from muses_lab.errors import MusesError
from muses_lab.raster import http, tiff
from tests.helpers.range_server import RangeServer, serving
from tests.oracles.values import physical_values

pytestmark = pytest.mark.usefixtures("fresh_home", "in_threads")

GRID = Affine(20, 0, 500_000, 0, -20, 4_800_000)
UTM = "EPSG:32631"
RNG = np.random.default_rng(11)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    monkeypatch.setattr(http, "BACK_OFF", 0.01)
    with serving(folder) as server:
        server.quiet = 0.25
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", f"127.0.0.1:{server.port}")
        yield server


def write(path: Path, values: np.ndarray, scales: Any = None, offsets: Any = None, names: Any = None, **profile: Any):
    values = values if values.ndim == 3 else values[None]
    options = {"driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2],
               "dtype": values.dtype, "crs": UTM, "transform": GRID, "tiled": True, "blockxsize": 128,
               "blockysize": 128, "interleave": "band", "compress": "deflate"}  # fmt: skip
    with rasterio.open(path, "w", **(options | profile)) as file:
        file.write(values)
        if scales:
            file.scales, file.offsets = scales, offsets
        if names:
            file.descriptions = names
    return path


def item(id: str, assets: dict[str, dict[str, Any]], path: Path, **properties: Any) -> dict[str, Any]:
    with rasterio.open(path) as file:
        w, s, e, n = file.bounds
    ring = {"type": "Polygon", "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]]}
    media = {"type": "image/tiff; application=geotiff", "roles": ["data"]}
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": id, "collection": "c", "links": [],
        "geometry": transform_geom(UTM, "EPSG:4326", ring),
        "properties": {"datetime": "2021-05-01T10:30:00Z", **properties},
        "assets": {key: media | asset for key, asset in assets.items()},
    }  # fmt: skip


def opened(folder: Path, *items: dict[str, Any]) -> ml.Collection:
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    return ml.collection("c", ml.open_catalog(str(folder / "items.json")))


def added(folder: Path, *items: dict[str, Any]) -> ml.Collection:
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    report = add([folder / "items.json"], catalog=folder.parent / "catalogue", collection="c")
    assert not report.failed, report.failed
    return ml.collection("c", ml.open_catalog(str(folder.parent / "catalogue")))


def why_nothing(s: ml.Collection, like: Path) -> str:
    """What is told of a collection none of whose pixels can be had."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            found = s.band("data").max("t").compute(ml.Window.like(like))
        except MusesError as error:
            return str(error)
    assert np.isnan(found.values).all()
    return str(found.attrs) + " ".join(str(w.message) for w in seen)


WAYS = ["open_catalog", "catalog add", "server", "server, placed"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("names", [None, ("wet", "dry", "bare")])
def test_all_that_the_file_says_and_the_item_does_not(
    folder: Path, server: RangeServer, way: str, names: tuple[str, ...] | None
) -> None:
    values = RNG.integers(-50, 50, (3, 200, 150)).astype(np.int16)
    path = write(folder / "a.tif", values, (0.5, 2.0, 1.0), (1.0, -3.0, 0.0), names, nodata=-7)
    said: dict[str, Any] = {"href": "a.tif" if "server" not in way else f"{server.url}/a.tif"}
    if "placed" in way:
        said |= {"proj:epsg": 32631, "proj:transform": list(GRID)[:6], "proj:shape": [200, 150]}
    s = (added if way == "catalog add" else opened)(folder, item("a", {"data": said}, path))
    chain = s.max("t")
    found = chain.compute(ml.Window.like(path))
    assert list(found.bands.values) == list(names or ("data_1", "data_2", "data_3"))
    np.testing.assert_array_equal(found.values, physical_values(path))
    x, y = GRID * (70.5, 90.5)
    lon, lat = Transformer.from_crs(UTM, 4326, always_xy=True).transform(x, y)
    np.testing.assert_array_equal(np.ravel(chain.at(lon, lat).values), physical_values(path)[:, 90, 70])


def test_headers_on_servers_are_asked_for_at_once_and_remembered(folder: Path, server: RangeServer) -> None:
    path = write(folder / "0.tif", np.ones((200, 200), np.uint8))
    body = path.read_bytes()
    for n in range(1, 12):
        (folder / f"{n}.tif").write_bytes(body)
    items = [
        item(f"i{n}", {"data": {"href": f"{server.url}/{n}.tif"}}, path, datetime=f"2021-05-{n + 1:02}T10:30:00Z")
        for n in range(12)
    ]
    s = opened(folder, *items)
    assert len(s.band("data").published.prepared.sources) == 1
    assert len(server.log) == 12 and server.rounds == 1
    server.forget()
    assert len(opened(folder, *items[:6]).band("data").published.prepared.sources) == 1
    assert server.log == []


def test_more_headers_than_may_be_asked_for_are_refused(
    folder: Path, server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder / "a.tif", np.ones((200, 200), np.uint8))
    monkeypatch.setenv("MUSES_MAX_HEADERS", "2")
    items = [item(f"i{n}", {"data": {"href": f"{server.url}/{n}.tif"}}, path) for n in range(3)]
    with pytest.raises(MusesError, match="3 files .* at most 2 .* MUSES_MAX_HEADERS"):
        _ = opened(folder, *items).band("data").published
    assert server.log == []


def test_a_file_without_a_header_does_not_take_the_others_along(folder: Path, server: RangeServer) -> None:
    path = write(folder / "a.tif", np.full((200, 200), 9, np.uint8))
    (folder / "bad.tif").write_bytes(b"no tiff")
    items = [item(n, {"data": {"href": f"{server.url}/{n}.tif"}}, path) for n in ("a", "bad", "gone")]
    s = opened(folder, *items)
    assert {p.split(":")[0].split(" ")[0] for p in s.resolve().problems} == {"bad", "gone"}
    assert float(s.band("data").max("t").compute(ml.Window.like(path)).max()) == 9


@pytest.mark.parametrize("gone", [(), (0,), (0, 1), tuple(range(6))])
def test_a_file_that_cannot_be_had_does_not_hide_what_the_others_are(
    folder: Path, server: RangeServer, gone: tuple[int, ...]
) -> None:
    """Their items say where they are, but not what bands they have: one is asked, or, where it is gone, others."""
    values = RNG.integers(1, 250, (2, 200, 200)).astype(np.uint8)
    path = write(folder / "2bands.tif", values)
    place = {"proj:epsg": 32631, "proj:transform": list(GRID)[:6], "proj:shape": [200, 200]}
    items = []
    for n in range(6):
        if n not in gone:
            (folder / f"{n}.tif").write_bytes(path.read_bytes())
        said = {"data": {"href": f"{server.url}/{n}.tif"} | place}
        items.append(item(f"i{n}", said, path, datetime=f"2021-05-{n + 1:02}T10:30:00Z"))
    s = opened(folder, *items)
    asked = {line for line in server.log}
    if len(gone) == 6:
        (told,) = s.resolve().problems
        assert "i0" in told and "taken for one band" in told and "404" in told
        found = s.band("data").max("t").compute(ml.Window.like(path))
        assert np.isnan(found.values).all() and "i5" in str(found.attrs)
        return
    assert s.resolve().problems == () and len(asked) <= 1 + len(gone)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = s.max("t").compute(ml.Window.like(path))
    np.testing.assert_array_equal(found.values, values)
    assert all((f"i{n}" in str(found.attrs)) is (n in gone) for n in range(6))


@pytest.mark.parametrize(
    "stale",
    [GRID @ Affine.translation(2, -1), GRID @ Affine.translation(0.5, 0.5), Affine(10, 0, 5e5, 0, -10, 4.8e6),
     Affine(20, 0, 300_000, 0, -20, 4_800_000)],
)  # fmt: skip
def test_the_file_is_right_about_its_place(folder: Path, stale: Affine) -> None:
    values = RNG.integers(1, 250, (200, 200)).astype(np.uint8)
    path = write(folder / "a.tif", values)
    said = {"href": "a.tif", "proj:epsg": 32631, "proj:transform": list(stale)[:6], "proj:shape": [200, 200]}
    s = opened(folder, item("a", {"data": said}, path))
    np.testing.assert_array_equal(s.band("data").max("t").compute(ml.Window.like(path)).values, values)
    (told,) = s.resolve().problems
    assert "which counts" in told and str(list(stale)[:1])[1:-1] in told


def test_another_word_for_the_same_place_is_no_contradiction(folder: Path) -> None:
    path = write(folder / "a.tif", np.ones((200, 200), np.uint8))
    rounded = [20.0, 0, 500_000.4, 0, -20.0, 4_799_999.7]
    said = {"href": "a.tif", "proj:epsg": 32631, "proj:transform": rounded, "proj:shape": [200, 200]}
    assert opened(folder, item("a", {"data": said}, path)).resolve().problems == ()


def test_a_wrong_system_is_a_wrong_place(folder: Path) -> None:
    values = RNG.integers(1, 250, (200, 200)).astype(np.uint8)
    path = write(folder / "a.tif", values)
    said = {"href": "a.tif", "proj:epsg": 32630, "proj:transform": list(GRID)[:6], "proj:shape": [200, 200]}
    s = opened(folder, item("a", {"data": said}, path))
    np.testing.assert_array_equal(s.band("data").max("t").compute(ml.Window.like(path)).values, values)
    assert "EPSG:32630" in s.resolve().problems[0]


@pytest.mark.parametrize("shift", [(3, 0), (0.5, 0.5), (0, -110)])
@pytest.mark.parametrize("tiled", [True, False])
def test_on_a_server_a_contradiction_leaves_the_scene_out(
    folder: Path, server: RangeServer, shift: tuple[float, float], tiled: bool
) -> None:
    values = RNG.integers(1, 250, (200, 200)).astype(np.uint8)
    layout = {} if tiled else {"tiled": False, "blockxsize": None, "blockysize": 200}
    path = write(folder / "a.tif", values, **layout)
    (folder / "b.tif").write_bytes(path.read_bytes())
    place = {"proj:epsg": 32631, "proj:shape": [200, 200]}
    right = {"href": f"{server.url}/b.tif", "proj:transform": list(GRID)[:6]}
    stale = {"href": f"{server.url}/a.tif", "proj:transform": list(GRID @ Affine.translation(*shift))[:6]}
    s = opened(
        folder,
        item("right", {"data": place | right}, path),
        item("stale", {"data": place | stale}, path, datetime="2021-06-01T10:30:00Z"),
    )
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = s.band("data").max("t").compute(ml.Window.like(path))
    seen_there = np.isfinite(found.values)  # what the other scene's grid would have shown is missing
    assert seen_there.mean() > 0.4
    np.testing.assert_array_equal(found.values[seen_there], values[seen_there])
    told = str(found.attrs) + " ".join(str(w.message) for w in seen)
    assert "stale" in told and "take proj:transform" in told


@pytest.mark.parametrize("way", ["open_catalog", "server", "server, placed"])
def test_a_grid_made_up_for_ground_control_points_is_refused(folder: Path, server: RangeServer, way: str) -> None:
    points = [GroundControlPoint(r, c, 5e5 + 20 * c + r, 4.8e6 - 20 * r) for r in (0, 200) for c in (0, 100, 200)]
    path = folder / "gcp.tif"
    write(path, np.ones((200, 200), np.uint8), transform=None, gcps=points)
    placed = write(folder / "placed.tif", np.ones((200, 200), np.uint8))
    said: dict[str, Any] = {"href": "gcp.tif" if "server" not in way else f"{server.url}/gcp.tif"}
    if way != "server":
        said |= {"proj:epsg": 32631, "proj:transform": list(GRID)[:6], "proj:shape": [200, 200]}
    s = opened(folder, item("a", {"data": said}, placed))
    assert "ground control points" in why_nothing(s, placed)


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
@pytest.mark.parametrize("way", WAYS)
def test_complex_numbers_are_refused(folder: Path, server: RangeServer, dtype: str, way: str) -> None:
    path = write(folder / "slc.tif", np.full((200, 200), 3 + 4j, np.complex64), dtype=dtype)
    said: dict[str, Any] = {"href": "slc.tif" if "server" not in way else f"{server.url}/slc.tif"}
    if "placed" in way:
        said |= {"proj:epsg": 32631, "proj:transform": list(GRID)[:6], "proj:shape": [200, 200], "raster:bands": [{}]}
    if way == "catalog add":
        (folder / "one.json").write_text(json.dumps(item("a", {"data": said}, path)))
        report = add([folder / "one.json"], catalog=folder / "catalogue", collection="c")
        assert "complex" in str(report.failed)
        return
    good = write(folder / "good.tif", np.ones((200, 200), np.float32))
    assert "complex" in why_nothing(opened(folder, item("a", {"data": said}, good)), good)


def test_nodata_of_one_file_is_not_that_of_another(folder: Path) -> None:
    values = RNG.integers(0, 3, (200, 200)).astype(np.uint8)
    path = write(folder / "a.tif", values, nodata=0)
    write(folder / "b.tif", values)
    write(folder / "c.tif", values, nodata=2)
    items = [
        item(n, {"data": {"href": f"{n}.tif"}}, path, datetime=f"2021-0{m}-01T10:00:00Z")
        for m, n in enumerate("abc", 1)
    ]
    for s in (opened(folder, *items), added(folder, *items)):
        found = s.band("data").compute(ml.Window.like(path)).values
        for n, missing in enumerate((0, None, 2)):
            right = np.where(values == missing, np.nan, values) if missing is not None else values
            np.testing.assert_array_equal(found[n], right)


@pytest.mark.parametrize("kind", ["Area", "Point"])
@pytest.mark.parametrize(
    "grid",
    [GRID, Affine(0.25, 0, -180, 0, -0.1, 90), Affine(10, 2, 5e5, 3, -10, 4e6), Affine(10, 0, 5e5, 0, 10, 4e6)],
)  # fmt: skip
def test_the_own_index_places_a_file_as_gdal_does(folder: Path, kind: str, grid: Affine) -> None:
    path = write(folder / "a.tif", np.ones((2, 200, 200), np.int16), (0.1, 1), (0, 5), transform=grid, nodata=-3)
    with rasterio.open(path, "r+") as file:
        file.update_tags(AREA_OR_POINT=kind)
    with rasterio.open(path) as file:
        wanted = tuple(file.transform)[:6], file.nodatavals, file.scales, file.offsets
    body = path.read_bytes()
    said = tiff.images(lambda offset, size: body[offset : offset + size])[0].said
    assert said.transform == pytest.approx(wanted[0], abs=1e-9)
    assert (said.nodata, said.scales, said.offsets) == wanted[1:]

"""The kernel's side of map and panel; the browser's side is in tests/browser."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import ipyleaflet
import numpy as np
import pytest
import rasterio

import muses_lab as ml
from muses_lab.errors import BandError, MusesError, NotFound
from muses_lab.export import Job
from muses_lab.store import default_store
from muses_widgets import Map, basemaps, find_service, service, view
from muses_widgets.legend import legend_of
from tests.helpers.stac_items import item, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

BOUNDS = (1.30, 43.56, 1.36, 43.60)


@pytest.fixture(scope="module")
def ndvi(s2):
    return s2.mask_clouds().ndvi().median("t")


def look_at(m: Map, bounds=BOUNDS) -> None:
    """What the browser does when it shows the map."""
    for name, value in zip(("west", "south", "east", "north"), bounds, strict=True):
        m.set_trait(name, value)


def send(m: Map, message: dict) -> None:
    """What the panel sends when its button is pressed."""
    m.panel._handle_custom_msg(message, [])


def export_message(m: Map, name: str, bounds=BOUNDS, zoom=12) -> dict:
    form = {"layer": m.tiles(name).model_id, "bounds": list(bounds), "zoom": zoom}
    return {"section": "export", "do": "export", "form": form}


def finished(m: Map) -> dict:
    end = time.monotonic() + 60
    while m.panel.sections["export"]["state"] == "running" and time.monotonic() < end:
        time.sleep(0.05)
    return m.panel.sections["export"]


def two_copies(folder: Path) -> Path:
    """A catalogue of one acquisition that was processed twice."""
    write_tif(folder / "red.tif", shape=(100, 100))
    items = [item(f"N0{n}", **{"processing:version": f"0{n}.00"}) for n in (4, 5)]
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return folder / "items.json"


class TestMap:
    def test_what_choosing_scenes_left_out_is_told_with_the_layer(self, tmp_path, fresh_home):
        m = Map()
        m.add(ml.collection("scenes", str(two_copies(tmp_path))).band("red").max("t"), name="Red")
        (entry,) = m.panel.layers
        assert entry["remarks"]["count"] == 1
        (remark,) = entry["remarks"]["shown"]
        assert remark.startswith("N04: it is another copy of the acquisition of 'N05', which is used because")

    def test_a_layer_without_remarks_says_so(self, ndvi):
        m = Map()
        m.add(ndvi, name="NDVI")
        assert m.panel.layers[0]["remarks"] == {"count": 0, "shown": []}

    def test_loads_nothing_from_elsewhere(self):
        m = Map()
        assert [layer.url for layer in m.layers] == ["muses:base/{z}/{x}/{y}.png"]
        assert m.center and m.panel.basemap == "Offline"

    def test_web_base_map_is_the_users_choice(self):
        m = Map(basemap="OpenStreetMap")
        assert m.layers[0].url.startswith("https://tile.openstreetmap.org/")
        with pytest.raises(NotFound, match="no base map 'Bing'; there are 'Offline'"):
            Map(basemap="Bing")

    def test_all_offered_base_maps_have_an_attribution(self):
        for offered in basemaps.offered():
            assert bool(offered["attribution"]) is (offered["name"] != "None")
            assert offered["online"] is offered["url"].startswith("https://")

    def test_panel_carries_no_reference_to_another_host(self):
        source = Map().panel._esm + Map().panel._css
        assert "https://" not in source and "http://" not in source.replace("http://www.w3.org/", "")

    def test_ipyleaflet_layers_and_controls_still_work(self):
        m = Map()
        marker = ipyleaflet.Marker(location=(43.6, 1.4))
        m.add(marker)
        assert marker in m.layers
        m.remove(marker)
        assert marker not in m.layers
        m.add(ipyleaflet.FullScreenControl())
        assert isinstance(m.controls[-1], ipyleaflet.FullScreenControl)


class TestAdd:
    def test_publishes_and_gives_a_url_without_host(self, ndvi):
        m = Map()
        layer = m.add(ndvi.style(cmap="RdYlGn"), name="NDVI")
        chain, style = layer.publish()
        assert m.tiles("NDVI").url == f"muses:tiles/{chain}/{{z}}/{{x}}/{{y}}.v1"
        assert default_store().document(chain) and default_store().style(style)
        entry = m.panel.layers[0]
        assert (entry["id"], entry["name"]) == (m.tiles("NDVI").model_id, "NDVI")
        assert entry["legend"] == layer.look.legend() | {"missing": "no clear date"}
        assert m.layer("NDVI") is layer

    def test_a_chain_alone_gets_the_default_style_and_a_name(self, ndvi):
        m = Map()
        m.add(ndvi)
        m.add(ndvi)
        assert [e["name"] for e in m.panel.layers] == ["Layer 2", "Layer 1"]

    def test_the_same_name_replaces_in_place(self, ndvi):
        m = Map()
        m.add(ndvi.style(cmap="RdYlGn"), name="a", opacity=0.5)
        m.add(ndvi, name="b")
        tiles, url = m.tiles("a"), m.tiles("a").url
        m.add((ndvi * 2).style(cmap="viridis"), name="a")
        assert m.tiles("a") is tiles and tiles.url != url and tiles.opacity == 0.5
        assert [e["name"] for e in m.panel.layers] == ["b", "a"]
        assert len(m.layers) == 3
        m.add(ndvi, name="a", opacity=1, visible=False)
        assert (tiles.opacity, tiles.visible) == (1, False)

    def test_replacing_the_style_keeps_the_chain(self, ndvi):
        m = Map()
        m.add(ndvi.style(cmap="RdYlGn"), name="a")
        before = m.panel.layers[0]
        m.add(ndvi.style(cmap="viridis"), name="a")
        after = m.panel.layers[0]
        assert after["chain"] == before["chain"] and after["style"] != before["style"]

    def test_remove(self, ndvi):
        m = Map()
        m.add(ndvi, name="a")
        m.remove("a")
        assert m.panel.layers == [] and len(m.layers) == 1
        with pytest.raises(NotFound, match="no layer 'a'; it has none"):
            m.layer("a")

    def test_operators_without_extent_get_the_view(self, ndvi):
        m = Map(zoom=12)
        look_at(m)
        chain = (ndvi > 0.5).connected_components(min_area=5000)
        layer = m.add(chain, name="fields")
        assert not chain.is_pinned and layer.chain.is_pinned
        expected = chain.pin(BOUNDS, view.ground_resolution(BOUNDS, 12))
        assert layer.chain.identical(expected)
        look_at(m, (1.2, 43.5, 1.3, 43.55))
        assert m.layer("fields").chain.identical(expected)

    def test_what_cannot_be_drawn_is_an_error_of_the_cell(self, s2):
        m = Map()
        with pytest.raises(MusesError, match=r'still has \d+ dates.*\.median\("t"\)'):
            m.add(s2.ndvi())
        with pytest.raises(BandError, match="choose with .style"):
            m.add(s2.median("t"))
        with pytest.raises(BandError, match="no band 'B99'; the data have B01"):
            m.add(s2.median("t").style(bands=("B99", "B03", "B02")))
        assert m.panel.layers == []

    def test_three_bands_have_an_rgb_legend(self, s2):
        m = Map()
        m.add(s2.bands("red", "green", "blue").median("t").style(vmax=0.25), name="colour")
        legend = m.panel.layers[0]["legend"]
        assert (legend["kind"], legend["vmin"], legend["vmax"]) == ("rgb", 0.0, 0.25)
        assert len(legend["bands"]) == 3

    def test_a_style_takes_common_names_of_bands(self, s2, tmp_path):
        median, m = s2.bands("red", "green", "blue", "nir").median("t"), Map()
        named, stored = (median.style(bands=bands) for bands in (["nir", "red", "green"], ["B08", "B04", "B03"]))
        m.add(named, name="by common names")
        assert m.panel.layers[0]["legend"]["bands"] == ["B08", "B04", "B03"]
        assert named.publish() == stored.publish()
        window = ml.Window.from_bounds((1.43, 43.60, 1.44, 43.61), crs="EPSG:32631", resolution=100)
        named.export(tmp_path / "named.tif", window, progress=False).wait()
        stored.export(tmp_path / "stored.tif", window, progress=False).wait()
        assert (tmp_path / "named.qml").read_bytes() == (tmp_path / "stored.qml").read_bytes()

    def test_a_chain_without_scenes_says_so_and_shows_nothing(self, s2, ndvi):
        m = Map()
        m.add(ndvi, name="a")
        url = m.tiles("a").url
        m.add(s2.dates("2030-01-01", "2030-02-01").ndvi().median("t"), name="a")
        (entry,) = m.panel.layers
        assert entry["empty"].startswith("no scene of 'sentinel-2-l2a' fits dates 2030-01-01 to 2030-02-01")
        assert "chain" not in entry and m.tiles("a").url == basemaps.CLEAR_PIXEL
        with pytest.raises(NotFound, match="no scene"):
            m.export_view("none.tif", "a")
        m.add(ndvi, name="a")
        assert m.tiles("a").url == url and "empty" not in m.panel.layers[0]

    def test_a_missing_value_is_a_missing_date_only_where_nothing_else_takes_pixels_away(self, s2, ndvi):
        def meaning(chain):
            return legend_of(chain.style())["missing"]

        colour = ml.rgb(*(s2.mask_clouds().band(name).median("t") for name in ("red", "green", "blue")))
        assert {meaning(c) for c in (ndvi, ndvi * 2 + 1, ndvi > 0.5, colour)} == {"no clear date"}
        unmasked = s2.ndvi().median("t")
        assert {meaning(c) for c in (ndvi.where(ndvi > 0.6), ndvi.mask(ndvi > 0.6), unmasked)} == {"no data"}


class TestView:
    def test_is_the_pixels_of_the_tiles(self):
        m = Map(zoom=12)
        look_at(m)
        window, tile = m.view(), ml.Window.tile(12, 2062, 1495)
        assert window.resolution == tile.resolution
        offset = (~tile.affine) @ (window.affine.c, window.affine.f)
        assert np.allclose(offset, np.round(offset), atol=1e-6)
        west, south, east, north = window.extent.to_crs("EPSG:4326").boundingbox.bbox
        assert west <= BOUNDS[0] and south <= BOUNDS[1] and east >= BOUNDS[2] and north >= BOUNDS[3]

    def test_before_the_map_is_shown_it_is_about_what_will_be_seen(self):
        window = Map(center=(43.6, 1.44), zoom=11).view()
        assert abs(window.shape.x - 900) <= 1 and abs(window.shape.y - 520) <= 1
        lon, lat = window.extent.centroid.to_crs("EPSG:4326").coords[0]
        assert (lon, lat) == (pytest.approx(1.44, abs=1e-3), pytest.approx(43.6, abs=1e-3))

    def test_clicked_place(self):
        m = Map()
        assert m.clicked is None
        m.panel.clicked = [43.5, 1.5]
        assert (m.clicked.lon, m.clicked.lat) == (1.5, 43.5)
        with pytest.raises(TypeError, match="unpack"):
            _lat, _lon = m.clicked  # which would be the one that is meant here, and the other one elsewhere


class TestExport:
    def test_button_writes_what_is_seen(self, ndvi, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        m = Map(zoom=12)
        m.add(ndvi, name="NDVI: été/2018")
        look_at(m)
        send(m, export_message(m, "NDVI: été/2018"))
        job = finished(m)
        assert job["state"] == "done", job
        path = Path(job["path"])
        assert (job["name"], job["bytes"], job["place"]) == (path.name, path.stat().st_size, None)
        assert path.parent == tmp_path and path.name.startswith("ndvi-été-2018-z12-")
        with rasterio.open(path) as file:
            assert np.array_equal(file.read(1), ndvi.compute(m.view()).values, equal_nan=True)

    def test_code_writes_the_same(self, ndvi, tmp_path):
        m = Map(zoom=12)
        m.add(ndvi, name="NDVI")
        look_at(m)
        path = m.export_view(tmp_path / "view.tif", progress=False).wait()
        with rasterio.open(path) as file:
            assert file.shape == tuple(m.view().shape)
        with pytest.raises(NotFound, match="no layer to export"):
            Map().export_view(tmp_path / "none.tif")

    def test_a_failure_is_told(self, ndvi, tmp_path, monkeypatch):
        m = Map(zoom=12)
        m.add(ndvi, name="NDVI")
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        send(m, export_message(m, "NDVI"))
        job = finished(m)
        assert job["state"] == "failed" and job["text"].startswith("Export failed: ")

    def test_the_page_is_told_where_its_server_has_the_file(self, ndvi, tmp_path, monkeypatch):
        runtime = tmp_path / "runtime"
        runtime.mkdir()
        (runtime / "jpserver-1.json").write_text(json.dumps({"root_dir": str(tmp_path)}))
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
        monkeypatch.setenv("JPY_PARENT_PID", "1")
        m = Map(zoom=12)
        m.add(ndvi, name="NDVI " * 100)  # longer than a file's name may be
        for folder, seen in ((tmp_path / "my maps", True), (tmp_path / ".hidden", False)):
            folder.mkdir()
            monkeypatch.chdir(folder)
            send(m, export_message(m, "NDVI " * 100))
            job = finished(m)
            assert job["state"] == "done", job
            assert job["place"] == (f"my maps/{job['name']}" if seen else None)

    def test_an_export_is_cancelled(self, ndvi, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        go, step = threading.Event(), Job.step
        monkeypatch.setattr(Job, "step", lambda job: (go.wait(60), step(job)))
        m = Map(zoom=12)
        m.add(ndvi, name="NDVI")
        send(m, export_message(m, "NDVI"))
        assert m.panel.sections["export"]["state"] == "running"
        send(m, {"section": "export", "do": "cancel"})
        go.set()
        assert finished(m)["state"] == "cancelled" and "was not written" in m.panel.sections["export"]["text"]
        assert list(tmp_path.glob("*.tif")) == []

    def test_a_layer_that_is_gone_is_told(self, ndvi):
        m = Map()
        m.add(ndvi, name="NDVI")
        message = export_message(m, "NDVI")
        m.remove("NDVI")
        send(m, message)
        assert m.panel.sections["export"]["text"] == "Export failed: that layer is no longer on the map"


class TestService:
    def test_is_unknown_in_a_plain_script(self, monkeypatch):
        monkeypatch.delenv("JPY_PARENT_PID", raising=False)
        assert find_service().state == "unknown"

    @pytest.mark.slow
    @pytest.mark.parametrize("enabled", [True, False])
    def test_is_asked_of_the_server_that_started_the_kernel(self, enabled, monkeypatch, tmp_path):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        command = [
            sys.executable, "-m", "jupyter", "server", "--no-browser", "--allow-root", "--ip=127.0.0.1",
            f"--port={port}", f"--ServerApp.root_dir={tmp_path}",
            f"--ServerApp.jpserver_extensions={{'muses_lab.service': {enabled}}}",
        ]  # fmt: skip
        with (tmp_path / "log").open("w") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            monkeypatch.setenv("JPY_PARENT_PID", str(server.pid))
            info = Path(os.environ["JUPYTER_RUNTIME_DIR"], f"jpserver-{server.pid}.json")
            end = time.monotonic() + 60
            while (found := find_service()).state == "unknown" and time.monotonic() < end:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.2)
            assert info.exists()
            assert found.state == ("there" if enabled else "missing")
            service.warn_without_service.cache_clear()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                service.warn_without_service()
                service.warn_without_service()
            assert len(caught) == (0 if enabled else 1)
            assert enabled or service.CURE in str(caught[0].message)
            monkeypatch.setattr(service, "version", lambda name: "9.9")
            assert ("This kernel has MUSES Lab 9.9, the Jupyter server" in find_service().detail) == enabled
        finally:
            server.terminate()
            server.wait(30)
            service.warn_without_service.cache_clear()

"""What chains, layers, jobs, maps and panels say of their state, as text and as JSON."""

from __future__ import annotations

import json
import time

import pytest

import muses_lab as ml
from muses_lab.errors import MusesError
from muses_widgets import ChainPanel, ClusterPanel, Form, Map, SeriesPanel
from tests.helpers.stac_items import item, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

WINDOW = ml.Window.from_bounds((1.40, 43.58, 1.402, 43.582), crs="EPSG:32631", resolution=20)


@pytest.fixture
def ndvi(s2: ml.Collection) -> ml.Chain:
    return s2.ndvi().median("t")


def told(status: object) -> dict:
    """What a program reads of what is printed."""
    return json.loads(str(status))


def shown(m: Map, name: str, state: str, **more: object) -> None:
    """What a page tells of a layer that it shows."""
    entry = next(entry for entry in m.panel.layers if entry["name"] == name)
    about = {"chain": entry["chain"], "style": entry["style"], "state": state, "why": [], **more}
    m.panel.shown = {"layers": {**m.panel.shown.get("layers", {}), entry["id"]: about}}


def test_a_chain_says_what_is_known_of_its_scenes(ndvi):
    chain = ndvi > ml.parameter("threshold", 0.4)
    before = told(chain.status())
    assert (before["kind"], before["state"]) == ("chain", "not resolved")
    assert (before["hash"], before["parameters"]) == (chain.hash, {"threshold": 0.4})
    assert told(chain.status(ask=True))["state"] == "ok"
    assert told(chain.status())["state"] == "ok", "what was asked is known"
    layer = told(chain.style(cmap="magma").status())
    assert (layer["kind"], layer["state"], layer["style"]["cmap"]) == ("layer", "ok", "magma")


def test_a_layer_with_dates_says_which_once_they_are_known(s2):
    months = s2.ndvi().over_time("month").style(cmap="magma")
    before = told(months.status())
    assert (before["kind"], before["state"], before["period"], before["dates"]) == (
        "layer",
        "not resolved",
        "month",
        None,
    )
    after = told(months.status(ask=True))
    assert (after["state"], after["style"]["cmap"]) == ("ok", "magma")
    assert after["dates"] == [frame.label for frame in months.over]
    nothing = told(s2.dates("1990-01-01", "1991-01-01").ndvi().over_time().style().status(ask=True))
    assert nothing["state"] == "empty" and "no scene" in nothing["why"] and nothing["dates"] is None


@pytest.mark.slow  # imports what draws
def test_panels_say_their_state_where_no_page_shows_them(s2):
    m = Map()
    m.add(s2.ndvi().median("t"), name="NDVI")
    series, chain = SeriesPanel(m), ChainPanel(m)
    assert repr(chain).endswith("steps, ok>") and told(chain.status())["state"] == "ok"
    assert told(m.status())["state"] == "not shown" == told(m.panel.status())["state"]

    def clicked(lat: float, lon: float) -> dict:
        m.panel.clicked = [lat, lon]
        end = time.monotonic() + 120
        while series._newest._working:
            now = told(series.status())
            assert now["series"] is None or now["state"] != "working", "what was there before is not told as this one"
            assert time.monotonic() < end, now
            time.sleep(0.05)
        return told(series.status())

    assert clicked(43.58, 1.41)["state"] == "ok" and repr(series) == "<SeriesPanel of NDVI: ok>"
    beside = clicked(10.0, 1.41)
    assert (beside["state"], beside["series"], beside["place"]) == ("ok", "No series has a value here.", [1.41, 10.0])


def test_a_chain_says_what_was_left_out(tmp_path, fresh_home):
    write_tif(tmp_path / "red.tif", shape=(100, 100))
    items = [item(f"N0{n}", **{"processing:version": f"0{n}.00"}) for n in (4, 5)]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    copies = ml.collection("scenes", str(tmp_path / "items.json")).band("red").max("t")
    partial = told(copies.status(ask=True))
    assert partial["state"] == "partial" and partial["problems"][0].startswith("N04: ")


def test_a_chain_without_scenes_and_one_that_cannot_be_say_why(s2):
    empty = told(s2.dates("1999-01-01", "1999-02-01").ndvi().median("t").status(ask=True))
    assert empty["state"] == "empty" and empty["why"]
    failed = told(s2.band("ultraviolet").median("t").status(ask=True))
    assert failed["state"] == "failed" and "ultraviolet" in failed["why"]


def test_a_job_says_how_it_ended_and_why(ndvi, tmp_path, fresh_home):
    job = ndvi.export(tmp_path / "a.tif", WINDOW, progress=False)
    job.wait()
    done = told(job.status())
    assert (done["state"], done["progress"], done["why"]) == ("done", 1.0, None)
    assert done["path"] == str(tmp_path / "a.tif")
    assert told(ml.jobs()[0].status())["id"] == job.id
    far = ndvi.export(tmp_path / "b.tif", WINDOW, progress=False)
    far.cancel()
    with pytest.raises(MusesError):
        far.wait()
    assert told(far.status())["state"] == "cancelled" and str(told(far.status())["why"]) in repr(far)


class TestMap:
    @pytest.fixture
    def map(self, ndvi) -> Map:
        m = Map()
        m.add(ndvi.style(cmap="RdYlGn"), name="NDVI")
        m.add(ndvi > 0.4, name="Green", visible=False)
        return m

    def test_without_a_page_nothing_is_shown(self, map):
        status = told(map.status())
        assert status["state"] == "not shown"
        assert status["layers"][1]["why"] == ["no page shows the map"]
        assert repr(map).endswith(": not shown>")
        assert (told(Map().status())["state"], told(Map().status())["layers"]) == ("ok", [])

    def test_it_says_what_the_page_tells(self, map):
        shown(map, "NDVI", "ok", tiles={"total": 9, "done": 9, "failed": 0})
        status = told(map.status())
        assert status["state"] == "ok"
        by_name = {layer["name"]: layer for layer in status["layers"]}
        assert (by_name["NDVI"]["state"], by_name["Green"]["state"]) == ("ok", "hidden")
        assert by_name["NDVI"]["tiles"]["done"] == 9 and by_name["NDVI"]["style"]["cmap"] == "RdYlGn"
        shown(map, "NDVI", "partial", why=["S2A_1: truncated"])
        assert told(map.status())["layers"][1]["why"] == ["S2A_1: truncated"]
        assert repr(map.panel) == "<Panel of 'Green', 'NDVI': partial>"

    def test_a_layer_that_was_exchanged_is_loading_until_the_page_tells_of_it(self, map, ndvi):
        shown(map, "NDVI", "ok")
        map.add(ndvi.focal_mean(2), name="NDVI")
        assert map.status()["state"] == "loading"
        shown(map, "NDVI", "failed", why=["workers died"])
        assert (map.status()["state"], map.status()["layers"][1]["why"]) == ("failed", ["workers died"])

    def test_a_layer_without_scenes_says_so(self, map, s2):
        map.add(s2.dates("1999-01-01", "1999-02-01").ndvi().median("t"), name="Nothing")
        shown(map, "NDVI", "ok")
        found = map.status()["layers"][0]
        assert found["state"] == "empty" and found["why"]
        assert map.status()["state"] == "ok"

    def test_sections_that_do_something_say_what(self, map):
        assert told(map.panel.status())["sections"]["export"] == {"state": "idle", "why": None}


def test_forms_and_the_cluster_panel_say_their_state(ndvi):
    assert told(Form(ndvi.focal_mean).status())["chain"] == ndvi.focal_mean().hash
    missing = Form(ndvi, "clip")
    assert told(missing.status())["why"] == "min, max: not filled in yet"
    assert "min, max: not filled in yet" in repr(missing)
    panel = told(ClusterPanel().status())
    assert panel["state"] == "not shown" and "not started by a Jupyter server" in panel["why"]

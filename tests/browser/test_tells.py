"""What the map tells while its tiles come, and when something breaks behind them: cluster, connection, workers."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import PYTHON_PATH
from tests.helpers.stac_items import item, write_tif

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHAINS = itertools.count(1)
SETUP = """
import muses_lab as ml
from muses_widgets import Map
clear = ml.collection("sentinel-2-l2a").mask_clouds()
m = Map(center=(43.6, 1.38), zoom=13)
m.add(clear.ndvi().median("t").style(cmap="RdYlGn", label="NDVI"), name="NDVI")
m
"""


@pytest.fixture(scope="module")
def fault(tmp_path_factory) -> Path:
    """What is wrong with the workers: see `faulty_engine.py`."""
    file = tmp_path_factory.mktemp("fault") / "fault"
    file.touch()
    return file


@pytest.fixture(scope="module")
def lab(start_lab, sample_catalog, fault):
    return start_lab(
        "tells",
        sample_catalog,
        MUSES_ENGINE="tests.helpers.faulty_engine:make",
        MUSES_TEST_FAULT=str(fault),
        MUSES_WORKERS="1",
        MUSES_THREADS="2",
        PYTHONPATH=PYTHON_PATH,
    )


@pytest.fixture(scope="module")
def opened(notebook, lab):
    return notebook.open(lab.notebook("tells.ipynb", SETUP)).run_all().loaded()


@pytest.fixture
def layer(opened, fault) -> Iterator[Callable[[str], None]]:
    """Shows a chain that nobody has asked for yet, while something is wrong with the workers."""

    def show(what: str) -> None:
        fault.write_text(what)
        code = f'm.add((clear.ndvi() + {next(CHAINS)} / 1000).median("t").style(cmap="viridis"), name="NDVI");'
        opened.run(code)

    yield show
    fault.write_text("")


def told(opened) -> str:
    return opened.panel.locator(".muses-told").inner_text()


@pytest.mark.thorough
def test_copies_of_an_acquisition_are_told_quietly(opened, tmp_path):
    write_tif(tmp_path / "red.tif", shape=(100, 100))
    items = [item(f"N0{n}", **{"processing:version": f"0{n}.00"}) for n in (4, 5)]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    path = str(tmp_path / "items.json")
    opened.run(f'm.add(ml.collection("scenes", {path!r}).band("red").max("t"), name="Copies");')
    row = opened.panel.locator("[data-name=Copies]")
    remarks = row.locator(".muses-remarks")
    remarks.locator("summary", has_text="1 remark on the choice of scenes").click()
    opened.until(lambda: "N04: it is another copy" in remarks.inner_text(), 10, "no reason")
    opened.screenshot("tells-copies")
    assert row.locator(".muses-trouble").is_hidden(), "it is no failure"
    assert opened.panel.locator("[data-name=NDVI] .muses-remarks").is_hidden()
    opened.run('m.remove("Copies");')  # without the semicolon the cell shows the map once more


def test_progress_time_and_queue_are_told_while_tiles_come(opened, layer):
    layer("slow 2")
    bar = opened.panel.get_by_role("progressbar", name="Tiles shown")
    opened.until(lambda: re.search(r"^\d+ of \d+ tiles · \d+ s", told(opened)), 30, "no progress")
    opened.until(lambda: "left" in told(opened), 30, "no expected time")
    opened.until(lambda: "ahead" in told(opened) or int(bar.get_attribute("aria-valuenow") or 0) > 0, 30, "no queue")
    opened.screenshot("tells-progress")
    assert re.match(r"\d+ of \d+ tiles…", opened.panel.locator(".muses-summary").inner_text())
    opened.loaded()
    assert re.match(r"13 of 13 scenes · \d+ tiles in [\d.]+ (s|min)\nComputed at 10 m, native", told(opened))
    assert float(opened.panel.locator("[data-name=NDVI]").get_attribute("data-seconds")) > 2


@pytest.mark.thorough
def test_an_expected_time_is_told_while_blocks_come_and_not_otherwise(opened, layer, fault):
    layer("held")
    opened.until(lambda: re.search(r"^0 of \d+ tiles · [5-9] s", told(opened)), 60, "no progress")
    assert "left" not in told(opened)  # no block is back yet
    fault.write_text("slow 4")
    opened.until(lambda: "left" in told(opened), 60, "no expected time")
    fault.write_text("held")

    def stalled() -> bool:  # a block that was begun before may still come, and is told
        text = told(opened)
        assert not ("nothing new for" in text and "left" in text)
        return "nothing new for" in text

    opened.until(stalled, 60, "the expected time is not taken back")
    opened.screenshot("tells-stalled")
    fault.write_text("")
    opened.loaded()


def test_a_reload_tells_the_same_of_tiles_that_the_browser_kept(opened, traffic):
    before = told(opened)
    opened.save()
    traffic.forget()
    opened.open("tells.ipynb").loaded()
    scenes, level = told(opened).split("\n")
    assert scenes.split(" · ")[0] == before.split(" · ")[0] and level == before.split("\n")[1]


def test_failures_have_a_reason_and_tiles_come_by_themselves(opened, layer, fault):
    layer("die")
    row = opened.panel.locator("[data-name=NDVI]")
    row.locator(".muses-failures summary").get_by_text("failed").wait_for(timeout=120_000)
    row.locator(".muses-failures").evaluate("details => (details.open = true)")
    row.get_by_text("workers died again and again").first.wait_for()
    assert row.get_by_role("button", name="Retry").is_visible()
    opened.screenshot("tells-failures")
    fault.write_text("")
    opened.loaded(timeout=180, waits=True)  # nobody has pressed anything
    assert row.locator(".muses-failures").is_hidden()


def test_a_lost_connection_is_told_and_made_up_for(opened, layer, lab):
    opened.page.route("**/muses/tiles/**", lambda route: route.abort("connectionfailed"))
    layer("")
    row = opened.panel.locator("[data-name=NDVI]")
    row.locator(".muses-failures summary").get_by_text("again in").wait_for(timeout=60_000)
    row.locator(".muses-failures").evaluate("details => (details.open = true)")
    row.get_by_text("The Jupyter server does not answer").first.wait_for()
    opened.panel.scroll_into_view_if_needed()
    opened.screenshot("tells-unreachable")
    opened.page.unroute("**/muses/tiles/**")
    row.get_by_role("button", name="Retry").click()
    opened.loaded(waits=True)


def test_refused_work_waits_with_its_reason(opened, layer):
    refused = []

    def refuse(route):
        if len(refused) < 8:
            refused.append(route.request.url)
            headers = {"Retry-After": "5", "X-Muses-Error": "too-much-waiting", "X-Muses-Message": "Too%20much%20waits"}
            route.fulfill(status=429, headers=headers, content_type="image/png", body=b"")
        else:
            route.continue_()

    opened.page.route("**/muses/tiles/**", refuse)
    layer("")
    opened.until(lambda: "Too much waits" in told(opened), 30, "the reason is not told")
    assert opened.panel.get_attribute("data-failed") == "0"
    opened.loaded()
    opened.page.unroute("**/muses/tiles/**")
    assert len(refused) == 8


def test_the_view_is_told_before_its_tiles(opened, traffic):
    opened.page.locator(".leaflet-control-zoom-out").click()
    opened.loaded()
    traffic.forget()
    opened.drag(-300, 0)
    opened.loaded()
    asked = [url for url in traffic.asked if "/muses/view" in url or "/muses/tiles" in url]
    assert "/muses/view" in asked[-1] or any("/muses/view" in url for url in asked)
    (answer, *_) = [r for r in traffic.answered if "/muses/view" in r.url]
    assert answer.status == 204

"""The series of the clicked place in a closed classroom: nothing but the Jupyter server can be reached."""

from __future__ import annotations

import pytest

from tests.browser.test_plots import CANVAS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import muses_lab as ml
from muses_widgets import Map
clear = ml.collection("sentinel-2-l2a").mask_clouds(keep=[2, 4, 5, 6, 7, 8, 9])
ndvi = clear.ndvi().median("t")
m = Map(center=(43.6, 1.38), zoom=13, height="640px")
m.add(ml.rgb(*(clear.band(b).median("t") for b in ("red", "green", "blue"))), name="Colour")
m.add(ndvi.style(cmap="RdYlGn", label="NDVI"), name="Vegetation")
m
"""


@pytest.fixture(scope="module")
def opened(notebook, lab):
    return notebook.open(lab.notebook("series.ipynb", SETUP)).run_all().loaded()


def series(notebook, plots: int):
    """Waits until so many plots are drawn; their element."""
    element = notebook.panel.get_by_role("region", name="Series of the clicked place")
    canvases = element.locator(".muses-series-canvas")
    notebook.until(
        lambda: element.get_attribute("aria-busy") is None and canvases.count() == plots, 180, "no series came"
    )
    notebook.until(lambda: plots == 0 or notebook.page.evaluate(CANVAS), 60, "the series are not drawn")
    notebook.page.wait_for_timeout(500)  # until Bokeh has its place
    return element


@pytest.fixture
def shown(opened, traffic):
    traffic.forget()
    opened.click(0.3, 0.5)
    return opened


def test_a_click_draws_the_series_of_every_visible_layer(shown, traffic):
    element = series(shown, 2)
    shown.screenshot("series-1")
    assert element.locator(".muses-series-title").all_inner_texts() == ["Vegetation\nNDVI", "Colour"]
    assert element.locator(".muses-rgb").inner_text().split() == ["red", "green", "blue"]
    series_text = element.locator(".muses-series-plot").first.locator(".muses-note").inner_text()
    assert series_text == shown.run(
        "s = ndvi.series(m.clicked).array\n"
        "print(f'{int(s.notnull().sum())} of {s.size} dates, {float(s.min()):.4g} to {float(s.max()):.4g}')"
    )
    assert traffic.left_the_machine() == [] and traffic.troubles == [] and shown.errors() == []


def test_the_pointer_tells_date_value_and_scene(shown):
    canvas = series(shown, 2).locator(".muses-series-canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    tooltip = shown.page.locator(".bk-tooltip-content")  # Playwright looks into shadow roots
    for x in range(30, int(box["width"]), 2):
        shown.page.mouse.move(box["x"] + x, box["y"] + box["height"] / 2)
        shown.page.wait_for_timeout(20)
        if tooltip.count() and tooltip.first.is_visible():
            break
    shown.screenshot("series-2-hover")
    date, value, scene = tooltip.first.inner_text().split("\n")
    found = shown.run(f"s = ndvi.series(m.clicked); print([f'{{v:.4g}}' for v in s.array.sel(t={date[:10]!r}).values])")
    assert value in found
    assert scene.startswith("S2") and date[:10].replace("-", "") in scene


def test_it_follows_the_layers_and_is_gone_when_the_place_is(shown):
    element = series(shown, 2)
    shown.panel.get_by_role("checkbox", name="Colour").uncheck()
    series(shown, 1)
    shown.panel.get_by_role("checkbox", name="Colour").check()
    series(shown, 2)
    shown.panel.get_by_role("button", name="Clear the clicked place").click()
    assert element.is_hidden() and element.locator(".muses-series-plot").count() == 0
    shown.click(0.31, 0.5)
    series(shown, 2)


def test_closed_it_asks_for_nothing(shown):
    element = series(shown, 2)
    element.locator("summary").click(position={"x": 20, "y": 5})
    before = shown.says("m.panel.sections['series']['place']")
    shown.click(0.45, 0.45)
    shown.page.wait_for_timeout(1500)
    assert shown.says("m.panel.sections['series']['place']") == before
    element.locator("summary").click(position={"x": 20, "y": 5})
    series(shown, 2)
    assert shown.says("m.panel.sections['series']['place'] == [m.clicked.lon, m.clicked.lat]") == "True"


def test_a_click_is_answered_while_a_cell_runs(shown):
    series(shown, 2)
    cell = shown.page.locator(".jp-Notebook .jp-CodeCell").last
    cell.locator(".cm-content").fill("import time; time.sleep(8)")
    cell.locator(".cm-content").press("Shift+Enter")
    shown.click(0.5, 0.4)
    series(shown, 2)
    assert shown.says("m.panel.sections['series']['place'] == [m.clicked.lon, m.clicked.lat]") == "True"


@pytest.mark.thorough
def test_it_is_legible_in_both_themes_wide_and_narrow(shown):
    series(shown, 2)
    shown.map.scroll_into_view_if_needed()
    enlarge = shown.panel.get_by_role("button", name="Enlarge")
    for theme in ("Light", "Dark"):
        if theme == "Dark":
            shown.choose_theme("JupyterLab Dark")
            series(shown, 2)
        narrow = shown.panel.locator(".muses-series-canvas").first.bounding_box()
        shown.screenshot(f"series-3-{theme}-narrow")
        enlarge.click()
        shown.page.wait_for_timeout(700)
        shown.screenshot(f"series-3-{theme}-wide")
        wide = shown.panel.locator(".muses-series-canvas").first.bounding_box()
        assert wide["width"] > 2 * narrow["width"]
        assert wide["x"] >= shown.box()["x"]
        enlarge.click()
    shown.choose_theme("JupyterLab Light")


def test_a_small_map_s_folded_panel_draws_when_it_is_unfolded(shown):
    series(shown, 2)
    shown.page.set_viewport_size({"width": 700, "height": 1000})
    fold = shown.panel.get_by_role("button", name="Layers")
    shown.until(lambda: fold.get_attribute("aria-expanded") == "false", 30, "the panel is not folded")
    before = shown.says("m.panel.sections['series']['place']")
    shown.map.scroll_into_view_if_needed()
    box = shown.box()
    shown.page.mouse.click(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.8)
    shown.answered()
    assert shown.says("m.panel.sections['series']['place']") == before  # nobody sees it
    shown.map.scroll_into_view_if_needed()
    fold.click()
    series(shown, 2)
    shown.screenshot("series-4-small-map")
    assert shown.says("m.panel.sections['series']['place'] == [m.clicked.lon, m.clicked.lat]") == "True"
    shown.page.set_viewport_size({"width": 1300, "height": 1000})


def test_plots_of_the_notebook_and_of_the_panel_live_together(shown):
    series(shown, 2)
    shown.run("ml.plots()")
    shown.run("ndvi.series(m.clicked).hvplot.scatter()")
    shown.page.locator(".jp-OutputArea .bk-Row").wait_for(state="attached", timeout=30_000)  # by Bokeh in the page
    assert shown.errors() == []
    shown.click(0.35, 0.55)
    series(shown, 2)
    shown.screenshot("series-5-with-plots")


@pytest.mark.thorough  # test_app.py clicks a map in Voilà and sees the series of its panel
def test_voila_draws_the_same_series(page, lab, traffic, notebook, opened):
    lab.notebook("series-voila.ipynb", SETUP)
    page.goto(f"{lab.url}voila/render/series-voila.ipynb", timeout=240_000)  # it answers when all cells have run
    notebook.panel.wait_for(timeout=180_000)
    notebook.loaded(timeout=180)
    traffic.forget()  # what Voilà's own template asks for
    notebook.click(0.3, 0.5)
    series(notebook, 2)
    notebook.screenshot("series-6-voila")
    assert traffic.left_the_machine() == []

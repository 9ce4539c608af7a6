"""The panel of series as a person uses it: click, keep, another expression, a dot, a second date; saved, reopened."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from muses_widgets.places.kept import Places
from tests.browser.accessibility import keys_reach_everything, no_serious_faults

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAME = "series-panel.ipynb"
MAP = """
import muses_lab as ml
from muses_widgets import Map, SeriesPanel
s2 = ml.collection("sentinel-2-l2a")
clear = s2.mask_clouds()
m = Map(center=(43.6, 1.38), zoom=13, height="420px")
m.add(clear.ndvi().median("t").style(cmap="RdYlGn", label="NDVI"), name="Vegetation")
m
"""
PANEL = """
panel = SeriesPanel(m)
panel
"""
COUNT = """
from muses_lab import readings
asked, real = [], readings._missing
def missing(*given):
    found = list(real(*given))
    asked.extend(found)
    return found
readings._missing = missing
"""


@pytest.fixture(scope="module")
def lab(lab_in_threads):
    return lab_in_threads


@pytest.fixture(scope="module")
def opened(notebook, lab):
    return notebook.open(lab.notebook(NAME, MAP, PANEL)).run_all().loaded()


def panel_of(notebook):
    panel = notebook.page.locator(".muses-seriespanel").first
    panel.scroll_into_view_if_needed()
    return panel


def drawn(notebook, before: str | None = None) -> str:
    """Waits until a plot is drawn, another one than before; names it."""
    panel = panel_of(notebook)
    canvas = panel.locator(".muses-sp-canvas")

    def is_there() -> bool:
        return canvas.get_attribute("data-drawn") not in (None, before) and panel.get_attribute("aria-busy") == "false"

    notebook.until(is_there, 180, "no plot came")
    notebook.page.wait_for_timeout(400)
    return canvas.get_attribute("data-drawn")


def click_map(notebook, x: float, y: float) -> str:
    canvas = panel_of(notebook).locator(".muses-sp-canvas")
    before = canvas.get_attribute("data-drawn")
    notebook.click(x, y)
    return drawn(notebook, before)


def write(notebook, label: str, text: str) -> str:
    before = panel_of(notebook).locator(".muses-sp-canvas").get_attribute("data-drawn")
    field = panel_of(notebook).get_by_role("combobox", name=label)
    field.fill(text)
    field.press("Enter")
    return drawn(notebook, before)


def test_a_click_draws_the_series_of_the_place(opened, traffic):
    traffic.forget()
    click_map(opened, 0.4, 0.5)
    panel = panel_of(opened)
    opened.screenshot("series-panel-1")
    spoken = panel.locator(".muses-sp-canvas").get_attribute("aria-label")
    assert spoken.startswith("Series. Clicked place: ")
    dates = panel.get_by_role("group", name="Images of the dates").get_by_role("button")
    assert dates.count() == int(opened.says("len(panel.dates)"))
    same = "panel.table().value.equals(m.layer('Vegetation').series(m.clicked).table.value)"
    assert opened.says(same) == "True"
    assert traffic.left_the_machine() == [] and traffic.troubles == [] and opened.errors() == []


def test_another_expression_reads_nothing(opened):
    drawn(opened)
    kept = write(opened, "Value", "B04 + B08 + SCL")  # reads the bands that follow
    opened.run(COUNT)
    for text in ("NDVI", "B08 / B04"):
        now = write(opened, "Value", text)
        assert now != kept
        kept = now
    assert opened.says("len(asked), set(panel.table().quantity)") == "0 {'B08 / B04'}"
    opened.screenshot("series-panel-2-expression")
    field = panel_of(opened).get_by_role("combobox", name="Value")
    field.fill("NDVJ")
    field.press("Enter")
    panel_of(opened).get_by_text("did you mean NDVI").wait_for()
    write(opened, "Value", "NDVI")


def test_plus_keeps_the_place_and_the_next_click_is_another(opened):
    panel = panel_of(opened)
    panel.get_by_role("button", name="+ Keep").click()
    name = panel.get_by_role("textbox", name="Name of Point 1")
    name.wait_for()
    name.fill("North field")
    name.press("Enter")
    opened.until(lambda: opened.says("[p.name for p in panel.places]") == "['North field']", 30, "not renamed")
    click_map(opened, 0.3, 0.35)
    opened.until(lambda: opened.says("set(panel.table().place_name) == {'', 'North field'}") == "True", 60, "not two")
    assert opened.page.locator(".leaflet-overlay-pane path").count() == 2  # the kept place, and the candidate
    panel.get_by_role("checkbox", name="Trend").check()
    opened.until(lambda: opened.says("panel.curves, panel.told['state']") == "['trend'] ok", 60, "no trend")
    drawn(opened)
    opened.screenshot("series-panel-3-kept")
    no_serious_faults(opened.page, ".muses-seriespanel")
    keys_reach_everything(opened.page, ".muses-seriespanel")


def test_a_dot_and_an_image_show_their_date_on_the_map(opened):
    panel = panel_of(opened)
    chips = panel.get_by_role("group", name="Images of the dates").get_by_role("button")
    chips.first.scroll_into_view_if_needed()
    opened.until(lambda: panel.locator("[data-image='waits']").count() == 0, 120, "images are missing")
    chips.nth(1).click()
    opened.until(lambda: chips.nth(1).get_attribute("aria-pressed") == "true", 60, "the image is not marked")
    assert opened.says("panel.shown['first'] == panel.dates[1]['time']") == "True"
    day = chips.nth(1).inner_text().strip()
    assert opened.says(f"m.tiles('Scene {day}').visible") == "True"
    assert panel.get_by_text(f"On the map {day}").is_visible()
    canvas = panel.locator(".muses-sp-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    opened.page.mouse.click(box["x"] + 75, box["y"] + box["height"] / 2)  # near the first date
    opened.until(lambda: chips.first.get_attribute("aria-pressed") == "true", 60, "the dot is not shown")
    end = panel.get_by_role("button", name="Stop comparing")
    at = canvas.bounding_box()
    opened.page.keyboard.down("Shift")
    opened.page.mouse.move(at["x"] + at["width"] - 25, at["y"] + at["height"] / 2)
    opened.page.mouse.down()
    opened.page.wait_for_timeout(700)  # a slow hand
    opened.page.mouse.up()
    opened.page.keyboard.up("Shift")
    end.wait_for()
    opened.loaded()
    compared = opened.says("panel.shown['second'][:10]")
    assert panel.get_by_text(f"right of the line {compared}").is_visible()
    assert f"Compared date {compared}" in opened.panel.locator(".muses-name").all_inner_texts()
    assert opened.page.locator(".muses-swipe").count() == 1 or opened.says("m.panel.swipe['at']") == "0.5"
    panel_of(opened)
    opened.screenshot("series-panel-4-compared")
    end.click()
    opened.until(lambda: opened.says("m.panel.swipe, panel.shown['second']") == "{}", 60, "still compared")


def test_keys_move_through_the_dates(opened):
    panel = panel_of(opened)
    slider = panel.get_by_role("slider", name="Date of the place")
    slider.focus()
    opened.page.keyboard.press("Home")
    first = slider.get_attribute("aria-valuetext")
    opened.page.keyboard.press("ArrowRight")
    second = slider.get_attribute("aria-valuetext")
    assert first != second and first[:4] == "2018"
    opened.until(lambda: opened.says("panel.shown['first'] == panel.dates[1]['time']") == "True", 60, "not shown")


def test_the_files_have_the_numbers_of_the_plot(opened, tmp_path):
    panel = panel_of(opened)
    with opened.page.expect_download() as waiting:
        panel.get_by_role("button", name="CSV").click()
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    rows = pd.read_csv(path, float_precision="round_trip")
    told = json.loads(opened.says("panel.table().value.to_json(double_precision=15)"))
    assert path.name == "series.csv" and len(rows) == len(told)
    values = np.array(list(told.values()), float)
    np.testing.assert_allclose(rows["value"], values, rtol=1e-14)
    with opened.page.expect_download() as waiting:
        panel.get_by_role("button", name="GeoPackage").click()
    waiting.value.save_as(tmp_path / "places.gpkg")
    assert [place.name for place in Places.open(tmp_path / "places.gpkg")] == ["North field"]
    panel.locator("input[type=file]").set_input_files(tmp_path / "places.gpkg")
    opened.until(lambda: opened.says("len(panel.places)") == "2", 60, "not opened")
    panel.get_by_role("button", name="Remove North field").last.click()
    opened.until(lambda: opened.says("len(panel.places)") == "1", 60, "not removed")


def test_it_looks_right_in_the_dark_and_when_narrow(opened):
    before = drawn(opened)
    opened.choose_theme("JupyterLab Dark")
    drawn(opened, before)
    panel_of(opened)
    opened.screenshot("series-panel-5-dark")
    no_serious_faults(opened.page, ".muses-seriespanel")
    opened.page.set_viewport_size({"width": 760, "height": 1000})
    opened.page.wait_for_timeout(1500)
    panel = panel_of(opened)
    opened.screenshot("series-panel-6-narrow")
    box = panel.bounding_box()
    for one in panel.locator("input:visible, .muses-button:visible").all():
        at = one.bounding_box()
        assert at is None or at["x"] + at["width"] <= box["x"] + box["width"] + 1
    opened.page.set_viewport_size({"width": 1300, "height": 1000})
    opened.choose_theme("JupyterLab Light")


def test_saved_and_reopened_it_shows_the_same(opened, lab):
    spoken = panel_of(opened).locator(".muses-sp-canvas").get_attribute("aria-label")
    place = panel_of(opened).locator(".muses-sp-at").inner_text()
    assert place != "Click on the map"
    opened.save()
    lab.stop_kernels()
    opened.page.wait_for_timeout(1000)
    opened.open(NAME)
    panel = opened.bring(".muses-seriespanel")
    drawn(opened)
    assert panel.locator(".muses-sp-canvas").get_attribute("aria-label") == spoken
    assert panel.get_by_role("textbox", name="Name of North field").input_value() == "North field"
    panel.get_by_text("This is what was saved").wait_for()
    assert panel.get_by_role("combobox", name="Value").is_disabled()
    assert panel.locator("[data-image='there']").count() > 0
    assert panel.locator(".muses-sp-at").inner_text() == place
    assert panel.get_by_role("checkbox", name="Trend").is_checked()
    opened.screenshot("series-panel-7-saved")

"""Polygons as a person draws and picks them: a rectangle, a polygon, its corners; kept, saved, reopened."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAME = "polygons.ipynb"
MAP = """
import geopandas, shapely
import muses_lab as ml
from muses_widgets import Map, SeriesPanel
ndvi = ml.collection("sentinel-2-l2a").mask_clouds().ndvi()
m = Map(center=(43.6, 1.42), zoom=14, height="460px")
m.add(ndvi.median("t").style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI"), name="NDVI")
m
"""
PANEL = """
panel = SeriesPanel(m)
panel
"""


@pytest.fixture(scope="module")
def lab(lab_in_threads):
    return lab_in_threads


@pytest.fixture(scope="module")
def opened(notebook, lab):
    return notebook.open(lab.notebook(NAME, MAP, PANEL)).run_all().loaded()


def drawn(notebook, before: str | None) -> str:
    """Waits until another series is drawn."""
    panel = notebook.page.locator(".muses-seriespanel").first
    canvas = panel.locator(".muses-sp-canvas")

    def is_there() -> bool:
        return canvas.get_attribute("data-drawn") not in (None, before) and panel.get_attribute("aria-busy") == "false"

    notebook.until(is_there, 180, "no series came")
    return canvas.get_attribute("data-drawn")


def click_corners(notebook, tool: str, *corners: tuple[float, float]) -> str:
    canvas = notebook.page.locator(".muses-sp-canvas").first
    before = canvas.get_attribute("data-drawn") if canvas.count() else None
    box = notebook.box()
    notebook.page.locator(f".leaflet-pm-icon-{tool}").first.click()
    for x, y in corners:
        at = box["x"] + box["width"] * x, box["y"] + box["height"] * y
        notebook.page.mouse.move(*at, steps=3)
        notebook.page.mouse.click(*at)
        notebook.page.wait_for_timeout(300)
    return drawn(notebook, before)


def same_as_over(notebook) -> bool:
    notebook.run(
        "expected = ndvi.over(panel._plotted.candidate).table\n"
        "shown = panel.table(); shown = shown[shown.place == ''].reset_index()"
    )
    columns = ("mean", "median", "q10", "q90", "count")
    return notebook.value(f"all(bool(shown[c].equals(expected[c])) for c in {columns})")


def test_a_rectangle_that_is_drawn_has_its_series(opened, traffic):
    click_corners(opened, "rectangle", (0.3, 0.4), (0.4, 0.6))
    assert opened.value("[panel._plotted.candidate.geom_type, m.panel.clicked]") == ["Polygon", None], (
        "a corner is no place"
    )
    assert same_as_over(opened)
    opened.screenshot("polygons-1-rectangle")
    assert traffic.left_the_machine() == [] and traffic.troubles == []


def test_a_polygon_takes_its_place_and_plus_keeps_it(opened):
    click_corners(opened, "polygon", (0.2, 0.5), (0.25, 0.8), (0.4, 0.7), (0.2, 0.5))
    assert opened.value("[len(panel._plotted.candidate.exterior.coords), len(panel._tools.data)]") == [4, 1]
    assert same_as_over(opened)
    opened.page.locator(".muses-seriespanel").first.get_by_role("button", name="+ Keep").click()
    opened.until(lambda: opened.value("len(panel.places)") == 1, 30, "not kept")
    opened.screenshot("polygons-2-kept")
    assert opened.value("[panel.kept[0]['kind'], len(panel._tools.data)]") == ["polygon", 0]


def test_a_polygon_of_a_layer_is_picked_by_a_click(opened):
    opened.run(
        "from ipyleaflet import GeoJSON\n"
        "(s, w), (n, e) = m.bounds\n"
        "at = lambda x, y: (w + (e - w) * x, n - (n - s) * y)\n"
        "field = shapely.box(*at(0.45, 0.35), *at(0.55, 0.2))\n"
        "data = json.loads(geopandas.GeoSeries([field], crs=4326).to_json())\n"
        "_ = m.add(GeoJSON(name='Fields', data=data))"
    )
    canvas = opened.page.locator(".muses-sp-canvas").first
    before = canvas.get_attribute("data-drawn")
    box = opened.box()
    opened.page.wait_for_timeout(1000)
    opened.page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.28)
    drawn(opened, before)
    assert opened.value("bool(panel._plotted.candidate.equals_exact(field, 1e-6))") is True
    assert same_as_over(opened)
    opened.screenshot("polygons-3-picked")


def test_saved_and_reopened_the_kept_polygon_is_there(opened, lab):
    opened.save()
    lab.stop_kernels()
    opened.page.wait_for_timeout(1000)
    opened.open(NAME)
    opened.map.wait_for(timeout=60_000)
    shapes = opened.map.locator(".leaflet-overlay-pane path")
    opened.until(lambda: shapes.count() >= 1, 60, "the polygon is not on the map")
    panel = opened.bring(".muses-seriespanel")
    panel.get_by_text("Polygon 1").first.wait_for(timeout=60_000)
    opened.screenshot("polygons-4-saved")

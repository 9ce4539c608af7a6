"""Comparing layers and maps, as a person does it, in a real JupyterLab."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import ipywidgets
import muses_lab as ml
from muses_widgets import Map, link
ndvi = ml.collection("sentinel-2-l2a").ndvi().median("t")
m = Map(center=(43.6, 1.44), zoom=13, height="520px")
m.add(ndvi.style(cmap="RdYlGn", vmin=0, vmax=1), name="Before")
m.add(ndvi.style(cmap="gray", vmin=0, vmax=1), name="NDVI")
m
"""


@pytest.fixture(scope="module")
def shown(notebook, lab):
    return notebook.open(lab.notebook("compare.ipynb", SETUP)).run_all().loaded()


def clips(shown) -> list[str]:
    return shown.map.locator(".leaflet-layer").evaluate_all("layers => layers.map((l) => l.style.clip).filter(Boolean)")


def test_two_layers_are_compared_by_a_line_that_is_dragged(shown, traffic):
    before = shown.says("m.center")
    shown.map.scroll_into_view_if_needed()
    shown.panel.get_by_role("checkbox", name="Compare two layers").check()
    handle = shown.map.get_by_role("slider", name="Line between the two layers")
    assert len(clips(shown)) == 2
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shown.page.mouse.move(x, y)
    shown.page.mouse.down()
    shown.page.mouse.move(x - 200, y, steps=5)
    shown.page.mouse.up()
    shown.map.scroll_into_view_if_needed()
    shown.screenshot("compare-1")
    width = shown.box()["width"]
    wanted = 0.5 - 200 / width
    place = "float(m.panel.swipe.get('at', 2))"
    shown.until(lambda: abs(float(shown.says(place)) - wanted) < 0.02, 30, "the line is elsewhere")
    at = float(shown.says("m.panel.swipe['at']"))
    assert shown.says("m.center") == before, "the map moved, too"
    handle.press("ArrowRight")
    shown.until(lambda: float(shown.says("m.panel.swipe['at']")) > at, 10, "the line stays")
    left, right = shown.run(
        "print(*[t.name for i in ('left', 'right') for t in m.layers if t.model_id == m.panel.swipe[i]])"
    ).split()
    assert (left, right) == ("Before", "NDVI")
    assert shown.map.locator(".muses-swipe-name").all_inner_texts() == ["Before", "NDVI"]
    sides = [name.bounding_box() for name in shown.map.locator(".muses-swipe-name").all()]
    line = handle.bounding_box()
    assert sides[0]["x"] + sides[0]["width"] <= line["x"] and line["x"] + line["width"] <= sides[1]["x"]
    handle.press("Home")
    shown.until(lambda: shown.says("m.panel.swipe['at']") == "0", 10, "the line is not at the left edge")
    handle.press("PageUp")
    assert handle.get_attribute("aria-valuetext") == "10 %: Before left, NDVI right"
    shown.drag(-80, 30)
    shown.loaded()
    assert len(clips(shown)) == 2 and traffic.troubles == []
    shown.run("m.swipe()")
    shown.until(lambda: clips(shown) == [], 10, "the layers are still clipped")


def test_linked_maps_move_together(shown):
    shown.run("other = Map(height='300px'); link(m, other)")
    assert shown.says("tuple(other.center) == tuple(m.center), other.zoom == m.zoom") == "True True"
    cell = shown.page.locator(".jp-Notebook .jp-CodeCell").last
    cell.locator(".cm-content").fill("other")
    cell.locator(".cm-content").press("Shift+Enter")
    shown.until(lambda: shown.page.locator(".leaflet-container").count() == 2, 60, "there is no second map")
    shown.map.scroll_into_view_if_needed()
    shown.drag(-60, 40)
    shown.until(
        lambda: shown.says("max(abs(a - b) for a, b in zip(m.center, other.center)) < 1e-9") == "True",
        20, "the other map stays",
    )  # fmt: skip


@pytest.mark.thorough
def test_saved_and_reopened_two_layers_are_compared_where_the_line_was(shown, lab):
    shown.run("m.swipe('Before', 'NDVI')")
    handle = shown.map.get_by_role("slider", name="Line between the two layers")
    handle.press("Home")
    handle.press("PageUp")
    shown.until(lambda: shown.says("m.panel.swipe['at']") == "0.1", 10, "the line is elsewhere")
    told = handle.get_attribute("aria-valuetext")
    shown.save()
    lab.stop_kernels()
    shown.open("compare.ipynb").loaded()
    handle.wait_for()
    assert handle.get_attribute("aria-valuetext") == told
    shown.until(lambda: len(clips(shown)) == 2, 30, "the layers are not clipped")
    handle.press("PageUp")
    assert handle.get_attribute("aria-valuetext") == told.replace("10 %", "20 %"), "it moves without a kernel"

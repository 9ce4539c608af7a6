"""Colours in the browser: other palettes, ranges and gammas of tiles that are there, without asking for anything."""

from __future__ import annotations

import json

import pytest

from tests.browser.accessibility import no_serious_faults

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import muses_lab as ml
from muses_widgets import Map
if "m" in globals():
    m.close()
clear = ml.collection("sentinel-2-l2a").mask_clouds()
ndvi = clear.ndvi().median("t")
m = Map(center=(43.6, 1.38), zoom=13, height="900px")
m.add(ndvi.style(cmap="RdYlGn", label="NDVI"), name="NDVI")
m
"""

SEEN = """() => {
  const layers = [...document.querySelectorAll('.leaflet-tile-pane .leaflet-layer')];
  const top = layers.reduce((a, b) => (+b.style.zIndex > +a.style.zIndex ? b : a));
  const seen = new Set();
  for (const tile of top.querySelectorAll('canvas')) {
    const { data } = tile.getContext('2d').getImageData(0, 0, 256, 256);
    for (let i = 0; i < data.length; i += 4) if (data[i + 3]) seen.add(data.slice(i, i + 3).join());
  }
  return [...seen].sort();
}"""
"""The colours of the top layer's tiles."""

PICTURE = """() => {
  const tiles = [...document.querySelectorAll('.leaflet-tile-pane .leaflet-layer:last-child canvas')];
  return tiles.map((tile) => tile.toDataURL()).join();
}"""
"""The top layer's tiles as they are."""

DRAWN = """
import io, json, numpy as np
from PIL import Image
seen = set()
for z, x, y in {places}:
    drawn = np.asarray(Image.open(io.BytesIO(m.layer("NDVI").tile(z, x, y))).convert("RGBA")).reshape(-1, 4)
    seen |= {{",".join(map(str, colour)) for colour in drawn[drawn[:, 3] > 0][:, :3].tolist()}}
print(json.dumps(sorted(seen)))
"""
"""Those of the pictures that Python makes of the same tiles."""


@pytest.fixture(scope="module")
def opened(notebook, lab):
    notebook.open(lab.notebook("palette.ipynb", SETUP)).run_all()
    notebook.page.set_viewport_size({"width": 1400, "height": 1150})
    return notebook.loaded()


def seen(opened) -> list[str]:
    return opened.page.evaluate(SEEN)


def colours(opened):
    """The colours of the layer's row, unfolded."""
    element = opened.panel.locator(".muses-colours")
    if element.get_attribute("open") is None:
        element.locator("> summary").click()
    return element


def look(opened) -> str:
    return opened.says("m.layer('NDVI').look").splitlines()[-1]


def test_colours_changed_by_hand_ask_for_nothing_and_are_those_of_python(opened, traffic):
    opened.covered(12, 0.5)
    places = [[int(part.split(".")[0]) for part in tile.url.split("/")[-3:]] for tile in traffic.tiles()]
    assert len(places) >= 12 and {tile.status for tile in traffic.tiles()} == {200}
    before = seen(opened)
    traffic.forget()

    element = colours(opened)
    element.locator(".muses-palettes > summary").click()
    opened.screenshot("palette-1-choice")
    element.get_by_role("radio", name="magma").check()
    opened.until(lambda: seen(opened) != before, 10, "not coloured anew")
    opened.until(lambda: "cmap='magma'" in look(opened), 30, "the style is the same")
    element.locator(".muses-palettes > summary").click()
    element.get_by_role("checkbox", name="Reversed").check()
    element.get_by_role("spinbutton", name="Colours from").fill("0.2")
    element.get_by_role("spinbutton", name="Colours from").press("Enter")
    slider = element.get_by_role("slider", name="Gamma")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    opened.screenshot("palette-2-changed")
    wanted = "Style(cmap='magma_r', vmin=0.2, gamma=1.2, label='NDVI')"
    opened.until(lambda: look(opened) == wanted, 30, "the style has not all of it")

    assert [response.url for response in traffic.tiles()] == [], "nothing was evaluated for it: nothing was asked"
    assert "magma_r" in opened.says("repr(m.layer('NDVI'))")
    assert seen(opened) == json.loads(opened.run(DRAWN.format(places=places))), "as m.layer(…).tile draws it"
    assert opened.errors() == [] and traffic.troubles == []


def test_the_histogram_s_limits_colour_while_they_are_dragged(opened, traffic):
    element = opened.panel.locator(".muses-histogram")
    element.locator("> summary").click()
    opened.page.wait_for_function("document.querySelectorAll('.muses-histogram-curve').length === 1", timeout=90_000)
    element.scroll_into_view_if_needed()
    traffic.forget()
    handle = element.get_by_role("slider", name="Upper limit of the colours")
    chart, at = element.locator(".muses-histogram-chart").bounding_box(), handle.bounding_box()
    opened.page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    opened.page.mouse.down()
    pictures = [opened.page.evaluate(PICTURE)]
    for share in (0.9, 0.8, 0.7):
        opened.page.mouse.move(chart["x"] + chart["width"] * share, at["y"] + 5, steps=4)
        opened.page.wait_for_timeout(100)
        pictures.append(opened.page.evaluate(PICTURE))
    assert len(set(pictures)) == 4, "each place of the handle is seen"
    ramp = opened.panel.locator(".muses-ticks").inner_text()
    opened.screenshot("palette-3-dragged")
    opened.page.mouse.up()
    opened.until(lambda: "vmax=" in look(opened), 30, "the style is the same")
    limit = float(element.get_by_role("spinbutton", name="Upper limit, as a number").input_value())
    assert f"vmax={limit:g}" in look(opened)
    assert opened.panel.locator(".muses-ticks").inner_text() == ramp, "the legend said so already"
    assert [response.url for response in traffic.tiles()] == []


def test_a_style_in_python_is_seen_without_a_request(opened, traffic):
    before = seen(opened)
    traffic.forget()
    opened.run('m.add(ndvi.style(cmap="cividis", opacity=0.5, label="NDVI"), name="NDVI");')
    opened.until(lambda: seen(opened) != before, 30, "not coloured anew")
    assert colours(opened).locator(".muses-palettes > summary").inner_text().strip().endswith("cividis")
    assert [response.url for response in traffic.tiles()] == []
    assert opened.errors() == [] and traffic.troubles == []


def test_a_class_is_hidden_and_shown_by_a_click_in_the_legend(opened, traffic, tmp_path):
    classes = '{0: ("bare", "tan"), 1: ("green", "darkgreen")}'
    opened.run(f'm.add((ndvi > 0.5).style(classes={classes}), name="Kind");')
    opened.loaded()
    tan, green = "210,180,140", "0,100,0"
    opened.until(lambda: seen(opened) == sorted([tan, green]), 30, "not both classes are there")
    traffic.forget()
    row = opened.panel.locator("[data-name=Kind]")
    button = row.get_by_role("button", name="green", exact=True)
    button.click()
    opened.until(lambda: seen(opened) == [tan], 10, "it is not hidden")
    assert button.get_attribute("aria-pressed") == "false"
    opened.until(lambda: opened.value("m.layer('Kind').look.hidden") == [1], 30, "the style says nothing of it")
    opened.screenshot("palette-7-hidden")
    assert opened.page.evaluate("document.activeElement.dataset.value") == "1", "the keyboard is where it was"
    assert [response.url for response in traffic.tiles()] == [], "nothing was asked for"
    same = f"(m.save_view({str(tmp_path / 'v.json')!r}), Map.open_view({str(tmp_path / 'v.json')!r}))[1]"
    assert opened.value(f"{same}.layer('Kind').look.hidden") == [1]
    opened.page.keyboard.press("Enter")
    opened.until(lambda: seen(opened) == sorted([tan, green]), 10, "it is not shown again")
    opened.until(lambda: opened.value("m.layer('Kind').look.hidden") == [], 30, "the style hides it still")
    no_serious_faults(opened.page, ".muses-panel")
    assert opened.errors() == [] and traffic.troubles == []
    opened.says("m.remove('Kind')")


def test_it_looks_right_in_the_dark_and_when_narrow(opened):
    opened.choose_theme("JupyterLab Dark")
    element = colours(opened)
    element.locator(".muses-palettes > summary").click()
    opened.map.scroll_into_view_if_needed()
    opened.screenshot("palette-5-dark")
    opened.page.set_viewport_size({"width": 700, "height": 1150})
    opened.page.wait_for_timeout(1500)
    opened.map.scroll_into_view_if_needed()
    if not element.is_visible():
        opened.panel.get_by_role("button", name="Layers").click()
    opened.screenshot("palette-6-narrow")
    box = opened.panel.bounding_box()
    for one in element.locator("input, summary").all():
        at = one.bounding_box()
        assert at is None or at["x"] + at["width"] <= box["x"] + box["width"] + 1
    element.locator(".muses-palettes > summary").click()
    opened.page.set_viewport_size({"width": 1400, "height": 1150})
    opened.choose_theme("JupyterLab Light")


@pytest.mark.thorough
def test_a_reopened_notebook_has_its_colours_and_takes_others_without_a_kernel(opened, traffic):
    before = seen(opened)
    opened.save()
    opened.lab.stop_kernels()
    opened.open("palette.ipynb")
    opened.loaded()
    opened.covered(12, 0.5)
    assert seen(opened) == before
    traffic.forget()
    element = colours(opened)
    element.locator(".muses-palettes > summary").click()
    element.get_by_role("radio", name="turbo").check()
    opened.until(lambda: seen(opened) != before, 10, "not coloured anew")
    assert [response.url for response in traffic.tiles()] == []
    opened.screenshot("palette-4-no-kernel")

"""What the panel says is so at this moment; and it is all to be had in a small map."""

from __future__ import annotations

import pytest
import rasterio

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

SETUP = """
import ipyleaflet
import ipywidgets as widgets
import numpy as np
import muses_lab as ml
from muses_widgets import Map
if "m" in globals():
    m.close()
scenes = ml.collection("sentinel-2-l2a")
clear = scenes.mask_clouds()
ndvi = clear.ndvi().median("t")
m = Map(center=(43.6, 1.38), zoom=12, height="420px")
m.add(ndvi.style(cmap="RdYlGn", label="NDVI"), name="NDVI")
m
"""

DATES = """
months = ["2018-01-01", "2018-07-01", "2019-01-01", "2019-07-01"]
period = widgets.SelectionRangeSlider(options=months, index=(0, 2), description="Dates", layout={"width": "420px"})
def show(between):
    m.add(scenes.dates(*between).mask_clouds().ndvi().median("t").style(cmap="RdYlGn"), name="NDVI")
messages = widgets.interactive_output(show, {"between": period})
m.add(ipyleaflet.WidgetControl(widget=widgets.VBox([period, messages]), position="bottomleft"));
"""

LAYERS = """
m.add((ndvi > 0.5).style(classes={0: ("bare", "tan"), 1: ("green", "darkgreen")}), name="Kind")
m.add(ndvi.where(ndvi > 0.6).style(cmap="Greens"), name="Dense vegetation of the whole year, under a long name")
m.add(clear.ndwi().median("t"), name="Water", visible=False)
m.add(ipyleaflet.Rectangle(bounds=((43.59, 1.37), (43.61, 1.39)), name="Frame"))
m.add(ipyleaflet.Marker(location=(43.6, 1.38)));
"""

SUMMARIES = """() => {
  const panel = document.querySelector('.muses-panel');
  const map = document.querySelector('.leaflet-container');
  const shares = [0.02, 0.25, 0.5, 0.75, 0.98];
  const covered = () => {
    const box = map.getBoundingClientRect();
    const layers = [...map.querySelectorAll('.leaflet-tile-pane .leaflet-layer')];
    const tiles = [...layers.at(-1).querySelectorAll('canvas')].map((tile) => tile.getBoundingClientRect());
    const holds = (t, x, y) => t.left - 1 <= x && x <= t.right + 1 && t.top - 1 <= y && y <= t.bottom + 1;
    const within = (x, y) => tiles.some((tile) => holds(tile, x, y));
    return shares.every((i) => shares.every((j) => within(box.left + i * box.width, box.top + j * box.height)));
  };
  window.said = [];
  const look = () => {
    window.said.push([panel.querySelector('.muses-summary').innerText, +panel.dataset.loading, covered()]);
    window.looking = requestAnimationFrame(look);
  };
  look();
}"""


@pytest.fixture(scope="module")
def opened(notebook, lab):
    return notebook.open(lab.notebook("now.ipynb", SETUP)).run_all()


@pytest.fixture
def shown(opened, traffic):
    traffic.forget()
    return opened.run_first().loaded()


def value(shown, name: str = "NDVI") -> str:
    shown.answered()
    return shown.values()[name]


def at(shown, chain: str, zoom: int) -> float:
    """What a chain really is at the clicked place, on the pixel of a zoom."""
    # by another way than the values, and in a thread of its own
    shown.until(lambda: shown.value("m.panel.clicked"), 30, "the kernel did not hear of the click")
    code = f"""
from muses_lab.service.tile import TilePixel
lat, lon = m.panel.clicked
place = TilePixel.at(lon, lat, {zoom})
print(float(({chain}).compute(ml.Window.tile(*place.tile))[place.row, place.col]))"""
    return float(shown.run(code))


def test_the_clicked_value_is_of_what_the_map_shows_now(shown):
    shown.click(0.3, 0.5)
    first = float(value(shown))
    assert first == pytest.approx(at(shown, "ndvi", 12), abs=5e-4)
    of = shown.panel.locator(".muses-of")
    assert of.inner_text() == "Pixel of 20 m, from averaged bands; native: 10 m"

    shown.run('spring = scenes.dates("2018-03-01", "2018-06-01").mask_clouds().ndvi().median("t")')
    shown.run('m.add(spring.style(cmap="RdYlGn", label="NDVI"), name="NDVI");')  # other dates
    assert float(value(shown)) == pytest.approx(at(shown, "spring", 12), abs=5e-4) != first

    shown.run('m.add(spring.style(cmap="RdYlGn", label="NDVI", unit="of 1"), name="NDVI");')  # another style
    shown.until(lambda: value(shown).endswith(" of 1"), 30, "the value does not follow the style")

    shown.page.locator(".leaflet-control-zoom-in").click()  # another zoom
    shown.until(lambda: of.inner_text() == "Native pixel of 10 m", 60, "the value does not follow the zoom")
    assert float(value(shown).split()[0]) == pytest.approx(at(shown, "spring", 13), abs=5e-4)

    shown.page.locator(".leaflet-control-zoom-out").click()  # the native value can be had from far away, too
    shown.until(lambda: of.inner_text().startswith("Pixel of 20 m"), 60, "the value does not follow the zoom")
    shown.panel.get_by_role("button", name="Native value").click()
    shown.until(lambda: of.inner_text() == "Native pixel of 10 m", 60, "there is no native value")
    assert float(value(shown).split()[0]) == pytest.approx(at(shown, "spring", 14), abs=5e-4)

    shown.panel.get_by_role("checkbox", name="NDVI").uncheck()  # another choice of layers
    shown.until(lambda: "No layer is visible." in shown.panel.locator(".muses-inspector").inner_text(), 10, "it stays")


def test_an_old_value_is_grey_until_the_new_one_is_there(shown):
    shown.click(0.3, 0.5)
    held = []
    shown.page.route("**/muses/values/**", lambda route: held.append(route))
    try:
        shown.page.locator(".leaflet-control-zoom-in").click()
        old = shown.panel.locator(".muses-value.muses-old output")
        old.wait_for(timeout=30_000)
        assert shown.panel.locator(".muses-inspector").get_attribute("aria-busy") == "true"
        shown.until(lambda: held, 30, "nothing was asked")
    finally:
        shown.page.unroute("**/muses/values/**")  # what was held goes on
    shown.answered()
    assert old.count() == 0


def test_all_tiles_are_said_to_be_shown_only_when_they_are(shown):
    """In no frame where tiles are missing or loading; what is said is at most two frames old."""

    def drag():
        for _ in range(3):
            box = shown.box()
            x, y = box["x"] + 60, box["y"] + 200
            shown.page.mouse.move(x, y)
            shown.page.mouse.down()
            for step in range(1, 9):
                shown.page.mouse.move(x + 55 * step, y)
                shown.page.wait_for_timeout(10)
            shown.page.mouse.up()

    for move in (*(shown.page.locator(f".leaflet-control-zoom-{way}").click for way in ("in", "out")), drag):
        shown.page.evaluate(SUMMARIES)
        move()
        shown.page.wait_for_timeout(400)
        shown.loaded()
        shown.until(lambda: "All tiles shown" in shown.panel.locator(".muses-summary").inner_text(), 30, "never said")
        said = shown.page.evaluate("cancelAnimationFrame(window.looking), window.said")
        wrong = ["All tiles shown" in text and (loading > 0 or not covered) for text, loading, covered in said]
        assert any(loading for _, loading, _ in said)
        assert not any(all(wrong[i : i + 3]) for i in range(len(wrong) - 2))


def test_holes_and_enlarged_pixels_have_a_name(shown):
    hole = shown.run(
        "box = m.view(); holes = np.isnan(ndvi.compute(box).values); rows, cols = np.nonzero(holes[60:-60, 60:500])\n"
        "mid = len(rows) // 2; print((cols[mid] + 60.5) / box.shape.x, (rows[mid] + 60.5) / box.shape.y)"
    )
    legend = shown.panel.locator("[data-name=NDVI] .muses-holes")
    assert legend.inner_text().startswith("no clear date (")
    x, y = map(float, hole.split())
    shown.click(x, y)
    said = value(shown)
    assert said in ("no clear date here", "no scenes here")
    shown.click(0.02, 0.3)
    assert value(shown) == "no scenes here"
    shown.run("m.zoom = 18")
    summary = shown.panel.locator(".muses-summary")
    shown.until(lambda: summary.inner_text().endswith("23 × past native"), 60, "it is not said")
    shown.panel.get_by_text("Computed at 10 m, native, enlarged 23 ×").wait_for()


def test_a_period_without_scenes_is_a_sentence_on_the_map(shown, traffic):
    shown.run(DATES)
    shown.loaded()
    slider = shown.page.locator(".leaflet-control .noUi-handle-upper")
    slider.press("ArrowRight")
    shown.page.locator(".leaflet-control .noUi-handle-lower").press("ArrowRight")
    shown.page.locator(".leaflet-control .noUi-handle-lower").press("ArrowRight")
    sentence = shown.panel.locator("[data-name=NDVI] .muses-nothing")
    sentence.get_by_text("No scene of 'sentinel-2-l2a' fits dates 2019-01-01 to 2019-07-01").wait_for(timeout=30_000)
    shown.screenshot("now-no-scenes")
    assert shown.panel.locator(".muses-summary").inner_text().startswith("No scenes: NDVI")
    assert shown.page.locator(".leaflet-tile-pane .leaflet-layer").count() == 1  # the base map
    assert shown.panel.get_by_role("button", name="Export this view").is_disabled()
    assert shown.errors() == []
    shown.page.locator(".leaflet-control .noUi-handle-lower").press("ArrowLeft")
    sentence.wait_for(state="hidden", timeout=30_000)
    shown.loaded()
    shown.covered(1, 0.5)
    assert traffic.troubles == []


@pytest.mark.thorough
def test_four_layers_in_a_small_map(shown):
    shown.run(LAYERS)
    shown.run(DATES)
    shown.loaded()
    shown.click(0.2, 0.4)
    for width in (None, 420, 320):
        if width:
            resize(shown, width)
        fold = shown.panel.get_by_role("button", name="Layers")
        if fold.get_attribute("aria-expanded") == "false":
            fold.click()
        shown.screenshot(f"now-four-{width or 'wide'}")
        frame, panel = shown.box(), shown.panel.bounding_box()
        assert inside(panel, frame)
        for part in ("button:text('Export this view')", "select[aria-label='Layer to export']"):
            assert inside(shown.panel.locator(part).bounding_box(), panel), (width, part)
        scroll = shown.panel.locator(".muses-scroll")
        assert scroll.evaluate("e => e.scrollHeight > e.clientHeight && e.clientHeight > 60")
        shown.panel.get_by_label("Base map").scroll_into_view_if_needed()
        assert inside(shown.panel.get_by_label("Base map").bounding_box(), panel)
        readout = shown.page.locator(".leaflet-control .widget-readout")
        assert inside(readout.bounding_box(), frame)
        assert readout.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
        around = readout.locator("xpath=ancestor::*[contains(@class, 'widget-vbox')]")
        assert inside(readout.bounding_box(), around.bounding_box())


def test_layers_added_in_ipyleaflets_ways_are_listed(shown):
    shown.run(LAYERS)
    shown.loaded()
    others = shown.panel.get_by_role("group", name="Other layers")
    assert others.locator(".muses-name").all_inner_texts() == ["Marker", "Frame"]
    assert shown.panel.locator(".muses-layers .muses-layer").count() == 4
    frame = shown.page.locator(".leaflet-overlay-pane path")
    assert frame.count() == 1
    others.get_by_role("checkbox", name="Frame").uncheck()
    shown.until(lambda: frame.count() == 0, 10, "the shape is still there")
    others.get_by_role("checkbox", name="Frame").check()
    shown.until(lambda: frame.count() == 1, 10, "the shape does not come back")
    others.get_by_role("checkbox", name="Marker").uncheck()
    assert shown.run("m.layers[-1].visible") == "False"
    shown.run("m.remove(m.layers[-1])")
    shown.until(lambda: others.locator(".muses-name").all_inner_texts() == ["Frame"], 10, "it is still listed")


def test_the_export_says_what_it_writes_is_cancelled_and_gives_the_file(shown, lab):
    box = shown.panel.get_by_role("group", name="Export")
    file = box.locator(".muses-file")
    assert file.inner_text() == "EPSG:3857, 38.2 m pixels (27.7 m on the ground)"
    button = box.get_by_role("button", name="Export this view")

    shown.run(
        "from muses_lab.export import job as jobs; step = jobs.Job.step; import threading; go = threading.Event()"
    )
    shown.run("jobs.Job.step = lambda self: (go.wait(120), step(self))[1]")  # the first piece waits
    button.click()
    box.get_by_role("button", name="Cancel").click()
    shown.run("go.set(); jobs.Job.step = step")
    box.get_by_text("was not written").wait_for(timeout=60_000)
    assert not list(lab.root.glob("*.tif"))
    assert button.is_enabled()

    button.click()
    done = box.locator(".muses-done")
    done.wait_for(timeout=120_000)
    shown.screenshot("now-exported")
    with shown.page.expect_download() as download:
        done.get_by_role("link", name="Download").click()
    (written,) = lab.root.glob("*.tif")
    assert done.get_by_role("link").first.get_attribute("href").endswith(f"/files/{written.name}")
    assert download.value.suggested_filename == written.name
    with rasterio.open(download.value.path()) as got:
        assert str(got.crs) == "EPSG:3857" and f"{got.res[0]:.1f}" == "38.2"
        assert f"{got.width} × {got.height} pixels" in file.get_attribute("title")
    written.unlink()


def resize(shown, width: int) -> None:
    """As a narrower page would."""
    shown.map.evaluate(
        "(map, width) => { map.style.width = width + 'px'; window.dispatchEvent(new Event('resize')); }", width
    )
    style = "document.querySelector('.leaflet-container').style.getPropertyValue('--muses-map-width')"
    shown.until(lambda: shown.page.evaluate(style) == f"{width}px", 10, "the panel does not notice")


def inside(box, frame) -> bool:
    return (
        box["x"] >= frame["x"] - 1
        and box["y"] >= frame["y"] - 1
        and box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
        and box["y"] + box["height"] <= frame["y"] + frame["height"] + 1
    )

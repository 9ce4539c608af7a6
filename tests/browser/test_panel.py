"""The map and its panel in a real browser, on the small sample."""

from __future__ import annotations

import io
import math
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

import pytest
from PIL import Image

from muses_lab.sample import generate

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import muses_lab as ml
from muses_widgets import Map
if "m" in globals():
    m.close()
clear = ml.collection("sentinel-2-l2a").mask_clouds()
ndvi = clear.ndvi().median("t")
m = Map(center=(43.6, 1.38), zoom=13)
m.add(ndvi.style(cmap="RdYlGn", label="NDVI"), name="NDVI")
m
"""


@pytest.fixture(scope="module")
def opened(notebook, lab):
    return notebook.open(lab.notebook("panel.ipynb", SETUP)).run_all()


@pytest.fixture
def shown(opened, traffic):
    """A new map with one layer, all of its tiles there, in a notebook that all tests of this module share."""
    opened.page.set_viewport_size({"width": 1300, "height": 1000})
    traffic.forget()
    return opened.run_first().loaded()


def test_tiles_arrive_and_are_not_blank(shown, traffic):
    tiles = traffic.tiles()
    assert len(tiles) >= 12
    assert {tile.status for tile in tiles} == {200}
    assert min(shown.opaque_shares()) > 0.5
    assert traffic.left_the_machine() == []
    assert traffic.troubles == []
    assert shown.errors() == []


def test_status_line_tells_zoom_scale_and_scenes(shown):
    assert shown.panel.locator(".muses-summary").inner_text() == "All tiles shown · zoom 13 · 13.8 m per pixel"
    shown.panel.get_by_text(re.compile(r"^13 of 13 scenes · \d+ tiles in [\d.]+ s$")).wait_for()
    shown.panel.get_by_text("Computed at 10 m, native", exact=True).wait_for()
    shown.page.locator(".leaflet-control-zoom-out").click()
    shown.loaded()
    shown.panel.get_by_text("Computed at 20 m; native: 10 m", exact=True).wait_for()


def test_the_same_name_replaces_without_flicker(shown, traffic):
    """From the chain's change until its last tile no frame shows fewer tiles than before."""
    shown.until(lambda: _shown_tiles(shown.page) >= 12, 30, "the first tiles are still fading in")
    before = _shown_tiles(shown.page)
    traffic.forget()
    shown.page.evaluate(WATCH)
    shown.run('m.add((ndvi * 0.9).style(cmap="viridis", label="NDVI"), name="NDVI");')
    shown.loaded()
    shown.page.evaluate("cancelAnimationFrame(window.watch)")
    assert len(traffic.tiles()) >= 12
    assert shown.page.evaluate("window.fewest") >= before
    assert _shown_tiles(shown.page) >= before
    ramp = shown.panel.locator(".muses-ramp > div").get_attribute("style")
    assert "#440154" in ramp or "rgb(68, 1, 84)" in ramp  # viridis begins so


COUNT = """() => {
  const layers = [...document.querySelectorAll('.leaflet-tile-pane .leaflet-layer')];
  const drawn = (tile) => tile.width === 256 && getComputedStyle(tile).opacity === '1';
  return layers.length ? [...layers.at(-1).querySelectorAll('canvas')].filter(drawn).length : 0;
}"""
WATCH = (
    "() => { const count = "
    + COUNT
    + """;
  window.fewest = Infinity;
  const look = () => {
    window.fewest = Math.min(window.fewest, count());
    window.watch = requestAnimationFrame(look);
  };
  look();
}"""
)


def _shown_tiles(page) -> int:
    return page.evaluate(f"({COUNT})()")


def test_a_hidden_layer_is_not_computed(shown, traffic):
    box = shown.panel.get_by_role("checkbox", name="NDVI")
    box.uncheck()
    traffic.forget()
    shown.page.locator(".leaflet-control-zoom-in").click()
    shown.page.wait_for_timeout(1500)
    assert traffic.tiles() == []
    assert shown.run("m.tiles('NDVI').visible") == "False"
    box.check()
    shown.loaded()
    assert len(traffic.tiles()) >= 12


def test_a_layer_added_hidden_asks_for_nothing(shown, traffic):
    traffic.forget()
    shown.run('m.add(clear.ndwi().median("t"), name="Water", visible=False);')
    shown.page.wait_for_timeout(2500)  # longer than a layer waits for its panel
    assert traffic.tiles() == []


def test_opacity_and_order_reach_leaflet_and_the_kernel(shown):
    shown.run('m.add(clear.ndwi().median("t"), name="Water");')
    shown.loaded()
    names = shown.panel.locator(".muses-name")
    assert names.all_inner_texts() == ["Water", "NDVI"]
    assert _z_order(shown.page) == sorted(_z_order(shown.page))

    shown.panel.get_by_role("button", name="Move Water").press("ArrowDown")
    shown.until(lambda: names.all_inner_texts() == ["NDVI", "Water"], 5, "the order did not change")
    assert _z_order(shown.page) != sorted(_z_order(shown.page))
    assert shown.run("[e['name'] for e in m.panel.layers]") == "['NDVI', 'Water']"

    slider = shown.panel.locator("[data-name=Water]").get_by_role("slider", name="Opacity")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowLeft")
    assert shown.run("m.tiles('Water').opacity") == "0.5"
    assert "0.5" in shown.page.evaluate(
        "[...document.querySelectorAll('.leaflet-tile-pane .leaflet-layer')].map(l => l.style.opacity)"
    )


def test_layers_are_dragged_grouped_renamed_and_put_back(shown):
    """What one does with the list by hand is what the kernel has."""
    shown.run('m.add((ndvi > 0.5).style(classes={0: ("bare", "tan"), 1: ("green", "darkgreen")}), name="Kind");')
    names = shown.panel.locator(".muses-layers .muses-name")
    shown.panel.get_by_role("button", name="Details of Kind").click()
    shown.panel.get_by_role("button", name="Tools of NDVI").click()
    shown.panel.get_by_label("Group of NDVI").select_option("New group…")
    shown.page.keyboard.type("Plants\n")
    shown.until(lambda: names.all_inner_texts() == ["Kind", "Plants", "NDVI"], 5, "there is no group")
    _drag(shown, "Kind", "NDVI")
    shown.until(lambda: names.all_inner_texts() == ["Plants", "NDVI", "Kind"], 5, "the row was not moved")
    assert shown.value("m.groups") == {"Plants": {"layers": ["NDVI", "Kind"], "visible": True, "opacity": 1.0}}

    shown.panel.get_by_role("button", name="Rename NDVI").press("Enter")
    shown.page.keyboard.type("Kind\n")  # which another one is called
    assert shown.panel.get_by_label("Name of NDVI").get_attribute("aria-invalid") == "true"
    shown.page.keyboard.press("Control+A")
    shown.page.keyboard.type("Green\n")
    shown.panel.get_by_role("checkbox", name="Plants").uncheck()
    assert shown.panel.locator("[data-name=Green] .muses-dot").get_attribute("aria-label") == "Hidden by its group"
    assert shown.value("[[t.name for t in m.stack()], m.groups['Plants']['visible']]") == [["Kind", "Green"], False]
    assert shown.page.locator(".leaflet-tile-pane .leaflet-layer").count() == 1, "more than the base map is loaded"
    shown.panel.get_by_role("checkbox", name="Plants").check()

    shown.panel.get_by_role("button", name="Remove Green").click()
    assert shown.page.evaluate("document.activeElement.textContent") == "Undo"
    assert shown.value("[[t.name for t in m.stack()], list(m.groups)]") == [["Kind"], ["Plants"]]
    shown.panel.get_by_role("button", name="Undo").click()
    shown.loaded()
    assert names.all_inner_texts() == ["Plants", "Green", "Kind"]
    assert shown.value("[[t.name for t in m.stack()], m.groups['Plants']['layers']]") == [
        ["Kind", "Green"],
        ["Green", "Kind"],
    ]
    assert "scenes, " in shown.panel.locator("[data-name=Kind] .muses-badge").inner_text()


def test_features_lie_among_the_chains_as_their_rows_do(shown):
    """Dragged below a chain, faded and hidden with a group, renamed, removed and put back."""
    shown.run(
        "import shapely; from muses_widgets import VectorStyle\n"
        "at = [('wheat', shapely.box(1.33, 43.59, 1.35, 43.61)), ('peas', shapely.box(1.37, 43.59, 1.39, 43.61)), "
        "('well', shapely.Point(1.36, 43.6))]\n"
        'fields = {"type": "FeatureCollection", "features": [{"type": "Feature", "id": n, "properties": {"crop": c}, '
        '"geometry": shapely.geometry.mapping(s)} for n, (c, s) in enumerate(at)]}\n'
        'm.add((ndvi > 0.5).style(classes={0: ("bare", "tan"), 1: ("green", "darkgreen")}), name="Kind")\n'
        'm.add(fields, name="Fields", style=VectorStyle.categories("crop", label="crop"));'
    )
    shown.loaded()
    names = shown.panel.locator(".muses-layers .muses-name")
    pane = shown.page.locator(".leaflet-tile-pane > .muses-vectors")
    drawn = pane.locator("path.leaflet-interactive")
    shown.until(lambda: drawn.count() == 3, 20, "the features are not drawn")
    assert names.all_inner_texts() == ["Fields", "Kind", "NDVI"]
    assert shown.panel.locator("[data-name=Fields] .muses-classes li").count() == 3
    assert shown.page.locator(".leaflet-overlay-pane path").count() == 0, "above all tiles"
    assert pane.locator(".muses-feature-label").count() == 3, "labels are not those of the layer"
    peas = shown.panel.locator("[data-name=Fields]").get_by_role("button", name="peas (1)")
    peas.click()
    shown.until(lambda: drawn.count() == 2, 5, "a class is not hidden")
    shown.until(lambda: shown.value("m.listed()[-1].look.hidden") == [0], 20, "the style says nothing of it")
    assert pane.locator(".muses-feature-label").all_inner_texts() == ["wheat", "well"]
    assert peas.get_attribute("aria-pressed") == "false"
    shown.page.keyboard.press("Enter")
    shown.until(lambda: drawn.count() == 3, 5, "it is not shown again")
    size = drawn.first.bounding_box()
    assert size["width"] > 100, "the picture is cut off"
    shown.screenshot("panel-features-above")

    def order() -> list[int]:
        return [int(pane.evaluate("one => one.style.zIndex")), *_z_order(shown.page)[-2:]]

    assert order()[0] > max(order()[1:])
    for name in ("Fields", "Kind"):
        shown.panel.get_by_role("button", name=f"Details of {name}", exact=True).click()
    _drag(shown, "Fields", "Kind")
    shown.until(lambda: names.all_inner_texts() == ["Kind", "Fields", "NDVI"], 5, "the row was not moved")
    low, middle, high = sorted(order())
    assert order()[0] == middle and low < middle < high, "the features do not lie between the two chains"
    assert shown.value("[t.name for t in m.listed()]") == ["NDVI", "Fields", "Kind"]
    shown.screenshot("panel-features-between")

    shown.panel.get_by_role("button", name="Tools of Fields").click()
    shown.panel.get_by_label("Group of Fields").select_option("New group…")
    shown.page.keyboard.type("Plants\n")
    shown.panel.get_by_label("Opacity of the group Plants").fill("50")
    shown.until(lambda: pane.evaluate("one => one.style.opacity") == "0.5", 5, "its group does not fade it")
    shown.panel.get_by_role("checkbox", name="Plants").uncheck()
    shown.until(lambda: not drawn.first.is_visible(), 5, "its group does not hide it")
    dot = shown.panel.locator("[data-name=Fields] .muses-dot")
    assert dot.get_attribute("aria-label") == "Hidden by its group"
    shown.panel.get_by_role("checkbox", name="Plants").check()
    shown.panel.get_by_role("checkbox", name="Fields").uncheck()
    shown.until(lambda: drawn.count() == 0 and not shown.value("m.listed()[1].visible"), 5, "it is not hidden")
    shown.panel.get_by_role("checkbox", name="Fields").check()
    shown.until(lambda: drawn.count() == 3 and pane.locator(".muses-feature-label").count() == 3, 5, "not all is back")

    shown.panel.get_by_role("button", name="Rename Fields").press("Enter")
    shown.page.keyboard.type("Parcels\n")
    shown.until(lambda: shown.value("m.groups['Plants']['layers']") == ["Parcels"], 5, "it has no other name")
    shown.panel.get_by_role("button", name="Remove Parcels").click()
    shown.until(lambda: drawn.count() == 0, 5, "it is there still")
    assert shown.value("[t.name for t in m.listed()]") == ["NDVI", "Kind"]
    shown.panel.get_by_role("button", name="Undo").click()
    shown.until(lambda: drawn.count() == 3 and drawn.first.is_visible(), 20, "it is not put back")
    assert names.all_inner_texts() == ["Kind", "Plants", "Parcels", "NDVI"]
    assert shown.value("[[t.name for t in m.listed()], m.groups['Plants']['layers']]") == [
        ["NDVI", "Parcels", "Kind"],
        ["Parcels"],
    ]
    attributes = shown.panel.get_by_role("region", name="Attributes of the clicked feature").locator("tr")

    def told() -> bool:
        drawn.nth(1).click()
        return attributes.all_inner_texts() == ["crop\tpeas"]

    shown.until(told, 20, "what lies below a chain tells nothing")
    shown.until(lambda: shown.value("m.status()['layers'][1]['state']") == "ok", 20, "the kernel is not told")
    assert shown.errors() == []


def test_features_measures_places_areas_and_the_view_as_a_file(shown, lab, traffic):
    """What one looks with, in one visit; the file shows the same map again."""
    shown.run(
        "import shapely; from muses_widgets import VectorStyle\n"
        "squares = [shapely.box(x, 43.59, x + 0.02, 43.61) for x in (1.33, 1.37)]\n"
        'fields = {"type": "FeatureCollection", "features": [{"type": "Feature", "id": n, "properties": {"crop": c}, '
        '"geometry": shapely.geometry.mapping(s)} for n, (c, s) in enumerate(zip(["wheat", "peas"], squares))]}\n'
        'm.add(fields, name="Fields", style=VectorStyle.categories("crop"));'
    )
    legend = shown.panel.locator("[data-name=Fields] .muses-classes li")
    shown.until(lambda: legend.all_inner_texts() == ["peas (1)", "wheat (1)"], 20, "there is no legend")
    shapes = shown.page.locator(".muses-vectors path.leaflet-interactive")
    shown.until(lambda: shapes.count() == 2, 20, "the features are not drawn")
    attributes = shown.panel.get_by_role("region", name="Attributes of the clicked feature").locator("tr")

    def told() -> bool:
        shapes.first.click()  # the page may not listen to what it has only just drawn
        return attributes.all_inner_texts() == ["crop\twheat"]

    shown.until(told, 20, "a click tells no attributes")

    shown.panel.get_by_role("button", name="Distance", exact=True).click()
    shown.panel.get_by_role("button", name="Add the middle").press("Enter")
    go = shown.panel.get_by_label("Go to a place")
    go.fill("43.6, 1.40")
    go.press("Enter")
    shown.panel.get_by_role("button", name="Add the middle").press("Enter")
    measured = shown.panel.locator(".muses-measured")
    shown.until(lambda: measured.inner_text() == "1.62 km long", 20, "nothing is measured")
    shown.panel.get_by_role("button", name="Distance", exact=True).click()
    go.fill("Toulouse")
    go.press("Enter")
    shown.until(lambda: abs(shown.value("m.center[1]") - 1.4437) < 1e-3, 20, "the town is not found")

    shown.panel.get_by_role("button", name="Draw", exact=True).click()
    shown.page.get_by_role("button", name="Draw a rectangle").click()
    box = shown.box()
    for x, y in ((0.2, 0.3), (0.4, 0.5)):
        shown.page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=4)
        shown.page.mouse.click(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
    shown.panel.get_by_role("button", name="Rename Area 1").click()
    shown.page.keyboard.type("North field\n")
    shown.panel.get_by_role("button", name="Zoom to North field").wait_for()
    shown.panel.get_by_role("button", name="Draw", exact=True).click()
    shown.panel.get_by_role("button", name="Save areas").click()
    shown.until(lambda: (lab.root / "areas.gpkg").exists(), 20, "the areas are not saved")

    shown.panel.get_by_text("Save, send and open views").click()
    shown.panel.get_by_role("button", name="Save this view").click()
    shown.panel.locator(".muses-view .muses-done").get_by_role("link", name="view.json").wait_for()
    shown.until(lambda: (lab.root / "view.json").exists(), 20, "the view is not saved")
    same = "again.stack()[0].entry['chain'] == m.stack()[0].entry['chain'], again.areas.find('1').name"
    assert shown.value(f"(again := Map.open_view('view.json')) and [{same}]") == [True, "North field"]
    shown.screenshot("panel-tools")
    assert traffic.left_the_machine() == []


RED, BLUE = (160, 40, 40), (40, 80, 160)
HALF = math.pi * 6378137
MIDDLE = 1.38 / 180 * HALF


def columns(query: dict[str, str]) -> tuple[float, float]:
    """The west and the east, in web Mercator, of what a WMS 1.1.1 or a WMTS is asked for by its standard's names."""
    if query["SERVICE"] == "WMS":
        assert (query["REQUEST"], query["LAYERS"], query["SRS"]) == ("GetMap", "HALVES", "EPSG:3857")
        west, south, east, north = map(float, query["BBOX"].split(","))
        assert (query["WIDTH"], query["HEIGHT"]) == ("256", "256") and north - south == pytest.approx(east - west)
        return west, east
    assert (query["REQUEST"], query["LAYER"], query["TILEMATRIXSET"]) == ("GetTile", "HALVES", "PM")
    side = 2 * HALF / 2 ** int(query["TILEMATRIX"])
    return int(query["TILECOL"]) * side - HALF, (int(query["TILECOL"]) + 1) * side - HALF


@pytest.fixture
def maps_of_others():
    """The address of a machine that serves one blue tile for all, by WMS and WMTS a world that is red in the west."""

    class Tile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name.upper(): value for name, value in parse_qsl(urlsplit(self.path).query)}
            image = Image.new("RGB", (256, 256), BLUE)
            if "SERVICE" in query:
                west, east = columns(query)
                image.paste(RED, (0, 0, round(min(max((MIDDLE - west) / (east - west), 0), 1) * 256), 256))
            body = io.BytesIO()
            image.save(body, "PNG")
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            self.wfile.write(body.getvalue())

        def log_message(self, *_: object) -> None:
            """Not in the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Tile)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("kind", ["WMS", "WMTS"])
def test_the_maps_of_a_server_of_others_are_in_their_place(shown, maps_of_others, kind):
    how = '"HALVES"' if kind == "WMS" else '"HALVES", matrix_set="PM"'
    shown.run(f'm.add_background("{maps_of_others}/{kind.lower()}", "Halves", layers={how}, attribution="© Others")')
    tiles = shown.page.locator(f".leaflet-tile-pane img.leaflet-tile-loaded[src^='{maps_of_others}']")
    shown.until(lambda: tiles.count() >= 12, 60, "the map is not there")
    shown.panel.get_by_role("checkbox", name="NDVI").uncheck()
    shown.map.locator(".leaflet-control-attribution", has_text="© Others").wait_for()
    shown.page.wait_for_timeout(1000)  # until the tiles have faded in
    picture = Image.open(io.BytesIO(shown.map.screenshot())).convert("RGB")
    y, middle = round(picture.height * 0.62), picture.width / 2
    for x, colour in ((middle - 6, RED), (middle + 6, BLUE)):
        assert picture.getpixel((round(x), y)) == colour, "the middle of the map is elsewhere"
    shown.says("m.remove('Halves')")
    tiles.first.wait_for(state="detached")


def test_backgrounds_a_relief_corners_full_screen_and_a_view_that_is_opened_again(shown, maps_of_others):
    others = "{z}/{x}/{y}.png"
    shown.run(
        "import shapely, ipyleaflet\n"
        f'm.add_background("{maps_of_others}/{others}", "Blue")\n'
        f'm.add_background("http://127.0.0.1:1/{others}", "Gone")\n'
        'm.add((ndvi * 100).hillshade(z_factor=5).style(cmap="gray", label="Relief"), name="Relief")\n'
        'm.move("Relief", "bottom")\n'
        'm.areas.add(shapely.box(1.36, 43.59, 1.38, 43.605), name="Field")\n'
        'm.add(ipyleaflet.Marker(location=(43.6, 1.38), name="Here"));'
    )
    shown.loaded()
    gone = shown.panel.locator("[data-name=Gone] .muses-error")
    gone.get_by_text("127.0.0.1:1 does not give this map").wait_for(timeout=30_000)
    blue = shown.page.locator(f".leaflet-tile-pane img[src^='{maps_of_others}']")
    shown.until(lambda: blue.count() >= 4, 30, "the background is not asked for")
    shown.panel.locator("[data-name=Blue] .muses-error").wait_for(state="hidden")
    assert shown.panel.locator(".muses-layers .muses-name").all_inner_texts() == ["NDVI", "Relief"]
    ndvi, relief = _z_order(shown.page)[-2:]
    assert relief < ndvi, "the relief does not lie below"

    shown.panel.get_by_role("button", name="Edit Field").click()
    shown.page.get_by_role("button", name="Move corners").click()
    corner = shown.page.locator(".marker-icon:not(.marker-icon-middle)").first
    corner.wait_for()
    before, at = shown.value("m.areas.find('1').geometry.area"), corner.bounding_box()
    shown.page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    shown.page.mouse.down()
    shown.page.mouse.move(at["x"] - 30, at["y"] + 40, steps=6)
    shown.page.mouse.up()
    shown.until(lambda: shown.value("m.areas.find('1').geometry.area") != before, 20, "the corner is where it was")
    shown.screenshot("panel-corner")
    shown.panel.get_by_role("button", name="Finish Field").click()

    full = shown.panel.get_by_role("button", name="Full screen")
    full.click()
    shown.until(lambda: full.get_attribute("aria-pressed") == "true", 20, "the map has not the whole screen")
    assert shown.page.evaluate("document.fullscreenElement.matches('.leaflet-container')")
    shown.screenshot("panel-full")
    full.click()
    shown.until(lambda: full.get_attribute("aria-pressed") == "false", 20, "the map has the whole screen still")

    shown.panel.get_by_text("Save, send and open views").click()
    told = shown.panel.locator(".muses-view-told")
    told.get_by_text("Marker 'Here': only a notebook can hold it, not a file").wait_for(timeout=30_000)
    shown.panel.get_by_label("Name of the file", exact=True).fill("field.json")
    shown.panel.get_by_role("button", name="Save this view").click()
    told.get_by_role("link", name="field.json").wait_for()
    shown.screenshot("panel-view")
    shown.says("m.remove('NDVI'), m.remove('Blue'), m.areas.clear()")
    shown.panel.get_by_role("button", name="Open", exact=True).click()
    told.get_by_text("Shows field.json").wait_for(timeout=30_000)
    names = (
        "[[t.name for t in m.stack()], [a.name for a in m.areas], [o.name for o in m.others if 'Ba' in str(type(o))]]"
    )
    assert shown.value(names) == [["Relief", "NDVI"], ["Field"], ["Blue", "Gone"]]
    shown.loaded()


def _drag(shown, name: str, below: str) -> None:
    grip = shown.panel.get_by_role("button", name=f"Move {name}", exact=True).bounding_box()
    row = shown.panel.locator(f"[data-name='{below}']").bounding_box()
    shown.page.mouse.move(grip["x"] + 5, grip["y"] + 8)
    shown.page.mouse.down()
    shown.page.mouse.move(grip["x"] + 5, row["y"] + row["height"] - 4, steps=8)
    shown.page.mouse.up()


def _z_order(page) -> list[int]:
    return page.evaluate(
        "[...document.querySelectorAll('.leaflet-tile-pane .leaflet-layer')].map(l => +l.style.zIndex)"
    )


def test_click_gives_the_values_of_every_visible_layer(shown):
    shown.run(
        'm.add(ml.rgb(*(clear.band(b).median("t") for b in ("red", "green", "blue"))), name="Colour");'
        'm.add((ndvi > 0.5).style(classes={0: ("bare", "tan"), 1: ("green", "darkgreen")}), name="Kind")'
    )
    shown.loaded()
    shown.click(0.3, 0.5)
    values = shown.panel.locator(".muses-value").all_inner_texts()
    lines = [value.split("\n") for value in values]
    assert [line[0] for line in lines] == ["Kind", "Colour", "red", "green", "blue", "NDVI"]
    ndvi = float(lines[-1][1])
    assert lines[0][1] == ("green (1)" if ndvi > 0.5 else "bare (0)")
    at = float(shown.says("float(ndvi.at(m.clicked))"))
    assert ndvi == pytest.approx(at, abs=5e-4)
    assert shown.page.locator(".muses-marker").count() == 1
    shown.panel.get_by_role("button", name="Clear the clicked place").click()
    assert shown.page.locator(".muses-marker").count() == 0
    shown.until(lambda: shown.says("m.clicked") == "None", 10, "the kernel has the place still")


def test_failed_tiles_are_shown_with_their_reason_and_can_be_retried(shown, traffic):
    """A layer whose chain is not in the store: the service says so; once it is there, Retry loads all of it."""
    shown.run(
        "from unittest.mock import patch\n"
        "from muses_lab.store.sql import SqlStore\n"
        "with patch.object(SqlStore, 'put_document'):\n"
        "    late = m.add((ndvi * 0.8).style(cmap='plasma'), name='NDVI')"
    )
    shown.until(lambda: shown.panel.get_attribute("data-loading") == "0", 60, "tiles hang")
    shown.until(lambda: int(shown.panel.get_attribute("data-failed")) >= 12, 10, "failures are not shown")
    shown.screenshot("panel-failed")
    assert "tiles failed" in shown.panel.locator(".muses-summary").inner_text()
    shown.panel.locator(".muses-failures summary").click()
    reason = shown.panel.locator(".muses-failures li").inner_text()
    assert "tiles: " in reason and "chain" in reason
    shown.run("late.publish()")
    shown.panel.get_by_role("button", name="Retry").click()
    shown.loaded()
    assert shown.panel.locator(".muses-failures").is_hidden()


def test_export_button_writes_what_is_seen(shown, lab):
    shown.panel.get_by_role("button", name="Export this view").click()
    done = shown.panel.locator(".muses-done")
    done.wait_for(timeout=120_000)
    name = done.get_by_role("link").first.inner_text()
    assert (lab.root / name).exists()
    equal = shown.run(
        f"import rasterio, numpy as np\nwith rasterio.open({name!r}) as f: written = f.read(1)\n"
        "print(np.array_equal(written, ndvi.compute(m.view()).values, equal_nan=True))"
    )
    assert equal.endswith("True")


def test_an_error_of_the_export_is_shown(shown, lab):
    shown.run("import os; os.chdir('/proc')")  # nothing can be written there
    shown.panel.get_by_role("button", name="Export this view").click()
    shown.panel.locator(".muses-export .muses-failed").wait_for(timeout=60_000)
    assert "Export failed" in shown.panel.locator(".muses-export").inner_text()
    shown.run(f"os.chdir({str(lab.root)!r})")


def test_web_base_maps_are_asked_only_when_chosen(shown, traffic):
    assert shown.panel.get_by_label("Base map").locator("option").count() >= 4
    assert traffic.left_the_machine() == []
    shown.panel.get_by_label("Base map").select_option("OpenStreetMap")
    shown.until(lambda: traffic.left_the_machine() != [], 10, "the chosen base map is not asked for")
    assert all(url.startswith("https://tile.openstreetmap.org/13/") for url in traffic.left_the_machine())
    shown.panel.get_by_text("This base map does not load").wait_for()
    assert "OpenStreetMap" in shown.page.locator(".leaflet-control-attribution").inner_text()
    shown.panel.get_by_label("Base map").select_option("Offline")
    traffic.forget()
    shown.page.locator(".leaflet-control-zoom-out").click()
    shown.loaded()
    assert traffic.left_the_machine() == []
    assert "OpenStreetMap" not in shown.page.locator(".leaflet-control-attribution").inner_text()


def test_panel_is_used_with_the_keyboard_and_folds(shown):
    cells = shown.page.locator(".jp-Notebook .jp-CodeCell").count()
    fold = shown.panel.get_by_role("button", name="Layers")
    fold.focus()
    fold.press("Enter")
    assert shown.panel.locator(".muses-body").is_hidden()
    assert shown.panel.locator(".muses-summary").is_visible()
    assert fold.get_attribute("aria-expanded") == "false"
    fold.press("Enter")
    assert shown.panel.locator(".muses-body").is_visible()
    reached = []
    for _ in range(8):
        shown.page.keyboard.press("Tab")
        reached.append(shown.page.evaluate("document.activeElement.closest('.muses-panel') !== null"))
    assert reached[:4] == [True] * 4
    assert shown.page.locator(".jp-Notebook .jp-CodeCell").count() == cells  # no key was taken for a notebook shortcut


@pytest.mark.parametrize("width", [1300, 900])
def test_panel_covers_neither_attribution_nor_most_of_the_map(shown, width):
    shown.page.set_viewport_size({"width": width, "height": 900})
    shown.run('m.add((ndvi > 0.5).style(classes={0: ("bare", "tan"), 1: ("green", "darkgreen")}), name="Kind");')
    shown.loaded()
    shown.click(0.2, 0.5)
    shown.screenshot(f"panel-{width}")
    panel, frame = shown.panel.bounding_box(), shown.box()
    attribution = shown.page.locator(".leaflet-control-attribution").bounding_box()
    assert panel["y"] + panel["height"] <= attribution["y"]
    assert panel["width"] < 0.45 * frame["width"]
    assert panel["x"] + panel["width"] <= frame["x"] + frame["width"]


def test_the_map_shown_twice_has_a_working_panel_each(shown):
    shown.run("m")
    shown.until(lambda: shown.page.locator(".muses-panel[data-loading='0']").count() == 2, 60, "one panel is missing")
    second = shown.page.locator(".muses-panel").nth(1)
    assert "All tiles shown" in second.inner_text()
    second.get_by_role("checkbox", name="NDVI").uncheck()
    first = shown.panel.get_by_role("checkbox", name="NDVI")
    shown.until(lambda: not first.is_checked(), 5, "the panels differ")


def test_a_chain_of_the_whole_view_keeps_its_extent_when_the_map_moves(shown):
    first = shown.run(
        'shown = m.add((ndvi > 0.6).connected_components(min_area=20000), name="Fields"); shown.chain.hash'
    )
    shown.loaded()
    shown.drag(-200, -60)
    shown.loaded()
    assert shown.run("m.layer('Fields').chain.hash") == first
    assert shown.run("shown.chain.is_pinned") == "True"


def test_service_is_found_by_the_kernel(shown):
    assert shown.run("from muses_widgets import find_service; print(find_service().state)") == "there"


def test_scenes_that_cannot_be_read_are_listed_with_their_reason(shown, tmp_path):
    """A small catalogue of its own, of which one file is damaged."""
    folder = generate(tmp_path / "damaged", size=288, dates=3)
    damaged = sorted(folder.glob("sentinel-2-l2a/*/*/B04.tif"))[0]
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    red = f'ml.collection("sentinel-2-l2a", {str(folder)!r}).band("red").max("t").style(vmax=0.3)'
    shown.run(f'm.center = (43.6, 1.44); m.remove("NDVI"); m.add({red}, name="Red");')
    shown.panel.locator(".muses-summary").get_by_text("1 scene left out").wait_for(timeout=120_000)
    shown.loaded()
    shown.panel.locator(".muses-failures summary").click()
    reason = shown.panel.locator(".muses-failures li").inner_text()
    shown.screenshot("panel-scene-left-out")
    assert damaged.parent.name.replace("-", "") in reason and ": " in reason

"""The user's own files, chosen or dropped on the map; exports by the form, and the jobs that they are."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image

from tests.browser.accessibility import no_serious_faults

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import muses_lab as ml
from muses_widgets import Map
clear = ml.collection("sentinel-2-l2a").mask_clouds()
m = Map(center=(43.59, 1.415), zoom=13, height="620px")
m.add(clear.ndvi().median("t").style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI"), name="NDVI")
m
"""

DROP = """([element, name, text]) => {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    element.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
  }
}"""


@pytest.fixture(scope="module")
def opened(notebook, lab):
    notebook.open(lab.notebook("exports.ipynb", SETUP)).run_all()
    notebook.page.set_viewport_size({"width": 1400, "height": 900})
    return notebook.loaded()


@pytest.fixture(scope="module")
def raster(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("own") / "heights.tif"
    rng = np.random.default_rng(1)
    with rasterio.open(
        file, "w", driver="GTiff", count=1, height=1200, width=1200, dtype="float32", crs="EPSG:4326",
        transform=rasterio.transform.from_origin(1.40, 43.60, 0.00003, 0.00003),
    ) as one:  # fmt: skip
        one.write(rng.normal(200, 30, (1, 1200, 1200)).astype("float32"))
    return file


def entry(opened, name: str):
    return opened.panel.locator(".muses-files-list li").filter(has_text=name)


def test_a_raster_is_chosen_and_shown(opened, traffic, raster: Path) -> None:
    assert raster.stat().st_size > 2 << 20, "more than a piece"
    opened.panel.get_by_label("Files to add").set_input_files(str(raster))
    entry(opened, "heights.tif").locator("code").wait_for(timeout=60_000)
    opened.covered(2, 0.3)
    kept = list((opened.lab.home / "uploads").glob("*/heights.tif"))
    assert len(kept) == 1 and kept[0].read_bytes() == raster.read_bytes(), "as it was sent"
    code = entry(opened, "heights.tif").locator("code").inner_text()
    assert opened.value(f"{code}.identical(m.layer('heights').chain)")
    no_serious_faults(opened.page, ".muses-panel")
    opened.screenshot("files-1-shown")
    assert opened.errors() == []


def test_a_broken_file_that_is_dropped_says_what_is_wrong(opened) -> None:
    body = base64.b64encode(b"<html>404 Not Found</html>").decode()
    opened.page.evaluate(DROP, [opened.map.element_handle(), "dem.tif", body])
    failed = entry(opened, "does not begin as a TIF does")
    failed.wait_for(timeout=60_000)
    opened.screenshot("files-2-broken")
    failed.get_by_role("button", name="Forget dem.tif").click()
    failed.wait_for(state="detached")
    assert opened.value("[one['name'] for one in m.panel.sections['files']['files']]") == ["heights.tif"]


def test_points_and_a_geopackage_are_dropped_and_drawn_with_their_legend(opened, tmp_path: Path) -> None:
    field = shapely.box(1.41, 43.585, 1.42, 43.59)
    geopandas.GeoDataFrame({"crop": ["wheat"]}, geometry=[field], crs=4326).to_file(tmp_path / "fields.gpkg")
    points = b"name,lon,lat\nWell,1.411,43.592\nSpring,1.419,43.594\n"
    shapes = opened.page.locator(".muses-vectors path.leaflet-interactive")
    before = shapes.count()
    for name, body, features in (
        ("wells.csv", points, "2 features in EPSG:4326, with name"),
        ("fields.gpkg", (tmp_path / "fields.gpkg").read_bytes(), "1 feature in EPSG:4326, with crop"),
    ):
        opened.page.evaluate(DROP, [opened.map.element_handle(), name, base64.b64encode(body).decode()])
        entry(opened, name).locator("code").wait_for(timeout=60_000)
        assert features in entry(opened, name).inner_text()
        opened.panel.locator(f"[data-name='{name.split('.')[0]}'] .muses-legend").wait_for()
    opened.until(lambda: shapes.count() == before + 3, 20, "not all features are drawn")
    opened.screenshot("files-3-vectors")
    opened.says("m.remove('wells'), m.remove('fields')")


def test_a_view_of_a_colleague_is_dropped_and_shown_in_this_map(opened, tmp_path: Path) -> None:
    """Its layers in the place of those that are there; nothing changes before somebody wants it."""
    view = tmp_path / "theirs.json"
    opened.says(f"m.save_view({str(tmp_path / 'mine.json')!r})")
    green = "(clear.ndvi().median('t') > 0.5).style(classes={0: ('bare', 'tan'), 1: ('green', 'darkgreen')})"
    opened.run(
        "import shapely\n"
        "theirs = Map(center=(43.6, 1.42), zoom=12)\n"
        "theirs.add(shapely.box(1.41, 43.585, 1.42, 43.59), name='Field')\n"
        f"theirs.add({green}, name='Green')\n"
        f"theirs.group('Plants', ['Green', 'Field']), theirs.save_view({str(view)!r});"
    )
    names = opened.panel.locator(".muses-layers .muses-name")
    before = names.all_inner_texts()
    opened.page.evaluate(
        DROP, [opened.map.element_handle(), "theirs.json", base64.b64encode(view.read_bytes()).decode()]
    )
    button = entry(opened, "theirs.json").get_by_role("button", name="Show theirs.json in this map")
    button.wait_for(timeout=60_000)
    assert "A saved view of Green, Field" in entry(opened, "theirs.json").inner_text()
    assert names.all_inner_texts() == before and "heights" in before
    button.click()
    opened.until(lambda: names.all_inner_texts() == ["Plants", "Green", "Field"], 60, "the view is not shown")
    opened.loaded()
    assert opened.value("[[t.name for t in m.listed()], list(m.groups), m.zoom]") == [
        ["Field", "Green"],
        ["Plants"],
        12,
    ]
    opened.screenshot("files-5-view")
    opened.says(f"m.show_view({str(tmp_path / 'mine.json')!r})")
    opened.loaded()
    assert names.all_inner_texts() == before and opened.errors() == []


def test_an_upload_under_way_is_cancelled(opened, raster: Path) -> None:
    """The second piece never arrives."""
    came: list[str] = []

    def hold(route) -> None:
        came.append(route.request.method)
        if came != ["POST", "POST"]:
            route.continue_()

    opened.page.route("**/muses/uploads/**", hold)
    large = {"name": "large.tif", "mimeType": "image/tiff", "buffer": raster.read_bytes()}
    opened.panel.get_by_label("Files to add").set_input_files(large)
    entry(opened, "large.tif").get_by_text(re.compile(r"^2(\.0)? MiB of")).wait_for(timeout=60_000)
    opened.screenshot("files-4-under-way")
    entry(opened, "large.tif").get_by_role("button", name="Cancel large.tif").click()
    entry(opened, "large.tif").wait_for(state="detached")
    opened.until(lambda: not list((opened.lab.home / "uploads").rglob("*large*")), 30, "what had arrived is kept")
    opened.page.unroute("**/muses/uploads/**")


def form(opened):
    element = opened.panel.locator(".muses-export-form")
    if element.get_attribute("open") is None:
        element.locator("> summary").click()
    return element


def jobs(opened):
    element = opened.panel.locator(".muses-jobs")
    if element.get_attribute("open") is None:
        element.locator("> summary").click()
    return element


def test_the_form_tells_what_it_will_be_and_writes_it(opened, lab) -> None:
    opened.says("m.remove('heights')")
    element = form(opened)
    told = element.locator(".muses-export-told")
    opened.until(lambda: "Identical to what you see." in told.inner_text(), 60, "no estimate")
    element.get_by_label("Pixels", exact=True).select_option("native")
    opened.until(lambda: "10 m wide in EPSG:32631" in told.inner_text(), 60, "the difference to the map is not told")
    element.get_by_label("File", exact=True).fill("native.tif")
    opened.until(lambda: "native.tif" in element.locator(".muses-export-line").inner_text(), 30, "no line of Python")
    no_serious_faults(opened.page, ".muses-panel")
    opened.screenshot("exports-1-form")
    line = element.locator(".muses-export-line").inner_text()
    element.get_by_role("button", name="Export", exact=True).click()
    done = jobs(opened).locator("li").filter(has_text="native.tif")
    done.filter(has_text="done").wait_for(timeout=90_000)
    same = line.replace("native.tif", "again.tif")
    opened.says(f"{same}.wait()")
    assert (lab.root / "native.tif").read_bytes() == (lab.root / "again.tif").read_bytes()


def test_a_result_is_opened_as_a_layer_and_told_as_python(opened) -> None:
    done = jobs(opened).locator("li").filter(has_text="native.tif")
    done.get_by_role("button", name="Open as a layer: native.tif").click()
    opened.panel.get_by_role("checkbox", name="native.tif").wait_for(timeout=60_000)
    done.get_by_role("button", name="Copy as Python: native.tif").click()
    code = jobs(opened).get_by_label("The job as Python")
    opened.until(lambda: "export(" in code.input_value(), 30, "no Python")
    opened.screenshot("exports-2-jobs")


def test_run_again_and_download_give_the_same_file(opened, lab) -> None:
    done = jobs(opened).locator("li").filter(has_text="native.tif")
    with opened.page.expect_download() as download:
        done.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == (lab.root / "native.tif").read_bytes()
    done.get_by_role("button", name="Run again: native.tif").click()
    opened.panel.locator(".muses-jobs-notice").get_by_text("native-2.tif is written").wait_for(timeout=90_000)
    assert (lab.root / "native-2.tif").read_bytes() == (lab.root / "native.tif").read_bytes()
    opened.says("m.remove('native.tif')")


def test_an_animation_of_an_area_that_is_drawn(opened, lab) -> None:
    look = 'style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI")'
    opened.says(f"m.add(clear.ndvi().over_time('month').{look}, name='Months')")
    opened.loaded()
    opened.panel.get_by_role("button", name="Draw", exact=True).click()
    opened.page.get_by_role("button", name="Draw a rectangle").click()
    box = opened.box()
    for x, y in ((0.2, 0.3), (0.35, 0.5)):
        opened.page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=4)
        opened.page.mouse.click(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
    opened.panel.get_by_role("button", name="Zoom to Area 1").wait_for()
    opened.panel.get_by_role("button", name="Draw", exact=True).click()
    opened.panel.get_by_label("Layer to export").select_option("Months")
    element = form(opened)
    element.get_by_label("Format").locator("option[value=GIF]").wait_for(state="attached", timeout=30_000)
    element.get_by_label("Area", exact=True).select_option("places")
    element.get_by_label("Pixels", exact=True).select_option("shown")
    element.get_by_label("Dates", exact=True).select_option("all")
    element.get_by_label("Format").select_option("CSV")
    opened.until(lambda: "rows: 1 area at" in element.locator(".muses-export-told").inner_text(), 60, "no estimate")
    opened.screenshot("exports-6-table")
    element.get_by_label("Format").select_option("GIF")
    element.get_by_label("File", exact=True).fill("months.gif")
    opened.until(lambda: "months.gif" in element.locator(".muses-export-line").inner_text(), 60, "no line of Python")
    opened.screenshot("exports-7-animation")
    element.get_by_role("button", name="Export", exact=True).click()
    opened.panel.locator(".muses-export .muses-done").get_by_role("link", name="months.gif").wait_for(timeout=90_000)
    with Image.open(lab.root / "months.gif") as film:
        assert film.n_frames == opened.value("len(m.tiles('Months').over)")
    opened.says("m.remove('Months')")


def test_a_long_export_is_paused_goes_on_after_a_reload_and_is_cancelled(opened, lab) -> None:
    slow = "m.layer('NDVI').chain.focal_median(60).export('slow.tif', 'footprint', crs='EPSG:32631', resolution=1)"
    opened.says(slow)
    row = jobs(opened).locator("li").filter(has_text="slow.tif")
    row.get_by_role("button", name="Pause: slow.tif").click()
    row.filter(has_text="paused").wait_for(timeout=60_000)
    opened.save()
    opened.open("exports.ipynb")  # the kernel goes on, the page is another
    opened.loaded()
    row = jobs(opened).locator("li").filter(has_text="slow.tif")
    row.get_by_role("button", name="Resume: slow.tif").click(timeout=60_000)
    row.filter(has_text="%").wait_for(timeout=60_000)
    row.get_by_role("button", name="Cancel: slow.tif").click()
    row.filter(has_text="cancelled").wait_for(timeout=60_000)
    assert not (lab.root / "slow.tif").exists() and not list(lab.root.glob("*slow*"))
    row.get_by_role("button", name="Retry: slow.tif").click()
    row.filter(has_text="%").wait_for(timeout=60_000)
    row.get_by_role("button", name="Cancel: slow.tif").click()
    row.filter(has_text="cancelled").wait_for(timeout=60_000)
    opened.screenshot("exports-3-cancelled")


def test_it_looks_right_in_the_dark_and_when_narrow(opened) -> None:
    opened.choose_theme("JupyterLab Dark")
    form(opened).scroll_into_view_if_needed()
    no_serious_faults(opened.page, ".muses-panel")
    opened.screenshot("exports-4-dark")
    opened.page.set_viewport_size({"width": 700, "height": 1000})
    opened.page.wait_for_timeout(800)
    opened.screenshot("exports-5-narrow")
    opened.page.set_viewport_size({"width": 1400, "height": 900})
    opened.choose_theme("JupyterLab Light")

"""The app without code as a person uses it: choose a region, click fields, compare, export; by Voilà, offline."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import nbformat
import pytest
import rasterio
from playwright.sync_api import Locator, Page

from tests.browser.accessibility import OURS, keys_reach_everything, no_serious_faults
from tests.browser.test_series_panel import drawn, panel_of
from tests.helpers.jupyterlab import Lab, Notebook, Traffic

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

APP = f"{', '.join(OURS)}, .jp-RenderedHTMLCommon, .widget-dropdown, .widget-toggle-button"
NAME = "app-history-of-fields.ipynb"
YEARS = "A wood and its fields, 2016 to 2021"
WEST = "/14/8254/"
"""In the URLs of tiles: a column that is in this region's view and not in that of the first one."""

STATE = "print('the kernel has', m.panel.clicked, series.place, series.told, str(series.plot)[:80], m.panel.shown)"


@pytest.fixture(scope="module")
def page(browser, lab, traffic, years_sample, repository):
    """The app, opened by its address with the token, as `make app` prints it: no JupyterLab was there before."""
    shutil.copytree(years_sample, lab.home / "sample-years")
    shutil.copy(repository / "notebooks" / NAME, lab.root)
    context = browser.new_context(viewport={"width": 1300, "height": 1400})
    page = context.new_page()
    traffic.watch(page)
    page.goto(f"{lab.url}voila/render/{NAME}?token={lab.token}", timeout=240_000)
    yield page
    context.close()
    lab.stop_kernels()
    lab.empty()


@pytest.fixture(scope="module")
def app(notebook: Notebook) -> Notebook:
    notebook.panel.wait_for(timeout=180_000)
    return notebook.loaded(timeout=180)


def choice(page: Page, name: str) -> Locator:
    return page.get_by_role("combobox", name=name, exact=True)


def click_map(app: Notebook, x: float, y: float) -> None:
    before = panel_of(app).locator(".muses-sp-canvas").get_attribute("data-drawn")
    app.click(x, y)
    try:
        drawn(app, before)
    except AssertionError as error:  # has the kernel not heard it, or the page not heard the kernel?
        raise AssertionError(f"{error}; {app.lab.kernel_prints(STATE)}") from None


def test_no_code_is_seen(app: Notebook, page: Page, traffic: Traffic) -> None:
    assert page.get_by_role("heading", name="The history of fields").is_visible()
    seen = page.locator("body").inner_text()
    for code in ("import ", "muses_lab", "def ", "Traceback", "In ["):
        assert code not in seen
    assert page.locator(".jp-InputArea-editor, .jp-CodeMirrorEditor").count() == 0
    assert {tile.status for tile in traffic.tiles()} == {200}
    refused = [answer.url for answer in traffic.answered if answer.status in (401, 403) and "/muses/" in answer.url]
    assert refused == []
    app.screenshot("app-1")


def test_a_region_is_chosen_and_a_clicked_field_tells_its_six_years(
    app: Notebook, page: Page, traffic: Traffic
) -> None:
    traffic.forget()
    choice(page, "Region").select_option(YEARS)
    app.until(lambda: any(WEST in url for url in traffic.asked), 120, "the region's tiles are not asked for")
    page.wait_for_function("!document.querySelector('.leaflet-pan-anim')")  # the map has arrived
    click_map(app, 0.45, 0.45)  # while the kernel is still at the region: the click is answered all the same
    day = page.get_by_role("region", name="Dates").locator(".muses-time-label")
    app.until(lambda: day.inner_text() == "2019-07-15", 120, "the region's date is not shown")
    app.loaded(timeout=180)
    assert {tile.status for tile in traffic.tiles()} == {200}
    dates = panel_of(app).get_by_role("group", name="Images of the dates").get_by_role("button")
    assert dates.count() == 72
    spoken = panel_of(app).locator(".muses-sp-canvas").get_attribute("aria-label") or ""
    assert spoken.startswith("Series. Clicked place: ")
    app.screenshot("app-2-clicked")


def test_a_kept_field_is_compared_with_the_next_one_and_saved_as_csv(app: Notebook, page: Page, tmp_path: Path) -> None:
    panel = panel_of(app)
    panel.get_by_role("button", name="Keep").click()
    panel.get_by_role("textbox", name="Name").first.wait_for(timeout=60_000)
    click_map(app, 0.5, 0.3)
    with page.expect_download() as download:
        panel.get_by_role("button", name="CSV", exact=True).click()
    download.value.save_as(tmp_path / "series.csv")
    with (tmp_path / "series.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 72 and len({row["place_name"] for row in rows}) == 2
    assert {row["quantity"] for row in rows} == {"NDVI"}
    app.screenshot("app-3-kept")
    no_serious_faults(page, APP)
    keys_reach_everything(page, APP)


@pytest.mark.thorough
def test_two_months_are_compared_by_a_line(app: Notebook, page: Page) -> None:
    choice(page, "Region").select_option(YEARS)
    day = page.get_by_role("region", name="Dates").locator(".muses-time-label")
    app.until(lambda: day.inner_text().startswith("2019-07"), 120, "the region's date is not shown")
    choice(page, "Compare").select_option("2018-07")
    choice(page, "with").select_option("2020-07")
    page.get_by_role("button", name="Compare months").click()
    handle = app.map.get_by_role("slider", name="Line between the two layers")
    handle.wait_for(timeout=60_000)
    app.loaded(timeout=180)
    assert {"Before", "After"} <= set(app.panel.locator(".muses-name").all_inner_texts())
    assert [text for text in ("2018-07", "2020-07") if text in app.panel.inner_text()] == ["2018-07", "2020-07"]
    app.screenshot("app-4-compared")
    page.get_by_role("button", name="Compare months").click()
    handle.wait_for(state="detached", timeout=60_000)


@pytest.mark.thorough
def test_another_index_is_shown(app: Notebook, page: Page, traffic: Traffic) -> None:
    traffic.forget()
    choice(page, "Show").select_option("Moisture of plants (NDMI)")
    app.until(lambda: "Moisture of plants" in app.panel.inner_text(), 60, "the index is the same")
    names = app.panel.locator(".muses-name")
    app.until(lambda: {"NDMI", "NDVI"} & set(names.all_inner_texts()) == {"NDMI"}, 60, "not by its name")
    assert panel_of(app).get_by_role("combobox", name="Value").input_value() == "NDMI"
    app.loaded(timeout=180)
    assert {tile.status for tile in traffic.tiles()} == {200}


def test_the_view_is_exported_and_downloaded(app: Notebook, page: Page, lab: Lab, tmp_path: Path) -> None:
    app.panel.get_by_role("button", name="Export this view").click()
    link = app.panel.locator("a.muses-download")
    link.wait_for(timeout=180_000)
    with page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "view.tif")
    (written,) = lab.root.glob("*.tif")
    assert download.value.suggested_filename == written.name
    assert (tmp_path / "view.tif").read_bytes() == written.read_bytes()
    with rasterio.open(tmp_path / "view.tif") as file:
        assert file.crs.to_epsg() == 3857 and file.tags()["MUSES_CHAIN"]


@pytest.mark.thorough
def test_it_is_legible_in_the_dark_and_on_a_telephone(app: Notebook, page: Page, lab: Lab, traffic: Traffic) -> None:
    assert traffic.left_the_machine(traffic.everything) == []
    page.set_viewport_size({"width": 420, "height": 1400})
    book = nbformat.read(lab.root / NAME, 4)
    book.metadata["voila"]["theme"] = "dark"
    nbformat.write(book, lab.root / "dark.ipynb")
    page.goto(f"{lab.url}voila/render/dark.ipynb", timeout=240_000)
    app.panel.wait_for(state="attached", timeout=180_000)
    app.loaded(timeout=180)
    red, *_ = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert red < 60, "the page is not dark"
    app.screenshot("app-5-dark-narrow")
    no_serious_faults(page, APP)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the screen"
    scale, makers = (app.map.locator(f".leaflet-control-{one}").bounding_box() for one in ("scale", "attribution"))
    assert scale and makers and scale["x"] + scale["width"] <= makers["x"], "one lies on the other"
    for name in ("Region", "Show", "Compare", "with"):
        box = choice(page, name).bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 420

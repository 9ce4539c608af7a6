"""Notebook 01 as a newcomer meets it: run on `make lab`'s sample, used, saved, reopened, shown by Voilà."""

from __future__ import annotations

import ast
import json
import re
import shutil
from functools import partial

import nbformat
import pytest
import rasterio

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "01-first-map.ipynb"


@pytest.fixture(scope="module")
def lab(lab_sample, start_lab, repository):
    """A JupyterLab whose user has the sample of `make lab`."""
    lab = start_lab("first-map", lab_sample)
    shutil.copy(repository / "notebooks" / NAME, lab.root)
    return lab


@pytest.fixture(scope="module")
def opened(notebook):
    """The notebook, open, all cells run. The tests of this module follow one another, as a user's steps do."""
    notebook.open(NAME).run_all(timeout=300)
    return notebook.loaded(timeout=180)


def seconds_to_the_last_tile(
    notebook, lab, traffic, repository, name: str, start: str, end: str
) -> tuple[float, float]:
    """Runs notebook 01 up to its map: how long the last tile takes from the end of the map's cell, and of the first.

    The map's cell runs once the cluster is there or starts, which the first cell has brought about.
    """
    book = nbformat.read(repository / "notebooks" / NAME, as_version=4)
    cells = [cell.source for cell in book.cells if cell.cell_type == "code"][:4]
    assert cells[3].rstrip().endswith("\nm")
    told = (
        "import time\nends = []\nget_ipython().events.register('post_run_cell', lambda _: ends.append(time.time()))\n"
    )
    dates = '.dates("2018-01-01", "2019-01-01")'
    assert dates in cells[1]
    cells[:2] = told + cells[0], cells[1].replace(dates, f'.dates("{start}", "{end}")')

    def ready() -> bool:
        notebook.choose_kernel()
        return notebook.is_idle()

    notebook.open(lab.notebook(name, *cells)).until(ready, 90, "the kernel is not ready")
    traffic.forget()
    notebook.run_first(timeout=120)
    notebook.until(lambda: lab.muses("cluster")["state"] != "off", 120, "importing does not start the cluster")
    for keys in ("Shift+Enter", "Shift+Enter", "Control+Enter"):  # the last one adds no cell
        notebook.page.keyboard.press(keys)
    notebook.idle()
    notebook.loaded(timeout=180)
    tiles = traffic.tiles()
    assert len(tiles) >= 12 and {tile.status for tile in tiles} == {200}
    timings = [tile.request.timing for tile in tiles]
    last = max(timing["startTime"] + timing["responseEnd"] for timing in timings) / 1000
    ends = ast.literal_eval(notebook.run("print(ends)"))
    lab.stop_kernels()
    return last - ends[3], last - ends[0]


@pytest.mark.thorough  # test_service_kernels.py says so of kernels, without a browser
@pytest.mark.parametrize("compared", [False, True])
def test_the_cluster_starts_before_the_first_map_asks_for_tiles(
    notebook, lab, traffic, repository, record_property, compared
):
    """Once a newcomer's notebook has imported the library; a second map, of other scenes, finds it warm."""
    assert lab.muses("cluster")["state"] == "off"
    view = partial(seconds_to_the_last_tile, notebook, lab, traffic, repository)
    first, whole = view("newcomer.ipynb", "2018-01-01", "2018-07-01")
    told = f"the first map's last tile comes {first:.1f} s after its cell, {whole:.1f} s after the first cell"
    if compared:
        warm, _ = view("again.ipynb", "2018-07-01", "2019-01-01")
        ratio = f"({(first - 1) / warm:.1f} times, without 1 s)"
        told += f"; the same view on the warm cluster {warm:.1f} s after its cell {ratio}"
    record_property("measured", told)


def test_run_all_shows_every_tile(opened, traffic):
    assert opened.errors() == []
    assert opened.panel.locator(".muses-name").all_inner_texts() == ["Dense vegetation", "True colour", "NDVI"]
    tiles = traffic.tiles()
    assert len(tiles) >= 12 and {tile.status for tile in tiles} == {200}
    shares = opened.opaque_shares()
    assert sum(share > 0.4 for share in shares) >= 4, shares  # the view is larger than the sample
    opened.map.scroll_into_view_if_needed()
    opened.screenshot("first-map-1-run")
    assert traffic.troubles == []


def test_pan_and_zoom_fill_in(opened, traffic):
    for _ in range(2):
        traffic.forget()
        opened.page.locator(".leaflet-control-zoom-in").click()
        opened.loaded(timeout=180)
    assert {tile.status for tile in traffic.tiles()} == {200}
    opened.covered(6, 0.9)  # the others reach beyond the sample
    opened.screenshot("first-map-2-zoomed")
    traffic.forget()
    opened.drag(220, 120)
    opened.loaded(timeout=180)
    assert len(traffic.tiles()) >= 3 and {tile.status for tile in traffic.tiles()} == {200}
    opened.covered(6, 0.9)  # the others reach beyond the sample
    opened.screenshot("first-map-3-panned")


def test_base_map_follows_the_theme(opened, traffic):
    def choose(theme: str) -> list[str]:
        """The base map's tiles that the page asks for when the theme is chosen."""
        traffic.forget()
        opened.page.get_by_role("menuitem", name="Settings", exact=True).click()
        opened.page.locator(".lm-Menu-item", has_text="Theme").first.hover()
        opened.page.locator(".lm-Menu-item", has_text=f"JupyterLab {theme}").last.click()
        opened.until(lambda: any("/muses/base/" in url for url in traffic.asked), 60, "no base map for the theme")
        opened.loaded(timeout=180)
        return [url for url in traffic.asked if "/muses/base/" in url]

    asked = choose("Dark")
    assert all(url.endswith("?theme=dark") for url in asked)
    assert not traffic.tiles()  # what lies on it stays
    opened.map.scroll_into_view_if_needed()
    opened.screenshot("first-map-dark")
    assert all(url.endswith("?theme=light") for url in choose("Light"))


def test_palette_and_months_change_from_widgets(opened, traffic):
    chain = opened.chain()
    traffic.forget()
    opened.page.locator(".widget-dropdown select").select_option("viridis")

    def is_viridis() -> bool:
        ramp = opened.panel.locator("[data-name=NDVI] .muses-ramp > div").get_attribute("style") or ""
        return "68, 1, 84" in ramp or "#440154" in ramp

    opened.until(is_viridis, 60, "the legend does not show the palette")
    opened.loaded(timeout=180)
    assert opened.chain() == chain and traffic.tiles() == []  # the page has the values, and colours them anew

    traffic.forget()
    handle = opened.page.locator(".widget-slider .noUi-handle-upper")
    handle.focus()
    for _ in range(8):
        handle.press("ArrowLeft")
    opened.until(lambda: "until 2018-05-01" in opened.panel.inner_text(), 60, "the months did not change")
    opened.loaded(timeout=180)
    assert opened.chain() != chain
    assert {tile.status for tile in traffic.tiles()} == {200}
    opened.map.scroll_into_view_if_needed()
    opened.screenshot("first-map-4-palette-months")


def test_click_gives_values(opened):
    opened.click(0.3, 0.5)
    value = opened.values()["NDVI"]
    assert re.fullmatch(r"no (data|clear date|scenes) here", value) or -1 <= float(value) <= 1
    opened.screenshot("first-map-5-click")


def test_export_button_writes_a_geotiff(opened, lab):
    opened.panel.get_by_role("button", name="Export this view").click()
    done = opened.panel.locator(".muses-done")
    done.wait_for(timeout=180_000)
    done.scroll_into_view_if_needed()
    opened.screenshot("first-map-6-exported")
    with rasterio.open(lab.root / done.get_by_role("link").first.inner_text()) as file:
        assert file.crs.to_epsg() == 3857 and file.tags()["MUSES_CHAIN"] == opened.chain()
    assert (lab.root / "ndvi-toulouse.tif").exists()  # by the notebook's own cell


def test_nothing_left_the_machine(opened, traffic):
    assert len(traffic.everything) > 100
    assert traffic.left_the_machine(traffic.everything) == []


def test_saved_and_reopened_without_its_kernel(opened, lab, traffic):
    chain = opened.chain()
    opened.save()
    saved = (lab.root / NAME).read_text()
    assert lab.url not in saved and lab.token not in saved
    assert "application/vnd.jupyter.widget-state+json" in json.loads(saved)["metadata"]["widgets"]
    before = lab.kernels()
    lab.stop_kernels()
    opened.page.wait_for_timeout(1000)
    traffic.forget()
    opened.open(NAME).loaded(timeout=180)
    assert not set(before) & set(lab.kernels())  # JupyterLab starts an empty one, which knows nothing of the map
    tiles = traffic.tiles(chain)
    assert len(tiles) >= 9 and {tile.status for tile in tiles} == {200}
    opened.covered(4, 0.4)
    assert opened.panel.locator("[data-name=NDVI] .muses-ramp").is_visible()
    opened.page.locator(".leaflet-control-zoom-in").click()
    opened.loaded(timeout=180)
    opened.click(0.3, 0.5)
    assert opened.values()["NDVI"]
    opened.panel.get_by_role("button", name="Export this view").click()
    opened.panel.get_by_text("Exporting needs the notebook's kernel").wait_for()
    opened.screenshot("first-map-7-reopened")
    assert traffic.left_the_machine() == []


@pytest.mark.thorough  # test_app.py shows a map in Voilà, clicks it and exports what it shows
def test_voila_shows_the_same_map(page, lab, traffic, notebook):
    traffic.forget()
    page.goto(f"{lab.url}voila/render/{NAME}", timeout=240_000)  # Voilà runs all cells before it answers
    notebook.panel.wait_for(timeout=180_000)
    notebook.loaded(timeout=180)
    notebook.map.scroll_into_view_if_needed()
    assert {tile.status for tile in traffic.tiles()} == {200}
    notebook.covered(4, 0.4)
    notebook.click(0.3, 0.5)
    notebook.screenshot("first-map-8-voila")
    assert traffic.left_the_machine() == []

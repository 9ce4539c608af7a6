"""Notebook 01 as a newcomer meets it: run in JupyterLab on the full sample, used, saved, reopened, shown by Voilà."""

from __future__ import annotations

import json
import shutil

import pytest
import rasterio

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "01-first-map.ipynb"


@pytest.fixture(scope="module")
def lab(full_sample, start_lab, repository):
    """A JupyterLab whose user has the full sample, as after `make lab`."""
    lab = start_lab("first-map", full_sample)
    shutil.copy(repository / "notebooks" / NAME, lab.root)
    return lab


@pytest.fixture(scope="module")
def opened(notebook):
    """The notebook, open, all cells run. The tests of this module follow one another, as a user's steps do."""
    notebook.open(NAME).run_all(timeout=300)
    return notebook.loaded(timeout=180)


def test_run_all_shows_every_tile(opened, traffic):
    assert opened.errors() == []
    assert opened.panel.locator(".muses-name").all_inner_texts() == ["Dense vegetation", "True colour", "NDVI"]
    tiles = traffic.tiles()
    assert len(tiles) >= 12 and {tile.status for tile in tiles} == {200}
    shares = opened.opaque_shares()
    assert sum(share > 0.9 for share in shares) >= 4, shares  # those within the sample: the view is larger
    opened.map.scroll_into_view_if_needed()
    opened.screenshot("first-map-1-run")
    assert traffic.troubles == []


def test_pan_and_zoom_fill_in(opened, traffic):
    for _ in range(2):
        traffic.forget()
        opened.page.locator(".leaflet-control-zoom-in").click()
        opened.loaded(timeout=180)
    assert {tile.status for tile in traffic.tiles()} == {200}
    assert min(opened.opaque_shares()) > 0.9
    opened.screenshot("first-map-2-zoomed")
    traffic.forget()
    opened.drag(220, 120)
    opened.loaded(timeout=180)
    assert len(traffic.tiles()) >= 3 and {tile.status for tile in traffic.tiles()} == {200}
    assert min(opened.opaque_shares()) > 0.9
    opened.screenshot("first-map-3-panned")


def test_palette_and_months_change_from_widgets(opened, traffic):
    chain = opened.chain()
    traffic.forget()
    opened.page.locator(".widget-dropdown select").select_option("viridis")
    opened.until(lambda: len(traffic.tiles()) >= 9, 60, "the palette's tiles are not asked for")
    opened.loaded(timeout=180)
    assert all(chain in tile.url and tile.status == 200 for tile in traffic.tiles())
    ramp = opened.panel.locator("[data-name=NDVI] .muses-ramp > div").get_attribute("style") or ""
    assert "68, 1, 84" in ramp or "#440154" in ramp

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
    assert value == "no data" or -1 <= float(value) <= 1
    opened.screenshot("first-map-5-click")


def test_export_button_writes_a_geotiff(opened, lab):
    opened.panel.get_by_role("button", name="Export this view").click()
    done = opened.panel.locator(".muses-done")
    done.wait_for(timeout=180_000)
    done.scroll_into_view_if_needed()
    opened.screenshot("first-map-6-exported")
    with rasterio.open(lab.root / done.inner_text().removeprefix("Wrote ").strip()) as file:
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
    assert min(opened.opaque_shares()) > 0.5
    assert opened.panel.locator("[data-name=NDVI] .muses-ramp").is_visible()
    opened.page.locator(".leaflet-control-zoom-in").click()
    opened.loaded(timeout=180)
    opened.click(0.3, 0.5)
    assert opened.values()["NDVI"]
    opened.panel.get_by_role("button", name="Export this view").click()
    opened.panel.get_by_text("Exporting needs the notebook's kernel").wait_for()
    opened.screenshot("first-map-7-reopened")
    assert traffic.left_the_machine() == []


def test_voila_shows_the_same_map(page, lab, traffic, notebook):
    traffic.forget()
    page.goto(f"{lab.url}voila/render/{NAME}", timeout=240_000)  # Voilà runs all cells before it answers
    notebook.panel.wait_for(timeout=180_000)
    notebook.loaded(timeout=180)
    notebook.map.scroll_into_view_if_needed()
    assert {tile.status for tile in traffic.tiles()} == {200}
    assert sum(share > 0.9 for share in notebook.opaque_shares()) >= 4
    notebook.click(0.3, 0.5)
    notebook.screenshot("first-map-8-voila")
    assert traffic.left_the_machine() == []

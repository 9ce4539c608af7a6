"""Maps in other people's ways and hands: layers removed as ipyleaflet offers it, pages without a Jupyter server, a
colleague's saved notebook, a file that is downloaded from Voilà."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat.sign import NotebookNotary
from playwright.sync_api import Browser, Page, Route

from muses_lab.catalog import register_catalog
from tests.helpers.jupyterlab import SCREENSHOTS, VIEWPORT, Lab, Notebook, Traffic

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

MAP = """
import warnings; warnings.simplefilter("ignore", DeprecationWarning)
import ipyleaflet
import muses_lab as ml
from muses_widgets import Map
ndvi = ml.collection("sentinel-2-l2a").ndvi().median("t")
m = Map(center=(43.58, 1.33), zoom=11)
kept = m.add(ndvi.style(cmap="RdYlGn", vmin=0, vmax=1), name="kept")
m
"""

REMOVALS = {
    "remove what add returned": "m.remove(layer)",
    "remove by name": "m.remove('gone')",
    "remove": "m.remove(m.tiles('gone'))",
    "remove_layer": "m.remove_layer(m.tiles('gone'))",
    "-=": "m -= layer",
    "layers": "m.layers = [tiles for tiles in m.layers if tiles.name != 'gone']",
    "substitute": "m.substitute(layer, ipyleaflet.Marker(location=m.center)); m.layers = m.layers[:-1]",
    "substitute_layer": "m.substitute_layer(m.tiles('gone'), ipyleaflet.LayerGroup()); m.layers = m.layers[:-1]",
}
EVERYTHING = {"clear_layers": "m.clear_layers()", "layers": "m.layers = ()", "clear": "m.clear()"}


def rows(notebook: Notebook) -> list[str]:
    return notebook.page.locator(".muses-panel .muses-layers .muses-name").all_inner_texts()


def drawn(notebook: Notebook) -> int:
    """Tile layers that Leaflet has, the base map among them."""
    return notebook.page.locator(".leaflet-tile-pane > .leaflet-layer").count()


@pytest.fixture
def kernel(lab: Lab) -> Iterator[Callable[[str], None]]:
    """Runs code in the one kernel of the lab, without a cell: the map stays where it is on the screen."""
    (id,) = lab.kernels()
    client = BlockingKernelClient(connection_file=str(Path(os.environ["JUPYTER_RUNTIME_DIR"], f"kernel-{id}.json")))
    client.load_connection_file()
    client.start_channels()

    def run(code: str) -> None:
        reply = client.execute(code, reply=True, timeout=120)["content"]
        assert reply["status"] == "ok", reply

    yield run
    client.stop_channels()


@pytest.fixture(scope="module")
def visit(lab: Lab, notebook: Notebook) -> Notebook:
    return notebook.open(lab.notebook("ways.ipynb", MAP)).run_all()


@pytest.fixture
def opened(visit: Notebook) -> Notebook:
    """With a map that nobody has touched."""
    return visit.run_first().loaded()


def test_what_is_removed_is_gone_whatever_the_way(
    opened: Notebook, kernel: Callable[[str], None], traffic: Traffic
) -> None:
    again = "layer = m.add((ndvi > 0.5).style(vmin=0, vmax=1), name='gone')"

    def shows(names: list[str], layers: int, why: str) -> None:
        opened.until(lambda: (rows(opened), drawn(opened)) == (names, layers), 60, why)

    for way, code in REMOVALS.items():
        kernel(again)
        shows(["gone", "kept"], 3, f"{way}: not added")
        kernel(code)
        shows(["kept"], 2, f"{way}: a row or a layer is left")
    kernel(f"{again}; m.substitute('gone', ndvi.style(cmap='viridis'))")
    shows(["gone", "kept"], 3, "a chain in the place of another one")
    for way, code in EVERYTHING.items():
        kernel(f"before = m.layers; {code}")
        shows([], 0, f"{way}: a row or a layer is left")
        kernel("m.layers = before")
        shows(["gone", "kept"], 3, f"{way}: what was put back is not there")
    opened.loaded()
    opened.screenshot("map-ways-1-back")
    kernel("m.clear_layers()")
    shows([], 0, "not cleared")
    opened.panel.get_by_label("Base map").select_option("Offline")
    shows([], 1, "the panel does not bring the base map back")
    kernel("m.fit_bounds((1.3, 43.56, 1.36, 43.60)); fitted = list(m.center), m.zoom")
    opened.page.wait_for_timeout(2000)  # what would move later
    kernel("assert (list(m.center), m.zoom) == fitted and m.bounds[0][0] < 43.56 and m.bounds[1][1] > 1.36, m.bounds")
    assert traffic.troubles == []


def test_a_layer_under_another_one_is_gone_when_it_is_removed(opened: Notebook, kernel: Callable[[str], None]) -> None:
    def shows(names: list[str], layers: int, why: str) -> None:
        opened.until(lambda: (rows(opened), drawn(opened)) == (names, layers), 60, why)

    kernel("above = m.add((ndvi > 0.5).style(vmin=0, vmax=1), name='above')")
    shows(["above", "kept"], 3, "not added")
    opened.loaded()
    kernel("m.remove('kept')")
    shows(["above"], 2, "the layer below is left")
    kernel("m.add(ndvi.style(), name='between', index=1); m.add(ndvi.style(cmap='gray'), name='between')")
    shows(["above", "between"], 3, "not put below")
    kernel("m.remove('between'); m.remove('above')")
    shows([], 1, "a layer is left")


def test_a_layer_has_tiles_where_one_moves_to_after_its_opacity_was_set(
    opened: Notebook, kernel: Callable[[str], None]
) -> None:
    kernel("m.tiles('kept').opacity = 0.5")
    opened.page.locator(".leaflet-control-zoom-out").click()
    opened.until(lambda: "zoom 10" in opened.panel.inner_text(), 60, "not zoomed out")
    opened.loaded()
    tiles = opened.page.locator(".leaflet-tile-pane > .leaflet-layer").nth(1).locator("canvas.leaflet-tile-loaded")
    opened.until(lambda: tiles.count() >= 4, 60, "no tiles")


@pytest.fixture(scope="module")
def saved(sample_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colleague's notebook, run and saved with its widgets: the chains are in the colleague's store alone."""
    folder = tmp_path_factory.mktemp("colleague")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSES_LAB_HOME", str(folder / "home"))
        register_catalog(sample_catalog)
        code = MAP.replace("median", "max")  # a chain that nobody else makes
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        NotebookClient(
            book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        ).execute()
    nbformat.write(book, folder / "colleague.ipynb")
    return folder / "colleague.ipynb"


@pytest.mark.thorough
def test_a_colleagues_notebook_says_to_run_its_cells(saved: Path, lab: Lab, notebook: Notebook) -> None:
    shutil.copy(saved, lab.root)
    notebook.open(saved.name)
    notebook.page.get_by_text("<Map of 'kept' around 43.58, 1.33, zoom 11>: run the notebook's cells").wait_for()
    NotebookNotary().sign(nbformat.read(saved, 4))  # "Trust this notebook": from now on its widgets are drawn
    notebook.open(saved.name)
    notebook.panel.wait_for(timeout=60_000)
    problem = notebook.panel.locator(".muses-problem")
    notebook.until(lambda: problem.count() > 0, 90, "nothing says what to do")
    assert problem.count() == 1 and "run the notebook's cells" in problem.inner_text()
    assert "in this store" not in notebook.panel.inner_text()
    notebook.map.scroll_into_view_if_needed()
    notebook.screenshot("map-ways-2-colleague")


@pytest.mark.thorough
def test_a_notebook_whose_tab_was_closed_says_that_its_map_is_cut_off(lab: Lab, notebook: Notebook) -> None:
    notebook.open(lab.notebook("closed.ipynb", MAP)).run_all().loaded()
    lost, page = notebook.page.get_by_text("has lost its way to the kernel"), notebook.page
    notebook.save()
    page.get_by_role("menuitem", name="File", exact=True).click()
    page.get_by_text("Close Tab", exact=True).click()
    notebook.panel.wait_for(state="detached")
    page.locator(".jp-DirListing-item", has_text="closed.ipynb").dblclick()
    notebook.loaded()
    lost.wait_for()
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    notebook.loaded().click(0.5, 0.6)
    notebook.until(lambda: notebook.says("m.clicked") != "None", 30, "the kernel did not hear of the click")
    assert lost.count() == 0


@pytest.fixture(scope="module")
def html_manager(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages of nbconvert load from the web to draw widgets."""
    folder = tmp_path_factory.mktemp("html-manager")
    command = ["npm", "pack", "--silent", "@jupyter-widgets/html-manager@1.0.15"]
    if shutil.which("npm") is None or subprocess.run(command, cwd=folder, timeout=240).returncode:
        pytest.skip("npm does not give @jupyter-widgets/html-manager")
    with tarfile.open(next(folder.glob("*.tgz"))) as package:
        package.extract("package/dist/embed-amd.js", folder, filter="data")
    return folder / "package" / "dist" / "embed-amd.js"


@pytest.mark.thorough
def test_a_page_without_a_server_says_so(saved: Path, html_manager: Path, browser: Browser, tmp_path: Path) -> None:
    html, _ = HTMLExporter().from_filename(str(saved))
    (tmp_path / "page.html").write_text(html, "utf-8")
    share = Path(sys.prefix, "share", "jupyter")
    on_the_web = {
        "html-manager": html_manager,
        "require": share / "voila" / "templates" / "base" / "static" / "require.min.js",
        "jupyter-leaflet": share / "nbextensions" / "jupyter-leaflet" / "index.js",
        "anywidget": share / "nbextensions" / "anywidget" / "index.js",
    }

    def web(route: Route) -> None:
        found = next((file for name, file in on_the_web.items() if name in route.request.url), None)
        if found is None or not found.is_file():
            route.abort()
        else:
            route.fulfill(path=found, content_type="text/javascript")

    page = browser.new_page(viewport=VIEWPORT)
    try:
        page.route(lambda url: url.startswith("https:"), web)
        page.goto((tmp_path / "page.html").as_uri())
        problem = page.locator(".muses-panel .muses-problem").first
        problem.wait_for(timeout=60_000)
        assert "not shown by a Jupyter server" in problem.inner_text() and "m.save(" in problem.inner_text()
        page.locator(".muses-layer .muses-trouble").wait_for(timeout=60_000)
        assert "does not answer" not in (page.locator(".muses-panel").text_content() or "")
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "map-ways-4-nbconvert.png")
    finally:
        page.close()


@pytest.mark.thorough  # test_app.py downloads an export from Voilà
def test_an_export_is_downloaded_from_voila(page: Page, lab: Lab, notebook: Notebook, tmp_path: Path) -> None:
    lab.notebook("voila.ipynb", MAP)
    page.goto(f"{lab.url}voila/render/voila.ipynb", timeout=240_000)
    notebook.panel.wait_for(timeout=180_000)
    notebook.loaded()
    notebook.panel.get_by_role("button", name="Export this view").click()
    link = notebook.panel.locator("a.muses-download")
    link.wait_for(timeout=180_000)
    with page.expect_download() as download:
        link.click()
    (written,) = lab.root.glob("kept-*.tif")
    assert download.value.suggested_filename == written.name
    download.value.save_as(tmp_path / "downloaded.tif")
    assert (tmp_path / "downloaded.tif").read_bytes() == written.read_bytes()
    link.scroll_into_view_if_needed()
    notebook.screenshot("map-ways-3-voila")

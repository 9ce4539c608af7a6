"""How long a user waits, and what a user who does not wait costs: notebook 01 on the sample of `make lab`, cold."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import PYTHON_PATH
from tests.helpers.examples import always

# The parts of a burst are said without a browser: test_service_views.py (a view is left when the next one does not show
# it; a map that moves again is waited for), test_service_chains.py (tiles that nobody wants any more),
# test_compute_queue.py (queued work is dropped, running work is told).
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.thorough, pytest.mark.timeout(600)]

NAME = "01-first-map.ipynb"
THREADS = 2
SLOTS = 2 * THREADS
"""Blocks that are handed to the cluster at a time."""

WATCH = """(cell) => {
  const times = (window.musesTimes = {});
  const prompt = cell.querySelector('.jp-InputPrompt');
  const before = prompt.innerText;
  const look = () => {
    const loading = document.querySelector('.muses-panel')?.dataset.loading;
    if (prompt.innerText !== before && /[0-9]/.test(prompt.innerText)) times.cell ??= performance.now();
    if (loading > 0) times.begun ??= performance.now();
    if (times.begun && loading === '0') times.tiles ??= performance.now();
    if (!times.cell || !times.tiles) requestAnimationFrame(look);
  };
  look();
}"""

# Neither the workers nor the service know anything of what follows; all that they import is there.
COOL = """
import os, signal, time, psutil
from muses_lab import compute
from muses_lab.compute import embedded
for process in psutil.Process(embedded.ensure().pid).children(recursive=True):
    if "spawn_main" in " ".join(process.cmdline()):
        process.kill()
elsewhere = ml.Window.from_bounds((1.30, 43.50, 1.31, 43.51), crs="EPSG:32631", resolution=80)
for chain in (scenes.limit(2).mask_clouds().ndvi().median("t"),):
    chain.compute(elsewhere);
"""

BLOCKS = """
from muses_lab.engine.mosaic import layout
from muses_lab.service.tile import TilePixel
(south, west), (north, east) = m.bounds
z = int(m.zoom)
first, last = TilePixel.at(west, north, z).tile, TilePixel.at(east, south, z).tile
prepared = m.layer("NDVI").chain.published.prepared
tiles = [(z, x, y) for x in range(first.x, last.x + 1) for y in range(first.y, last.y + 1)]
print("\\n".join(sorted({repr(key) for tile in tiles for key in layout(prepared, ml.Window.tile(*tile)).tasks})))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs") / "runs"


@pytest.fixture(scope="module")
def lab(lab_sample, start_lab, repository, runs):
    runs.with_name("fault").touch()
    lab = start_lab(
        "waiting",
        lab_sample,
        MUSES_ENGINE="tests.helpers.faulty_engine:make",
        MUSES_TEST_FAULT=str(runs.with_name("fault")),
        MUSES_TEST_RUNS=str(runs),
        MUSES_WORKERS="1",
        MUSES_THREADS=str(THREADS),
        MUSES_PREFETCH="0",  # blocks that were begun are to be those that were asked for
        PYTHONPATH=PYTHON_PATH,
    )
    shutil.copy(repository / "notebooks" / NAME, lab.root)
    return lab


@pytest.fixture(scope="module")
def opened(notebook):
    return notebook.open(NAME)


def begun(runs: Path) -> list[tuple[float, str]]:
    """(when, block) of every block that a worker began."""
    lines = runs.read_text().splitlines() if runs.exists() else []
    return [(float(when), block) for when, _, block in (line.split(" ", 2) for line in lines)]


def waited(opened) -> float:
    """Seconds from the end of the watched cell to its last tile."""
    opened.page.wait_for_function("window.musesTimes.cell && window.musesTimes.tiles", timeout=180_000)
    times = opened.page.evaluate("window.musesTimes")
    return max(0.0, (times["tiles"] - times["cell"]) / 1000)


def test_from_the_end_of_the_cell_to_the_last_tile(opened, runs, record_property):
    cell = opened.page.locator(".jp-Notebook .jp-CodeCell", has_text="m = Map(center")
    cell.scroll_into_view_if_needed()
    cell.locator(".jp-InputPrompt").click()
    opened.until(lambda: opened.choose_kernel() or opened.is_idle(), 90, "the kernel is not ready")
    opened.page.get_by_role("menuitem", name="Run", exact=True).click()
    opened.page.get_by_text("Run All Above Selected Cell", exact=True).click()
    above = opened.page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").nth(2)
    opened.until(lambda: above.inner_text().strip() == "[3]:", 120, "the cells above did not run")
    cell.locator(".jp-InputPrompt").click()
    cell.evaluate(WATCH)
    opened.page.keyboard.press("Shift+Enter")
    seconds = waited(opened)
    opened.loaded()
    tiles = opened.panel.locator("[data-name=NDVI]").get_attribute("data-tiles")
    assert int(tiles) >= 9 and begun(runs)
    record_property(
        "measured", f"notebook 01, first cell of a new user, cluster started by it: {tiles} tiles {seconds:.2f} s"
    )
    opened.screenshot("waiting-first")


@pytest.mark.parametrize("compared", always([False, True], [False]))
def test_a_burst_of_20_pans_and_zooms_costs_its_last_view(opened, lab, runs, record_property, compared):
    """And in a thorough run it is told what the last view alone takes."""
    chains = itertools.count(1 + 10 * compared)

    def show(text: str) -> None:
        """The notebook's map with a chain that nobody has asked for, on workers that know nothing."""
        opened.run(COOL)
        code = (
            f'm.add((scenes.mask_clouds().ndvi() + {next(chains)} / 1e4).median("t").style(cmap="RdYlGn"), name="NDVI")'
        )
        opened.run(f"{text}\n{code};")

    if not opened.panel.count():  # the test above was not chosen
        opened.run_above("def show(", timeout=300).loaded()
    show("")  # the burst begins while its first view is being loaded
    moves = burst(opened)
    last_move = time.time()
    counts = lab.muses("status/" + opened.chain())["queue"]["counts"]
    opened.loaded()
    complete = time.time()  # from here on the neighbourhood is computed ahead
    after = lab.muses("status/" + opened.chain())["queue"]["counts"]
    row = opened.panel.locator("[data-name=NDVI]")
    seconds, tiles = float(row.get_attribute("data-seconds")), int(row.get_attribute("data-tiles"))
    wanted = set(opened.run(BLOCKS).splitlines())
    said = begun(runs)
    stale = [block for when, block in said if last_move < when < complete and block not in wanted]
    opened.screenshot("waiting-burst")
    assert moves == 20
    assert len(stale) <= SLOTS, stale
    assert after["stopped"] - counts["stopped"] <= SLOTS
    assert after["submitted"] - counts["submitted"] <= len(wanted)

    told = (
        f"burst of {moves} pans and zooms: the last view's {tiles} tiles {seconds:.2f} s; of {after['submitted']} "
        f"blocks handed to the cluster {after['stopped']} were stopped, {after['dropped']} dropped before; begun after "
        f"the last move and not of its view: {len(stale)}"
    )
    if compared:
        show("m.close()\nm = Map(center=m.center, zoom=m.zoom)\ndisplay(m)")  # the last view alone
        opened.loaded()
        alone = float(opened.panel.locator("[data-name=NDVI]").get_attribute("data-seconds"))
        told += f"; alone {alone:.2f} s: ratio {seconds / alone:.2f}"
    record_property("measured", told)


def burst(opened) -> int:
    """Pans and zooms as fast as a hand makes them, ending with a zoom, which stops where it is; how many."""
    box = opened.box()
    x, y = box["x"] + 0.35 * box["width"], box["y"] + 0.55 * box["height"]
    mouse = opened.page.mouse

    def pan(dx: float, dy: float) -> Callable[[], None]:
        def move() -> None:
            mouse.move(x, y)
            mouse.down()
            mouse.move(x + dx, y + dy, steps=4)
            mouse.up()

        return move

    def zoom(way: str) -> Callable[[], None]:
        return lambda: opened.page.locator(f".leaflet-control-zoom-{way}").click()

    moves = [
        zoom("in"), pan(-160, 40), pan(-120, -90), zoom("in"), pan(140, 60), pan(180, -40), zoom("out"), pan(60, 150),
        zoom("out"), pan(-90, -120), zoom("in"), pan(130, 30), pan(-150, 80), zoom("in"), pan(90, -110), zoom("out"),
        pan(-100, 70), pan(80, 90), pan(-60, -60), zoom("in"),
    ]  # fmt: skip
    for move in moves:
        move()
        opened.page.wait_for_timeout(120)
    opened.page.wait_for_function("!document.querySelector('.leaflet-zoom-anim')")  # it has arrived
    return len(moves)

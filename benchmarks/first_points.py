"""Seconds from a click on the map to the first points of its series on the screen, in JupyterLab in a real browser.

python -m benchmarks.first_points
python -m benchmarks.first_points --rounds 5 --clicks 6 --section

The map shows a chain of 130 dates of two bands, each date in files of its own. Each round has a new kernel; its first
click reads the headers of all files, the others only blocks. The seconds are the page's: from the pointer going down to
the frame after which Bokeh has drawn. Beside them is where they went: in the kernel, from the click that it hears of to
the plot that it tells (read: the newest dates; draw: HoloViews), with the processor's seconds of it; the rest
is messages, JavaScript and Bokeh. Without `--section` it is `SeriesPanel`, with it the series in the map's own panel.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from platformdirs import user_cache_path
from playwright.sync_api import sync_playwright

from benchmarks import places
from tests.helpers.jupyterlab import FLAGS, VIEWPORT, Lab, Notebook, Traffic

LEAST = 1.0
"""Seconds within which the first points are to be there."""

SETUP = """
import time
import muses_lab as ml
from muses_widgets import Map, SeriesPanel
bands = ml.collection("places", ml.open_catalog({catalogue!r}))
chain = (bands.band("B08") - bands.band("B04")) / (bands.band("B08") + bands.band("B04"))
m = Map(center={center}, zoom=13, height="420px")
m.add(chain.over_time().style(vmin=-0.2, vmax=0.2), name="NDVI")
log = []
note = lambda kind: log.append([kind, time.perf_counter(), time.process_time()])
m
"""
PANEL = """
panel = SeriesPanel(m)
def reading(*given, real=panel._plotted.tables.read):
    made = real(*given)
    note("read")
    return made
panel._plotted.tables.read = reading
panel.observe(lambda change: note("asked"), "place")
panel.observe(lambda change: "item" in change["new"] and note("plot"), "plot")
panel
"""
SECTION = """
from muses_widgets.sections import series
def reading(*given, real=series.series_there):
    made = real(*given)
    note("read")
    return made
series.series_there = reading
m.panel.observe(lambda change: note("asked"), "clicked")
told = lambda change: change["new"].get("series", {}).get("plots") and note("plot")
m.panel.observe(told, "sections")
"""
WATCH = """([selector, isDrawn]) => new Promise((resolve) => {
  const drawn = new Function('element', `return ${isDrawn}`);
  const before = document.querySelector(selector);
  const was = before ? drawn(before) : null;
  window.measured = new Promise((told) => {
    addEventListener('pointerdown', ({ timeStamp }) => {
      const look = () => {
        const now = document.querySelector(selector);
        if (now && drawn(now) && (now !== before || drawn(now) !== was)) {
          requestAnimationFrame((time) => told((time - timeStamp) / 1000));
        } else requestAnimationFrame(look);
      };
      look();
    }, { capture: true, once: true });
  });
  resolve();
})"""
WAIT = """(seconds) => Promise.race([
  window.measured, new Promise((resolve) => { setTimeout(() => resolve(null), 1000 * seconds); }),
])"""
PATIENCE = 120
WATCHED = {
    False: [".muses-sp-canvas", "element.dataset.drawn"],
    True: [".muses-series-canvas", "element.childElementCount"],
}
"""What is drawn anew, and how that is seen."""


class Click(NamedTuple):
    """What one click took, in seconds."""

    screen: float
    read: float
    draw: float
    processor: float

    @property
    def rest(self) -> float:
        return self.screen - self.read - self.draw


def clicks(notebook: Notebook, number: int, section: bool) -> list[Click]:
    """Clicks beside each other; the first one is the first of its kernel."""
    found = []
    for n in range(number):
        notebook.run("log.clear()")
        notebook.box()
        notebook.page.wait_for_timeout(1000)  # what was scrolled is at rest
        box = notebook.box()
        notebook.page.evaluate(WATCH, WATCHED[section])
        x, y = box["x"] + box["width"] * (0.15 + 0.45 * n / number), box["y"] + box["height"] * (0.25 + 0.05 * (n % 7))
        notebook.page.mouse.click(x, y)
        screen = notebook.page.evaluate(WAIT, PATIENCE)
        if screen is None:
            raise SystemExit(f"{PATIENCE} s after a click nothing was drawn; the kernel tells {notebook.value('log')}")
        notebook.page.wait_for_timeout(3000)  # the other dates come
        found.append(_split(screen, notebook.value("log")))
    return found


def _split(screen: float, log: list[Any]) -> Click:
    times: dict[str, tuple[float, float]] = {}
    for kind, seconds, processor in log:
        times.setdefault(kind, (seconds, processor))
    (asked, used), (read, _), (plot, after) = times["asked"], times["read"], times["plot"]
    return Click(screen, read - asked, plot - read, after - used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="kernels")
    parser.add_argument("--clicks", type=int, default=5, help="of each")
    parser.add_argument("--wait", type=float, default=4, help="seconds that one looks at the map at first")
    parser.add_argument("--section", action="store_true")
    parser.add_argument("--size", type=int, default=places.SIZE, help="pixels along the tile, a multiple of 512")
    parser.add_argument("--dates", type=int, default=places.DATES)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    data = places.prepare(
        user_cache_path("muses-lab-benchmarks") / f"places-{options.size}-{options.dates}", options.size, options.dates
    )
    rounds: list[list[Click]] = []
    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory(prefix="muses-lab-first-points-") as folder, sync_playwright() as playwright:
        os.environ["MUSES_LAB_HOME"] = str(Path(folder, "home"))
        catalogue = Path(folder, "catalogue")  # which this home knows, and with it the folder of the files
        files = [path for paths in data.files for path in paths]
        places.add(files, catalog=catalogue, collection="places", pattern=places.PATTERN)
        setup = SETUP.format(catalogue=str(catalogue), center=tuple(round(n, 4) for n in _middle(data)))
        cells = [setup, SECTION if options.section else PANEL]
        lab = Lab(Path(folder, "work"), Path(folder, "home"))
        try:
            browser = playwright.chromium.launch(executable_path=options.chromium, args=FLAGS)
            page = browser.new_page(viewport=VIEWPORT)
            page.goto(f"{lab.url}login?next=%2Fapi%2Fstatus&token={lab.token}")
            name = lab.notebook("first-points.ipynb", *cells)
            for _ in range(options.rounds):
                notebook = Notebook(page, lab, Traffic(lab)).open(name).run_all().loaded()
                page.wait_for_timeout(1000 * options.wait)
                rounds.append(clicks(notebook, options.clicks, options.section))
                lab.stop_kernels()
            browser.close()
        finally:
            lab.close()
    print(f"{'':22}on the screen   read   draw   rest   processor of the kernel   (s, best–median)")
    told("first click", [one[0] for one in rounds])
    told("further clicks", [click for one in rounds for click in one[1:]])
    best = min(one[0].screen for one in rounds)
    print(f"first points after the first click: {best:.2f} s at best (≤ {LEAST:g} s)")


def told(name: str, several: list[Click]) -> None:
    def both(values: list[float]) -> str:
        return f"{min(values):.2f}–{median(values):.2f}"

    if several:
        columns = (both([getattr(one, part) for one in several]) for part in ("screen", "read", "draw", "rest"))
        print(f"{name:22}{'   '.join(columns)}   {both([one.processor for one in several])}")


def _middle(data: places.Data) -> tuple[float, float]:
    """Latitude and longitude."""
    import pyproj

    west, south, east, north = data.bounds
    lon, lat = pyproj.Transformer.from_crs(places.CRS, 4326, always_xy=True).transform(
        (west + east) / 2, (south + north) / 2
    )
    return lat, lon


if __name__ == "__main__":
    main()

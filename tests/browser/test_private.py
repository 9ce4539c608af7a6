"""A notebook that declares an operator and looks at it on the map: changed, broken, saved, and opened again."""

from __future__ import annotations

import shutil

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "own.ipynb"
START = """
import muses_lab as ml
from muses_lab.operators import Cube
from muses_widgets import Map
ndvi = ml.collection("sentinel-2-l2a").mask_clouds().ndvi().median("t")
m = Map(center=(43.6, 1.38), zoom=13)
"""
DECLARED = """
LEVEL = 1.0

@ml.operator
def level(data: Cube) -> Cube:
    return data * 0 + LEVEL

m.add(ndvi.level().style(cmap="viridis", vmin=0, vmax=1, label="Own"), name="Own")
m
"""
YELLOW, VIOLET = (253, 231, 37), (68, 1, 84)
"""The upper and the lower end of viridis."""


@pytest.fixture(scope="module")
def opened(notebook, lab):
    return notebook.open(lab.notebook(NAME, START, DECLARED)).run_all().loaded()


def colour(opened) -> list[int]:
    """The colour of what the top layer's tiles draw, which is one."""
    found = opened.page.evaluate(
        """() => {
          const layers = [...document.querySelectorAll('.leaflet-tile-pane .leaflet-layer')];
          const top = layers.reduce((a, b) => (+b.style.zIndex > +a.style.zIndex ? b : a));
          const seen = new Set();
          for (const tile of top.querySelectorAll('canvas')) {
            const canvas = Object.assign(document.createElement('canvas'), { width: 256, height: 256 });
            const context = canvas.getContext('2d');
            context.drawImage(tile, 0, 0);
            const { data } = context.getImageData(0, 0, 256, 256);
            for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) seen.add(data.slice(i, i + 3).join());
          }
          return [...seen];
        }"""
    )
    assert len(found) == 1, found[:5]
    return list(map(int, found[0].split(",")))


def shows(opened, wanted: tuple[int, int, int]) -> None:
    opened.covered(4, 0.4)
    assert all(abs(a - b) <= 2 for a, b in zip(colour(opened), wanted, strict=True)), colour(opened)


def test_the_map_shows_an_operator_of_the_notebook(opened, traffic):
    assert opened.errors() == []
    tiles = traffic.tiles("private-")
    assert len(tiles) >= 6 and {tile.status for tile in tiles} == {200}
    shows(opened, YELLOW)
    row = opened.panel.locator("[data-name=Own]")
    assert row.locator(".muses-private").inner_text() == "private" and row.locator(".muses-ramp").is_visible()
    opened.click(0.3, 0.5)
    assert opened.values() == {"Own": "1"}
    opened.screenshot("private-1-shown")


def test_a_changed_operator_is_shown_when_its_cell_is_run_again(opened):
    before = opened.chain("Own")
    opened.run(DECLARED.replace("LEVEL = 1.0", "LEVEL = 0.0").replace("\nm\n", ""))
    opened.loaded()
    shows(opened, VIOLET)
    assert opened.chain("Own") != before


def test_an_error_of_the_operator_is_the_layers_message(opened):
    broken = DECLARED.replace("return data * 0", 'raise ValueError("no such level")\n    return data')
    opened.run(broken.replace("\nm\n", ""))
    trouble = opened.panel.locator("[data-name=Own] .muses-trouble")
    told = "your operator 'level' failed: ValueError: no such level (line 5: raise ValueError"
    opened.until(lambda: told in (trouble.text_content() or ""), 60, "the error is not told")
    trouble.locator("summary").click()
    opened.screenshot("private-2-broken")
    opened.run(DECLARED.replace("\nm\n", ""))
    opened.loaded()
    shows(opened, YELLOW)
    assert trouble.is_hidden()


def test_a_saved_map_says_that_its_code_is_gone_and_its_cells_heal_it(opened, lab, start_lab, sample_catalog):
    """Opened on another server: as after any restart, it has nothing of the code."""
    opened.save()
    other = start_lab("other", sample_catalog)
    shutil.copy(lab.root / NAME, other.root)
    page = opened.page
    page.goto(f"{other.url}login?next=%2Fapi%2Fstatus&token={other.token}")
    opened.lab = other
    try:
        opened.open(NAME)
        opened.panel.wait_for(state="attached", timeout=60_000)
        gone = opened.chain("Own")
        opened.until(opened.is_idle, 90, "the kernel is not ready")
        problem = opened.panel.locator(".muses-problem")
        opened.until(lambda: "Run the notebook's cells again" in "".join(problem.all_inner_texts()), 60, "not told")
        assert len(problem.all_inner_texts()) == 1
        summary = opened.panel.locator(".muses-summary")
        opened.until(lambda: "tiles failed" in summary.inner_text(), 30, "the tiles are not told")
        opened.screenshot("private-3-gone")
        opened.page.get_by_role("menuitem", name="Run", exact=True).click()
        opened.page.get_by_text("Run All Cells", exact=True).click()
        opened.until(lambda: opened.chain("Own") != gone and problem.count() == 0, 120, "the cells did not run")
        opened.loaded()
        shows(opened, YELLOW)
    finally:
        other.stop_kernels()
        opened.lab = lab

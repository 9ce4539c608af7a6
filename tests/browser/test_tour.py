"""Notebook 02 as its reader meets it: all steps run, its maps are drawn, layers are switched, solutions unfold."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest

from tests.helpers.jupyterlab import Lab, Notebook, Traffic

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "02-operators.ipynb"


@pytest.fixture(scope="module")
def opened(notebook: Notebook, lab: Lab, repository: Path) -> Notebook:
    shutil.copy(repository / "notebooks" / NAME, lab.root)
    return notebook.open(NAME).run_all(timeout=400)


def drawn(notebook: Notebook) -> None:
    """Waits until every map has all its tiles, none of them as a failure."""
    panels = notebook.page.locator(".muses-panel")
    for panel in panels.all():
        panel.scroll_into_view_if_needed()
        notebook.until(lambda panel=panel: panel.get_attribute("data-loading") == "0", 180, "tiles did not arrive")
        assert panel.get_attribute("data-failed") == "0", panel.inner_text()


def test_every_cell_ran_and_every_map_is_drawn(opened: Notebook, lab: Lab, traffic: Traffic) -> None:
    assert opened.page.locator(".muses-panel").count() == 4
    drawn(opened)
    assert {tile.status for tile in traffic.tiles()} == {200}
    assert traffic.troubles == []
    opened.screenshot("tour-1-run")
    opened.save()
    cells = [cell for cell in nbformat.read(lab.root / NAME, 4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count and (cell.outputs or number == 0) for number, cell in enumerate(cells))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"]


def test_layers_of_a_map_are_switched(opened: Notebook, traffic: Traffic) -> None:
    traffic.forget()
    row = opened.panel.locator("[data-name='MNDWI']")
    row.scroll_into_view_if_needed()
    row.get_by_role("checkbox").check()
    opened.until(lambda: len(traffic.tiles(opened.chain("MNDWI"))) >= 4, 60, "the layer's tiles are not asked for")
    drawn(opened)
    assert {tile.status for tile in traffic.tiles()} == {200}
    opened.screenshot("tour-2-switched")


def test_solutions_are_folded_until_they_are_asked_for(opened: Notebook) -> None:
    opened.page.locator(".jp-WindowedPanel-outer").evaluate("page => (page.scrollTop = page.scrollHeight)")
    solutions = opened.page.locator(".jp-MarkdownOutput details")
    solutions.last.scroll_into_view_if_needed()
    assert solutions.count() == 4
    code = solutions.last.locator("pre")
    assert not code.is_visible()
    solutions.last.locator("summary").click()
    assert "ml.operator" in code.inner_text()
    opened.screenshot("tour-3-solution")

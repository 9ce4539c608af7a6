"""The notebooks run, and are kept without outputs. (In a browser: tests/browser; copies for users: test_copies.py.)"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from muses_lab.catalog import register_catalog
from tests.helpers.examples import always

from .site_modules import site_pages

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


def ids(path: Path) -> str:
    return path.stem


SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)


def with_solutions(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with the folded solutions of its exercises as cells after them."""
    cells = []
    for cell in book.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cells += [nbformat.v4.new_code_cell(code) for code in SOLUTION.findall(cell.source)]
    return nbformat.from_dict({**book, "cells": cells})


def run(path: Path, folder: Path) -> nbformat.NotebookNode:
    book = with_solutions(nbformat.read(path, 4))
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return book


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_is_kept_without_outputs(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, cell.source


@pytest.mark.slow
@pytest.mark.parametrize("path", always(NOTEBOOKS, [NOTEBOOKS[0], NOTEBOOKS[-1]]), ids=ids)  # `make docs` runs all
def test_runs_without_errors_or_warnings(path, sample_catalog, years_sample, fresh_home, tmp_path, monkeypatch):
    """In a kernel such as the site's, which shows maps as pictures: `make docs` shows what is run here."""
    shutil.copytree(years_sample, fresh_home / "sample-years")
    register_catalog(sample_catalog)  # the only one of this home: other tests register collections of the same name
    monkeypatch.setenv("IPYTHONDIR", str(site_pages.kernel_folder(tmp_path / "ipython")))
    book = run(path, tmp_path)
    maps = [cell for cell in book.cells if cell.cell_type == "code" and cell.source.splitlines()[-1:] == ["m"]]
    for cell in maps:
        (shown,) = cell.outputs
        assert "data:image/png;base64," in shown["data"]["text/html"]
    for cell in book.cells:
        for output in cell.get("outputs", []):
            # a progress bar is all that may be written there
            assert output.get("name") != "stderr" or "block" in output["text"], output["text"]


@pytest.mark.slow
def test_first_map_without_the_sample_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSES_LAB_HOME", str(tmp_path / "home"))
    with pytest.raises(CellExecutionError, match="`muses-lab sample` makes one"):
        run(NOTEBOOKS[0], tmp_path)

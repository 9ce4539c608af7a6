"""Plots in a closed classroom: what a notebook shows names no address outside."""

from __future__ import annotations

import re

import nbclient
import nbformat
import pytest

CELLS = (
    "import muses_lab as ml\nml.plots()",
    "import numpy as np, pandas as pd, xarray as xr\n"
    "series = xr.DataArray(np.arange(5.0), {'t': pd.date_range('2018', '2019', 5)}, name='values')\n"
    "series.hvplot()",
)


@pytest.mark.slow
def test_plots_bring_all_that_draws_them():
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(book, timeout=300).execute()
    code, plot = ([o.data for o in cell.outputs if "data" in o] for cell in book.cells)
    assert any(len(data.get("application/javascript", "")) > 1 << 20 for data in code)  # Bokeh and Panel themselves
    (html,) = [data["text/html"] for data in plot if "docs_json" in data.get("text/html", "")]
    assert not re.findall(r"https?://cdn[^\"']*", html)

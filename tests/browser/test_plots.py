"""Plots of series in a closed classroom: nothing but the Jupyter server can be reached."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PLOTS = "import muses_lab as ml\nml.plots()"
SERIES = """
clear = ml.collection("sentinel-2-l2a").mask_clouds()
series = clear.ndvi().at(lon=1.41, lat=43.58)
series.hvplot.scatter(x="t")
"""
CANVAS = """() => {
  const found = (node) => [...node.querySelectorAll('*')].flatMap((e) => [
    ...(e.matches('canvas.bk-layer, .bk-Canvas canvas') ? [e] : []), ...(e.shadowRoot ? found(e.shadowRoot) : []),
  ]);
  return found(document).some((c) => c.width > 100 && [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]
    .some((v, i) => i % 4 === 3 && v > 0));
}"""
"""Whether a canvas of Bokeh has something drawn on it; they lie in shadow roots."""


def test_series_are_plotted_without_the_internet(notebook, lab, traffic):
    notebook.page.context.route(lambda url: not url.startswith(lab.url), lambda route: route.abort())
    notebook.open(lab.notebook("plots.ipynb", PLOTS, SERIES)).run_all()
    assert notebook.errors() == []
    notebook.until(lambda: notebook.page.evaluate(CANVAS), 60, "the plot is not drawn")
    notebook.screenshot("plot")
    assert traffic.left_the_machine() == []

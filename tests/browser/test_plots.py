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
  return found(document).some((c) => c.width > 100 && c.getContext('2d').getImageData(0, 0, c.width, c.height).data
    .some((v, i) => i % 4 === 3 && v > 0));
}"""
"""Whether a canvas of Bokeh has something drawn on it; they lie in shadow roots."""


def test_series_are_plotted_without_the_internet(notebook, lab, traffic):
    notebook.open(lab.notebook("plots.ipynb", PLOTS, SERIES)).run_all()
    assert notebook.errors() == []
    notebook.until(lambda: notebook.page.evaluate(CANVAS), 60, "the plot is not drawn")
    notebook.screenshot("plot")
    assert traffic.left_the_machine() == []


INK = """() => {
  const found = (node) => [...node.querySelectorAll('*')].flatMap((e) => [
    ...(e.matches('canvas.bk-layer, .bk-Canvas canvas') ? [e] : []), ...(e.shadowRoot ? found(e.shadowRoot) : []),
  ]);
  let light = 0;
  let dark = 0;
  for (const c of found(document).filter((one) => one.width > 100)) {
    const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
    for (let n = 0; n < data.length; n += 4) {
      const [red, green, blue, alpha] = data.subarray(n, n + 4);
      if (alpha < 200 || Math.max(red, green, blue) - Math.min(red, green, blue) > 24) continue;
      if (red > 190) light += 1;
      if (red < 60) dark += 1;
    }
  }
  return [light, dark];
}"""
"""How many pixels of a plot are light grey, and how many dark."""


def test_plots_have_the_colours_of_the_theme(notebook):
    notebook.choose_theme("JupyterLab Dark")

    def is_light_on_dark() -> bool:
        light, dark = notebook.page.evaluate(INK)
        return light > 200 and dark < light / 4

    notebook.until(is_light_on_dark, 30, "letters and axes are not those of the dark theme")
    notebook.screenshot("plot-dark")
    notebook.choose_theme("JupyterLab Light")

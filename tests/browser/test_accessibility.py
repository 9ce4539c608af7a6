"""Nothing that keeps people from using the widgets, as far as axe-core can tell: all of them, in both themes."""

from __future__ import annotations

import pytest

from tests.browser.accessibility import no_serious_faults, tab_reaches_everything

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import ipywidgets
import muses_lab as ml
from muses_widgets import ClusterPanel, Map, SeriesPanel
s2 = ml.collection("sentinel-2-l2a")
ndvi = s2.mask_clouds().ndvi()
m = Map(center=(43.6, 1.38), zoom=13, height="760px")
m.add(ndvi.over_time().style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI"), name="NDVI")
m.add((ndvi.median("t") > 0.5).style(classes={0: ("bare", "tan"), 1: ("green", "darkgreen")}), name="Kind")
m.swipe("NDVI", "Kind")
ipywidgets.VBox([m, m.control_panel(), ClusterPanel(), SeriesPanel(m)])  # the last brings tools to draw
"""


@pytest.fixture(scope="module")
def shown(notebook, lab):
    shown = notebook.open(lab.notebook("accessible.ipynb", SETUP)).run_all().loaded()
    shown.click(0.3, 0.4)
    return shown


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_axe_finds_nothing_serious(shown, theme):
    if theme.endswith("Dark"):
        shown.choose_theme(theme)
    shown.loaded().screenshot(f"accessible-{theme.split()[-1]}")
    no_serious_faults(shown.page)


def test_tab_reaches_every_control_of_every_part(shown):
    for part in (".muses-panel", ".muses-time", ".muses-swipe-line", ".muses-controls"):
        tab_reaches_everything(shown.page, part)
    tab_reaches_everything(shown.page)
    button = shown.panel.get_by_role("button", name="Export this view")
    button.evaluate("button => (button.tabIndex = -1)")
    with pytest.raises(AssertionError, match="Export this view"):
        tab_reaches_everything(shown.page, ".muses-panel")
    button.evaluate("button => (button.tabIndex = 0)")


def test_tools_to_draw_have_names_and_take_the_space_bar(shown):
    tools = shown.map.get_by_role("group", name="Draw", exact=True)
    polygon = tools.get_by_role("button", name="Draw a polygon")
    polygon.focus()
    polygon.press("Space")
    shown.until(lambda: polygon.get_attribute("aria-pressed") == "true", 10, "the tool is not in use")
    shown.screenshot("accessible-drawing")  # in the dark theme, which the test before chose
    no_serious_faults(shown.page, ".leaflet-pm-toolbar")
    tools.get_by_role("button", name="Cancel").first.press("Enter")
    shown.until(lambda: polygon.get_attribute("aria-pressed") == "false", 10, "the tool is still in use")
    assert shown.map.get_by_role("group", name="Change what is drawn").get_by_role("button").count() >= 3


def test_an_element_that_is_not_there_is_no_success(shown):
    with pytest.raises(AssertionError, match="nothing in the page"):
        no_serious_faults(shown.page, ".muses-nowhere")

"""Moving through time, as a person does it: by the bar below the map, in a real JupyterLab."""

from __future__ import annotations

import pytest

from tests.browser.test_series import choose_theme

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import muses_lab as ml
from muses_widgets import Map
s2 = ml.collection("sentinel-2-l2a")
ndvi = s2.mask_clouds().ndvi()
m = Map(center=(43.6, 1.38), zoom=13, height="640px")
m.add(ndvi.over_time().style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI"), name="NDVI")
m
"""


@pytest.fixture(scope="module")
def shown(notebook, lab):
    return notebook.open(lab.notebook("time.ipynb", SETUP)).run_all().loaded()


def bar(shown):
    return shown.page.get_by_role("region", name="Dates")


def label(shown) -> str:
    return bar(shown).locator("output").inner_text()


def fetched_ahead(shown, traffic) -> None:
    """Waits until nothing is asked for any more."""
    count = -1
    while count != len(traffic.asked):
        count = len(traffic.asked)
        shown.page.wait_for_timeout(2500)


def test_the_bar_says_which_date_is_shown_and_how_much_of_the_view_it_has(shown):
    days = shown.run("print([frame.label for frame in ndvi.over_time()])")
    assert label(shown) == eval(days)[-1]
    note = bar(shown).locator(".muses-time-note")
    shown.until(lambda: "% of the view" in note.inner_text(), 60, "the shares are not told")
    shown.screenshot("time-1")
    heights = bar(shown).locator(".muses-time-bars span").evaluate_all("bars => bars.map((b) => b.style.height)")
    assert len(heights) == len(eval(days)) and len(set(heights)) > 2


def test_the_keyboard_moves_to_the_next_date_whose_tiles_were_fetched_ahead(shown, traffic):
    fetched_ahead(shown, traffic)
    before = label(shown)
    shown.page.evaluate("performance.setResourceTimingBufferSize(5000)")
    traffic.forget()
    slider = bar(shown).get_by_role("slider", name="Date")
    slider.focus()
    slider.press("ArrowLeft")
    shown.until(lambda: label(shown) < before, 10, "the date is the same")
    shown.until(lambda: traffic.tiles(), 10, "no tiles come")
    shown.loaded()
    tiles = [tile for tile in traffic.tiles() if f"/{shown.chain()}/" in tile.url]
    chain = shown.run("print(m.layer('NDVI').chain.hash, m.date)").split()
    assert chain[1] == label(shown)
    assert tiles, "the layer shows other tiles"
    sizes = shown.page.evaluate(
        "urls => urls.map((url) => performance.getEntriesByName(url).at(-1)?.transferSize)", [t.url for t in tiles]
    )
    assert set(sizes) == {0}, "the browser had to ask for tiles that it was to have"
    assert traffic.troubles == [] and shown.errors() == []


def test_a_click_on_a_bar_shows_that_date(shown):
    bars = bar(shown).locator(".muses-time-bars")
    bars.click(position={"x": bars.bounding_box()["width"] * 1.5 / 8, "y": 4})  # above a low bar, too
    days = eval(shown.run("print([frame.label for frame in ndvi.over_time()])"))
    shown.until(lambda: label(shown) == days[1], 10, "another date is shown")
    shown.loaded()
    assert shown.run("print(m.layer('NDVI').chain.identical(ndvi.over_time()[1].chain))") == "True"


def test_it_plays_and_pauses(shown):
    before = label(shown)
    bar(shown).get_by_role("combobox", name="Frames each second").select_option("4")
    bar(shown).get_by_role("button", name="Play").click()
    seen = {before}
    shown.until(lambda: seen.add(label(shown)) or len(seen) >= 3, 60, "it does not play")
    bar(shown).get_by_role("button", name="Pause").click()
    stays = label(shown)
    shown.page.wait_for_timeout(1200)
    assert label(shown) == stays


def test_code_chooses_a_date(shown):
    shown.run("m.date = '2018-04-01'")
    days = eval(shown.run("print([frame.label for frame in ndvi.over_time()])"))
    expected = [day for day in days if day <= "2018-04-01"][-1]
    shown.until(lambda: label(shown) == expected, 10, "the bar does not follow")


def test_it_is_legible_in_both_themes_wide_and_narrow(shown):
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        choose_theme(shown, theme)
        shown.loaded()
        shown.screenshot(f"time-2-{theme.split()[-1]}-wide")
    size = shown.page.viewport_size
    shown.page.set_viewport_size({"width": 640, "height": 1000})
    shown.page.wait_for_timeout(800)
    shown.screenshot("time-3-narrow")
    shown.page.set_viewport_size(size)
    box, map = bar(shown).bounding_box(), shown.box()
    assert map["x"] <= box["x"] and box["x"] + box["width"] <= map["x"] + map["width"]


def test_a_saved_notebook_shows_the_date_without_a_kernel(shown, lab):
    stays = label(shown)
    shown.save()
    lab.stop_kernels()
    shown.open("time.ipynb")
    shown.until(lambda: bar(shown).count() and bar(shown).is_visible(), 60, "the bar is not there")
    assert label(shown) == stays
    bar(shown).get_by_role("button", name="Next date").click()
    shown.until(lambda: label(shown) != stays, 10, "the date is the same")
    shown.loaded()

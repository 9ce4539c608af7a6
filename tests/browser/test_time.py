"""Moving through time, as a person does it: by the bar below the map, in a real JupyterLab."""

from __future__ import annotations

import pytest

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
    return bar(shown).locator(".muses-time-label").inner_text()


def fetched_ahead(shown, traffic) -> None:
    """Waits until no tile is asked for any more; JupyterLab itself asks its server again and again."""
    count, now = -1, 0
    while count != now:
        count = now
        shown.page.wait_for_timeout(2500)
        now = sum("/muses/tiles/" in str(getattr(one, "url", one)) for one in tuple(traffic.asked))


def test_the_bar_says_which_date_is_shown_and_how_much_of_the_view_it_has(shown):
    days = shown.run("print([frame.label for frame in ndvi.over_time()])")  # later cells are not below the map's own
    assert label(shown) == eval(days)[-1]
    note = bar(shown).locator(".muses-time-note")
    shown.until(lambda: "% clear" in note.inner_text(), 60, "the shares are not told")
    assert shown.panel.locator(".muses-problem").all_inner_texts() == []
    assert "of this view, by the chain's own mask" in bar(shown).locator(".muses-time-key").inner_text()
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
    chain = shown.says("m.layer('NDVI').chain.hash, m.date").split()
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
    days = eval(shown.says("[frame.label for frame in ndvi.over_time()]"))
    shown.until(lambda: label(shown) == days[1], 10, "another date is shown")
    shown.loaded()
    assert shown.says("m.layer('NDVI').chain.identical(ndvi.over_time()[1].chain)") == "True"


def test_the_filter_narrows_the_dates_and_tells_how_many_are_left(shown):
    bar(shown).get_by_role("button", name="Filter").click()
    which = bar(shown).get_by_role("group", name="Which dates")
    count = which.locator(".muses-time-count")
    assert count.inner_text() == "8 dates"
    which.get_by_label("Platform").select_option("sentinel-2b")
    days = eval(shown.run("print([f.label for f in ndvi.over_time() if 'sentinel-2b' in f.facts.platforms])"))
    told = count.inner_text().split(";")
    assert told[0] == f"{len(days)} of 8 dates"
    assert told[1:] == [] or told[1].endswith(f"the map shows {label(shown)}"), "the date is another, which is said"
    seen = set()
    for _ in days:
        bar(shown).get_by_role("button", name="Next date").click()
        seen.add(label(shown))
    assert seen == set(days)
    clouds = which.get_by_role("slider", name="Clouds at most")
    clouds.focus()
    clouds.press("Home")
    for _ in range(10):
        clouds.press("ArrowRight")
    shown.until(lambda: int(count.inner_text().split()[0]) < len(days), 10, "no date is as cloudy")
    shown.screenshot("time-4-filter")
    which.get_by_role("button", name="Show all").click()
    assert count.inner_text() == "8 dates"


def test_months_and_one_image_of_a_range_are_a_choice_away(shown):
    which = bar(shown).get_by_role("group", name="Which dates")
    which.get_by_label("Show").select_option("months")
    shown.until(lambda: label(shown).count("-") == 1, 60, "no months are shown")
    shown.loaded()
    assert shown.says("m.layer('NDVI').chain.identical(ndvi.over_time('month')[-1].chain)") == "True"
    which.get_by_label("from").fill("2018-06-01")
    which.get_by_label("Show").select_option("all of a range")
    shown.until(lambda: label(shown).startswith("2018-06-01 – "), 60, "no range is shown")
    shown.loaded().screenshot("time-5-range")
    which.get_by_role("button", name="Show all").click()
    shown.until(lambda: label(shown).startswith("2018-01"), 60, "the range stays")
    which.get_by_label("Show").select_option("each date")
    shown.until(lambda: label(shown).count("-") == 2 and "–" not in label(shown), 60, "the dates do not come back")
    bar(shown).get_by_role("button", name="Filter").click()
    shown.loaded()


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
    days = eval(shown.says("[frame.label for frame in ndvi.over_time()]"))
    expected = [day for day in days if day <= "2018-04-01"][-1]
    shown.until(lambda: label(shown) == expected, 60, "the bar does not follow")


def test_it_is_legible_in_both_themes_wide_and_narrow(shown):
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        shown.choose_theme(theme)
        shown.loaded()
        shown.screenshot(f"time-2-{theme.split()[-1]}-wide")
    size = shown.page.viewport_size
    shown.page.set_viewport_size({"width": 620, "height": 1000})  # beside JupyterLab's sidebar the map has little
    shown.page.wait_for_timeout(800)
    shown.screenshot("time-3-narrow")
    box, map = bar(shown).bounding_box(), shown.box()
    cut = (
        bar(shown)
        .locator(".muses-time-label, .muses-time-note, .muses-time-key")
        .evaluate_all(
            "parts => parts.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent)"
        )
    )
    bar(shown).get_by_role("button", name="Filter").click()
    shown.page.wait_for_timeout(300)
    shown.screenshot("time-3-narrow-filter")
    open_box = bar(shown).bounding_box()
    bar(shown).get_by_role("button", name="Filter").click()
    shown.page.set_viewport_size(size)
    assert map["x"] <= box["x"] and box["x"] + box["width"] <= map["x"] + map["width"]
    assert open_box["y"] >= map["y"]
    assert cut == []


@pytest.mark.thorough
def test_a_saved_notebook_shows_the_date_without_a_kernel(shown, lab):
    bar(shown).get_by_role("button", name="Filter").click()
    bar(shown).get_by_label("Orbit").select_option("8 descending")
    stays = label(shown)
    shown.save()
    lab.stop_kernels()
    shown.open("time.ipynb")
    shown.until(lambda: bar(shown).count() and bar(shown).is_visible(), 60, "the bar is not there")
    assert label(shown) == stays
    assert "of 3, 8 in all" in bar(shown).locator(".muses-time-note").inner_text()
    bar(shown).get_by_role("button", name="Next date").click()
    shown.until(lambda: label(shown) != stays, 10, "the date is the same")
    shown.loaded()

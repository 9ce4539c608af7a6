"""Parcels as a person works with them: sort, filter, colours of a date, a row, a parcel, small plots; reopened."""

from __future__ import annotations

import pytest

from tests.browser.accessibility import keys_reach_everything, no_serious_faults

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAME = "parcels.ipynb"
MAP = """
import geopandas, shapely
import muses_lab as ml
from muses_widgets import Map, ParcelsPanel
ndvi = ml.collection("sentinel-2-l2a").mask_clouds().ndvi()
m = Map(center=(43.6, 1.42), zoom=14, height="460px")
m.add(ndvi.median("t").style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI"), name="NDVI")
squares = [shapely.box(1.40 + 0.005 * i, 43.59 + 0.004 * j, 1.404 + 0.005 * i, 43.593 + 0.004 * j)
           for j in range(5) for i in range(6)]
squares.append(shapely.box(30, 10, 30.1, 10.1))                        # far away
crops = ["wheat", "maize", "meadow"]
geopandas.GeoDataFrame(
    {"name": [f"Field {n}" for n in range(31)], "crop": [crops[n % 3] for n in range(31)]}, geometry=squares, crs=4326
).to_file("fields.gpkg")
m
"""
PANEL = """
panel = ParcelsPanel(m, "fields.gpkg")
panel
"""


@pytest.fixture(scope="module")
def lab(lab_in_threads):
    return lab_in_threads


@pytest.fixture(scope="module")
def opened(notebook, lab):
    return notebook.open(lab.notebook(NAME, MAP, PANEL)).run_all().loaded()


def panel_of(notebook):
    panel = notebook.page.locator(".muses-parcels").first
    panel.scroll_into_view_if_needed()
    notebook.until(lambda: panel.get_attribute("data-state") == "ok", 180, "no statistics came")
    return panel


def names(panel) -> list[str]:
    return panel.locator("tbody tr th").all_inner_texts()


def cells(panel, column: str) -> list[str]:
    heads = [text.split()[0] for text in panel.locator("thead th").all_inner_texts()]
    return panel.locator(f"tbody tr > :nth-child({heads.index(column) + 1})").all_inner_texts()


def head(panel, column: str):
    return panel.get_by_role("columnheader", name=column).get_by_role("button")


def fills(notebook) -> list[str]:
    """Colours of the parcels on the map, in whatever order they lie above each other."""
    paths = notebook.map.locator(".leaflet-overlay-pane path")
    return sorted(paths.evaluate_all("all => all.map(e => e.getAttribute('fill'))"))


def series_of(notebook, panel, name: str):
    region = panel.get_by_role("region", name="Series of the chosen parcel")
    image = region.get_by_role("img", name=f"Series of {name}: ")
    image.wait_for(timeout=120_000)
    bokeh = notebook.page.locator(".muses-parcel-canvas .bk-Figure")
    notebook.until(lambda: bokeh.count() == 2, 60, "it is not drawn")
    notebook.page.wait_for_timeout(500)  # until Bokeh has its place
    return region


def test_a_table_has_a_row_for_each_parcel_and_its_numbers_are_those_of_over(opened, traffic):
    panel = panel_of(opened)
    opened.screenshot("parcels-1")
    assert panel.get_by_text("31 parcels").is_visible()
    assert names(panel) == [f"Field {n}" for n in range(20)]
    date = panel.get_by_role("combobox", name="Date").locator("option:checked").inner_text()
    opened.run("found = ndvi.over('fields.gpkg').table")
    shown = "[f'{v:.4g}' for v in found[found.date == found.date.unique()[panel.date]]['mean'][:20]]"
    expected = [text.replace("nan", "–") for text in opened.value(shown)]
    assert [float(a) if a != "–" else a for a in cells(panel, "mean")] == [
        float(b) if b != "–" else b for b in expected
    ]
    assert date in opened.value("panel.dates")
    assert "1 of 31 features" in panel.get_by_role("list", name="Remarks").inner_text()
    assert traffic.left_the_machine() == [] and traffic.troubles == []


def test_a_column_sorts_and_the_filter_chooses(opened):
    panel = panel_of(opened)
    head(panel, "mean").click()
    values = [float(text) for text in cells(panel, "mean") if text != "–"]
    assert values == sorted(values)
    assert panel.get_by_role("columnheader", name="mean").get_attribute("aria-sort") == "ascending"
    head(panel, "mean").press("Enter")
    values = [float(text) for text in cells(panel, "mean") if text != "–"]
    assert values == sorted(values, reverse=True)
    box = panel.get_by_role("searchbox", name="Filter the parcels")
    box.fill("crop = wheat and mean > -1")
    opened.until(lambda: set(cells(panel, "crop")) == {"wheat"}, 20, "not filtered")
    box.fill("colour = red")
    panel.get_by_text("There is no column “colour”").wait_for()
    opened.screenshot("parcels-2-filter")
    box.fill("gibberish")
    panel.get_by_text("No parcel has “gibberish” in its name or its attributes.").wait_for()
    box.fill("")
    opened.until(lambda: panel.get_by_text("1–20 of 31").is_visible(), 20, "the filter stays")
    head(panel, "Parcel").click()
    assert names(panel)[:3] == ["Field 0", "Field 1", "Field 2"]
    panel.get_by_role("button", name="Next page").click()
    assert names(panel)[-1] == "Field 30"
    panel.get_by_role("button", name="Page before").click()


def test_the_map_shows_any_statistic_at_any_date_with_its_legend(opened):
    panel = panel_of(opened)
    first = fills(opened)
    assert len(set(first)) > 5
    panel.get_by_role("combobox", name="On the map").select_option(label="valid share")
    opened.until(lambda: fills(opened) != first, 20, "the colours are the same")
    legend = opened.panel.get_by_role("group", name="Colours of the parcels")
    assert "valid share" in legend.inner_text()
    panel.get_by_role("combobox", name="On the map").select_option(label="mean")
    opened.until(lambda: fills(opened) == first, 20, "the colours are others")
    panel.get_by_role("combobox", name="Date").select_option(index=3)
    opened.until(lambda: fills(opened) != first, 30, "another date has the same colours")
    date = opened.value("panel.dates[panel.date]")
    opened.until(lambda: date in legend.inner_text(), 20, "the legend has another date")
    assert "mean NDVI" in legend.inner_text()
    for _ in range(3):
        panel.get_by_role("button", name="Date before").click()
    opened.until(lambda: fills(opened) == first, 30, "the colours are others")


def test_a_row_zooms_to_its_parcel_and_shows_its_series(opened):
    panel = panel_of(opened)
    panel.get_by_role("row", name="Field 8 ").get_by_text("meadow").click()
    series_of(opened, panel, "Field 8")
    opened.screenshot("parcels-3-row")
    no_serious_faults(opened.page, ".muses-parcels")
    keys_reach_everything(opened.page, ".muses-parcels")
    west, south, east, north = 1.41, 43.594, 1.414, 43.597
    (s, w), (n, e) = opened.value("m.bounds")
    assert w < west < east < e and s < south < north < n and e - w < 0.06
    assert panel.get_by_role("row", name="Field 8 ").get_attribute("aria-selected") == "true"
    widths = opened.map.locator(".leaflet-overlay-pane path").evaluate_all(
        "all => all.map(e => e.getAttribute('stroke-width'))"
    )
    assert widths.count("4") == 1
    same = (
        "import numpy as np; from bokeh.document import Document; from bokeh.models import Scatter\n"
        "(root,) = Document.from_json(json.loads(panel.series['item'])['doc']).roots\n"
        "dots = next(r.data_source.data for f in root.children for r in f.renderers if isinstance(r.glyph, Scatter))\n"
        "rows = found[found.name == 'Field 8']\n"
        "print(np.array_equal(dots['optical'], rows['mean'].dropna()))"
    )
    assert opened.run(same) == "True"


def test_the_pointer_tells_name_and_value_and_a_click_on_the_map_chooses(opened):
    panel_of(opened)
    opened.map.scroll_into_view_if_needed()
    chosen = opened.map.locator(".leaflet-overlay-pane path[stroke-width='4']").bounding_box()
    x, y = chosen["x"] + chosen["width"] / 2, chosen["y"] + chosen["height"] / 2
    opened.page.mouse.move(x + 2, y + 2)
    opened.page.mouse.move(x, y)
    tooltip = opened.page.locator(".muses-parcel-tooltip")
    tooltip.wait_for()
    opened.screenshot("parcels-4-pointer")
    assert tooltip.inner_text().startswith("Field 8\nmean NDVI: ")
    other = opened.map.locator(".leaflet-overlay-pane path[stroke-width='1']")
    inside = [box for box in (one.bounding_box() for one in other.all()) if box and _is_left(opened, box)]
    opened.page.mouse.click(inside[0]["x"] + inside[0]["width"] / 2, inside[0]["y"] + inside[0]["height"] / 2)
    opened.until(lambda: opened.value("panel.status()['chosen']") != "Field 8", 30, "no other parcel is chosen")
    series_of(opened, panel_of(opened), opened.value("panel.status()['chosen']"))


def _is_left(notebook, box) -> bool:
    """Whether a parcel is in sight, beside the panel."""
    at = notebook.map.bounding_box()
    left, right = at["x"] + 60, at["x"] + at["width"] - 320
    return left < box["x"] and box["x"] + box["width"] < right and at["y"] < box["y"] < at["y"] + at["height"] - 60


def test_small_plots_are_paged_and_chosen_by_keys(opened):
    panel = panel_of(opened)
    panel.get_by_role("button", name="Small plots").click()
    group = panel.get_by_role("group", name="Small plots of parcels")
    opened.until(lambda: group.get_by_role("button").count() == 12, 30, "no small plots")
    opened.screenshot("parcels-5-small")
    panel.get_by_role("button", name="Next page").click()
    opened.until(lambda: group.get_by_role("button", name="Field 12:").count() == 1, 30, "no other page")
    plot = group.get_by_role("button", name="Field 12:")
    plot.focus()
    opened.page.keyboard.press("Enter")
    series_of(opened, panel, "Field 12")
    assert plot.get_attribute("aria-pressed") == "true"
    panel.get_by_role("button", name="Table").click()


def test_files_are_offered(opened, lab):
    panel = panel_of(opened)
    panel.get_by_role("button", name="GeoPackage").click()
    link = panel.get_by_role("link", name="parcels-")
    link.wait_for(timeout=60_000)
    with opened.page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename.endswith(".gpkg")
    opened.run(f"written = geopandas.read_file({link.inner_text()!r}, layer='series')")
    assert opened.value("bool(written['mean'].equals(found['mean'].reset_index(drop=True)))") is True


@pytest.mark.thorough
def test_it_is_legible_in_the_dark_and_when_narrow(opened):
    panel = panel_of(opened)
    opened.choose_theme("JupyterLab Dark")
    opened.page.wait_for_timeout(1000)
    opened.screenshot("parcels-6-dark")
    no_serious_faults(opened.page, ".muses-parcels")
    opened.page.set_viewport_size({"width": 760, "height": 1000})
    opened.page.wait_for_timeout(1500)
    panel.scroll_into_view_if_needed()
    opened.screenshot("parcels-7-narrow")
    box = panel.bounding_box()
    for one in panel.locator("button, select, input").all():
        at = one.bounding_box()
        inside = one.evaluate("e => Boolean(e.closest('table'))")
        assert at is None or inside or at["x"] + at["width"] <= box["x"] + box["width"] + 1, one.inner_text()
    opened.page.set_viewport_size({"width": 1300, "height": 1000})
    opened.choose_theme("JupyterLab Light")


@pytest.mark.thorough
def test_saved_and_reopened_it_shows_the_same_without_a_kernel(opened, lab):
    panel = panel_of(opened)
    if not (chosen := opened.value("panel.status()['chosen']")):
        chosen = "Field 8"
        panel.get_by_role("row", name="Field 8 ").get_by_text("meadow").click()
        series_of(opened, panel, chosen)
    colours = fills(opened)
    opened.save()
    lab.stop_kernels()
    opened.page.wait_for_timeout(1000)
    opened.open(NAME)
    panel = opened.bring(".muses-parcels")
    panel.get_by_text("These are the values that were saved").wait_for(timeout=60_000)
    assert len(names(panel)) == 20
    series_of(opened, panel, chosen)
    head(panel, "mean").click()
    values = [float(text) for text in cells(panel, "mean") if text != "–"]
    assert values == sorted(values)
    opened.until(lambda: fills(opened) == colours, 60, "the parcels have other colours")
    opened.screenshot("parcels-8-saved")

"""The kernel's part of the series of the clicked place: what it computes, draws with HoloViews, and tells."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import HoverTool, Line, Scatter

import muses_lab as ml
from muses_widgets import Map
from muses_widgets.sections import series as section
from tests.helpers.stac_items import write_tif

pytestmark = [pytest.mark.usefixtures("in_threads"), pytest.mark.slow]

LON, LAT = 1.41, 43.58


def ask(m: Map, *names: str, place: tuple[float, float] = (LON, LAT), asked: str = "1") -> dict[str, Any]:
    """What the panel asks for, and the last thing that it is told."""
    m.panel._handle_custom_msg(message(m, *names, place=place, asked=asked), [])
    end = time.monotonic() + 120
    while (told := m.panel.sections.get("series", {})).get("asked") != asked or told["busy"]:
        assert time.monotonic() < end, told
        time.sleep(0.05)
    return told


def message(m: Map, *names: str, place: tuple[float, float] = (LON, LAT), asked: str = "1") -> dict[str, Any]:
    return {"section": "series", "asked": asked, "place": list(place), "layers": [m.tiles(n).model_id for n in names]}


def drawn(plot: dict[str, Any], glyph: type) -> list[dict[str, Any]]:
    """The data of a plot's lines, or of its points, as the browser gets them."""
    (root,) = Document.from_json(json.loads(plot["item"])["doc"]).roots
    return [r.data_source.data for r in root.renderers if isinstance(r.glyph, glyph)]


def test_a_layer_s_series_is_drawn_with_its_gaps_units_and_scenes(s2):
    chain = s2.mask_clouds().ndvi()
    expected = chain.at(LON, LAT)
    m = Map()
    m.add(chain.median("t").style(cmap="RdYlGn", label="NDVI", unit="1"), name="Green")
    told = ask(m, "Green")
    (plot,) = told["plots"]
    assert (plot["title"], plot["quantity"], plot["curves"]) == ("Green", "NDVI (1)", [])
    (line,), (points,) = drawn(plot, Line), drawn(plot, Scatter)
    assert np.isnan(expected).any()
    np.testing.assert_array_equal(line["value"], expected)  # NaN: Bokeh's lines have gaps there
    np.testing.assert_array_equal(points["value"], expected)
    np.testing.assert_array_equal(line["t"], expected.t.values.astype("M8[ms]").astype(float))
    assert list(points["scene"]) == [line.split(" ", 1)[1] for line in expected.attrs["scenes"]]
    first = int(np.flatnonzero(np.isfinite(expected))[0])
    assert points["text"][first] == f"{expected.values[first]:.4g} 1"
    assert points["date"][first] == str(expected.t.values[first])[:16].replace("T", " ")
    count, dates = int(np.isfinite(expected).sum()), expected.sizes["t"]
    assert plot["text"] == f"{count} of {dates} dates, {np.nanmin(expected):.4g} to {np.nanmax(expected):.4g} 1"


def test_nothing_that_is_drawn_names_an_address(s2):
    m = Map()
    m.add(s2.ndvi().median("t"), name="NDVI")
    told = ask(m, "NDVI")
    assert not re.findall(r"https?://", json.dumps(told))
    (root,) = Document.from_json(json.loads(told["plots"][0]["item"])["doc"]).roots
    assert root.select_one(HoverTool).mode == "vline"


def test_layers_of_one_series_have_one_plot_and_others_one_each(s2):
    ndvi = s2.mask_clouds().ndvi().median("t")
    m = Map()
    m.add(ndvi.style(label="NDVI"), name="NDVI")
    m.add((ndvi > 0.5).style(classes={0: ("bare", "tan"), 1: ("green", "darkgreen")}), name="Kind")
    m.add(s2.band("red").count("t").style(unit="dates"), name="Count")
    plots = ask(m, "NDVI", "Kind", "Count")["plots"]
    assert [plot["title"] for plot in plots] == ["Count", "Kind, NDVI"]
    assert plots[0]["quantity"] == ""  # the unit of a count is not that of what is counted
    assert plots[1]["quantity"] == "NDVI"
    assert not any("green" in text for text in drawn(plots[1], Scatter)[0]["text"])


def test_bands_are_curves_that_are_told_apart(s2):
    clear = s2.mask_clouds()
    m = Map()
    m.add(ml.rgb(*(clear.band(b).median("t") for b in ("red", "green", "blue"))), name="Colour")
    m.add(clear.bands("red", "green", "nir").median("t"), name="Bands")
    bands, colour = ask(m, "Colour", "Bands")["plots"]
    assert [curve["label"] for curve in colour["curves"]] == ["red", "green", "blue"]
    assert len({curve["colour"] for curve in colour["curves"]}) == 3
    lines = drawn(colour, Line)
    for line, name in zip(lines, ("red", "green", "blue"), strict=True):
        np.testing.assert_array_equal(line["value"], clear.band(name).at(LON, LAT))
    assert len(bands["curves"]) == len(drawn(bands, Line)) == 3


def test_classes_are_named_where_the_layer_has_the_values_of_its_series(s2):
    m = Map()
    m.add(s2.band("SCL").first("t").style(classes={4: ("vegetation", "green"), 5: ("bare", "tan")}), name="Classes")
    (points,) = drawn(ask(m, "Classes")["plots"][0], Scatter)
    named = {text for value, text in zip(points["value"], points["text"], strict=True) if value in (4, 5)}
    assert named and named <= {"vegetation (4)", "bare (5)"}


def test_where_there_is_nothing_it_says_so(s2, tmp_path):
    write_tif(tmp_path / "one.tif", shape=(20, 20))
    m = Map()
    m.add(s2.mask_clouds(keep=[11]).ndvi().median("t"), name="Snow")
    m.add(ml.open_raster(tmp_path / "one.tif").style(), name="File")
    m.add(s2.dates("1999-01-01", "1999-02-01").ndvi().median("t"), name="None")
    m.add(s2.ndvi().median("t"), name="NDVI")
    texts = {plot["title"]: plot["text"] for plot in ask(m, "Snow", "File", "None")["plots"]}
    assert texts["File"] == "It has one date, so there is no series."
    assert texts["None"] == "There is no scene."
    assert re.fullmatch(r"No value on any of \d+ dates\.", texts["Snow"])
    (far,) = ask(m, "NDVI", place=(10.0, 50.0), asked="2")["plots"]
    assert far["text"] == "No scene lies here." and "item" not in far
    assert ask(m, asked="3")["plots"] == []


def test_an_error_is_told_and_the_other_layers_are_drawn(s2, monkeypatch):
    m = Map()
    m.add(s2.ndvi().median("t"), name="Good")
    m.add(s2.ndwi().median("t"), name="Bad")
    real = section.series_there
    bad = section.dated(m.layer("Bad").chain.published)[0].published.chain_hash

    def broken(part, place):
        if part.published.chain_hash == bad:
            raise OSError("the disk is gone")
        return real(part, place)

    monkeypatch.setattr(section, "series_there", broken)
    plots = {plot["title"]: plot for plot in ask(m, "Good", "Bad")["plots"]}
    assert plots["Bad"]["failed"] and plots["Bad"]["text"] == "the disk is gone" and "item" not in plots["Bad"]
    assert "item" in plots["Good"]


def test_a_newer_click_takes_the_place_of_those_that_wait(s2, monkeypatch):
    """The first is being computed; of the two that come meanwhile only the last is."""
    m = Map()
    m.add(s2.ndvi().median("t"), name="NDVI")
    real, places, go = section.series_there, [], threading.Event()

    def slow(part, place):
        places.append(place)
        assert go.wait(60)
        return real(part, place)

    monkeypatch.setattr(section, "series_there", slow)
    for n, lon in enumerate((1.40, 1.41), 1):
        m.panel._handle_custom_msg(message(m, "NDVI", place=(lon, LAT), asked=f"{n}"), [])
    threading.Timer(0.2, go.set).start()
    assert ask(m, "NDVI", place=(1.42, LAT), asked="3")["place"] == [1.42, LAT]
    assert places == [(1.40, LAT), (1.42, LAT)]


def test_of_a_long_series_the_newest_dates_are_drawn_first(s2, monkeypatch):
    monkeypatch.setattr(section, "LONG", 5)
    monkeypatch.setattr(section, "FIRST", 3)
    m = Map()
    m.add(s2.ndvi().median("t"), name="NDVI")
    m.add(s2.ndwi().median("t"), name="NDWI")
    told = []
    m.panel.observe(lambda change: told.append(change["new"]["series"]), "sections")
    ask(m, "NDVI", "NDWI")
    counts = [[len(drawn(plot, Line)[0]["t"]) for plot in one["plots"]] for one in told]
    dates = len(s2.ndvi().over_time())
    assert counts[0] == [3] and counts[-1] == [dates, dates], "each takes the place of its first dates"
    (first,), (whole, _) = told[0]["plots"], told[-1]["plots"]
    assert first["text"] == f"The newest dates, of {dates}; the others are being read."
    np.testing.assert_array_equal(drawn(first, Line)[0]["value"], drawn(whole, Line)[0]["value"][-3:])
    assert first["key"] != whole["key"], "the page draws it anew"

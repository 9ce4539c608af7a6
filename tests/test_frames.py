"""A chain's dates one after the other: as frames, and as a layer of a map."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pytest

import muses_lab as ml
from muses_lab.errors import ArgumentError, NotAnImage
from muses_widgets import Map
from muses_widgets.sections.time import Time

pytestmark = pytest.mark.usefixtures("in_threads")

WINDOW = ml.Window.from_bounds((1.405, 43.575, 1.415, 43.585), resolution=20)


def test_every_observation_is_a_frame_with_its_values(s2) -> None:
    ndvi = s2.mask_clouds().ndvi()
    cube = ndvi.compute(WINDOW)
    frames = ndvi.over_time()
    assert [str(frame.time)[:10] for frame in frames] == [str(t)[:10] for t in cube.t.values]
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.chain.compute(WINDOW), cube.isel(t=number))


def test_periods_are_frames_under_their_names(s2) -> None:
    ndvi = s2.mask_clouds().ndvi()
    frames, expected = ndvi.over_time("month", "median"), ndvi.by_period("month", "median").compute(WINDOW)
    assert [frame.label for frame in frames] == [str(t)[:7] for t in expected.t.values]
    np.testing.assert_array_equal(frames[-1].chain.compute(WINDOW), expected.isel(t=-1))


def test_a_date_is_the_last_frame_until_then(s2) -> None:
    frames = s2.ndvi().over_time()
    third = frames[2]
    day = str(third.time)[:10]
    for given in (
        third.label,
        day,
        date.fromisoformat(day),
        datetime.fromisoformat(str(third.time)[:23]),
        f"{day}T23:59",
    ):
        assert frames.at(given).label == third.label
    assert frames.index("1990-01-01") == 0
    assert frames.index("2090-01-01") == len(frames) - 1
    with pytest.raises(ArgumentError, match="'soon' is no date"):
        frames.at("soon")


def test_what_has_no_dates_says_where_they_are(s2) -> None:
    with pytest.raises(ArgumentError, match=r"before it reduces them"):
        len(s2.ndvi().median("t").over_time())
    with pytest.raises(NotAnImage, match=r"chain\.over_time\(\)"):
        s2.ndvi().style().publish()


def test_a_map_shows_one_date_of_them(s2) -> None:
    m = Map()
    over = s2.mask_clouds().ndvi().over_time().style(cmap="RdYlGn", vmin=0, vmax=1)
    m.add(over, name="NDVI")
    assert m.layer("NDVI").hash == over.layers()[-1].hash  # the newest
    m.date = str(over.over[1].time)[:10]
    entry = m.panel.layers[0]
    assert m.layer("NDVI").hash == over.layer(m.date).hash == over.layers()[1].hash
    assert entry["chain"] == entry["frames"][1]["chain"] == over.layers()[1].chain.publish()
    assert f"/{entry['chain']}/" in m.tiles("NDVI").url
    m.add(s2.ndvi().over_time(), name="NDVI")  # in its place, at the same date
    assert m.layer("NDVI").chain.identical(s2.ndvi().over_time()[1].chain)
    m.add(s2.ndvi().median("t"), name="NDVI")
    assert "frames" not in m.panel.layers[0] and m.layer("NDVI").chain.identical(s2.ndvi().median("t"))


def test_the_page_chooses_a_date(s2) -> None:
    m = Map()
    over = s2.ndvi().over_time()
    m.add(over, name="NDVI")
    (entry,) = m.panel.layers
    chain = entry["frames"][0]["chain"]
    m.tiles("NDVI").url = m.tiles("NDVI").url.replace(entry["chain"], chain)
    m.panel.layers = [{**entry, "chain": chain}]
    m.panel.date = entry["frames"][0]["label"]
    assert m.layer("NDVI").chain.identical(over[0].chain)
    assert m.panel.layers[0]["chain"] == chain and m.date == over[0].label


def test_dates_without_scenes_say_so(s2) -> None:
    m = Map()
    m.add(s2.dates("1990-01-01", "1990-02-01").ndvi().over_time(), name="Empty")
    assert "no scene" in m.panel.layers[0]["empty"]


def test_the_bar_is_told_how_much_of_the_view_each_date_has(s2) -> None:
    m = Map()
    ndvi = s2.mask_clouds().ndvi()
    m.add(ndvi.over_time(), name="NDVI")
    told: list[dict[str, Any]] = []
    section = Time(m)
    section.tell = told.append  # type: ignore[method-assign]
    bounds = [1.40, 43.57, 1.42, 43.59]
    message = {"asked": "1", "layer": m.tiles("NDVI").model_id, "bounds": bounds, "zoom": 13}
    section._answer(message, lambda: False)
    values = ndvi.compute(ml.Window.from_bounds(tuple(bounds), resolution=20))
    expected = values.notnull().mean(("y", "x"))
    assert told[-1]["busy"] is False
    np.testing.assert_allclose(told[-1]["shares"], expected, atol=0.05)  # of fewer pixels

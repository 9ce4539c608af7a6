"""A chain's dates one after the other: as frames, and as a layer of a map."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

import muses_lab as ml
from muses_lab.api.clearness import clearness
from muses_lab.api.frames import as_date
from muses_lab.errors import ArgumentError, NotAnImage
from muses_lab.tables.observed import DateFacts
from muses_lab.times import short_dates
from muses_widgets import Map, link
from muses_widgets.inputs import NotShown
from muses_widgets.sections.newest import Newest
from muses_widgets.sections.time import Time
from tests.helpers.made_stacks import own_window, stack

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


def test_the_bar_is_told_how_clear_the_view_is_at_each_date(s2) -> None:
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
    assert told[-1]["basis"] == "by the chain's own mask"
    clear, covered = np.transpose(told[-1]["shares"])
    np.testing.assert_allclose(clear, expected, atol=0.05)  # of fewer pixels
    seen = s2.ndvi().compute(ml.Window.from_bounds(tuple(bounds), resolution=20)).notnull().mean(("y", "x"))
    np.testing.assert_allclose(covered, seen, atol=0.05)


def test_a_chain_without_a_mask_is_as_clear_as_the_mask_of_its_product_says(s2) -> None:
    window = ml.Window.from_bounds((1.40, 43.57, 1.42, 43.59), resolution=20)
    over = s2.ndvi().over_time()
    found = clearness(over)
    assert found.basis == "by the scenes' SCL"
    clouds = s2.clouds().compute(window)
    shares = np.array(found.shares(over.frames, window))
    np.testing.assert_array_equal(shares[:, 0], (clouds == 0).mean(("y", "x")))
    np.testing.assert_array_equal(shares[:, 1], clouds.notnull().mean(("y", "x")))


def test_a_period_is_clear_where_one_of_its_dates_is(s2) -> None:
    window = ml.Window.from_bounds((1.40, 43.57, 1.42, 43.59), resolution=20)
    over = s2.ndvi().over_time("year")
    clouds = s2.clouds().compute(window)
    shares = np.array(clearness(over).shares(over.frames, window))
    np.testing.assert_array_equal(shares[0], [(clouds == 0).any("t").mean(), clouds.notnull().any("t").mean()])


def test_where_nothing_is_known_of_clouds_all_that_has_values_counts(dated) -> None:
    over = dated.over_time()
    found = clearness(over)
    assert found.basis == ""
    assert found.shares(over.frames, own_window(8, 8)) == [(1.0, 1.0)] * len(DAYS)


def test_without_a_mask_of_the_product_the_scenes_own_cloud_cover_counts_and_that_is_said(dated, monkeypatch) -> None:
    over = dated.over_time()
    frames = tuple(one._replace(facts=DateFacts(cloud_cover=20.0 * n)) for n, one in enumerate(over.frames))
    monkeypatch.setitem(over.__dict__, "frames", frames)
    found = clearness(over)
    assert found.basis == "by the cloud cover of whole scenes"
    clear, covered = np.transpose(found.shares(frames, own_window(8, 8)))
    np.testing.assert_allclose(clear, [1, 0.8, 0.6, 0.4, 0.2])
    np.testing.assert_array_equal(covered, 1)


def test_frames_tell_platform_orbit_and_clouds_of_their_scenes(s2) -> None:
    properties = [item["properties"] for item in s2.items]
    frame = s2.ndvi().over_time()[0]
    first = [one for one in properties if one["datetime"].startswith(frame.label)]
    assert frame.facts.platforms == (first[0]["platform"],)
    assert frame.facts.orbits == (f"{first[0]['sat:relative_orbit']} {first[0]['sat:orbit_state']}",)
    assert frame.facts.cloud_cover == pytest.approx(np.mean([one["eo:cloud_cover"] for one in first]))
    year = s2.ndvi().over_time("year")[0].facts
    assert year.platforms == tuple(sorted({one["platform"] for one in properties}))


def test_frames_are_made_by_another_period_and_back(s2) -> None:
    dates, months = s2.ndvi().over_time(), s2.ndvi().over_time("month", "max")
    assert (dates.period, dates.reducer) == (None, None)
    assert (months.period, months.reducer) == ("month", "max")
    assert months.by().cube.identical(dates.cube)
    assert months.by("season").cube.identical(s2.ndvi().over_time("season").cube)
    (one,) = dates.by(("2018-03-01", "2018-06-01"), "mean")
    assert one.label == "2018-03-01 – 2018-05-31"
    (all_of_them,) = months.by((None, None))
    assert all_of_them.label == f"{dates[0].label} – {dates[-1].label}"


def test_the_page_chooses_a_period_for_a_layer(s2) -> None:
    m = Map()
    m.add(s2.ndvi().over_time().style(cmap="magma"), name="NDVI")
    section = Time(m)
    id = m.tiles("NDVI").model_id
    section.receive({"asked": "1", "layers": [id], "period": "month", "reducer": "max", "start": None, "end": None})
    assert m.tiles("NDVI").chain.identical(s2.ndvi().over_time("month", "max").cube)
    assert m.panel.layers[0]["period"] == {"name": "month", "reducer": "max"}
    assert m.panel.sections["time"]["handled"] == "1"
    about = {"layers": [id], "period": "range", "reducer": "median", "start": "2018-03-01", "end": "2018-05-31"}
    section.receive({"asked": "2", **about})
    (frame,) = m.panel.layers[0]["frames"]
    assert frame["label"] == "2018-03-01 – 2018-05-31" and set(frame["platforms"]) == {"sentinel-2a"}


# ------------------------------------------------------------------------------------------------- what a date means

DAYS = ["2018-01-03", "2018-01-15", "2018-02-04", "2018-02-20", "2018-04-01"]


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> ml.Chain:
    values = np.random.default_rng(4).integers(1, 900, (5, 2, 8, 8)).astype(np.int16)
    return stack(values, tmp_path_factory.mktemp("dated"), dates=DAYS).band("B4")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2018", "2018-12-31"),
        ("2018-02", "2018-02-28"),
        (" 2018-02-04 ", "2018-02-04"),
        ("2018-02-04T01:00+02:00", "2018-02-03 23:00"),
        (date(2018, 2, 4), "2018-02-04"),
        (datetime(2018, 2, 4, 10, 50, 31, tzinfo=UTC), "2018-02-04 10:50:31"),
        (np.datetime64("2018-02-04"), "2018-02-04"),
        (np.datetime64("2018-02-04T10:50:31.461250123"), "2018-02-04 10:50:31.461250"),
    ],
)
def test_dates_are_written_in_one_way(given: Any, expected: str) -> None:
    assert as_date(given) == expected == as_date(expected)


def test_several_observations_of_a_day_and_of_a_minute_have_names_of_their_own() -> None:
    from muses_lab.api.frames import Frame, last_until

    texts = ("2018-01-03T10:50:31.5", "2018-01-05T10:50:31", "2018-01-05T10:50:45", "2018-01-05T11:00")
    times = tuple(np.datetime64(text, "ns") for text in texts)
    dates = short_dates(times)
    assert dates == ["2018-01-03", "2018-01-05 10:50:31.000000", "2018-01-05 10:50:45.000000", "2018-01-05 11:00"]
    frames = [Frame(day, day, time, None) for day, time in zip(dates, times, strict=True)]
    assert [last_until(frames, day) for day in dates] == [0, 1, 2, 3]
    assert [last_until(frames, day) for day in ("2018-01-01", "2018-01-05", "2018-01-05 10:50")] == [0, 3, 2]


def test_odd_dates_leave_a_map_as_it_is(dated: ml.Chain) -> None:
    m = Map()
    for given in ("soon", 3, "2018-13", np.datetime64("NaT")):
        with pytest.raises(ArgumentError, match="is no date; give for example '2018-07-03'"):
            m.date = given
    m.add(dated.over_time(), name="a")
    m.date = "2018-02-10"
    with pytest.raises(ArgumentError):
        m.date = "2018-13"
    assert m.date == "2018-02-10" and m.layer("a").chain.identical(dated.over_time()[2].chain)
    for nothing in (None, ""):
        m.date = "2018-01-03"
        m.date = nothing
        assert m.date == "" and m.layer("a").chain.identical(dated.over_time()[-1].chain)


def test_periods_of_other_lengths_and_dates_move_together(dated: ml.Chain) -> None:
    m = Map()
    seasons, dekads, months = (dated.over_time(period) for period in ("season", "dekad", "month"))
    m.add(seasons, name="seasons")
    m.date = "2018-djf"
    assert m.date == "2017-12-01"
    m.add(dated.over_time(), name="dates")  # none until then
    assert m.layer("dates").chain.identical(dated.over_time()[0].chain)
    m.add(dekads, name="dekads")
    m.date = "2018-02"  # the second dekad's name
    assert m.date == "2018-01-11" and m.layer("dekads").chain.identical(dekads.at("2018-02").chain)
    m.add(months, name="months")
    assert m.layer("months").chain.identical(months[0].chain)
    with pytest.raises(NotShown, match="'2018-02' begins 2018-01-11 in 'dekads' and 2018-02-01 in 'months': say which"):
        m.date = "2018-02"
    m.date = "2018-02-12"
    assert m.layer("dekads").chain.identical(dekads.at("2018-05").chain)
    assert m.layer("dates").chain.identical(dated.over_time()[2].chain)


def test_what_cannot_be_shown_leaves_the_layer_as_it_was(dated: ml.Chain, s2) -> None:
    m = Map()
    m.add(dated.over_time(), name="a")
    before, entry, address = m.layer("a").hash, m.panel.layers[0], m.tiles("a").url
    with pytest.raises(ml.errors.MusesError, match="a map shows one or three"):
        m.add(s2.bands(["B02", "B03"]).over_time(), name="a")
    assert (m.layer("a").hash, m.tiles("a").entry, m.tiles("a").url) == (before, entry, address)


def test_a_page_that_does_not_know_yet_what_is_shown_does_not_bring_back_what_was(dated: ml.Chain) -> None:
    m = Map()
    m.add(dated.over_time(), name="a")
    old = m.tiles("a").url.replace(m.panel.layers[0]["chain"], m.panel.layers[0]["frames"][0]["chain"])
    m.add((dated * 2).over_time(), name="a")
    address = m.tiles("a").url
    m.tiles("a").url = old  # the page's step, on its way while the cell ran
    assert m.tiles("a").url == address and f"/{m.panel.layers[0]['chain']}/" in address


def test_linked_maps_begin_at_the_same_date(dated: ml.Chain) -> None:
    a, b = Map(), Map()
    for one in (a, b):
        one.add(dated.over_time(), name="a")
    b.date = "2018-01-03"
    link(a, b)
    assert a.date == b.date == "" and b.layer("a").hash == a.layer("a").hash
    for wrong in ((), (a,), (a, a), (a, "b")):
        with pytest.raises(NotShown, match="takes two maps or more, each of them once"):
            link(*wrong)


def test_a_message_that_fails_does_not_end_the_answers() -> None:
    failed, done = threading.Event(), threading.Event()

    def work(message: dict[str, Any], is_stale: Any) -> None:
        if message["fails"]:
            failed.set()
            raise RuntimeError("for the test")
        done.set()

    newest = Newest("test", work)
    newest.take({"fails": True})
    assert failed.wait(5)
    newest.take({"fails": False})
    assert done.wait(5)

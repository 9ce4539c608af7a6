"""Threads and pages that change widgets at the same time: nobody waits for somebody who waits for him."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import shapely

import muses_lab as ml
from muses_widgets import Map, ParcelsPanel, SeriesPanel
from muses_widgets.parcels import panel as parcels_panel
from muses_widgets.series import plotted as plotted_module
from tests.helpers.waiting import within

pytestmark = pytest.mark.usefixtures("in_threads")

LON, LAT = 1.40, 43.6


@pytest.fixture
def m(s2) -> Map:
    threshold = ml.parameter("threshold", 0.4, minimum=0, maximum=1)
    m = Map(center=(43.6, 1.38), zoom=13)
    m.add(s2.mask_clouds().ndvi().median("t") > threshold, name="Green")
    m.add(s2.mask_clouds().ndvi().median("t"), name="NDVI")
    return m


class Meeting:
    """A page's message that is being taken over, and a thread that tells something meanwhile."""

    def __init__(self) -> None:
        self._begun = threading.Event()

    def stays(self, *_: Any) -> None:
        """The page's message stays here until the thread has gone as far as it can."""
        self._begun.set()
        time.sleep(0.3)

    def both_end(self, page: Callable[[], Any], thread: Callable[[], Any]) -> None:
        def meanwhile() -> None:
            assert self._begun.wait(20)
            thread()

        both = [threading.Thread(target=one, daemon=True) for one in (meanwhile, page)]
        for one in both:
            one.start()
        for one in both:
            one.join(30)
        assert not any(one.is_alive() for one in both), "they wait for each other"


def test_a_section_tells_something_while_another_answers_a_click(m):
    meeting = Meeting()
    m.panel.observe(meeting.stays, "clicked")
    m.panel.observe(lambda change: m.panel.tell("one", {"at": change["new"]}), "clicked")
    meeting.both_end(lambda: m.panel.set_state({"clicked": [LAT, LON]}), lambda: m.panel.tell("other", {"done": True}))
    assert m.panel.sections["one"] == {"at": [LAT, LON]} and m.panel.sections["other"] == {"done": True}


def while_it_is_asked(
    patch: pytest.MonkeyPatch, owner: Any, name: str, start: Callable[[], Any], page: Callable[[], Any]
) -> None:
    """Takes a page's message over while a thread of a panel is in a function that it calls."""
    asked, real, here = threading.Event(), getattr(owner, name), threading.current_thread()

    def stays(*given: Any) -> Any:
        if threading.current_thread() not in (here, taken):
            asked.set()
            time.sleep(0.3)
        return real(*given)

    taken = threading.Thread(target=page, daemon=True)
    patch.setattr(owner, name, stays)
    start()
    assert asked.wait(120)
    taken.start()
    taken.join(30)
    assert not taken.is_alive(), "they wait for each other"


def test_a_place_is_clicked_while_the_series_of_another_is_told(m, monkeypatch):
    panel = SeriesPanel(m)
    while_it_is_asked(
        monkeypatch, SeriesPanel, "_images_key",
        lambda: panel.look_at(LON, LAT), lambda: m.panel.set_state({"clicked": [LAT + 0.01, LON]}),
    )  # fmt: skip
    assert panel.place == [LON, LAT + 0.01]
    assert within(120, lambda: panel.told["state"] == "ok"), panel.told


def test_a_date_of_parcels_is_chosen_while_their_statistics_arrive(m, monkeypatch):
    panel = ParcelsPanel(m, shapely.box(LON, LAT, LON + 0.002, LAT + 0.002), "NDVI")
    panel.wait()
    other = (panel.date + 1) % len(panel.dates)
    while_it_is_asked(
        monkeypatch, parcels_panel.facts, "statistics_of", panel.compute, lambda: panel.set_state({"date": other})
    )
    panel.wait()
    assert (panel.date, panel.values["date"], panel.told["state"]) == (other, other, "ok")


def test_layers_of_before_are_not_plotted_after_the_map_has_others(m, s2, monkeypatch):
    panel = SeriesPanel(m, "NDVI")
    panel.look_at(LON, LAT)
    assert within(120, lambda: panel.told["state"] == "ok"), panel.told
    plotted, later = panel._plotted, s2.dates("2018-06-01", "2019-01-01").mask_clouds().ndvi().median("t")
    plotted._followed = None
    plotted.follow()  # what is known is to be made anew
    while_it_is_asked(
        monkeypatch, plotted_module, "Expressions",
        threading.Thread(target=plotted.expressions, daemon=True).start, lambda: m.add(later, name="NDVI"),
    )  # fmt: skip
    assert plotted.expressions().quantity("NDVI").chain.hash == later.hash


def test_a_layer_is_added_while_a_control_is_moved(m):
    meeting = Meeting()
    m.panel.observe(meeting.stays, "layers")
    controls = m.control_panel("threshold")
    meeting.both_end(
        lambda: m.add(m.layer("NDVI").chain.focal_mean(2), name="Mean"), lambda: controls.set(threshold=0.6)
    )
    assert controls.values == {"threshold": 0.6}
    assert {layer["name"] for layer in m.panel.layers} == {"Green", "NDVI", "Mean"}

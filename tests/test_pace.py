"""The remaining time of a job: by the pieces that it has computed, and nothing before there are some."""

from __future__ import annotations

from muses_lab.export.pace import Pace


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def begun(clock: Clock, left: int, last: float | None = 6.0) -> Pace:
    pace = Pace(clock)
    assert pace.remaining() is None, "while it is planned"
    pace.begin(left, last)
    return pace


def after(pace: Pace, clock: Clock, pieces: int, each: float) -> float | None:
    for _ in range(pieces):
        clock.now += each
        pace.step()
    return pace.remaining()


def test_nothing_is_said_before_pieces_are_measured() -> None:
    clock = Clock()
    pace = begun(clock, 10)
    assert pace.remaining() is None and after(pace, clock, 1, 2.0) is None
    assert after(pace, clock, 1, 2.0) == 8 * 2.0 + 6.0


def test_it_goes_down_between_pieces_but_not_by_more_than_one() -> None:
    clock = Clock()
    pace = begun(clock, 10, None)
    assert after(pace, clock, 2, 4.0) == 32.0
    clock.now += 3.0
    assert pace.remaining() == 29.0
    clock.now += 300.0
    assert pace.remaining() == 28.0


def test_the_newest_pieces_count() -> None:
    clock = Clock()
    pace = begun(clock, 200, None)
    after(pace, clock, 10, 50.0)
    assert after(pace, clock, 90, 1.0) == 100.0


def test_pauses_are_no_work() -> None:
    clock = Clock()
    pace = begun(clock, 10, None)
    after(pace, clock, 2, 4.0)
    pace.pause()
    clock.now += 1000.0
    assert pace.remaining() == 32.0, "and time stands still"
    pace.go_on()
    assert after(pace, clock, 1, 4.0) == 28.0


def test_the_last_stage_has_its_own_pace_once_it_is_known() -> None:
    clock = Clock()
    pace = begun(clock, 2, 30.0)
    after(pace, clock, 2, 1.0)
    pace.at_last(0.0)
    clock.now += 5.0
    assert pace.remaining() == 25.0
    pace.at_last(0.25)
    assert pace.remaining() == 15.0 and pace.seconds_of_last == 5.0
    pace.at_last(None)
    pace.more(1)
    assert pace.remaining() == 1.0 + 30.0 - 1.0, "a piece is made again"

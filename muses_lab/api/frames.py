"""A chain with dates as frames: one chain for each date, shown one after the other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from muses_lab.api.evaluation import Evaluable
from muses_lab.api.layer import Layer
from muses_lab.api.parameters import Parameters
from muses_lab.errors import ArgumentError
from muses_lab.plain import shown
from muses_lab.style import Style
from muses_lab.times import parse_time

_DAY, _MINUTE, _SECOND = len("2018-07-03"), len("2018-07-03 10:50"), len("2018-07-03 10:50:31")


class Frame(NamedTuple):
    """One date of a chain."""

    label: str
    """What it is called: its period (`2018-03`), else its date."""
    date: str
    """Its day, with the time where a day has several: this and no other frame is the last one until then."""
    time: np.datetime64
    chain: Any
    """The chain's values at that date, without `t`: an image."""


@dataclass(frozen=True, eq=False)
class OverTime:
    """The frames of a chain; made by `Chain.over_time`.

    ```python
    months = ndvi.over_time("month", "median")
    [frame.label for frame in months]               # '2018-01', '2018-02', …
    months.at("2018-03-10").chain.compute(window)
    months.style(cmap="RdYlGn", vmin=0, vmax=1)     # a layer that a map moves through
    ```

    Building it computes nothing; a frame is computed where somebody looks at it. `len` and iteration give its frames.
    """

    cube: Any
    """The chain with all of its dates."""

    def __post_init__(self) -> None:
        if not isinstance(self.cube, Evaluable):
            raise ArgumentError(f"OverTime({shown(self.cube)}) takes a chain with dates: chain.over_time()")

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """In order of time."""
        output = self.cube.published.prepared.output
        if not output.meta.time:
            raise ArgumentError(
                "over_time: the chain has no dates any more; begin with the chain as it is before it reduces them, for "
                "example s2.ndvi().over_time() instead of s2.ndvi().median('t').over_time()"
            )
        labels = output.labels or {}
        return tuple(
            Frame(labels.get(time) or date, date, time, _at(self.cube, time))
            for date, time in zip(_dates(output.times), output.times, strict=True)
        )

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def __getitem__(self, number: int) -> Frame:
        return self.frames[number]

    def __repr__(self) -> str:
        return f"<OverTime {self.cube!r}>"

    def index(self, date: Any) -> int:
        """Number of the frame of a date: the one of that label, else the last one until then.

        Dates are texts, `date`, `datetime` and `numpy.datetime64`; without a time zone they are in UTC. A year, month
        or day is meant to its end. The first frame stands for dates before it.
        """
        if isinstance(date, str):
            for number, frame in enumerate(self.frames):
                if frame.label == date:
                    return number
        return last_until(self, as_date(date))

    def at(self, date: Any) -> Frame:
        """The frame of a date, see `index`."""
        return self.frames[self.index(date)]

    def style(self, cmap: Any = "viridis", **style: Any) -> TimeLayer:
        """The frames with one style; see `Chain.style`."""
        return TimeLayer(self, Style.of(cmap=cmap, **style))


@dataclass(frozen=True, eq=False)
class TimeLayer:
    """Frames with a style: what a map moves through; made by `OverTime.style`."""

    over: OverTime
    look: Style

    def __post_init__(self) -> None:
        if not isinstance(self.over, OverTime) or not isinstance(self.look, Style):
            raise ArgumentError(
                f"TimeLayer({shown(self.over)}, {shown(self.look)}) takes frames and a style: "
                "chain.over_time().style(cmap=…)"
            )

    @property
    def hash(self) -> str:
        """Names chain and style."""
        return Layer(self.over.cube, self.look).hash

    def __repr__(self) -> str:
        return f"<TimeLayer {self.look.written()} of {self.over!r}>"

    @property
    def parameters(self) -> Parameters:
        """Those of the chain with all of its dates, and of the style; see `Layer.parameters`."""
        return Layer(self.over.cube, self.look).parameters

    def with_parameters(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> TimeLayer:
        """The frames with other values for parameters of chain or style; see `Layer.with_parameters`."""
        layer = Layer(self.over.cube, self.look).with_parameters(values, **named)
        return TimeLayer(OverTime(layer.chain), layer.look)

    def __len__(self) -> int:
        return len(self.over)

    def layer(self, date: Any) -> Layer:
        """The layer of one date, see `OverTime.index`."""
        return Layer(self.over.at(date).chain, self.look)

    def layers(self) -> list[Layer]:
        """A layer for each frame."""
        return [Layer(frame.chain, self.look) for frame in self.over]


def _at(cube: Any, time: np.datetime64) -> Any:
    start = time.astype("M8[us]")
    return cube.dates(str(start), str(start + 1)).drop("t")


def _dates(times: tuple[np.datetime64, ...]) -> list[str]:
    """As short as they are each the only one: days, minutes, or all of it."""
    texts = [str(time.astype("M8[us]")).replace("T", " ") for time in times]
    days, minutes = (Counter(text[:length] for text in texts) for length in (_DAY, _MINUTE))
    return [
        text[:_DAY] if days[text[:_DAY]] == 1 else text[:_MINUTE] if minutes[text[:_MINUTE]] == 1 else text
        for text in texts
    ]


def as_date(date: Any) -> str:
    """A date as frames have it: a day (of a year or month the last one), or a time in UTC; `ArgumentError` for others.

    >>> as_date("2018-02"), as_date("2018-07-03T12:50+02:00")
    ('2018-02-28', '2018-07-03 10:50')
    """
    try:
        text = str(date) if isinstance(date, str | np.datetime64) else date.isoformat()
        time = parse_time(text).replace(tzinfo=None)
    except (AttributeError, TypeError, ValueError):
        raise ArgumentError(
            f"{shown(date)} is no date; give for example '2018-07-03', '2018-07-03T10:50', a date or a datetime",
            argument="date",
        ) from None
    text = text.strip()
    if re.fullmatch(r"\d{4}(-\d{2})?", text):
        return str((np.datetime64(text) + 1).astype("M8[D]") - 1)
    if len(text) <= _DAY:
        return str(time.date())
    full = time.isoformat(" ")
    return full[:_MINUTE] if not time.second and not time.microsecond else full


def last_until(frames: Iterable[Frame], date: str) -> int:
    """Number of the last frame until the end of a date (see `as_date`); the first one for dates before it."""
    lengths = {_DAY: np.timedelta64(1, "D"), _MINUTE: np.timedelta64(1, "m"), _SECOND: np.timedelta64(1, "s")}
    end = np.datetime64(date, "us") + lengths.get(len(date), np.timedelta64(1, "us"))
    return max(sum(1 for frame in frames if frame.time < end) - 1, 0)

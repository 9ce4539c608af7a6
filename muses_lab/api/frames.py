"""A chain with dates as frames: one chain for each date, shown one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
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


class Frame(NamedTuple):
    """One date of a chain."""

    label: str
    """What it is called: its day (with the time where a day has several), or its period (`2018-03`)."""
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

    Building it computes nothing; a frame is computed where somebody looks at it. `len` and iteration give its `Frame`s.
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
        names = _names(output.times, output.labels or {})
        return tuple(Frame(name, time, _at(self.cube, time)) for name, time in zip(names, output.times, strict=True))

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def __getitem__(self, number: int) -> Frame:
        return self.frames[number]

    def __repr__(self) -> str:
        return f"<OverTime {self.cube!r}>"

    def index(self, date: Any) -> int:
        """Number of the frame of a date (text, `date`, `datetime`): the one of that label, else the last until then.

        The first one for dates before it.
        """
        if isinstance(date, str):
            for number, frame in enumerate(self.frames):
                if frame.label == date:
                    return number
        return _until([frame.time for frame in self.frames], date)

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


def _names(times: tuple[np.datetime64, ...], labels: Any) -> list[str]:
    days = Counter(str(time)[:10] for time in times)
    return [
        labels.get(time) or (str(time)[:10] if days[str(time)[:10]] == 1 else str(time)[:16].replace("T", " "))
        for time in times
    ]


def _until(times: list[np.datetime64], date: Any) -> int:
    try:
        text = date if isinstance(date, str) else date.isoformat()
        moment = np.datetime64(parse_time(text).replace(tzinfo=None), "us")
    except (AttributeError, TypeError, ValueError):
        raise ArgumentError(f"{shown(date)} is no date; give for example '2018-07-03'", argument="date") from None
    if len(text) <= len("2018-07-03"):
        moment += np.timedelta64(1, "D") - np.timedelta64(1, "us")  # all of that day
    return max(int(np.searchsorted(np.array(times), moment, side="right")) - 1, 0)

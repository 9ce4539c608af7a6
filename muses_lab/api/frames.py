"""A chain with dates as frames: one chain for each date, shown one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from muses_lab.api.controlled import Controlled
from muses_lab.api.evaluation import Evaluable
from muses_lab.api.layer import Layer
from muses_lab.api.parameters import Parameters
from muses_lab.document.graph import Node
from muses_lab.engine.cost import Plan
from muses_lab.errors import ArgumentError
from muses_lab.export import Job
from muses_lab.operators import registry
from muses_lab.plain import Status, shown
from muses_lab.publish.documents import keep_several
from muses_lab.store import Store, default_store
from muses_lab.style import Style
from muses_lab.tables.observed import DateFacts, facts_by_date
from muses_lab.times import parse_time, short_dates

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
    facts: DateFacts = DateFacts()
    """Platforms, orbits and cloud cover of its scenes, as far as they state them."""


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
        known = facts_by_date(self.cube.published, output.times)
        return tuple(
            Frame(labels.get(time) or date, date, time, _at(self.cube, time), facts)
            for date, time, facts in zip(short_dates(output.times), output.times, known, strict=True)
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

    @property
    def dated(self) -> Any:
        """The chain with all of its dates, of which the frames' periods are made."""
        node = self.cube._node
        return self.cube._made(node.arguments["data"]) if _reduced(node) else self.cube

    @property
    def period(self) -> str | None:
        """Of what the frames are: `month`, `season` and the like, `intervals`; None where each date is one."""
        node = self.cube._node
        return node.arguments.get("period", "intervals") if _reduced(node) else None

    @property
    def reducer(self) -> str | None:
        """Of the frames' periods: `median` and the like."""
        node = self.cube._node
        return node.arguments["reducer"].root.process if _reduced(node) else None

    def by(self, period: Any = None, reducer: str = "median") -> OverTime:
        """The same dates in other frames: one for each date, or for each period.

        ```python
        over = ndvi.over_time()
        over.by("month", "median")                              # as ndvi.over_time("month", "median")
        over.by(("2018-03-01", "2018-06-01"), "max")            # one frame, of these dates: [start, end)
        over.by("month").by()                                   # every observation again
        ```

        `period` is one of `.by_period`, a half-open interval of which None leaves a side open, or None.
        """
        if period is None:
            return OverTime(self.dated)
        if isinstance(period, str):
            return OverTime(self.dated.by_period(period, reducer))
        times = OverTime(self.dated).frames
        start, end = period
        start = str(times[0].time.astype("M8[D]")) if start is None else as_date(start)
        end = str(times[-1].time.astype("M8[D]") + 1) if end is None else as_date(end)
        return OverTime(self.dated.by_intervals([(start, end)], reducer, labels=[_span(start, end)]))

    def style(self, cmap: Any = "viridis", **style: Any) -> TimeLayer:
        """The frames with one style; see `Chain.style`."""
        return TimeLayer(self, Style.of(cmap=cmap, **style))


@dataclass(frozen=True, eq=False)
class TimeLayer(Controlled):
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

    def status(self, ask: bool = False) -> Status:
        """That of the chain with all of its dates, and the style; see `Chain.status`. It lists the `dates` once the
        scenes are known."""
        told = Layer(self.over.cube, self.look).status(ask)
        dates = [frame.label for frame in self.over] if told["state"] in ("ok", "partial") else None
        return Status(told, hash=self.hash, period=self.over.period, dates=dates)

    def export(self, path: Any, area: Any = None, **options: Any) -> Job:
        """Writes the frames as an animation (`.gif`, `.mp4`, `.webm`), or the values of all dates; see `Chain.export`.

        ```python
        months = ndvi.over_time("month").style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI")
        months.export("ndvi.mp4", window, fps=4, title="NDVI by month")
        ```
        """
        return Layer(self.over.cube, self.look).export(path, area, **options)

    def plan(self, area: Any = None, **options: Any) -> Plan:
        """What an export of all dates would cost; see `Chain.plan`."""
        return self.over.cube.plan(area, **options)

    def layer(self, date: Any) -> Layer:
        """The layer of one date, see `OverTime.index`."""
        return Layer(self.over.at(date).chain, self.look)

    def layers(self) -> list[Layer]:
        """A layer for each frame."""
        return [Layer(frame.chain, self.look) for frame in self.over]

    def publish(self, store: Store | None = None) -> list[tuple[str, str]]:
        """Keeps chain and style of each frame in the store; returns their hashes.

        ```python
        for chain, style in ndvi.over_time("month").style(cmap="RdYlGn").publish(): ...
        ```

        The scenes and the style, which all frames have in common, are kept once.
        """
        store = store or default_store()
        layers = self.layers()
        chains = keep_several([layer.chain.published for layer in layers], store)
        looks = {layer.drawn.hash: layer.drawn for layer in layers}
        for name, look in looks.items():
            store.put_style(name, look.to_text())
        return [(chain, layer.drawn.hash) for chain, layer in zip(chains, layers, strict=True)]


def _reduced(node: Node) -> bool:
    """Whether a node makes one date of several: of those of a period or an interval."""
    operator = registry[node.process]
    return operator.labels is not None and "reducer" in node.arguments


def _span(start: str, end: str) -> str:
    """What a half-open interval is called: its first and its last day."""
    last = end if len(end) > _DAY else str(np.datetime64(end) - 1)
    return start if start == last else f"{start} – {last}"


def _at(cube: Any, time: np.datetime64) -> Any:
    start = time.astype("M8[us]")
    return cube.dates(str(start), str(start + 1)).drop("t")


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

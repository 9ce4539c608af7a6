"""What was measured: samples, one for each view, and their ratios."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One view by one contestant."""

    contestant: str
    workload: str
    zoom: int
    variant: str
    round: int
    seconds: float
    mean: float | None = None
    valid: float | None = None
    counters: dict[str, Any] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        """Processor seconds."""
        return self.counters["cpu_seconds"]


@dataclass(frozen=True)
class Spread:
    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        return cls(median(values), min(values), max(values)) if values else None

    def text(self, digits: int = 2) -> str:
        return f"{self.middle:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"


class Measured:
    """Samples, by who, what, where and when."""

    def __init__(self, samples: Iterable[Sample], zooms: Sequence[int]) -> None:
        self.zooms = list(zooms)
        self._by: dict[tuple[str, str, int, str], dict[int, Sample]] = defaultdict(dict)
        for s in samples:
            self._by[s.contestant, s.workload, s.zoom, s.variant][s.round] = s

    def samples(self, who: str, workload: str, zoom: int, variant: str = "cold") -> dict[int, Sample]:
        return self._by.get((who, workload, zoom, variant), {})

    def cells(self) -> list[tuple[str, str, int, str]]:
        """(who, workload, zoom, variant), in the order of who and workload; variants as they were asked for."""
        return sorted(self._by, key=lambda key: key[:3])

    def __contains__(self, key: tuple[str, str]) -> bool:
        return any(self.samples(*key, zoom) for zoom in self.zooms)

    def workloads(self) -> list[str]:
        return sorted({w for who, w, _, _ in self._by if who == "muses"})

    def peers(self) -> list[str]:
        return sorted({who for who, *_ in self._by if who != "limit" and not who.startswith("muses")})

    def seconds(self, who: str, workload: str, zoom: int, variant: str = "cold") -> float:
        return median(s.seconds for s in self.samples(who, workload, zoom, variant).values())

    def ratios(
        self, a: str, b: str, workload: str, zoom: int, variant: str = "cold", *, less: float = 0.0,
        of: Callable[[Sample], float] = lambda sample: sample.seconds,
    ) -> list[float]:  # fmt: skip
        """(a - less) / b of the rounds in which both looked; b always cold."""
        mine, its = self.samples(a, workload, zoom, variant), self.samples(b, workload, zoom)
        return [(of(mine[n]) - less) / max(of(its[n]), 1e-6) for n in mine if n in its]

    def milliseconds(self, who: str, workload: str, zoom: int, variant: str) -> list[float]:
        return [1000 * s.seconds for s in self.samples(who, workload, zoom, variant).values()]

    def over_zooms(self, a: str, b: str, workload: str, variant: str = "cold", *, less: float = 0.0) -> Spread | None:
        """The spread, over zooms, of the median ratio at each."""
        each = [self.ratios(a, b, workload, zoom, variant, less=less) for zoom in self.zooms]
        return Spread.of([median(found) for found in each if found])

    def beside(self, a: str, b: str, name: str) -> list[list[tuple[Sample, Sample]]]:
        """For each zoom the pairs of views, of one round, of a special data set and of what it is compared with."""
        out = []
        for zoom in self.zooms:
            mine = self.samples(a, "W5" if name == "W5" else "W1", zoom)
            its = self.samples(b, "W1", zoom, f"beside {name}")
            out.append([(mine[n], its[n]) for n in mine if n in its])
        return [pairs for pairs in out if pairs]

    def of_one_round(self, who: str, a: str, b: str) -> list[list[tuple[Sample, Sample]]]:
        """For each zoom the pairs of cold views, of one round, of two workloads."""
        out = []
        for zoom in self.zooms:
            mine, its = self.samples(who, a, zoom), self.samples(who, b, zoom)
            out.append([(mine[n], its[n]) for n in mine if n in its])
        return [pairs for pairs in out if pairs]

    def share(self, workload: str, zoom: int, name: str) -> float | None:
        """Of a counter of a cold view: the most of the rounds, of what the limit needs."""
        needed = [s.counters[name] for s in self.samples("limit", workload, zoom).values()]
        return self.counter("muses", workload, zoom, "cold", name) / max(needed[0], 1) if needed else None

    def counter(self, who: str, workload: str, zoom: int, variant: str, name: str) -> int:
        """The most of the rounds."""
        return max(s.counters[name] for s in self.samples(who, workload, zoom, variant).values())

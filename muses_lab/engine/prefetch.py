"""What an evaluation is going to read of remote files, asked for before it is read.

Without this every scene and band would cost a round trip of its own. Blocks of masks and of what they mask are asked
for together; only where the masks are known, dates that they remove altogether are spared. Local files are not
concerned, but for the look at overviews of classes (`bands_of`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from muses_lab.engine.graph import PreparedGraph, Step
from muses_lab.engine.stages import Load, Stage
from muses_lab.errors import MusesError
from muses_lab.raster.asset import Band
from muses_lab.raster.byte_ranges import Hint
from muses_lab.raster.grid import Grid
from muses_lab.raster.reader import Read, Reader
from muses_lab.scenes.source import Source

TOGETHER = 0.005
"""Seconds that an announcement waits for others."""


class ReadAhead:
    """The remote blocks of one evaluation; a context manager: at its end what was not read is dropped."""

    def __init__(
        self, reader: Reader, prepared: PreparedGraph, grid: Grid, level: int, reads: Iterable[Load] = (),
        cancelled: Callable[[], bool] | None = None,
    ) -> None:  # fmt: skip
        self._reader, self._prepared, self._cancelled = reader, prepared, cancelled
        self._grid, self._level = grid, level
        self._loads = self._remote(reads)
        self._hint = reader.hint()

    def _remote(self, reads: Iterable[Load]) -> list[Load]:
        return [load for load in reads if self._prepared.source(load.step.node).remote]

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._hint.close()

    def before(self, step: Step, spared: Collection[np.datetime64] = ()) -> None:
        """To be called before a step is read, without the dates that are spared."""
        number = next((n for n, load in enumerate(self._loads) if load.step is step), None)
        if number is None:
            return
        now, later = self._pieces(self._loads[number], spared), [self._pieces(x) for x in self._loads[number + 1 :]]
        del self._loads[: number + 1]
        everything = [*now, *(piece for pieces in later for piece in pieces)]
        if not self._reader.knows_headers(everything):
            self._reader.open(everything)
        if self._reader.ask(self._hint, now, self._cancelled):  # it is waited for anyhow: the rest with it
            self._loads = []
            self._expect(piece for pieces in later for piece in pieces)

    def now(self, reads: Iterable[Load]) -> None:
        """Asks for everything at once."""
        self._expect(piece for load in self._remote(reads) for piece in self._pieces(load))

    def _expect(self, pieces: Iterable[Read]) -> None:
        self._reader.prefetch((self._hint, piece) for piece in pieces)

    def _pieces(self, load: Load, spared: Collection[np.datetime64] = ()) -> list[Read]:
        return _pieces(self._reader, self._prepared, self._grid, self._level, load, spared)


class Prefetch(NamedTuple):
    """A block that is going to be evaluated."""

    hint: Hint
    prepared: PreparedGraph
    stages: Callable[[], Iterable[Stage]]
    """Of its plan, without what is kept."""


class Prefetcher:
    """Asks for what blocks read that are announced, in a thread of its own: those announced together at once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._new: list[Prefetch] = []
        self._busy = False
        self._lock = threading.Lock()

    def add(self, expected: Prefetch) -> None:
        with self._lock:
            self._new.append(expected)
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name="muses-fetch", daemon=True).start()

    def _work(self) -> None:
        while True:
            time.sleep(TOGETHER)
            with self._lock:
                new, self._new = self._new, []
                if not new:
                    self._busy = False
                    return
            pieces = []
            for one in new:
                with suppress(MusesError):  # it is told to who evaluates the block
                    pieces += [(one.hint, piece) for piece in self._of(one)]
            self._reader.prefetch(pieces)

    def _of(self, one: Prefetch) -> list[Read]:
        if one.hint.closed:
            return []
        return [
            piece
            for stage in one.stages()
            for load in stage.loads
            if one.prepared.source(load.step.node).remote
            for piece in _pieces(self._reader, one.prepared, stage.grid, stage.level, load)
        ]


def bands_of(
    reader: Reader, source: Source, step: Step, level: int, cancelled: Callable[[], bool] | None = None
) -> dict[str, Band]:
    """The bands of a reading step, by name, as they are read at a level."""
    catalog = source.scenes.catalog
    return {
        name: reader.looked(catalog, source.band(name), source.ends(name), level, cancelled)
        for name in step.meta.bands or ()
    }


def _pieces(
    reader: Reader, prepared: PreparedGraph, grid: Grid, level: int, load: Load,
    spared: Collection[np.datetime64] = (),
) -> list[Read]:  # fmt: skip
    source = prepared.source(load.step.node)
    bands = bands_of(reader, source, load.step, level)
    return [
        Read(source.scenes.catalog, placed.scene.assets[name], bands[name], grid, level, load.rect)
        for placed in source.at(grid, load.rect.scaled(2**level), load.dates)
        if placed.time not in spared
        for name in bands
        if name in placed.scene.assets
    ]

"""What was read of a place, kept in this process: whatever else is asked there is evaluated without reading again.

A reading is a cell of pixels (`mosaic.CELL`) of a band on all dates. The workers read what is missing, a band and some
dates at a time; the chain itself is evaluated here, by the same evaluator on the same stored values, so that its
numbers are those of tiles and exports.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox

from muses_lab import compute, settings
from muses_lab.compute.windows import Pixels, assemble
from muses_lab.engine import Published, RectKey, Result
from muses_lab.engine.arrays import Run, on_axis
from muses_lab.engine.execute import Evaluator
from muses_lab.engine.graph import PreparedGraph
from muses_lab.engine.materialized import MaterializedBlocks
from muses_lab.engine.mosaic import CELL, cells, layout
from muses_lab.engine.stages import Load, Piece, Stage
from muses_lab.errors import ReadError
from muses_lab.operators import references, registry
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.blocks import Counters
from muses_lab.raster.grid import Grid, Rect
from muses_lab.raster.reader import Reader, Stored
from muses_lab.raster.resampling import Axis
from muses_lab.resources.memory import Memory

_KEPT = 192 << 20
"""Bytes of readings: a place of 130 dates and three bands has 1.6 MB."""
_WORK = 96 << 20
"""Bytes that evaluations here may need, the cells of results that are kept among them."""
_MOST_CELLS = 64
"""Cells of a band that a place may need; a chain that needs more is evaluated where its blocks are kept."""
_FEWEST_DATES = 8
"""That are read at a time."""


class _Place(NamedTuple):
    """A cell of a level of a grid."""

    catalog: str
    grid: str
    origin: tuple[float, float]
    level: int
    cell: Rect


class _Unread(Exception):
    """Something is needed that no plan had foreseen."""


class _Kept:
    """Readings by place, under a byte budget; thread-safe."""

    def __init__(self) -> None:
        self._places: OrderedDict[_Place, dict[tuple[Asset, Band], np.ndarray | None]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, place: _Place, asset: Asset, band: Band) -> np.ndarray | None:
        """The pixels; None where there is no data. `KeyError`: it was not read."""
        with self._lock:
            self._places.move_to_end(place)
            return self._places[place][asset, band]

    def has(self, place: _Place, asset: Asset, band: Band) -> bool:
        return (asset, band) in self._places.get(place, ())

    def put(self, place: _Place, asset: Asset, band: Band, values: np.ndarray | None) -> None:
        with self._lock:
            here = self._places.setdefault(place, {})
            before, here[asset, band] = here.get((asset, band)), values
            self._bytes += sum(sign * v.nbytes for sign, v in ((1, values), (-1, before)) if v is not None)
            while self._bytes > _KEPT and len(self._places) > 1:
                _, gone = self._places.popitem(last=False)
                self._bytes -= sum(v.nbytes for v in gone.values() if v is not None)

    def clear(self) -> None:
        with self._lock:
            self._places.clear()
            self._bytes = 0


_kept = _Kept()
_memory = Memory(_WORK)
_materialized = MaterializedBlocks()


def forget() -> None:
    """Drops all readings, and what was evaluated of them."""
    _kept.clear()
    _memory.cache.clear()


class _KeptReader(Reader):
    """Reads what is kept, and no file."""

    def __init__(self, failed: dict[tuple[_Place, Asset, Band], str]) -> None:
        super().__init__(_memory.cache, Counters())
        self._failed = failed

    def stored(
        self, catalog: str, asset: Asset, band: Band, grid: Grid, level: int, rect: Rect,
        cancelled: Callable[[], bool] | None = None, once: bool = False,
    ) -> Stored | None:  # fmt: skip
        out: np.ndarray | None = None
        for cell in cells(rect):
            place = _place(catalog, grid, level, cell)
            if reason := self._failed.get((place, asset, band)):
                raise ReadError(reason)
            try:
                values = _kept.get(place, asset, band)
            except KeyError:
                raise _Unread from None
            if values is None:
                continue
            if cell == rect:
                out = values
                break
            if out is None:
                out = np.full(rect.shape, np.nan, values.dtype)
            inner = cell.intersection(rect)
            out[inner.within(rect)] = values[inner.within(cell)]
        if out is None:
            return None
        return Stored(out, Axis.whole(0, rect.shape[0]), Axis.whole(0, rect.shape[1]), None, 1.0, 0.0)

    def looked(self, catalog: str, band: Band, *ends: Any) -> Band:
        return band

    def knows_headers(self, pieces: Any) -> bool:
        return True

    def open(self, pieces: Any) -> list[str | None]:
        return [None for _ in pieces]

    def ask(self, *asked: Any) -> int:
        return 0

    def prefetch(self, asked: Iterable[Any]) -> None:
        for _ in asked:
            pass


def pixels(published: Published, window: GeoBox) -> Pixels | None:
    """A chain with dates on a window of a few pixels, of readings; None where it needs more than those of a place.

    What is not kept is read first.
    """
    prepared = published.prepared
    if not prepared.output.meta.time or prepared.whole_nodes():
        return None
    if any(step.operator.private for step in prepared.steps.values()):
        return None  # code of users runs where it can be stopped
    if any(step.kept for step in _materialized.marked(prepared).steps.values()):
        return None  # the workers have blocks of its images on disk
    placed = layout(prepared, window)
    if not all(isinstance(key, RectKey) for key in placed.tasks):
        return None
    failed: dict[tuple[_Place, Asset, Band], str] = {}
    evaluator = Evaluator(_KeptReader(failed), _memory, _materialized, Counters())
    results: dict[Any, Result] = {}
    for key in placed.tasks:
        assert isinstance(key, RectKey)
        grid = prepared.output.grids[key.grid]
        if _materialized.covers(prepared.output.node.hash, key.grid, key.level, key.rect):
            return None  # the workers have its blocks on disk
        run = Run(prepared, lambda: False, hash=published.hash)
        planned = evaluator.plan(prepared, Piece(prepared.output, grid, key.level, key.rect), {}, shares=True)
        loads = [(one, load) for one in planned.stages.values() for load in one.loads]
        if not all(_is_small(load, one) for one, load in loads):
            return None
        _read(published, loads, failed)
        try:
            array, report = evaluator.block(run, prepared.output, grid, key, planned)
        except _Unread:
            return None
        results[key] = Result(np.asarray(on_axis(array, prepared.output).data), report)
    return assemble(placed, results)


def _is_small(load: Load, one: Stage) -> bool:
    rows, columns = load.rect.shape
    return one.level == 0 and (rows // CELL + 2) * (columns // CELL + 2) <= _MOST_CELLS


def _place(catalog: str, grid: Grid, level: int, cell: Rect) -> _Place:
    return _Place(catalog, grid.id, grid.origin, level, cell)


class _Missing(NamedTuple):
    """A cell of a band that is not kept on some dates."""

    load: Load
    stage: Stage
    band: Band
    cell: Rect
    times: tuple[np.datetime64, ...]
    """Of the scenes that are not kept."""


def _missing(prepared: PreparedGraph, loads: list[tuple[Stage, Load]]) -> Iterator[_Missing]:
    met = set()
    for one, load in loads:
        source = prepared.source(load.step.node)
        for cell in cells(load.rect):
            placements = source.at(one.grid, cell.scaled(2**one.level), load.dates)
            place = _place(source.scenes.catalog, one.grid, one.level, cell)
            for name in load.step.meta.bands or ():
                band = source.band(name)
                times = {
                    p.time for p in placements if (a := p.scene.assets.get(name)) and not _kept.has(place, a, band)
                }
                if times and (key := (place, source.scenes.digest, name)) not in met:
                    met.add(key)
                    yield _Missing(load, one, band, cell, tuple(sorted(times)))


def _read(published: Published, loads: list[tuple[Stage, Load]], failed: dict[tuple[_Place, Asset, Band], str]) -> None:
    """Has the workers read what is not kept, all at once."""
    prepared, runs = published.prepared, compute.shared()
    asked = []
    lacking = list(_missing(prepared, loads))
    threads = max(1, int(runs.status().get("threads") or 1))
    parts = max(1, -(-2 * threads // max(len(lacking), 1)))
    try:
        for one in lacking:
            node = registry.node(
                one.load.step.node.process, **{**one.load.step.node.arguments, "bands": [one.band.name]}
            )
            artefacts = {digest: published.artefacts[digest] for digest in references(node)}
            for times, extent in _spans(one.times, parts):
                part = Published(registry.node("filter_temporal", data=node, extent=extent), artefacts)
                key = RectKey(one.stage.grid.id, one.stage.level, *one.cell)
                asked.append((one, set(times), part, runs.request(part, key, 0.0, 1.0, part.remote)))
        for one, some, part, ticket in asked:
            result = ticket.future.result(settings.number("MUSES_TASK_SECONDS"))
            _keep(prepared, one, some, part, result, failed)
    finally:
        for *_, ticket in asked:
            ticket.release()


def _spans(times: tuple[np.datetime64, ...], parts: int) -> Iterator[tuple[tuple[np.datetime64, ...], list[str]]]:
    """Dates in so many parts, with the half-open interval of each."""
    size = max(_FEWEST_DATES, -(-len(times) // parts))
    starts = [*range(0, len(times), size), len(times)]
    for first, end in pairwise(starts):
        begin = times[first].astype("M8[ms]")
        stop = times[end].astype("M8[ms]") if end < len(times) else times[-1].astype("M8[ms]") + 1
        yield times[first:end], [f"{begin}Z", f"{stop}Z"]


def _keep(
    prepared: PreparedGraph, one: _Missing, some: set[np.datetime64], part: Published, result: Result,
    failed: dict[tuple[_Place, Asset, Band], str],
) -> None:  # fmt: skip
    """A band on some dates; scenes that could not be read are told and not kept, so that they are asked for again."""
    assert result.values is not None
    source = prepared.source(one.load.step.node)
    place = _place(source.scenes.catalog, one.stage.grid, one.stage.level, one.cell)
    number = {time: n for n, time in enumerate(part.prepared.output.times)}
    for placed in source.at(one.stage.grid, one.cell.scaled(2**one.stage.level), some):
        asset = placed.scene.assets.get(one.band.name)
        if asset is None:
            continue
        if reason := result.report.failed.get(placed.scene.id):
            failed[place, asset, one.band] = reason
        elif placed.scene.id in result.report.used and placed.time in number:
            _kept.put(place, asset, one.band, result.values[number[placed.time], 0].copy())
        else:
            _kept.put(place, asset, one.band, None)

"""What evaluations need of memory, estimated from metadata; what needs much is cut into strips of rows.

An estimate counts arrays: number of scenes here × bands × pixels, those that are alive at the same time, and what an
operator makes on the way. Strips change no value: every step of an evaluation depends on a pixel's neighbourhood at
most, and strips are read with their halos.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from muses_lab.engine import kernels
from muses_lab.engine.evaluate import Demand, demand, is_apart
from muses_lab.engine.fuse import Compiled, compiled, reduces_time
from muses_lab.engine.grid import BLOCK, Grid, Rect
from muses_lab.engine.layout import layout
from muses_lab.engine.memory import Memory
from muses_lab.engine.program import CHANGES_GRID, LOAD, Program, Step, fit_grid, pinned_grid
from muses_lab.operators import Fit, Region

LEAST_ROWS = 16
"""Strips are not thinner than this: a block of a file is decoded for each strip that touches it."""

_WAITING = 4
"""Stored values may take so many times what a strip works with: a task that needs more than others runs alone."""

PER_PIXEL = 40
"""Bytes for each pixel of a pinned extent that `region` operators and fits need beside the image itself."""

_PASSING = 2
"""Arrays of the size of its result that an operator makes on the way, beside copies of its inputs."""

_PLACES = 24
"""Bytes for each pixel of a window that is laid out: coordinates, rows and columns."""


@dataclass(frozen=True)
class Strips:
    """How a step is evaluated on a rectangle: a strip of rows after the other, all in one where that fits."""

    rects: tuple[Rect, ...]
    size: int
    """Bytes that this needs, `held` included, beside what the steps below give that are evaluations of their own."""
    held: int = 0
    """Bytes of stored values that are kept from strip to strip, so that no block is decoded twice; 0: none are."""


def strips(program: Program, step: Step, grid: Grid, level: int, rect: Rect, room: int) -> Strips:
    """Strips of a rectangle that work with at most so many bytes each, or the thinnest ones."""
    rows = rect.shape[0]
    size, stored = _working(program, step, grid, level, rect)
    if size <= room or (size == stored and size <= _WAITING * room):  # stored values: better to wait than read twice
        return Strips((rect,), size)
    held = stored if stored <= _WAITING * room else 0
    halo = _halo(program, step, grid, level, rect)
    while size > room and rows > LEAST_ROWS:
        if rows <= 2 * halo and size + held <= _WAITING * room:
            break  # thinner ones would be computed mostly for their halos
        rows = max(-(-rows // 2), LEAST_ROWS)
        size, _ = _working(program, step, grid, level, Rect(rect.r0, rect.r0 + rows, rect.c0, rect.c1))
    tops = range(rect.r0, rect.r1, max(rows, 1))
    return Strips(tuple(Rect(top, min(top + rows, rect.r1), rect.c0, rect.c1) for top in tops), size + held, held)


def image_bytes(program: Program, step: Step, shape: tuple[int, int]) -> int:
    """Size of a step's values with all dates that it can have."""
    itemsize = max((_itemsize(program, load) for load in program.loads_below(step.node)), default=4)
    return itemsize * shape[0] * shape[1] * _layers(step, len(step.times))


def task_bytes(
    program: Program, step: Step, grid: Grid, level: int, rect: Rect, memory: Memory, given: Mapping[str, bytes]
) -> int:
    """What it takes to evaluate a step on a rectangle, with all that it depends on; `given`: nodes with results."""
    return _Task(program, memory, given).bytes(step, grid, level, rect)


def whole_bytes(program: Program, step: Step, memory: Memory, given: Mapping[str, bytes]) -> int:
    """What it takes to evaluate a `region` or `fit` node on its pinned extent."""
    return _Task(program, memory, given).whole(step)


class _Task:
    """The largest sum of evaluations that are under way at once for one block; each counted once."""

    def __init__(self, program: Program, memory: Memory, given: Mapping[str, bytes]) -> None:
        self._program = program
        self._memory = memory
        self._given = given
        self._known: dict[tuple[str, str, int], int] = {}

    def bytes(self, step: Step, grid: Grid, level: int, rect: Rect) -> int:
        key = (step.node.hash, grid.id, level)
        if key not in self._known:
            self._known[key] = image_bytes(self._program, step, rect.shape) + self._below(step, grid, level, rect)
        return self._known[key]

    def _below(self, step: Step, grid: Grid, level: int, rect: Rect) -> int:
        process, child = step.node.process, self._program[step.cubes[0][1]] if step.cubes else step
        if isinstance(step.operator.support, Region):
            return 4 * _pixels(fit_or_pinned(step, child).extent) + self.whole(step)
        if process in CHANGES_GRID:
            return self._window(self._program[step.arguments["data"]], grid, level, rect)
        if process == "muses:at_resolution":
            pinned = grid.level_near(step.arguments["resolution"])
            inner = rect.scaled(2.0 ** (level - pinned))
            return self.bytes(child, grid, pinned, Rect(inner.r0, inner.r0 + BLOCK, inner.c0, inner.c0 + BLOCK))
        cut = strips(self._program, step, grid, level, rect, self._memory.piece)
        demands, order = _demands(self._program, step, grid, level, cut.rects[0] if cut.rects else rect)
        others = [
            self.bytes(below, grid, level, _at_least_a_block(_moved(demands[below.node.hash].rect, rect)))
            for below in order
            if is_apart(below, step)
        ]
        fits = [self.whole(s) for s in order if isinstance(s.operator.support, Fit) and not is_apart(s, step)]
        return max([cut.size + sum(fits), *others])

    def whole(self, step: Step) -> int:
        if step.node.hash in self._given:
            return 0
        child = self._program[step.cubes[0][1]]
        grid = fit_or_pinned(step, child)
        size = _pixels(grid.extent) * (4 * _layers(child, len(child.times)) + PER_PIXEL)
        self._memory.check(size)
        return size + self._window(child, grid, 0, grid.extent)

    def _window(self, child: Step, grid: Grid, level: int, rect: Rect) -> int:
        """A step on a window of another lattice: one block of it at a time."""
        at_once = Rect(rect.r0, min(rect.r1, rect.r0 + BLOCK), rect.c0, min(rect.c1, rect.c0 + BLOCK))
        parts = layout(self._program, grid.geobox(level, at_once), child).parts
        blocks = [self.bytes(child, part.grid, part.level, key.rect) for part in parts for key in part.blocks[:1]]
        return _PLACES * _pixels(at_once) + max(blocks, default=0)


def fit_or_pinned(step: Step, child: Step) -> Grid:
    """The lattice of a `region` or `fit` node's extent."""
    if isinstance(step.operator.support, Fit):
        return fit_grid(step, child.grids)
    return pinned_grid(step.node, step.arguments, child.grids)


def _pixels(rect: Rect) -> int:
    return rect.shape[0] * rect.shape[1]


def _at_least_a_block(rect: Rect) -> Rect:
    """Images below are computed by whole blocks for who needs less."""
    return Rect(rect.r0, max(rect.r1, rect.r0 + BLOCK), rect.c0, max(rect.c1, rect.c0 + BLOCK))


def _moved(rect: Rect, by: Rect) -> Rect:
    """A rectangle around (0, 0) where it is needed."""
    return Rect(rect.r0 + by.r0, rect.r1 + by.r0, rect.c0 + by.c0, rect.c1 + by.c0)


def _layers(step: Step, dates: int) -> int:
    return (dates if step.meta.time else 1) * (1 if step.meta.bands is None else len(step.meta.bands))


# ------------------------------------------------------------------------------------------- one evaluation

_Demands = tuple[dict[str, Demand], list[Step]]
_known: WeakKeyDictionary[Program, dict[tuple[str, str, int, tuple[int, int]], _Demands]] = WeakKeyDictionary()
_sizes: WeakKeyDictionary[Program, dict[tuple[Any, ...], tuple[int, int]]] = WeakKeyDictionary()


def _demands(program: Program, step: Step, grid: Grid, level: int, rect: Rect) -> _Demands:
    """What is needed of the steps below, around (0, 0): the same for all rectangles of a size."""
    known = _known.setdefault(program, {})
    key = (step.node.hash, grid.id, level, rect.shape)
    if key not in known:
        known[key] = demand(program, step, grid, level, Rect(0, rect.shape[0], 0, rect.shape[1]))
    return known[key]


def _working(program: Program, step: Step, grid: Grid, level: int, rect: Rect) -> tuple[int, int]:
    """Bytes that an evaluation works with, and those of the stored values that it is made of."""
    demands, order = _demands(program, step, grid, level, rect)
    dates: dict[str, int] = {}
    for load in order:
        if load.node.process == LOAD:
            need = demands[load.node.hash]
            native = _moved(need.rect, rect).scaled(2**level)
            number = program.source(load.node).count(grid.id, native)
            dates[load.node.hash] = number if need.times is None else min(number, len(need.times))
    sizes = _sizes.setdefault(program, {})
    key = (step.node.hash, grid.id, level, rect.shape, *dates.values())
    if key not in sizes:
        sizes[key] = _working_with(program, step, grid, level, rect, dates)
    return sizes[key]


def _working_with(
    program: Program, step: Step, grid: Grid, level: int, rect: Rect, dates: Mapping[str, int]
) -> tuple[int, int]:
    """`_working`, with so many dates of each load."""
    demands, order = _demands(program, step, grid, level, rect)
    stored = _stored(program, order, demands, dates, grid, level)
    fused = compiled(program, step)
    if fused is not None and _has_kinds(program, fused):
        images = [s for s in fused.order if s.node.process != LOAD]
        stored += 4 * sum(_pixels(demands[s.node.hash].rect) * _layers(s, 1) for s in images)
        stored += 4 * len(fused.outputs) * _pixels(rect)
        return stored, stored
    return _alive(program, step, demands, order, dates), stored


def _halo(program: Program, step: Step, grid: Grid, level: int, rect: Rect) -> int:
    """Rows that a strip needs above it, and below."""
    demands, _ = _demands(program, step, grid, level, rect)
    return max(-need.rect.r0 for need in demands.values())


def _has_kinds(program: Program, fused: Compiled) -> bool:
    return all(
        np.dtype(program.source(s.node).band(b).dtype).newbyteorder("<").str in kernels.KINDS
        for s in fused.order if s.node.process == LOAD for b in s.meta.bands or ()
    )  # fmt: skip


def _stored(
    program: Program, order: list[Step], demands: Mapping[str, Demand], dates: Mapping[str, int], grid: Grid, level: int
) -> int:
    """Stored values of all dates."""
    total = 0.0
    for step in order:
        if step.node.process == LOAD:
            for name in step.meta.bands or ():
                band = program.source(step.node).band(name)
                density = min(1.0, grid.pixel(level) / band.resolution) ** 2
                count = dates[step.node.hash] * _pixels(demands[step.node.hash].rect)
                total += count * density * np.dtype(band.dtype).itemsize
    return int(total)


def _alive(
    program: Program, target: Step, demands: Mapping[str, Demand], order: list[Step], dates: Mapping[str, int]
) -> int:
    """The most that `evaluate` holds at a time: results that are still needed, and what an operator makes of them."""
    users = {hash: need.users for hash, need in demands.items()}
    sizes: dict[str, int] = {}
    axes: dict[str, dict[str, int]] = {}
    held = most = 0
    for step in sorted(order, key=lambda s: not is_apart(s, target)):
        hash = step.node.hash
        apart = is_apart(step, target)
        below = [] if apart else [child.hash for _, child in step.cubes]
        if apart:
            axes[hash], itemsize = {hash: len(step.times)}, 4
        elif step.node.process == LOAD:
            axes[hash], itemsize = {step.node.arguments["digest"]: dates[hash]}, _itemsize(program, step)
        else:
            axes[hash] = {digest: n for child in below for digest, n in axes[child].items()}
            itemsize = max((sizes[child] // _count(program, demands, axes, child) for child in below), default=4)
        sizes[hash] = itemsize * _count(program, demands, axes, hash)
        inputs = sum(sizes[child] for child in below)
        if below:
            passing = _PASSING * sizes[hash] + (2 * inputs if reduces_time(step) else inputs // 2)
        else:  # a scene in the making; and doubles were single before the first of them came
            passing = 3 * sizes[hash] // max(1, *axes[hash].values()) + (itemsize - 4) * sizes[hash] // itemsize
        held += sizes[hash]
        most = max(most, held + passing)
        for child in below:
            users[child] -= 1
            if users[child] == 0:
                held -= sizes[child]
    return most


def _count(program: Program, demands: Mapping[str, Demand], axes: Mapping[str, Mapping[str, int]], hash: str) -> int:
    """Values of a step, at least one."""
    step, need = program.steps[hash], demands[hash]
    dates = len(step.times) if need.times is None else len(need.times)
    if step.strict and axes[hash]:
        dates = min(dates, sum(axes[hash].values()))
    return max(1, _pixels(need.rect) * _layers(step, dates))


def _itemsize(program: Program, step: Step) -> int:
    """Bytes of a value: what single precision cannot hold is double."""
    source = program.source(step.node)
    kinds = [np.dtype(source.band(name).dtype) for name in step.meta.bands or ()]
    return 8 if any(k.itemsize > 4 or (k.kind in "iu" and k.itemsize > 2) for k in kinds) else 4

"""What evaluations need of memory, estimated from metadata; what needs much is cut into strips of rows.

An estimate counts arrays: number of scenes here × bands × pixels, those that are alive at the same time, and what an
operator makes on the way. Strips change no value: every step of an evaluation depends on a pixel's neighbourhood at
most, and strips are read with their halos.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from muses_lab.engine.compiled import vm
from muses_lab.engine.compiled.compiler import Code, code_of
from muses_lab.engine.graph import PreparedGraph, Step, whole_grid
from muses_lab.engine.plan import BlockPlan, There, plan, whole_pieces
from muses_lab.engine.stages import Key, Piece, Stage, stage
from muses_lab.operators import Region, cost_of, cost_of_blocks
from muses_lab.raster.grid import BLOCK, Rect
from muses_lab.resources.memory import Memory

LEAST_ROWS = 16
"""Strips are not thinner than this: a block of a file is decoded for each strip that touches it."""

_WAITING = 4
"""Stored values may take so many times what a strip works with: a task that needs more than others runs alone."""

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


def strips(prepared: PreparedGraph, whole: Stage, room: int) -> Strips:
    """Strips of a stage's rectangle that work with at most so many bytes each, or the thinnest ones."""
    rect = whole.rect
    rows = rect.shape[0]
    size, stored = _working(prepared, whole)
    if size <= room or (size == stored and size <= _WAITING * room):  # stored values: better to wait than read twice
        return Strips((rect,), size)
    held, halo = (stored if stored <= _WAITING * room else 0), whole.halo
    while size > room and rows > LEAST_ROWS:
        if rows <= 2 * halo and size + held <= _WAITING * room:
            break  # thinner ones would be computed mostly for their halos
        rows = max(-(-rows // 2), LEAST_ROWS)
        first = Rect(rect.r0, rect.r0 + rows, rect.c0, rect.c1)
        size, _ = _working(prepared, stage(prepared, whole.step, whole.grid, whole.level, first, whole.dates))
    tops = range(rect.r0, rect.r1, max(rows, 1))
    return Strips(tuple(Rect(top, min(top + rows, rect.r1), rect.c0, rect.c1) for top in tops), size + held, held)


def image_bytes(prepared: PreparedGraph, one: Stage) -> int:
    """Size of a stage's result with all dates that it can have."""
    step, shape = one.step, one.rect.shape
    itemsize = max((_itemsize(prepared, load) for load in prepared.loads_below(step.node)), default=4)
    return itemsize * shape[0] * shape[1] * _layers(step, one.layers)


def task_bytes(prepared: PreparedGraph, blocks: BlockPlan, memory: Memory, together: bool = True) -> int:
    """What it takes to carry out a plan, for which the results of `region` and `fit` nodes are there.

    `together`: what is wanted is held until all of it is there.
    """
    images: dict[Key, int] = {}
    sizes: dict[Key, int] = {}
    """With what it takes to evaluate them."""

    def below(pieces: Iterable[Piece], together: bool) -> int:
        """Pieces one after the other; `together`: each is held until all are there."""
        keys = {piece.key for piece in pieces} & images.keys()
        held = sum(images[key] for key in keys) if together else 0
        return held + max((sizes[key] - (images[key] if together else 0) for key in keys), default=0)

    for key, one in blocks.stages.items():
        inputs = blocks.inputs[key]
        images[key] = sizes[key] = image_bytes(prepared, one)
        if isinstance(one.step.operator.support, Region):
            sizes[key] += 4 * _pixels(whole_grid(one.step, prepared[one.step.data].grids).extent)
        elif one.step.elsewhere:
            sizes[key] += _PLACES * _pixels(one.rect) + below(inputs, False)
        else:
            size = strips(prepared, one, memory.piece).size
            sizes[key] += max(size, below(inputs, True))
    return below(blocks.wanted, together)


def whole_bytes(prepared: PreparedGraph, step: Step, memory: Memory, there: There, given: Container[str]) -> int:
    """What it takes to evaluate a `region` or `fit` node on its pinned extent, a block of its input after the other."""
    size = _whole(prepared, step, memory)
    blocks = plan(prepared, whole_pieces(prepared, step), there, given)
    return size + task_bytes(prepared, blocks, memory, together=False)


def _whole(prepared: PreparedGraph, step: Step, memory: Memory) -> int:
    """What a `region` or `fit` node itself takes: its input on the pinned extent, the result, and what is laid out."""
    child = prepared[step.data]
    grid = whole_grid(step, child.grids)
    size = 4 * _pixels(grid.extent) * (_layers(child, len(child.times)) + 1)
    size += cost_of(step.operator, step.arguments, grid.pixel_metres(0), *grid.extent.shape).bytes
    memory.check(size)
    return size + _PLACES * min(_pixels(grid.extent), BLOCK * BLOCK)


def _pixels(rect: Rect) -> int:
    return rect.shape[0] * rect.shape[1]


def _at_least_a_block(rect: Rect) -> Rect:
    """Images below are computed by whole blocks for who needs less."""
    return Rect(rect.r0, max(rect.r1, rect.r0 + BLOCK), rect.c0, max(rect.c1, rect.c0 + BLOCK))


def _layers(step: Step, dates: int) -> int:
    return (dates if step.meta.time else 1) * (1 if step.meta.bands is None else len(step.meta.bands))


# ------------------------------------------------------------------------------------------- one evaluation

_sizes: WeakKeyDictionary[PreparedGraph, dict[tuple[Any, ...], tuple[int, int]]] = WeakKeyDictionary()


def _working(prepared: PreparedGraph, whole: Stage) -> tuple[int, int]:
    """Bytes that an evaluation works with, and those of the stored values that it is made of."""
    dates: dict[str, int] = {}
    for load in whole.loads:
        number = prepared.source(load.step.node).count(whole.grid, load.rect.scaled(2**whole.level))
        dates[load.step.node.hash] = number if load.dates is None else min(number, len(load.dates))
    sizes = _sizes.setdefault(prepared, {})
    key = (whole.step.node.hash, whole.grid.id, whole.level, whole.rect.shape, whole.dates, *dates.values())
    if key not in sizes:
        sizes[key] = _working_with(prepared, whole, dates)
    return sizes[key]


def _working_with(prepared: PreparedGraph, whole: Stage, dates: Mapping[str, int]) -> tuple[int, int]:
    """`_working`, with so many dates of each load."""
    stored = _stored(prepared, whole, dates)
    code = code_of(prepared, whole.step)
    if code is not None and _has_kinds(prepared, code):
        images = [s for s in code.order if not s.reads]
        stored += 4 * sum(_pixels(whole.need(s).rect) * _layers(s, 1) for s in images)
        stored += 4 * len(code.outputs) * whole.layers * _pixels(whole.rect)
        return stored, stored
    return _alive(prepared, whole, dates), stored


def _has_kinds(prepared: PreparedGraph, code: Code) -> bool:
    return all(
        np.dtype(prepared.source(s.node).band(b).dtype).newbyteorder("<").str in vm.KINDS
        for s in code.order if s.reads for b in s.meta.bands or ()
    )  # fmt: skip


def _stored(prepared: PreparedGraph, whole: Stage, dates: Mapping[str, int]) -> int:
    """Stored values of all dates."""
    total, width = 0.0, whole.grid.pixel(whole.level)[0]
    for step, rect, _ in whole.loads:
        for name in step.meta.bands or ():
            band = prepared.source(step.node).band(name)
            density = min(1.0, width / band.resolution) ** 2
            total += dates[step.node.hash] * _pixels(rect) * density * np.dtype(band.dtype).itemsize
    return int(total)


def _alive(prepared: PreparedGraph, whole: Stage, dates: Mapping[str, int]) -> int:
    """The most that `evaluate` holds at a time: results that are still needed, and what an operator makes of them."""
    pixel_size = whole.grid.pixel_metres(whole.level)
    users = dict(whole.users)
    sizes: dict[str, int] = {}
    axes: dict[str, dict[str, int]] = {}
    held = most = 0
    for step in sorted(whole.order, key=lambda s: not whole.is_input(s)):
        hash = step.node.hash
        apart = whole.is_input(step)
        below = [] if apart else [child.hash for _, child in step.cubes]
        if apart:
            axes[hash], itemsize = {hash: len(step.times)}, 4
        elif step.groups is not None:
            axes[hash] = {hash: whole.layers}
            itemsize = max((sizes[child] // _count(whole, axes, prepared.steps[child]) for child in below), default=4)
        elif step.reads:
            axes[hash], itemsize = {prepared.source(step.node).scenes.digest: dates[hash]}, _itemsize(prepared, step)
        else:
            axes[hash] = {digest: n for child in below for digest, n in axes[child].items()}
            itemsize = max((sizes[child] // _count(whole, axes, prepared.steps[child]) for child in below), default=4)
        sizes[hash] = itemsize * _count(whole, axes, step)
        inputs = sum(sizes[child] for child in below)
        if below:
            passing = _PASSING * sizes[hash] + (2 * inputs if step.reduces_dates else inputs // 2)
            passing += cost_of_blocks(step.operator, step.arguments, pixel_size, *whole.need(step).rect.shape).bytes
        else:  # a scene in the making; and doubles were single before the first of them came
            passing = 3 * sizes[hash] // max((1, *axes[hash].values())) + (itemsize - 4) * sizes[hash] // itemsize
        held += sizes[hash]
        most = max(most, held + passing)
        for child in below:
            users[child] -= 1
            if users[child] == 0:
                held -= sizes[child]
    return most


def _count(whole: Stage, axes: Mapping[str, Mapping[str, int]], step: Step) -> int:
    """Values of a step, at least one."""
    need, own = whole.need(step), axes[step.node.hash]
    dates = len(step.times) if need.dates is None else len(need.dates)
    if step.strict and own:
        dates = min(dates, sum(own.values()))
    return max(1, _pixels(need.rect) * _layers(step, dates))


def _itemsize(prepared: PreparedGraph, step: Step) -> int:
    """Bytes of a value: what single precision cannot hold is double."""
    source = prepared.source(step.node)
    kinds = [np.dtype(source.band(name).dtype) for name in step.meta.bands or ()]
    return 8 if any(k.itemsize > 4 or (k.kind in "iu" and k.itemsize > 2) for k in kinds) else 4

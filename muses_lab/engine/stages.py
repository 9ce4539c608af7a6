"""Stages: what one evaluation needs of every step that it goes through.

Which stages there are is decided in `plan`, what they take of memory in `strips`; grids and levels are chosen before,
by `mosaic.layout`. The radius of a neighbourhood is said by the operator (`Focal`), and becomes a halo here.

Demand flows up: from the result to the sources, every step gets the rectangle (with halos) and the dates that its users
need of it. A stage ends where another evaluation begins: at pinned scenes, at steps whose blocks are kept, and where
the grid, the level or the extent changes. Cost, memory, strips, prefetch and execution read stages; none of them walks
the graph again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from muses_lab.document.graph import Node
from muses_lab.engine.graph import Dates, PreparedGraph, Step
from muses_lab.engine.thinning import FIRST_LEVEL, Thinning, limit, thinned
from muses_lab.raster.grid import Grid, Rect


class Need(NamedTuple):
    """What the users of a step want of it."""

    rect: Rect
    dates: Dates
    """None: all that there are."""


class Load(NamedTuple):
    """Scenes to be read, and what is needed of them."""

    step: Step
    rect: Rect
    dates: Dates


Key = tuple[str, str, int, Rect]
"""Of a piece: hash of the step, grid, level, rectangle."""


class Piece(NamedTuple):
    """A step on a rectangle of one grid at one level: what a stage gives, and what it takes of others."""

    step: Step
    grid: Grid
    level: int
    rect: Rect
    kept: bool = False
    """Whether it is a block that is kept in the cache."""

    @property
    def key(self) -> Key:
        return self.step.node.hash, self.grid.id, self.level, self.rect


@dataclass(frozen=True, eq=False)
class Stage:
    """One evaluation: a step on a rectangle of one grid at one level."""

    step: Step
    """What it gives."""
    grid: Grid
    level: int
    rect: Rect
    order: tuple[Step, ...]
    """Its steps, inputs before users, and the selector of a mask before the data that it masks."""
    needs: Mapping[str, Need]
    """By hash of the step."""
    users: Mapping[str, int]
    """By hash: how many of its steps take a step's values."""
    guards: Mapping[str, tuple[Node, ...]]
    """Hash of a reading step → masks that everything read passes through: what they remove need not be read."""
    thinning: Thinning | None
    """Which dates a reduction over time leaves out; None: it uses all."""
    inputs: tuple[Step, ...]
    """Steps that are stages of their own."""

    def need(self, step: Step) -> Need:
        return self.needs[step.node.hash]

    @cached_property
    def loads(self) -> list[Load]:
        """What is read, in order."""
        return [Load(step, *self.need(step)) for step in self.order if step.reads]

    def is_input(self, step: Step) -> bool:
        return any(step is one for one in self.inputs)

    @cached_property
    def halo(self) -> int:
        """Rows that it needs above its rectangle, and below."""
        return max(self.rect.r0 - need.rect.r0 for need in self.needs.values())

    def moved(self, rect: Rect) -> Stage:
        """The same for another rectangle of its size."""
        rows, cols = rect.r0 - self.rect.r0, rect.c0 - self.rect.c0
        if not rows and not cols:
            return self
        needs = {hash: need._replace(rect=need.rect.moved(rows, cols)) for hash, need in self.needs.items()}
        return replace(self, rect=rect, needs=needs)


def is_boundary(step: Step, target: Step) -> bool:
    """Whether a step is evaluated apart from the target: read, kept block by block, or on another grid or level."""
    return step is not target and (step.keeps or step.operator.support.elsewhere)


_MOST_STAGES = 4096
"""Stages of a chain that are remembered: rectangles differ in size where windows are small."""


def stage(prepared: PreparedGraph, step: Step, grid: Grid, level: int, rect: Rect) -> Stage:
    """What a step on a rectangle needs; made once for all rectangles of a size."""
    key = (step.node.hash, grid.id, level, rect.shape)
    known = prepared.stages.get(key)
    if known is None:
        if len(prepared.stages) >= _MOST_STAGES:
            prepared.stages.clear()
        known = prepared.stages[key] = _stage(prepared, step, grid, level, Rect(0, rect.shape[0], 0, rect.shape[1]))
    return known.moved(rect)


def reach(prepared: PreparedGraph, step: Step, grid: Grid, level: int) -> int:
    """Pixels by which a rectangle of an image needs more of the images below it than itself.

    The radii of neighbourhoods upon each other, down to what reduces time or is evaluated elsewhere.
    """
    if step.meta.time or step.reduces_time or step.elsewhere:
        return 0
    whole = stage(prepared, step, grid, level, _PIXEL)
    below = (-whole.need(one).rect.r0 + reach(prepared, one, grid, level) for one in whole.inputs)
    return max(whole.halo, *below, 0)


def thinned_below(prepared: PreparedGraph, step: Step, grid: Grid, level: int) -> Thinning | None:
    """The thinning of the longest series that is thinned for a step's blocks at a level of a grid."""
    if level < FIRST_LEVEL:
        return None
    whole = stage(prepared, step, grid, level, _PIXEL)
    below = (thinned_below(prepared, one, grid, level) for one in whole.inputs if not one.elsewhere)
    return max((t for t in (whole.thinning, *below) if t), key=lambda t: t.of, default=None)


_PIXEL = Rect(0, 1, 0, 1)
"""For questions whose answer does not depend on the rectangle."""


def _stage(prepared: PreparedGraph, target: Step, grid: Grid, level: int, rect: Rect) -> Stage:
    order = _order(prepared, target)
    pixel = grid.pixel_metres(level)
    needs = {target.node.hash: Need(rect, None)}
    users = {target.node.hash: 1}
    for step in reversed(order):
        if is_boundary(step, target):
            continue
        need = needs[step.node.hash]
        if step.operator.whole_series:
            need = needs[step.node.hash] = need._replace(dates=None)
        inner, dates = need.rect.grow(step.halo(pixel)), step.dates_of(need.dates)
        for name, child in inputs_here(step):
            mine = prepared.selector_dates(step, dates) if name == step.operator.masks else dates
            before = needs.get(child.hash)
            if before is not None:
                both = None if mine is None or before.dates is None else before.dates | mine
                needs[child.hash] = Need(before.rect.union(inner), both)
            else:
                needs[child.hash] = Need(inner, mine)
            users[child.hash] = users.get(child.hash, 0) + 1
    guards: dict[str, tuple[Node, ...]] = {}
    for step in order:
        if step.selector is not None and not is_boundary(step, target):
            _guard(prepared, step, order, target, guards)
    thinning = _thinning(prepared, target, grid, level, order, needs)
    if thinning is not None:
        _leave_out(prepared, thinning.left_out, order, needs, target)
    inputs = tuple(step for step in order if is_boundary(step, target) and not step.reads)
    return Stage(target, grid, level, rect, tuple(order), needs, users, guards, thinning, inputs)


def inputs_here(step: Step) -> tuple[tuple[str, Node], ...]:
    """Inputs that are evaluated on the step's own grid and level."""
    return () if step.operator.support.elsewhere else step.cubes


def _order(prepared: PreparedGraph, target: Step) -> list[Step]:
    """Steps below the target up to boundaries, inputs first."""
    order: list[Step] = []
    entered = {target.node.hash}
    stack = [(target, iter(inputs_here(target)))]
    while stack:
        step, inputs = stack[-1]
        for _, child in inputs:
            if child.hash not in entered:
                entered.add(child.hash)
                below = prepared[child]
                stack.append((below, iter(() if is_boundary(below, target) else inputs_here(below))))
                break
        else:
            stack.pop()
            order.append(step)
    return order


def _guard(
    prepared: PreparedGraph, mask: Step, order: list[Step], target: Step, guards: dict[str, tuple[Node, ...]]
) -> None:
    """Notes the reading steps whose every use passes through this mask: it can spare them dates."""
    assert mask.selector is not None
    selector = prepared[mask.selector]
    if not selector.meta.time or not mask.operator.is_strict(mask.arguments):
        return
    users: dict[str, set[str]] = {}
    for step in order:
        if not is_boundary(step, target):
            for name, child in inputs_here(step):
                # The mask's own selector is a use that the mask does not cover.
                users.setdefault(child.hash, set()).add(
                    "selector" if step is mask and name == step.operator.masks else step.node.hash
                )
    covered = {mask.node.hash}
    for step in reversed(order):
        mine = users.get(step.node.hash)
        if mine and mine <= covered and step is not mask and step.meta.time and not step.operator.whole_series:
            covered.add(step.node.hash)
            if step.reads:
                guards[step.node.hash] = (*guards.get(step.node.hash, ()), selector.node)


def _thinning(
    prepared: PreparedGraph, target: Step, grid: Grid, level: int, order: list[Step], needs: Mapping[str, Need]
) -> Thinning | None:
    """Which dates a reduction over time leaves out of what it reads on its own grid and level."""
    if level < FIRST_LEVEL or not target.reduces_time:
        return None
    reads = [step for step in order if step.reads]
    most = limit(level, (step.arguments[step.thinning_rule] for step in reads))
    clouds: dict[np.datetime64, float] = {}
    for step in reads:
        source, dates = prepared.source(step.node), needs[step.node.hash].dates
        own = source.own(grid)
        for time, cover in source.dates(own).items() if own is not None else ():
            if dates is None or time in dates:
                clouds[time] = max(cover, clouds.get(time, cover))
    return thinned(clouds, most)


def _leave_out(
    prepared: PreparedGraph, dates: frozenset, order: list[Step], needs: dict[str, Need], target: Step
) -> None:
    """Dates that the thinning rule leaves out are not there for any step below a reduction over time."""
    for step in order:
        need = needs[step.node.hash]
        if step is target:  # the dates of what it reduces
            every = frozenset({t for _, child in step.cubes for t in prepared[child].times})
            needs[step.node.hash] = need._replace(dates=every - dates)
        elif step.meta.time:
            every = step.dates if need.dates is None else need.dates
            needs[step.node.hash] = need._replace(dates=every - dates)

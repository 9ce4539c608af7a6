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
from muses_lab.engine.graph import Dates, PreparedGraph, Step, all_of
from muses_lab.engine.thinning import FIRST_LEVEL, Thinning, limit, thinned
from muses_lab.operators.contract import Groups
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


Key = tuple[str, str, int, Rect, Dates]
"""Of a piece: hash of the step, grid, level, rectangle, dates."""


class Piece(NamedTuple):
    """A step on a rectangle of one grid at one level: what a stage gives, and what it takes of others."""

    step: Step
    grid: Grid
    level: int
    rect: Rect
    kept: bool = False
    """Whether it is a block that is kept in the cache."""
    dates: Dates = None
    """Those that are wanted of a step that makes dates of others; None: all."""

    @property
    def key(self) -> Key:
        return self.step.node.hash, self.grid.id, self.level, self.rect, self.dates


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
    dates: Dates = None
    """Those that are wanted of its result; None: all."""
    groups: Groups | None = None
    """Those with the dates that each is made of, where its result has others than its inputs."""

    def need(self, step: Step) -> Need:
        return self.needs[step.node.hash]

    @property
    def layers(self) -> int:
        """Dates of its result; 1 where it has none."""
        return (len(self.step.times) if self.dates is None else len(self.dates)) if self.step.meta.time else 1

    def dates_for(self, step: Step) -> Dates:
        """The dates that one of its steps gets of its inputs, where none is left out; None: all."""
        if step is self.step and self.groups is not None:
            return all_of(self.groups)
        return self.need(step).dates

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
    return step is not target and step.apart


_MOST_STAGES = 4096
"""Stages of a chain that are remembered: rectangles differ in size where windows are small."""


def stage(
    prepared: PreparedGraph, step: Step, grid: Grid, level: int, rect: Rect, dates: Dates = None
) -> Stage:  # fmt: skip
    """What a step on a rectangle needs (for some of its dates); made once for all rectangles of a size."""
    key = (step.node.hash, grid.id, level, rect.shape, dates)
    known = prepared.stages.get(key)
    if known is None:
        if len(prepared.stages) >= _MOST_STAGES:
            prepared.stages.clear()
        rect_there = Rect(0, rect.shape[0], 0, rect.shape[1])
        known = prepared.stages[key] = _stage(prepared, step, grid, level, rect_there, dates)
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


def _stage(
    prepared: PreparedGraph, target: Step, grid: Grid, level: int, rect: Rect, wanted: Dates
) -> Stage:  # fmt: skip
    order, groups = _order(prepared, target), target.groups_of(wanted)
    pixel = grid.pixel_metres(level)
    needs, users = _needs(prepared, target, order, pixel, Need(rect, wanted), groups)
    guards: dict[str, tuple[Node, ...]] = {}
    for step in order:
        if step.selector is not None and not is_boundary(step, target):
            _guard(prepared, step, order, target, guards)
    thinning: Thinning | None = None
    if groups is not None:
        groups, thinning = _thinned_groups(prepared, target, grid, level, order, groups)
        if thinning is not None:
            needs, users = _needs(prepared, target, order, pixel, Need(rect, wanted), groups)
    else:
        thinning = _thinning(prepared, target, grid, level, order, needs)
        if thinning is not None:
            _leave_out(prepared, thinning.left_out, order, needs, target)
    inputs = tuple(step for step in order if is_boundary(step, target) and not step.reads)
    return Stage(target, grid, level, rect, tuple(order), needs, users, guards, thinning, inputs, wanted, groups)


def _needs(
    prepared: PreparedGraph, target: Step, order: list[Step], pixel: float, wanted: Need, groups: Groups | None
) -> tuple[dict[str, Need], dict[str, int]]:
    """What is needed of each step, and how many use it."""
    needs = {target.node.hash: wanted}
    users = {target.node.hash: 1}
    for step in reversed(order):
        if is_boundary(step, target):
            continue
        need = needs[step.node.hash]
        inner = need.rect.grow(step.halo(pixel))
        dates = all_of(groups) if step is target and groups is not None else step.dates_of(need.dates)
        for name, child in inputs_here(step):
            mine = prepared.selector_dates(step, dates) if name == step.operator.masks else dates
            before = needs.get(child.hash)
            if before is not None:
                both = None if mine is None or before.dates is None else before.dates | mine
                needs[child.hash] = Need(before.rect.union(inner), both)
            else:
                needs[child.hash] = Need(inner, mine)
            users[child.hash] = users.get(child.hash, 0) + 1
    return needs, users


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
        if mine and mine <= covered and step is not mask and step.meta.time and not step.along_time:
            covered.add(step.node.hash)
            if step.reads:
                guards[step.node.hash] = (*guards.get(step.node.hash, ()), selector.node)


def _thinning(
    prepared: PreparedGraph, target: Step, grid: Grid, level: int, order: list[Step], needs: Mapping[str, Need]
) -> Thinning | None:
    """Which dates a reduction over time leaves out of what it reads on its own grid and level."""
    if level < FIRST_LEVEL or not target.reduces_time:
        return None
    clouds: dict[np.datetime64, float] = {}
    for step in order:
        if step.reads:
            dates = needs[step.node.hash].dates
            for time, cover in _clouds(prepared, step, grid).items():
                if dates is None or time in dates:
                    clouds[time] = max(cover, clouds.get(time, cover))
    return thinned(clouds, _limit(level, order))


def _thinned_groups(
    prepared: PreparedGraph, target: Step, grid: Grid, level: int, order: list[Step], groups: Groups
) -> tuple[Groups, Thinning | None]:
    """The groups without the dates that the rule leaves out: each by itself, whichever others are wanted."""
    most = _limit(level, order) if target.reduces_dates else None
    if most is None or all(len(group) <= most for group in groups.values()):
        return groups, None
    clouds: dict[np.datetime64, float] = {}
    for step in order:
        if step.reads:
            for time, cover in _clouds(prepared, step, grid).items():
                clouds[time] = max(cover, clouds.get(time, cover))
    here = {time: {t: clouds[t] for t in group if t in clouds} for time, group in groups.items()}
    rules = {time: rule for time, group in here.items() if (rule := thinned(group, most)) is not None}
    if not rules:
        return groups, None
    out = {t: tuple(d for d in g if t not in rules or d not in rules[t].left_out) for t, g in groups.items()}
    of = len({t for group in here.values() for t in group})
    left_out = frozenset(clouds) & all_of(groups) - all_of(out)
    return out, Thinning(of - len(left_out), of, left_out)


def _limit(level: int, order: list[Step]) -> int | None:
    return limit(level, (step.arguments[step.thinning_rule] for step in order if step.reads))


def _clouds(prepared: PreparedGraph, read: Step, grid: Grid) -> Mapping[np.datetime64, float]:
    """The dates of what is read on a grid, with their cloud cover."""
    source = prepared.source(read.node)
    own = source.own(grid)
    return source.dates(own) if own is not None else {}


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

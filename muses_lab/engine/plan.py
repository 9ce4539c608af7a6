"""The plan of a block: every stage that it takes, inputs before users.

One descent makes it; cost, admission to memory and prefetch read it. None of them walks the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Set
from typing import NamedTuple

from odc.geo.geobox import GeoBox

from muses_lab.engine.graph import PreparedGraph, Step, whole_grid
from muses_lab.engine.mosaic import sketch
from muses_lab.engine.placing import placing
from muses_lab.engine.stages import Key, Piece, Stage, stage
from muses_lab.operators import Fit, Region
from muses_lab.resources import cancel


class BlockPlan(NamedTuple):
    """What it takes to evaluate some pieces of a chain."""

    stages: Mapping[Key, Stage]
    """Inputs before users."""
    inputs: Mapping[Key, tuple[Piece, ...]]
    """Key of a stage → the pieces that it takes, of stages or of what is there."""
    kept: Set[Key]
    """Stages whose values are kept in the cache as blocks."""


Split = Callable[[Piece], Iterable[Piece]]
"""A piece → what of it is evaluated: nothing where it is kept, or parts of it."""


def plan(
    prepared: PreparedGraph,
    wanted: Iterable[Piece],
    split: Split = lambda piece: (piece,),
    there: Callable[[Piece], bool] = lambda piece: False,
    given: Container[str] = (),
) -> BlockPlan:
    """The stages of some pieces, and of all that they are made of.

    `there`: whether a piece has values already, and needs no stage; `given`: hashes of `region` and `fit` nodes whose
    results are there.
    """
    made: dict[Key, Stage] = {}
    inputs: dict[Key, list[Piece]] = {}
    kept: set[Key] = set()
    under_way: list[tuple[Key, Stage, Iterator[Piece]]] = []

    def enter(piece: Piece) -> Iterator[Piece]:
        for part in split(piece):
            yield part
            if part.key in inputs:
                continue
            cancel.check()
            if not there(part):
                one = stage(prepared, *part[:4])
                inputs[part.key] = []
                under_way.append((part.key, one, inputs_of(prepared, one, given)))
                if part.kept:
                    kept.add(part.key)

    for piece in wanted:
        list(enter(piece))
        while under_way:
            key, one, below = under_way[-1]
            found = next(below, None)
            if found is not None:
                inputs[key] += enter(found)
            else:
                under_way.pop()
                made[key] = one
    return BlockPlan(made, {key: tuple(below) for key, below in inputs.items()}, kept)


def inputs_of(prepared: PreparedGraph, one: Stage, given: Container[str] = ()) -> Iterator[Piece]:
    """The pieces that a stage takes of other stages."""
    if isinstance(one.step.operator.support, Region):
        if one.step.node.hash not in given:
            yield from whole_pieces(prepared, one.step)
        return
    placed = placing(prepared, one)
    if placed is not None:
        yield from placed.pieces
        return
    for below in one.inputs:
        yield Piece(below, one.grid, one.level, one.need(below).rect)
    for fitted in fits_of(one, given):
        yield from whole_pieces(prepared, fitted)


def fits_of(one: Stage, given: Container[str]) -> list[Step]:
    """The steps of a stage for which something must be fitted first."""
    return [
        step
        for step in one.order
        if isinstance(step.operator.support, Fit) and not one.is_input(step) and step.node.hash not in given
    ]


def whole_pieces(prepared: PreparedGraph, step: Step) -> Iterator[Piece]:
    """What a `region` or `fit` step takes on its pinned extent."""
    child = prepared[step.data]
    grid = whole_grid(step, child.grids)
    yield from _window(prepared, child, grid.geobox(0, grid.extent))


def _window(prepared: PreparedGraph, step: Step, window: GeoBox) -> Iterator[Piece]:
    """The blocks of a step that a window of another lattice shows."""
    for view in sketch(prepared, window, step):
        for part in view.parts:
            yield from (Piece(step, part.grid, part.level, key.rect, kept=True) for key in part.blocks)

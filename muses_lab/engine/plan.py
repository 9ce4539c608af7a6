"""The plan of a block: every stage that it takes, inputs before users.

One descent makes it; cost, admission to memory, prefetch and execution read it. None of them walks the graph, and what
is there already is one question (`there`) that each of them answers for itself.
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
from muses_lab.raster.grid import block_rect
from muses_lab.resources import cancel


class BlockPlan(NamedTuple):
    """What it takes to evaluate some pieces of a chain."""

    wanted: tuple[Piece, ...]
    """What was asked for, in the parts in which it is evaluated."""
    stages: Mapping[Key, Stage]
    """Inputs before users."""
    inputs: Mapping[Key, tuple[Piece, ...]]
    """Key of a stage → the pieces that it takes, of stages or of what is there."""
    kept: Set[Key]
    """Stages whose values are kept in the cache as blocks."""

    @property
    def there(self) -> dict[Key, Piece]:
        """Pieces that are taken and need no stage."""
        taken = (*self.wanted, *(piece for below in self.inputs.values() for piece in below))
        return {key: piece for piece in taken if (key := piece.key) not in self.stages}

    @property
    def reads_once(self) -> bool:
        """Whether blocks of files that lie in the piece are read by one of its stages, and for no other piece."""
        stages = self.stages.values()
        places = {(one.grid.id, one.level, one.rect) for one in stages}
        bands = [band for one in stages for load in one.loads for band in load.step.meta.bands or (None,)]
        return len(places) == 1 and all(one.halo == 0 for one in stages) and len(bands) == len(set(bands))


There = Callable[[Piece], bool]
"""Whether a block has values already, and needs no stage."""


def plan(
    prepared: PreparedGraph,
    wanted: Iterable[Piece],
    there: There = lambda piece: False,
    given: Container[str] = (),
    *,
    shares: bool = False,
    at_once: Container[Key] = (),
) -> BlockPlan:
    """The stages of some pieces, and of all that they are made of.

    Parameters
    ----------
    given
        Hashes of `region` and `fit` nodes whose results are there.
    shares
        Whether images are made by whole blocks, which rectangles beside this one will use, too.
    at_once
        Pieces that are evaluated as they are.
    """
    made: dict[Key, Stage] = {}
    inputs: dict[Key, list[Piece]] = {}
    kept: set[Key] = set()
    under_way: list[tuple[Key, Stage, Iterator[Piece]]] = []

    def enter(piece: Piece) -> Iterator[Piece]:
        for part in [piece] if piece.key in at_once else parts(piece, there, shares):
            yield part
            key = part.key
            if key in inputs:
                continue
            cancel.check()
            if not (part.kept and there(part)):
                one = stage(prepared, *part[:4], part.dates)
                inputs[key] = []
                under_way.append((key, one, inputs_of(prepared, one, given)))
                if part.kept:
                    kept.add(key)

    asked: list[Piece] = []
    for piece in wanted:
        asked += enter(piece)
        while under_way:
            key, one, below = under_way[-1]
            found = next(below, None)
            if found is not None:
                inputs[key] += enter(found)
            else:
                under_way.pop()
                made[key] = one
    return BlockPlan(tuple(asked), made, {key: tuple(below) for key, below in inputs.items()}, kept)


def parts(piece: Piece, there: There, shares: bool) -> list[Piece]:
    """A piece as it is evaluated: whole blocks where they are kept or shared, else what is needed at once."""
    if piece.kept or not piece.step.keeps or piece.dates is not None:
        return [piece]
    blocks = [piece._replace(rect=block_rect(*at), kept=True) for at in piece.rect.blocks()]
    if len(blocks) == 1 and blocks[0].rect == piece.rect:
        return blocks
    # The blocks of images are shared by rectangles beside each other; a neighbourhood would read beyond them.
    if shares and not piece.step.operator.support.keeps:
        return blocks
    known = [there(block) for block in blocks]
    if not any(known):
        return [piece]
    return [
        block if is_there or piece.rect.contains(block.rect)
        else piece._replace(rect=block.rect.intersection(piece.rect))
        for block, is_there in zip(blocks, known, strict=True)
    ]  # fmt: skip


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
        rect, dates = one.need(below)
        yield Piece(below, one.grid, one.level, rect, dates=below.wanted(dates) if below.groups is not None else None)
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

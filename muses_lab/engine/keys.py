"""Names of the pieces of work that travel between the askers and the workers."""

from __future__ import annotations

from typing import NamedTuple

from muses_lab.raster.grid import Rect, block_rect


class BlockKey(NamedTuple):
    """One block of a chain's result: 512 × 512 pixels of a grid at a level."""

    grid: str
    level: int
    row: int
    col: int

    @property
    def rect(self) -> Rect:
        return block_rect(self.row, self.col)


class OnceKey(BlockKey):
    """A block that nobody looks at again, as of an export; equal to the same block for who does.

    What is read for it alone is not kept: an export would take from the maps what they show next, and memory that is
    used again costs nothing, where fresh pages took a fifth of the processor time (`python -m benchmarks.medians`).
    """

    __slots__ = ()


class SoleKey(OnceKey):
    """One of which no other window has pixels: its result is not kept, either.

    Else the cache of a worker fills with what nobody asks for, whatever the extent of an export is.
    """

    __slots__ = ()


class RectKey(NamedTuple):
    """A rectangle of a chain's result on a grid at a level, no larger than a block."""

    grid: str
    level: int
    r0: int
    r1: int
    c0: int
    c1: int

    @property
    def rect(self) -> Rect:
        return Rect(self.r0, self.r1, self.c0, self.c1)


class NodeKey(NamedTuple):
    """A `region` or `fit` node (by its hash), to be evaluated whole on its pinned extent."""

    node: str


class Missing(Exception):
    """The engine does not have the document with this hash; send it its payload."""

    def __init__(self, chain_hash: str) -> None:
        super().__init__(chain_hash)
        self.chain_hash = chain_hash

"""How the rows and columns of a raster lie on the ground: which transforms are grids here, and what others are."""

from __future__ import annotations

import math

from muses_lab.raster.sidecars import Affine6

_TURN = 1e-9
"""Pixels of slant per pixel up to which rows and columns run along the axes: what rounding leaves."""

ASTRAY = 0.1
"""Pixels of a file by which its item's word for the corners may differ: numbers are rounded."""


def corners(transform: Affine6, shape: tuple[int, int]) -> list[tuple[float, float]]:
    """Where the four corners of a raster of so many rows and columns lie.

    >>> corners((10, 0, 500, 0, -10, 900), (2, 3))
    [(500, 900), (530, 900), (530, 880), (500, 880)]
    """
    a, b, c, d, e, f = transform[:6]
    rows, columns = shape
    ends = [(0, 0), (columns, 0), (columns, rows), (0, rows)]
    return [(a * x + b * y + c, d * x + e * y + f) for x, y in ends]


def astray(transform: Affine6, shape: tuple[int, int], stated: list[tuple[float, float]]) -> bool:
    """Whether the corners that are stated for a file, in its own system, are elsewhere than the file's.

    >>> astray((10, 0, 500, 0, -10, 900), (2, 3), [(500.4, 900), (530.4, 900), (530.4, 880), (500.4, 880)])
    False
    >>> astray((10, 0, 500, 0, -10, 900), (2, 3), corners((5, 0, 500, 0, -10, 900), (2, 3)))
    True
    """
    a, b, _, d, e, _ = transform[:6]
    most = ASTRAY * max(abs(a) + abs(b), abs(d) + abs(e))
    own = corners(transform, shape)
    near = (abs(x - u) <= most and abs(y - v) <= most for (x, y), (u, v) in zip(own, stated, strict=True))
    return not all(near)  # also where a number is none


def why_not_a_grid(transform: Affine6) -> str | None:
    """Why pixels cannot be placed by a transform a, b, c, d, e, f from (column, row); None where they can.

    >>> why_not_a_grid((10, 0, 400_000, 0, -10, 4_800_000)) is None
    True
    >>> why_not_a_grid((10, 0, 400_000, 0, 10, 4_799_360)) is None      # rows from south to north
    True

    Rows may run from south to north, and columns from east to west.
    """
    a, b, c, d, e, f = transform
    shown = f"(transform {[*transform]})"
    if not all(math.isfinite(v) for v in transform):
        return f"its transform has numbers that are not finite {shown}"
    if a == e > 0 and not any((b, c, d, f)):
        kind = "the identity" if a == 1 else "a scale only and not north-up"
        return f"its transform is {kind}: it says nothing of where the pixels are {shown}; georeference it"
    if c == 0 and e == 0 and b > 0 > f:
        return (
            f"its transform is in GDAL's order, corner first {shown}: it should be "
            f"[{b:.12g}, 0, {a:.12g}, 0, {f:.12g}, {d:.12g}]"
        )
    if abs(b) > _TURN * abs(a) or abs(d) > _TURN * abs(e):
        return (
            f"its grid is rotated {shown}: bring it to a north-up one first, for example with `gdalwarp in.tif out.tif`"
        )
    if a == 0 or e == 0:
        return f"its pixels have no size {shown}"
    return None

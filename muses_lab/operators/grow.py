"""Masks grown and shrunk in metres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy import ndimage

from muses_lab.errors import TooLarge
from muses_lab.operators.contract import Cost, Cube, Focal
from muses_lab.operators.declare import operator
from muses_lab.operators.focal import MAX_RADIUS, each_image
from muses_lab.resources import cancel

_PIXEL = 100e-9
"""Seconds for a pixel of a distance transform, whatever the radius."""
_ROUNDING = 1e-9

Metres = Annotated[float, Field(gt=0, le=100_000)]


def _squared(metres: float, pixel_size: float) -> int:
    """The square of the largest distance in pixels that is within so many metres: distances of centres are roots."""
    return math.floor((metres / pixel_size) ** 2 * (1 + _ROUNDING) + _ROUNDING)


def _around(arguments: Mapping[str, Any], pixel_size: float) -> int:
    pixels = math.isqrt(_squared(arguments["metres"], pixel_size))
    if pixels > MAX_RADIUS:
        raise TooLarge(
            f"{arguments['metres']:g} m are {pixels} pixels of {pixel_size:g} m; the limit is {MAX_RADIUS}: choose "
            "fewer metres, or a coarser resolution with .at_resolution(metres)"
        )
    return pixels


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    r = _around(arguments, pixel_size)
    around = (rows + 2 * r) * (columns + 2 * r)
    return Cost(_PIXEL * around, 24 * around)


def _within(there: np.ndarray, squared: int) -> np.ndarray:
    """Whether a pixel where `there` is true is within the distance of each pixel."""
    if squared < 1 or not there.any():
        return there
    cancel.check()
    nearest = ndimage.distance_transform_edt(~there, return_distances=False, return_indices=True)
    rows, columns = np.ogrid[: there.shape[0], : there.shape[1]]
    return (nearest[0] - rows) ** 2 + (nearest[1] - columns) ** 2 <= squared


def _moved(data: Cube, metres: float, pixel_size: float, halo: int, of: bool) -> Cube:
    """What is true (or what is false: `of`) spread by so many metres."""
    squared = _squared(metres, pixel_size)

    def spread(image: np.ndarray) -> np.ndarray:
        missing = np.isnan(image)
        found = _within(~missing & ((image != 0) == of), squared)
        whole = np.where(missing, np.nan, found == of).astype(image.dtype)
        return whole[halo : whole.shape[0] - halo, halo : whole.shape[1] - halo]

    return each_image(data, halo, spread)


@operator("muses:grow", support=Focal(_around), cost=_cost)
def grow(data: Cube, metres: Metres, pixel_size: float = 1.0, halo: int = 0) -> Cube:
    """A condition grown by so many metres: true within that distance of a pixel where it is true (not zero).

    ```python
    water.grow(60)
    s2.mask(s2.clouds().grow(100))
    ```

    A dilation by a disk: pixels count whose centres are `metres` apart or less, on the ground, at every zoom; where
    pixels are larger than that, nothing changes. The result is 1 or 0. A missing pixel stays missing and spreads
    nothing. It takes a distance transform, whatever the radius; 128 pixels are the most.

    Serra, J. (1982), Image Analysis and Mathematical Morphology; as dilation by `skimage.morphology.disk`.
    """
    return _moved(data, metres, pixel_size, halo, True)


@operator("muses:shrink", support=Focal(_around), cost=_cost)
def shrink(data: Cube, metres: Metres, pixel_size: float = 1.0, halo: int = 0) -> Cube:
    """A condition shrunk by so many metres: false within that distance of a pixel where it is false (zero).

    ```python
    water.shrink(30)
    water.shrink(30).grow(30)                       # without what is narrower than 60 m
    ```

    An erosion by a disk: pixels count whose centres are `metres` apart or less, on the ground, at every zoom; where
    pixels are larger than that, nothing changes. The result is 1 or 0. A missing pixel stays missing and takes nothing
    away, as what lies beyond the data. It takes a distance transform, whatever the radius; 128 pixels are the most.

    Serra, J. (1982), Image Analysis and Mathematical Morphology; as erosion by `skimage.morphology.disk`.
    """
    return _moved(data, metres, pixel_size, halo, False)

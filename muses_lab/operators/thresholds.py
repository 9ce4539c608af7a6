"""Automatic thresholds: fitted once on a pinned extent, then applied pixel by pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from skimage.filters import threshold_otsu

from muses_lab.errors import MusesError
from muses_lab.operators.contract import Cost, Cube, Fit, same_bands
from muses_lab.operators.cubes import BBox, Metres
from muses_lab.operators.declare import operator
from muses_lab.operators.regions import one_image
from muses_lab.resources import cancel

_LOOKED_AT = 4096
"""Values from which is guessed whether there are few different ones."""


def fit_otsu(data: Cube, bins: int = 256) -> dict[str, Any]:
    """The threshold that maximises the variance between the two classes of the valid values."""
    values = np.asarray(data.data)
    valid = values[np.isfinite(values)]
    if valid.size == 0 or valid.min() == valid.max():
        found = "no valid values" if valid.size == 0 else f"only the value {valid.min() + 0:g}"
        raise MusesError(f"Otsu's threshold needs at least two different values; the extent has {found}")
    if np.unique(valid[:_LOOKED_AT]).size <= bins:
        # Few different values (classes, counts) are their own histogram: bins of a width would cut between them
        # wherever their middles happen to lie.
        distinct, counts = np.unique(valid, return_counts=True)
        cancel.check()
        if distinct.size <= bins:
            return {"threshold": float(threshold_otsu(hist=(counts, distinct))), "samples": int(valid.size)}
    return {"threshold": float(threshold_otsu(valid, nbins=bins)), "samples": int(valid.size)}


def _fitting(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """Measured on noise of 4000 × 4000 pixels: 12 ns for a pixel, 100 where all values are sorted; 27 bytes."""
    return Cost((100e-9 if arguments["bins"] >= _LOOKED_AT else 20e-9) * rows * columns, 32 * rows * columns)


@operator("muses:otsu", support=Fit(fit_otsu), cost=_fitting, shape=one_image("otsu"), needs=same_bands)
def otsu(
    data: Cube,
    bins: Annotated[int, Field(ge=2, le=65_536)] = 256,
    extent: BBox | None = None,
    resolution: Metres | None = None,
    fitted: dict[str, Any] | None = None,
) -> Cube:
    """1 where the value is above Otsu's threshold of the pinned extent, else 0 (Otsu 1979).

    ```python
    image.otsu(extent=(1.40, 43.56, 1.44, 43.60), resolution=20)
    ```
    """
    assert fitted is not None
    above = (data > fitted["threshold"]).astype(np.float32)
    return above.where(data.notnull())

"""Automatic thresholds: fitted once on a pinned extent, then applied pixel by pixel."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field
from skimage.filters import threshold_otsu

from muses_lab.errors import MusesError
from muses_lab.operators.cubes import BBox, Metres
from muses_lab.operators.declare import Cube, Fit, operator
from muses_lab.operators.regions import _image


def fit_otsu(data: Cube, bins: int = 256) -> dict[str, Any]:
    """The threshold that maximises the variance between the two classes of the valid values."""
    values = np.asarray(data.data)
    valid = values[np.isfinite(values)]
    if valid.size == 0 or valid.min() == valid.max():
        found = "no valid values" if valid.size == 0 else f"only the value {valid.min() + 0:g}"
        raise MusesError(f"Otsu's threshold needs at least two different values; the extent has {found}")
    if np.unique(valid[:4096]).size <= bins:
        # Few different values (classes, counts) are their own histogram: bins of a width would cut between them
        # wherever their middles happen to lie.
        distinct, counts = np.unique(valid, return_counts=True)
        if distinct.size <= bins:
            return {"threshold": float(threshold_otsu(hist=(counts, distinct))), "samples": int(valid.size)}
    return {"threshold": float(threshold_otsu(valid, nbins=bins)), "samples": int(valid.size)}


@operator("muses:otsu", support=Fit(fit_otsu), shape=_image)
def otsu(
    data: Cube,
    bins: Annotated[int, Field(ge=2, le=65_536)] = 256,
    extent: BBox | None = None,
    resolution: Metres | None = None,
    fitted: dict[str, Any] | None = None,
) -> Cube:
    """1 where the value is above Otsu's threshold of the pinned extent, else 0 (Otsu 1979)."""
    assert fitted is not None
    above = (data > fitted["threshold"]).astype(np.float32)
    return above.where(data.notnull())

"""Operators on connected regions: evaluated whole on a pinned extent, so that panning never changes a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from skimage.measure import label

from muses_lab.errors import DocumentError
from muses_lab.operators.cubes import BBox, Metres
from muses_lab.operators.declare import Cube, Meta, Region, operator


def _image(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["data"]
    if meta.time or meta.bands is not None:
        raise DocumentError("connected components need one image: reduce over 't' and choose one band first")
    return meta


@operator("muses:connected_components", support=Region(), shape=_image)
def connected_components(
    data: Cube,
    min_area: Annotated[float, Field(ge=0)] = 0.0,
    connectivity: Literal[4, 8] = 8,
    extent: BBox | None = None,
    resolution: Metres | None = None,
    pixel_size: float = 1.0,
) -> Cube:
    """Labels 1, 2, … of the connected regions that are true and have at least `min_area` (m²); 0 elsewhere.

    Labels run from the north-west, row by row. Missing stays missing.
    """
    values = np.asarray(data.data)
    missing = np.isnan(values)
    labels = label(~missing & (values != 0), connectivity=1 if connectivity == 4 else 2)
    keep = np.bincount(labels.ravel()) * pixel_size**2 >= min_area
    keep[0] = False
    new = np.where(keep, np.cumsum(keep), 0)
    return data.copy(data=np.where(missing, np.nan, new[labels]).astype(np.float32))

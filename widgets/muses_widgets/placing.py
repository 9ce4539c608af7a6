"""Where a chain has pixels, for zooming to its layer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

import muses_lab as ml
from muses_lab.crs import transformer
from muses_lab.scenes.source import Source
from muses_widgets.view import Bounds

DEGREES = "EPSG:4326"


def bounds_of(layers: Iterable[ml.Layer]) -> Bounds | None:
    """West, south, east, north in degrees of the scenes of layers; None where that is nowhere, or everywhere."""
    found = {id(s): s for layer in layers for s in layer.chain.published.prepared.sources.values()}
    boxes = [box for source in found.values() for box in _boxes(source)]
    if not boxes:
        return None
    wests, souths, easts, norths = zip(*boxes, strict=True)
    return min(wests), max(min(souths), -90.0), max(easts), min(max(norths), 90.0)


def _boxes(source: Source) -> Iterable[Bounds]:
    """The box in degrees of the scenes of each reference system."""
    columns = source.columns
    for system in dict.fromkeys(columns.systems):
        numbers = [n for n, one in enumerate(columns.systems) if one == system]
        bounds = columns.bounds[np.isin(columns.lattice, numbers)]
        if bounds.size and np.isfinite(bounds).all():
            edges = *bounds[:, :2].min(0).tolist(), *bounds[:, 2:].max(0).tolist()
            box = transformer(system, DEGREES).transform_bounds(*edges)
            if np.isfinite(box).all():
                yield box

"""Images of single dates: small ones around a place, and the scene of a date as a layer of a map."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from PIL import Image
from shapely.geometry.base import BaseGeometry

import muses_lab as ml
from muses_lab.crs import known_crs, transformer
from muses_lab.errors import MusesError
from muses_lab.operators.drawing import moved
from muses_lab.operators.vectors import DEGREES
from muses_lab.raster.window import Window
from muses_lab.render import render
from muses_lab.style import Style
from muses_widgets.series.expressions import Quantity, Scenes, with_dates

SIDE = 48
"""A small image has so many pixels, across and down."""
_AT_ONCE = 8
"""So many dates are computed together, that there soon is something to see."""
_COLOURS = ("red", "green", "blue")
_REFLECTANCE = 1.6
"""What is brighter is no reflectance, but a stored number."""


@dataclass
class DateImages:
    """How the dates of a quantity look: its scenes in true colours with their clouds, or one band in grey."""

    cube: Any
    """A chain with the dates; one band or three."""
    look: Style
    """Its ends, where they are not given, are taken from the first images that are made."""

    @classmethod
    def of(cls, quantity: Quantity, known: Sequence[Scenes]) -> DateImages:
        """Of the scenes that have all dates of the quantity; of the quantity itself where there are none."""
        dated = with_dates(quantity.chain)
        times = set(dated.published.prepared.output.times)
        for scenes in known:
            output = scenes.plain.published.prepared.output
            if not times <= set(output.times):
                continue
            with suppress(MusesError):
                bands = [output.meta.find(name) for name in _COLOURS]
                return cls(ml.rgb(*(scenes.plain.band(band) for band in bands)), Style())
            if output.meta.bands:
                return cls(scenes.plain.band(output.meta.bands[0]), Style(cmap="Greys_r"))
        bands = dated.published.prepared.output.meta.bands
        return cls(dated.band(bands[0]) if bands else dated, quantity.look or Style())

    @cached_property
    def times(self) -> frozenset[np.datetime64]:
        return frozenset(self.cube.published.prepared.output.times)

    def layer(self, time: np.datetime64, around: GeoBox) -> ml.Layer:
        """The image of a date for a map, stretched so that the place can be made out."""
        start = time.astype("M8[us]")
        chain = self.cube.dates(str(start), str(start + 1)).drop("t")
        return ml.Layer(chain, self._stretch(self._values(around, [time])))

    def chips(
        self, window: GeoBox, times: Sequence[np.datetime64], is_stale: Callable[[], bool]
    ) -> Iterator[dict[np.datetime64, bytes]]:
        """Small images by date, some at a time; of a date without data it is empty."""
        wanted = sorted(set(times) & self.times)
        for start in range(0, len(wanted), _AT_ONCE):
            if is_stale():
                return
            some = wanted[start : start + _AT_ONCE]
            values = self._values(window, some)
            look = self._stretch(values)
            images = {time: np.atleast_3d(image.T).T for time, image in values.items()}
            yield {time: _small(image, look) if np.isfinite(image).any() else b"" for time, image in images.items()}

    def _values(self, window: GeoBox, times: Sequence[np.datetime64]) -> dict[np.datetime64, np.ndarray]:
        """(bands, y, x) of each date."""
        first, last = (time.astype("M8[us]") for time in (min(times), max(times)))
        array = self.cube.dates(str(first), str(last + 1)).pixels(window).array
        wanted = set(times)
        return {time: array.values[n] for n, time in enumerate(array.t.values) if time in wanted}

    def _stretch(self, values: dict[np.datetime64, np.ndarray]) -> Style:
        """Reflectance so that the ground can be seen and clouds are white; of other numbers most of what is there."""
        if self.look.vmin is not None or self.look.classes:
            return self.look
        self.look = self._stretched(values)
        return self.look

    def _stretched(self, values: dict[np.datetime64, np.ndarray]) -> Style:
        finite = np.concatenate([image[np.isfinite(image)].ravel() for image in values.values()] or [np.zeros(0)])
        is_colour = self.cube.published.prepared.output.meta.bands is not None
        if not finite.size:
            return self.look
        if is_colour and np.median(finite) < _REFLECTANCE and finite.min() > -1:
            bright = [np.nanpercentile(image, 98) for image in values.values() if np.isfinite(image).any()]
            return replace(self.look, vmin=0.0, vmax=float(np.clip(1.3 * np.median(bright), 0.08, 0.3)))
        low, high = np.percentile(finite, (2, 98)).tolist()
        return replace(self.look, vmin=low, vmax=high if high > low else low + 1)


def window_around(geometry: BaseGeometry, crs: str, metres: float) -> GeoBox:
    """The pixels of a grid around a place; a polygon with a margin."""
    crs = crs.partition(", ")[0] if crs.startswith("EPSG:") else crs  # of the first grid, where several are there
    (shape,) = moved(np.array([geometry], object), transformer(DEGREES, crs).transform)
    west, south, east, north = shape.bounds
    unit = metres / 111_320 if known_crs(crs).is_geographic else metres
    half = max(SIDE * unit, 1.3 * (east - west), 1.3 * (north - south)) / 2
    x, y = (west + east) / 2, (south + north) / 2
    bounds = (x - half, y - half, x + half, y + half)
    return Window.from_bounds(bounds, crs=crs, bounds_crs=crs, resolution=2 * half / SIDE)


def _small(values: np.ndarray, look: Style) -> bytes:
    image = Image.open(io.BytesIO(render(values, look))).convert("RGBA")
    body = io.BytesIO()
    image.save(body, "WEBP", quality=82)
    return body.getvalue()

"""Terrain: what heights look like in the light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from odc.geo.geobox import GeoBox
from pydantic import Field

from muses_lab.crs import crs_name, known_crs
from muses_lab.operators.contract import Cost, Cube, Focal
from muses_lab.operators.declare import operator
from muses_lab.operators.focal import each_image, with_margin

_SECONDS = 60e-9
"""For a pixel."""
_MERCATOR = "EPSG:3857"
_DIGITS = 12
"""Of a latitude in radians, micrometres: a row is at the same place in whichever block it is."""


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    around = (rows + 2) * (columns + 2)
    return Cost(around * _SECONDS, 40 * around)


@operator("muses:hillshade", support=Focal(lambda arguments, pixel: 1), cost=_cost)
def hillshade(
    data: Cube,
    azimuth: Annotated[float, Field(ge=0, le=360)] = 315.0,
    altitude: Annotated[float, Field(ge=0, le=90)] = 45.0,
    z_factor: Annotated[float, Field(gt=0, le=1000)] = 1.0,
    geobox: GeoBox | None = None,
    halo: int = 0,
) -> Cube:
    """How bright heights are in the light, from 0 (in the shade) to 1 (the light falls straight on them).

    ```python
    image.hillshade(azimuth=315, altitude=45)
    ```

    The light comes from `azimuth` (degrees clockwise from north) at `altitude` (degrees above the horizon). `z_factor`
    multiplies the heights, which are metres where it is 1: larger ones make flat land show its forms. Slopes are those
    of Horn (1981) over the eight neighbours, by the width and height that a pixel has on the ground (of degrees and web
    Mercator, at its latitude); a pixel beside a missing one is missing. Mountains cast no shadows. A pixel is one of
    the level that is shown, so a map from far away has the forms of averaged heights: `at_resolution` pins one.
    """
    assert geobox is not None
    east, north = np.deg2rad(90 - azimuth), np.deg2rad(altitude)
    light = np.cos(east) * np.cos(north), np.sin(east) * np.cos(north), np.sin(north)
    rows = slice(halo, geobox.shape.y - halo)
    over_width, over_height = (z_factor / (8 * side[rows, None]) for side in _on_the_ground(geobox))

    def shaded(image: np.ndarray) -> np.ndarray:
        z = with_margin(image, halo, 1, 1, np.nan).astype(np.float64)
        a, b, c = z[:-2, :-2], z[:-2, 1:-1], z[:-2, 2:]
        d, middle, f = z[1:-1, :-2], z[1:-1, 1:-1], z[1:-1, 2:]
        g, h, i = z[2:, :-2], z[2:, 1:-1], z[2:, 2:]
        to_east = ((c + 2 * f + i) - (a + 2 * d + g)) * over_width
        to_north = ((a + 2 * b + c) - (g + 2 * h + i)) * over_height
        bright = (light[2] - to_east * light[0] - to_north * light[1]) / np.sqrt(1 + to_east**2 + to_north**2)
        found = np.clip(bright, 0, 1)
        found[np.isnan(middle)] = np.nan
        return found.astype(image.dtype)

    return each_image(data, halo, shaded)


def _on_the_ground(window: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Metres that the pixels of each row are wide and high."""
    name = crs_name(window.crs)
    crs = known_crs(name)
    unit = float(crs.axis_info[0].unit_conversion_factor or 1.0)
    width, height = (abs(side) * unit for side in (window.affine.a, window.affine.e))
    rows = window.affine.f + (np.arange(window.shape.y) + 0.5) * window.affine.e
    ellipsoid = crs.ellipsoid
    if ellipsoid is None or not (crs.is_geographic or name == _MERCATOR):
        return np.full(len(rows), width), np.full(len(rows), height)
    a, b = ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre
    if name == _MERCATOR:
        latitude, width, height = np.arctan(np.sinh(rows / a)), width / a, height / a
    else:
        latitude = rows * unit
    latitude = np.round(latitude, _DIGITS)
    flat = 1 - (b / a) ** 2
    across = a / np.sqrt(1 - flat * np.sin(latitude) ** 2)
    along = (1 - flat) * across**3 / a**2
    cos = np.maximum(np.cos(latitude), 1e-9)  # there is no land beyond a pole, but there are rows
    return width * across * cos, height * along * (cos if name == _MERCATOR else 1)

"""Windows that make no sense are refused when they are made or handed over, with what would be right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab.errors import CrsError, WindowError
from muses_lab.raster.window import checked
from muses_lab.raster.window_checks import MOST_PIXELS
from tests.helpers.examples import examples

BOX = (1.3, 43.5, 1.5, 43.7)
IN_METRES = (363_000, 4_818_000, 379_000, 4_840_000)
UTM31 = {"crs": "EPSG:32631", "resolution": 10}

REFUSED: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "metres, said to be degrees": (IN_METRES, UTM31, ["no degrees", "bounds_crs='EPSG:32631'"]),
    "metres on the map's system": (IN_METRES, {"resolution": 10}, ["no degrees", "bounds_crs="]),
    "degrees, said to be metres": (BOX, UTM31 | {"bounds_crs": 32631}, ["leave bounds_crs out"]),
    "degrees in Lambert-93": (BOX, {"crs": 2154, "resolution": 10, "bounds_crs": 2154}, ["leave bounds_crs out"]),
    "degrees as resolution": (BOX, UTM31 | {"resolution": 0.0002}, ["millimetre", "metre", "22.3 m"]),
    "coarse degrees as resolution": (BOX, UTM31 | {"resolution": 0.001}, ["16570326 × 22523387", "111 m"]),
    "metres as degrees": (BOX, {"crs": 4326, "resolution": 10}, ["resolution=10", "9e-05", "shape=(1, 1)"]),
    "half metres as degrees": (BOX, {"crs": 4326, "resolution": 0.5}, ["resolution=0.5", "4.5e-06"]),
    "a resolution beyond the earth": (BOX, {"resolution": 1e9}, ["larger than the earth"]),
    "millimetres in degrees": (BOX, {"crs": 4326, "resolution": 1e-9}, ["smaller than a millimetre"]),
    "south first, elsewhere": ((43.5, 1.3, 43.7, 1.5), UTM31, ["longitudes 0 to 6", "(1.3, 43.5, 1.5, 43.7) meant"]),
    "south first, no degrees": (
        (-33.9, 151.1, -33.8, 151.3), {"crs": 32756, "resolution": 10}, ["(151.1, -33.9, 151.3, -33.8) meant"],
    ),
    "west, east, south, north": ((1.3, 1.5, 43.5, 43.7), UTM31, ["(1.3, 43.5, 1.5, 43.7) meant"]),
    "north first": ((1.3, 43.7, 1.5, 43.5), UTM31, ["empty", "(1.3, 43.5, 1.5, 43.7) meant"]),
    "north and east first": ((43.7, 1.3, 43.5, 1.5), UTM31, ["empty", "(1.3, 43.5, 1.5, 43.7) meant"]),
    "another zone": ((43.5, 1.3, 43.7, 1.5), {"crs": 32756, "resolution": 10}, ["EPSG:32638"]),
    "another zone in the south": ((-70.5, -33.5, -70.4, -33.4), UTM31, ["EPSG:32719"]),
    "across 180°": ((179, -17, -179, -16), {"resolution": 10}, ["(179, -17, 181, -16)"]),
    "no width": ((1.3, 43.5, 1.3, 43.7), UTM31, ["empty"]),
    "the poles on a map": ((-180, -90, 180, 90), {"resolution": 40_000}, ["-85.06 to 85.06"]),
    "not finite": ((1.3, 43.5, math.inf, 43.7), UTM31, ["finite", "inf"]),
    "no number": ((1.3, 43.5, math.nan, 43.7), UTM31, ["finite", "nan"]),
    "three": ((1.3, 43.5, 1.5), UTM31, ["four", "(1.3, 43.5, 1.5)"]),
    "a text": ("Toulouse", UTM31, ["four", "'Toulouse'"]),
    "a number": (3, UTM31, ["four", "3"]),
    "texts": (("1.3", "43.5", "1.5", "43.7"), UTM31, ["four", "'1.3'"]),
    "no resolution": (BOX, {"crs": 32631}, ["resolution=None", "metres"]),
    "a resolution below nothing": (BOX, UTM31 | {"resolution": -10}, ["resolution=-10"]),
    "a text as resolution": (BOX, UTM31 | {"resolution": "10"}, ["resolution='10'"]),
    "an endless resolution": (BOX, UTM31 | {"resolution": math.inf}, ["resolution=inf"]),
    "a shape of nothing": (BOX, {"shape": (0, 5)}, ["shape=(0, 5)", "(rows, columns)"]),
    "half a shape": (BOX, {"shape": 512}, ["shape=512"]),
    "a shape in parts": (BOX, {"shape": (512.5, 5)}, ["shape=(512.5, 5)"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_bounds_that_make_no_sense_are_refused_with_value_and_cure(kind: str) -> None:
    bounds, options, words = REFUSED[kind]
    with pytest.raises(WindowError) as caught:
        ml.Window.from_bounds(bounds, **options)
    for word in words:
        assert word in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_an_unknown_system_is_named() -> None:
    with pytest.raises(CrsError, match="ETRS"):
        ml.Window.from_bounds(BOX, crs="ETRS", resolution=10)


ALLOWED: dict[str, tuple[Any, dict[str, Any], tuple[int, int]]] = {
    "metres": (IN_METRES, UTM31 | {"bounds_crs": "EPSG:32631"}, (2200, 1600)),
    "NumPy's numbers": (np.array(BOX), UTM31 | {"resolution": np.float32(10)}, (2255, 1665)),
    "a small field": ((1.4, 43.5, 1.40004, 43.50004), UTM31 | {"resolution": 60}, (1, 1)),
    "one pixel, said so": (BOX, {"crs": 4326, "shape": (1, 1)}, (1, 1)),
    "the world in degrees": ((-180, -90, 180, 90), {"crs": 4326, "resolution": 1}, (180, 360)),
    "a country beyond its zone": ((-5, 42, 9, 51), UTM31 | {"resolution": 1000}, (1033, 1161)),
    "the south in a northern zone": ((1.3, -10.2, 1.5, -10), UTM31 | {"resolution": 100}, (223, 222)),
    "a pole": ((-180, 60, 180, 90), {"crs": 3413, "resolution": 10_000}, (666, 666)),
    "across 180°": ((179, -17, 181, -16), {"resolution": 100}, (1162, 2228)),
    "across 180° in a local system": ((179, -17, 181, -16), {"crs": 3460, "resolution": 100}, (1121, 2143)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ALLOWED)
def test_bounds_that_look_odd_and_are_right_are_taken(kind: str) -> None:
    bounds, options, shape = ALLOWED[kind]
    window = ml.Window.from_bounds(bounds, **options)
    assert np.allclose(window.shape, shape, atol=12), window.shape
    assert checked(window) is window


@given(
    lon=st.floats(-179, 178), lat=st.floats(-75, 75), width=st.floats(0.001, 1), height=st.floats(0.001, 1),
    resolution=st.floats(1, 500),
)  # fmt: skip
@settings(max_examples=examples(20), deadline=None)
def test_bounds_in_their_own_zone_are_covered_to_a_pixel(
    lon: float, lat: float, width: float, height: float, resolution: float
) -> None:
    zone = (32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1
    bounds = (lon, lat, lon + width, lat + height)
    window = ml.Window.from_bounds(bounds, crs=zone, resolution=resolution)
    found = window.boundingbox
    to = pyproj.Transformer.from_crs(4326, zone, always_xy=True)
    along = np.linspace(0, 1, 9)
    xs, ys = to.transform(
        np.concatenate([lon + width * along, lon + width * along, np.full(9, lon), np.full(9, lon + width)]),
        np.concatenate([np.full(9, lat), np.full(9, lat + height), lat + height * along, lat + height * along]),
    )
    slack = resolution * 1e-3 + 1
    assert found.left <= xs.min() + slack and xs.max() - slack <= found.right
    assert found.bottom <= ys.min() + slack and ys.max() - slack <= found.top
    assert xs.min() - found.left < 2 * resolution + 1 and found.right - xs.max() < 2 * resolution + 1


def test_what_is_no_window_is_refused_where_one_is_handed_over() -> None:
    good = ml.Window.from_bounds(BOX, **UTM31)
    affine = good.affine
    many = math.isqrt(MOST_PIXELS) + 1
    for window, words in (
        (BOX, "ml.Window.from_bounds"),
        (None, "None"),
        (GeoBox((2, 2), affine, None), "no reference system"),
        (GeoBox((0, 2), affine, "EPSG:32631"), "no pixels"),
        (GeoBox((2, 2), Affine(math.nan, 0, 0, 0, -10, 0), "EPSG:32631"), "affine"),
        (GeoBox((2, 2), Affine(10, 0, math.inf, 0, -10, 0), "EPSG:32631"), "affine"),
        (GeoBox((2, 2), Affine(0, 0, 5, 0, -10, 0), "EPSG:32631"), "no size"),
        (GeoBox((2, 2), Affine(2e-4, 0, 363_000, 0, -2e-4, 0), "EPSG:32631"), "if 0.0002 degrees are meant"),
        (GeoBox((many, many), affine, "EPSG:32631"), "coarser resolution"),
        (GeoBox((1, 2**31), affine, "EPSG:32631"), "coarser resolution"),
    ):
        with pytest.raises(WindowError, match=words):
            checked(window)


def test_tiles_and_rasters_that_are_none_are_refused() -> None:
    with pytest.raises(WindowError, match="no tile 3/8/0"):
        ml.Window.tile(3, 8, 0)
    with pytest.raises(WindowError, match=r"whole numbers.*1\.5"):
        ml.Window.tile(3, 1.5, 0)  # type: ignore[arg-type]
    with pytest.raises(WindowError, match="neither an xarray object"):
        ml.Window.like(BOX)

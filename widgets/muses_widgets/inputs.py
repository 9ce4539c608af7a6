"""What people give a map: chains, arrays, files, places. What cannot be shown is refused with a sentence."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import ipyleaflet
import ipywidgets
import numpy as np
import xarray as xr
import xyzservices
from odc.geo.geobox import GeoBox

import muses_lab as ml
from muses_lab.api import own_files, rasters
from muses_lab.errors import MusesError, ReadError
from muses_lab.style import Style
from muses_widgets.legend import legend_of

Bounds = tuple[float, float, float, float]


class NotShown(MusesError, TypeError):
    """Something was given to a map that it cannot show, or in a form that it does not know."""

    code = "not-shown"


_STYLE_NAMES = {field.name for field in fields(Style)}
_CALLED = {"palette": "cmap", "colormap": "cmap", "colors": "cmap", "min": "vmin", "max": "vmax", "caption": "label"}
_OF_MAPS = {
    "location": "center", "zoom_start": "zoom", "tiles": "basemap", "basemaps": "basemap",
    "width": "layout=ipywidgets.Layout(width=…, height=…)",
}  # fmt: skip


def as_leaflet(item: Any) -> ipyleaflet.Layer | ipyleaflet.Control | None:
    """ipyleaflet's own: layers, controls, providers of `ipyleaflet.basemaps`, and what knows how to become a layer."""
    if hasattr(item, "as_leaflet_layer") and not isinstance(item, type):
        item = item.as_leaflet_layer()
    if isinstance(item, xyzservices.TileProvider):
        item = ipyleaflet.basemap_to_tiles(item)
    return item if isinstance(item, ipyleaflet.Layer | ipyleaflet.Control) else None


def named_layers(given: Any) -> list[tuple[str | None, Any]]:
    """The layers of `Map(layers=…)` with their names, where they have one: a dictionary, or a list of layers or pairs.

    A name that is given twice would replace a layer by another one, so it is refused.
    """
    if isinstance(given, Mapping):
        found = list(given.items())
    elif isinstance(given, str) or not isinstance(given, Iterable):
        raise NotShown(f"layers={given!r} is no list of layers: Map(layers=[…]), or m.add(…) one after the other")
    else:
        found = [item if isinstance(item, tuple) and len(item) == 2 else (None, item) for item in given]
    names = [name for name, _ in found if name is not None]
    for name in names:
        if not isinstance(name, str):
            raise NotShown(f"layers: {name!r} is no name; give {{'NDVI 2018': layer}} or pairs ('NDVI 2018', layer)")
        if names.count(name) > 1:
            raise NotShown(f"layers: {name!r} is the name of {names.count(name)} layers; give each its own")
    return found


def as_layer(item: Any) -> ml.Layer | ml.TimeLayer:
    """A chain with its style; arrays and files get colours from the least to the largest of most of their values."""
    if isinstance(item, ml.Layer | ml.TimeLayer):
        return item
    if isinstance(item, ml.Chain | ml.OverTime):
        return item.style()
    if isinstance(item, str | os.PathLike):
        return as_layer(of_file(item))
    if isinstance(item, xr.DataArray):
        said = {"label": item.name, "unit": item.attrs.get("units")}
        return _stretched(ml.from_array(item), {k: v for k, v in said.items() if isinstance(v, str) and v})
    raise NotShown(f"m.add shows chains, layers, DataArrays and rasters, not {_kind(item)}: {_cure(item)}")


def of_file(path: str | os.PathLike[str]) -> Any:
    """What a file is (`ml.open_file`); a raster with colours for most of its values."""
    found = ml.open_file(path)
    return _stretched(found, {}) if isinstance(found, ml.Chain) and own_files.is_raster(path) else found


def _stretched(chain: ml.Chain, said: Mapping[str, str]) -> ml.Layer:
    """Colours that say most of a raster's values: from their 2nd to their 98th percentile, wherever one looks later."""
    plain = chain.style(**said)
    legend_of(plain)  # what cannot be shown is not looked at
    found = chain.pixels(rasters.overview(chain))
    if found.report.failed:
        raise ReadError(f"the raster cannot be read: {found.report.failed[0][1]}")
    seen = found.values[np.isfinite(found.values)]
    low, high = np.percentile(seen, (2, 98)) if seen.size else (0.0, 1.0)
    low, high = rounded(float(low), float(high))
    return chain.style(vmin=low, vmax=high, **said)


def rounded(low: float, high: float) -> tuple[float, float]:
    """The ends of a range, told to a hundredth of it; of no range, to both sides of the value."""
    if low == high:
        low, high = low - 0.5, high + 0.5
    digits = 2 - math.floor(math.log10(high - low))
    return round(low, digits), round(high, digits)


def _kind(item: Any) -> str:
    if isinstance(item, type):
        return f"the class {item.__name__} itself"
    name = type(item).__name__
    return "None" if item is None else f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _cure(item: Any) -> str:
    if isinstance(item, xr.Dataset):
        return f"choose one of its variables, {', '.join(map(str, item.data_vars)) or 'of which it has none'}"
    if isinstance(item, np.ndarray):
        return "it does not say where it lies; an xarray.DataArray with x, y and a CRS does"
    if isinstance(item, ipywidgets.Widget):
        return "m.add(ipyleaflet.WidgetControl(widget=…, position='bottomright')) puts it into a corner"
    if isinstance(item, list | tuple):
        return "add one after the other"
    return "m.add(chain), m.add(chain.style(…), name='…'), or one of ipyleaflet's layers and controls"


def refuse_options(what: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Arguments that nothing would heed are an error."""
    for name, value in given.items():
        shown = f"{name}={value!r}"[:80]
        style = _CALLED.get(name, name)
        if style in _STYLE_NAMES:
            raise NotShown(f"{what} takes no {shown}: colours are the layer's, m.add(chain.style({style}=…), name='…')")
        near = _OF_MAPS.get(name) or next(iter(difflib.get_close_matches(name, list(known), 1)), None)
        raise NotShown(f"{what} takes no {shown}" + (f"; did you mean {near}?" if near else ""))


def place(center: Any) -> tuple[float, float]:
    """(latitude, longitude), checked."""
    numbers = _numbers(center)
    if len(numbers) != 2:
        raise NotShown(
            f"center={center!r} is no place: give (latitude, longitude) in degrees, for example (43.6, 1.44)"
        )
    lat, lon = numbers
    if abs(lat) > 90 or abs(lon) > 540:
        raise NotShown(
            f"center={center!r} is not on Earth: latitude (within ±90) comes first, then longitude, in degrees"
        )
    return lat, lon


def bounds(given: Any) -> Bounds:
    """West, south, east, north in degrees: of four such numbers, of ipyleaflet's two corners, or of a window."""
    if isinstance(given, GeoBox):
        return given.extent.to_crs("EPSG:4326").boundingbox.bbox
    numbers = _numbers(given)
    if len(numbers) == 4:
        west, south, east, north = numbers
    else:
        corners = [_numbers(corner) for corner in given] if isinstance(given, Iterable) else []
        if [len(corner) for corner in corners] != [2, 2]:
            raise NotShown(
                f"{given!r} are no bounds: give (west, south, east, north) in degrees, or ipyleaflet's "
                "((south, west), (north, east))"
            )
        (south, west), (north, east) = corners
    if not (-90 <= south < north <= 90 and west < east and east - west <= 360 and abs(west) <= 540):
        raise NotShown(
            f"bounds {given!r} are not on Earth: west {west:g} must be below east {east:g}, south {south:g} below "
            f"north {north:g}, all in degrees (metres of a CRS are not); (west, south, east, north), or "
            "((south, west), (north, east))"
        )
    return west, south, east, north


def _numbers(given: Any) -> list[float]:
    """Finite numbers of a sequence; none if it is something else."""
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        return []
    try:
        numbers = [float(value) for value in given]
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []

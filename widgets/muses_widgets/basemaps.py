"""Base maps that the panel offers: one without a connection, and the usual ones of the web."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipyleaflet
import xyzservices
import xyzservices.providers as providers

from muses_lab.errors import NotFound
from muses_widgets.inputs import NotShown
from muses_widgets.tiles import CLEAR_PIXEL, MAX_ZOOM, NOWHERE

OFFLINE: dict[str, Any] = {
    "name": "Offline",
    "url": "muses:base/{z}/{x}/{y}.png",
    "attribution": "Natural Earth; places: GeoNames (CC BY 4.0)",
    "online": False,
}
NONE: dict[str, Any] = {"name": "None", "url": CLEAR_PIXEL, "attribution": "", "online": False}

_WEB = {
    "OpenStreetMap": providers.OpenStreetMap.Mapnik,
    "Terrain": providers.OpenTopoMap,
    "Aerial images": providers.Esri.WorldImagery,
}


def offered() -> list[dict[str, Any]]:
    """All base maps, the offline one first. Building the list asks nobody anything."""
    return [OFFLINE, NONE, *(_of_provider(provider, name) for name, provider in _WEB.items())]


def tiles(chosen: Any) -> ipyleaflet.TileLayer:
    """The base map's layer: of an offered name, of a provider (`ipyleaflet.basemaps.…`), or a TileLayer itself."""
    if isinstance(chosen, ipyleaflet.Layer):
        if type(chosen) is not ipyleaflet.TileLayer:
            raise NotShown(
                f"basemap={type(chosen).__name__}(…) is no TileLayer of the web; m.add(…) shows it above the base map"
            )
        chosen.base = True
        return chosen
    found = _entry(chosen)
    return ipyleaflet.TileLayer(
        url=found["url"], attribution=found["attribution"], name=found["name"], base=True, max_zoom=MAX_ZOOM,
        bounds=None if found["online"] else NOWHERE,
    )  # fmt: skip


def of_tiles(layer: ipyleaflet.TileLayer) -> dict[str, Any]:
    """How the panel lists a base map."""
    url = layer.url
    return {
        "name": layer.name or "Base map",
        "url": url,
        "attribution": layer.attribution or "",
        "online": url.startswith(("https:", "http:", "//")),
    }


def _entry(chosen: Any) -> dict[str, Any]:
    names = {b["name"]: b for b in offered()}
    if isinstance(chosen, str):
        if chosen not in names:
            raise NotFound(
                f"there is no base map {chosen!r}; there are {', '.join(map(repr, names))}, and those of "
                "ipyleaflet.basemaps"
            )
        return names[chosen]
    if isinstance(chosen, Mapping) and isinstance(chosen.get("url"), str):
        named = {"name": "Base map", "attribution": ""} | dict(chosen)
        return _of_provider(xyzservices.TileProvider(named))
    group = " of one provider: choose one of its maps" if isinstance(chosen, Mapping) else ""
    raise NotShown(
        f"basemap={type(chosen).__name__}(…){group or ' is no base map'}; give a name ({', '.join(names)}), one of "
        "ipyleaflet.basemaps (basemaps.OpenTopoMap, basemaps.Esri.WorldImagery), or a TileLayer"
    )


def _of_provider(provider: xyzservices.TileProvider, name: str | None = None) -> dict[str, Any]:
    if provider.requires_token():
        raise NotShown(
            f"the base map {provider.get('name')} needs a key of its maker: basemaps.…(accessToken='…' or apikey='…')"
        )
    return {
        "name": name or provider.get("name", "Base map"),
        "url": provider.build_url().replace("{s}", "a"),
        "attribution": provider.get("html_attribution", provider.get("attribution", "")),
        "online": True,
    }

"""Base maps that the panel offers: one without a connection, and the usual ones of the web."""

from __future__ import annotations

from typing import Any

import xyzservices.providers as providers

OFFLINE = {
    "name": "Offline",
    "url": "muses:base/{z}/{x}/{y}.png",
    "attribution": "Places: GeoNames (CC BY 4.0)",
    "online": False,
}
_CLEAR_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
NONE = {"name": "None", "url": _CLEAR_PIXEL, "attribution": "", "online": False}

_WEB = {
    "OpenStreetMap": providers.OpenStreetMap.Mapnik,
    "Terrain": providers.OpenTopoMap,
    "Aerial images": providers.Esri.WorldImagery,
}


def offered() -> list[dict[str, Any]]:
    """All base maps, the offline one first. Building the list asks nobody anything."""
    web = [
        {
            "name": name,
            "url": provider.build_url().replace("{s}", "a"),
            "attribution": provider.get("html_attribution", provider.get("attribution", "")),
            "online": True,
        }
        for name, provider in _WEB.items()
    ]
    return [OFFLINE, NONE, *web]

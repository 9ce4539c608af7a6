"""Maps of others as layers: tiles by XYZ and WMTS, pictures by WMS. Nothing is asked of anybody before one is added."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import ipyleaflet
import traitlets as t
import xyzservices

from muses_widgets.inputs import NotShown
from muses_widgets.tiles import MAX_ZOOM

_FORMS = (
    "'https://…/{z}/{x}/{y}.png' (XYZ), an address of a WMS with layers='…', or one of a WMTS with layers='…' and "
    "matrix_set='…'"
)
_SECRET = re.compile(r"key|token|secret|passw|auth|credential|appid|sig(nature)?$|^tk$", re.IGNORECASE)
"""Names of what is asked with a key."""
_IDENTITY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
"""What addresses have whose paths are of one user only."""


class Background(ipyleaflet.TileLayer):
    """Tiles of others, above the base map and below the chains."""

    source: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{url, layers, matrix_set, styles, format, attribution}: what `m.add_background` was told."""


class WmsBackground(ipyleaflet.WMSLayer):
    """Pictures of a WMS, likewise."""

    source: t.Dict[str, Any] = t.Dict().tag(sync=True)


def background(
    url: Any, name: str, attribution: str = "", layers: str | None = None, matrix_set: str | None = None,
    styles: str = "", format: str = "image/png", opacity: float = 1.0, max_zoom: int | None = None,
) -> Background | WmsBackground:  # fmt: skip
    """The layer of an address; see `Map.add_background`."""
    if isinstance(url, xyzservices.TileProvider):
        attribution = attribution or url.get("attribution", "")
        url = url.build_url().replace("{s}", "a")
    address = _checked(url)
    source = {
        "url": address, "layers": layers, "matrix_set": matrix_set, "styles": styles, "format": format,
        "attribution": attribution, "max_zoom": max_zoom,
    }  # fmt: skip
    look = {
        "name": name, "attribution": attribution, "opacity": opacity, "max_zoom": MAX_ZOOM,
        "max_native_zoom": max_zoom, "source": {key: value for key, value in source.items() if value},
    }  # fmt: skip
    if layers is not None and matrix_set is None:
        plain = address.split("?")[0]
        kept = [(k, v) for k, v in parse_qsl(urlsplit(address).query) if k.lower() not in _WMS]
        address = f"{plain}?{urlencode(kept)}" if kept else plain
        return WmsBackground(
            url=address, layers=layers, styles=styles, format=format, transparent=True, **_but_none(look)
        )
    if layers is not None:
        asked = {
            "SERVICE": "WMTS", "REQUEST": "GetTile", "VERSION": "1.0.0", "LAYER": layers, "STYLE": styles or "default",
            "TILEMATRIXSET": matrix_set, "FORMAT": format,
        }  # fmt: skip
        kept = [(k, v) for k, v in parse_qsl(urlsplit(address).query) if k.upper() not in {*asked, *_PLACES}]
        place = "&".join(f"{name}={value}" for name, value in _PLACES.items())
        address = f"{address.split('?')[0]}?{urlencode([*kept, *asked.items()])}&{place}"
    else:
        for theirs, ours in (("{TileMatrix}", "{z}"), ("{TileRow}", "{y}"), ("{TileCol}", "{x}"), ("{s}", "a")):
            address = address.replace(theirs, ours)
        if not all(part in address for part in ("{z}", "{x}")) or not ("{y}" in address or "{-y}" in address):
            raise NotShown(f"m.add_background({url!r}): that is no address of a map; give {_FORMS}")
        if "{-y}" in address:
            return Background(url=address.replace("{-y}", "{y}"), tms=True, **_but_none(look))
    return Background(url=address, **_but_none(look))


_PLACES = {"TILEMATRIX": "{z}", "TILEROW": "{y}", "TILECOL": "{x}"}
_WMS = ("service", "request", "version", "layers", "styles", "format", "bbox", "width", "height", "srs", "crs")


def holds_secret(url: str) -> bool:
    """Whether an address seems to carry a key of its user."""
    parts = urlsplit(url)
    asked = any(_SECRET.search(name) for name, _ in parse_qsl(parts.query))
    return "@" in parts.netloc or asked or _IDENTITY.search(parts.path) is not None


def _checked(url: Any) -> str:
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise NotShown(f"m.add_background({url!r}): give {_FORMS}")
    if "@" in urlsplit(url).netloc:
        raise NotShown("m.add_background: a user name or password does not belong in an address")
    return url.strip()


def _but_none(look: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in look.items() if value is not None}

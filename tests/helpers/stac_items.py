"""Small STAC Items and rasters for the tests of catalogues and products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin


def item(id: str, day: str = "2018-06-01", *, lon: float = 1.0, lat: float = 43.0, **properties: Any) -> dict[str, Any]:
    """An item of a square degree with one red band of 100 × 100 pixels."""
    ring = [[lon, lat], [lon + 1, lat], [lon + 1, lat + 1], [lon, lat + 1], [lon, lat]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": id,
        "collection": "scenes",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [lon, lat, lon + 1, lat + 1],
        "links": [],
        "properties": {"datetime": day if "T" in day else f"{day}T10:30:00Z", **properties},
        "assets": {"red": asset("red.tif")},
    }


def asset(href: str, **fields: Any) -> dict[str, Any]:
    return {
        "href": href,
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
        "proj:code": "EPSG:32631",
        "proj:shape": [100, 100],
        "proj:transform": [10.0, 0.0, 300000.0, 0.0, -10.0, 4800000.0],
        **fields,
    }


def write_tif(path: Path, count: int = 1, *, dtype: str = "uint16", epsg: int = 32631, **profile: Any) -> Path:
    """A GeoTIFF whose band n is filled with n."""
    tags = profile.pop("tags", {})
    descriptions = profile.pop("descriptions", None)
    shape = profile.pop("shape", (20, 30))
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "driver": "GTiff", "width": shape[1], "height": shape[0], "count": count, "dtype": dtype,
        "crs": f"EPSG:{epsg}", "transform": from_origin(300000, 4800000, 10, 10), **profile,
    }  # fmt: skip
    with rasterio.open(path, "w", **settings) as target:
        for n in range(1, count + 1):
            target.write(np.full(shape, n, dtype), n)
        if descriptions:
            target.descriptions = descriptions
        target.update_tags(**tags)
    return path

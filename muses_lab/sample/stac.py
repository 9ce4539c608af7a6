"""STAC of the sample: its catalogue, its collection and its items."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from muses_lab.sample.place import Tile, lonlat
from muses_lab.sample.scene import RESOLUTIONS
from muses_lab.sample.sky import Overpass

COLLECTION = "sentinel-2-l2a"
STAC_VERSION = "1.1.0"
EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in (
        "classification/v2.0.0",
        "eo/v2.0.0",
        "file/v2.1.0",
        "grid/v1.1.0",
        "projection/v2.0.0",
        "raster/v2.0.0",
        "sat/v1.1.0",
        "view/v1.0.0",
    )
]
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"

# common name, centre and width in micrometres, what it is
OPTICS = {
    "B01": ("coastal", 0.443, 0.027, "Coastal aerosol"),
    "B02": ("blue", 0.490, 0.098, "Blue"),
    "B03": ("green", 0.560, 0.045, "Green"),
    "B04": ("red", 0.665, 0.038, "Red"),
    "B08": ("nir", 0.842, 0.145, "Near infrared"),
    "B11": ("swir16", 1.610, 0.143, "Short-wave infrared 1.6 µm"),
    "B12": ("swir22", 2.190, 0.242, "Short-wave infrared 2.2 µm"),
}
SCL_CLASSES = (
    (0, "no_data", "000000"), (1, "saturated_or_defective", "FF0000"), (2, "dark_area_pixels", "2F2F2F"),
    (3, "cloud_shadows", "643200"), (4, "vegetation", "00A000"), (5, "not_vegetated", "FFE65A"),
    (6, "water", "0000FF"), (7, "unclassified", "808080"), (8, "cloud_medium_probability", "C0C0C0"),
    (9, "cloud_high_probability", "FFFFFF"), (10, "thin_cirrus", "64C8FF"), (11, "snow", "FF96FF"),
)  # fmt: skip
OVERVIEWS = {name: "nearest" if name == "SCL" else "average" for name in RESOLUTIONS}


def catalog(catalog_id: str, what: str) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": catalog_id,
        "title": "MUSES Lab sample",
        "description": what,
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": "application/json"},
            {"rel": "child", "href": f"./{COLLECTION}/collection.json", "type": "application/json"},
        ],
    }


def collection(items: list[dict[str, Any]], period: str) -> dict[str, Any]:
    boxes = [i["bbox"] for i in items]
    bbox = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    times = sorted(i["properties"]["datetime"] for i in items)
    covers = [i["properties"]["eo:cloud_cover"] for i in items]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": EXTENSIONS,
        "id": COLLECTION,
        "title": "Sentinel-2 L2A (MUSES Lab sample)",
        "description": f"Made-up surface reflectance as Sentinel-2 level 2A has it, near Toulouse, {period}.",
        "license": "CC0-1.0",
        "keywords": ["sample", "synthetic", "sentinel-2", "reflectance"],
        "providers": [{"name": "MUSES Lab", "roles": ["producer", "processor", "host"]}],
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[times[0], times[-1]]]}},
        "summaries": {
            "platform": sorted({i["properties"]["platform"] for i in items}),
            "constellation": ["sentinel-2"],
            "instruments": ["msi"],
            "gsd": [10, 20, 60],
            "grid:code": sorted({i["properties"]["grid:code"] for i in items}),
            "proj:code": sorted({i["properties"]["proj:code"] for i in items}),
            "eo:cloud_cover": {"minimum": min(covers), "maximum": max(covers)},
            "sat:relative_orbit": sorted({i["properties"]["sat:relative_orbit"] for i in items}),
        },
        # scale is the same for every item, offset is not: it is with the items only
        "item_assets": {name: _asset(name, None) for name in RESOLUTIONS},
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
            {"rel": "self", "href": "./collection.json", "type": "application/json"},
            {"rel": "items", "href": "./items.parquet", "type": "application/vnd.apache.parquet"},
        ],
    }  # fmt: skip


def item_id(tile: Tile, overpass: Overpass) -> str:
    return f"S2{overpass.platform[-1].upper()}_{tile.name}_{overpass.day:%Y%m%d}_0_L2A"


def href(tile: Tile, overpass: Overpass, asset: str) -> str:
    """Where a band's file is in the catalogue's folder."""
    return f"{COLLECTION}/{tile.name}/{overpass.day.isoformat()}/{asset}.tif"


def item(tile: Tile, overpass: Overpass, seen: BaseGeometry, counts, files: dict[str, Any]) -> dict[str, Any]:
    """The STAC Item of a scene: `seen` on the ground, `counts` of SCL classes, what STAC's file extension says."""
    geometry = lonlat(seen)
    valid = max(1, int(counts[1:].sum()))

    def percent(*classes: int) -> float:
        return round(100 * float(sum(counts[c] for c in classes)) / valid, 4)

    # the tiles of one overpass bear times a few seconds apart, as real ones do
    time = overpass.time + timedelta(seconds=3 if tile.epsg == 32630 else 0, milliseconds=24)
    azimuth, elevation = overpass.sun
    baseline = "04.00" if overpass.offset else "02.06"
    assets = {}
    for name, resolution in RESOLUTIONS.items():
        assets[name] = {
            "href": href(tile, overpass, name),
            **_asset(name, -overpass.offset / 10_000),
            "proj:code": tile.crs,
            "proj:shape": list(tile.shape(resolution)),
            "proj:transform": [float(v) for v in tile.transform(resolution)[:6]],
            **files[name],
            "muses:checked": True,
        }
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": EXTENSIONS,
        "id": item_id(tile, overpass),
        "collection": COLLECTION,
        "geometry": mapping(geometry),
        "bbox": [round(v, 6) for v in geometry.bounds],
        "properties": {
            "datetime": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "platform": overpass.platform,
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "grid:code": f"MGRS-{tile.name}",
            "proj:code": tile.crs,
            "proj:epsg": tile.epsg,
            "eo:cloud_cover": percent(8, 9, 10),
            "sat:orbit_state": "descending",
            "sat:relative_orbit": overpass.orbit,
            "view:sun_azimuth": azimuth,
            "view:sun_elevation": elevation,
            "s2:processing_baseline": baseline,
            "s2:nodata_pixel_percentage": round(100 * float(counts[0]) / float(counts.sum()), 4),
            "s2:cloud_shadow_percentage": percent(3),
            "s2:thin_cirrus_percentage": percent(10),
            "s2:vegetation_percentage": percent(4),
            "s2:water_percentage": percent(6),
        },
        "assets": assets,
        "links": [{"rel": "collection", "href": "./collection.json", "type": "application/json"}],
    }


def _asset(name: str, offset: float | None) -> dict[str, Any]:
    resolution = RESOLUTIONS[name]
    common = {
        "type": COG_TYPE,
        "gsd": resolution,
        "nodata": 0,
        "raster:spatial_resolution": resolution,
        "muses:overviews": OVERVIEWS[name],
    }
    if name == "SCL":
        classes = [
            {"value": value, "name": title, "description": title.replace("_", " ").capitalize(), "color_hint": colour}
            for value, title, colour in SCL_CLASSES
        ]
        return {
            **common,
            "title": "Scene classification map",
            "roles": ["data", "reflectance:mask"],
            "data_type": "uint8",
            "bands": [{"name": "SCL"}],
            "classification:classes": classes,
        }
    common_name, centre, width, title = OPTICS[name]
    return {
        **common,
        "title": title,
        "roles": ["data", "reflectance"],
        "data_type": "uint16",
        "unit": "1",
        "raster:scale": 0.0001,
        **({} if offset is None else {"raster:offset": offset}),
        "bands": [
            {
                "name": name,
                "eo:common_name": common_name,
                "eo:center_wavelength": centre,
                "eo:full_width_half_max": width,
            }
        ],
    }

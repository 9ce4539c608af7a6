"""Collections of one file: added as users add it, or by an item that says where the file is and no more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_geom

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.catalog.register import add
from muses_lab.engine import Engine
from tests.helpers import made_scenes
from tests.helpers.made_scenes import UTM31, values, write_tif
from tests.oracles.uncompiled import without_code

CORNER = (364_000.0, 4_833_920.0)
ROWS, COLUMNS = 300, 420


def made_tif(path: Path, images: np.ndarray, **profile) -> Path:
    return write_tif(path, images, corner=CORNER, **profile)


def window(rows: int, columns: int, pixel: float = 10.0) -> GeoBox:
    return made_scenes.window(rows, columns, pixel, corner=CORNER)


def added(path: Path, **options) -> ml.Collection:
    folder = path.parent / f"catalogue-{path.stem}"
    report = add([path], catalog=folder, collection="c", date="2020-06-01", **options)
    assert not report.failed, report
    return ml.collection("c", ml.open_catalog(str(folder)))


def opened(path: Path, fields: dict | None = None) -> ml.Collection:
    """The file by an item that says where it is, and no more."""
    with rasterio.open(path) as file:
        w, s, e, n = file.bounds
        place = {
            "proj:code": str(file.crs), "proj:shape": list(file.shape), "proj:transform": list(file.transform)[:6],
        }  # fmt: skip
    ring = [[w, s], [e, s], [e, n], [w, n], [w, s]]
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": path.stem, "collection": "c", "links": [],
        "geometry": transform_geom(UTM31, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]}),
        "properties": {"datetime": "2020-06-01T10:30:00Z"},
        "assets": {"data": {"href": path.name, "type": "image/tiff", **place, **(fields or {})}},
    }  # fmt: skip
    document = path.parent / f"{path.stem}.json"
    document.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    return ml.collection("c", ml.open_catalog(str(document)))


def seen(chain: Chain, level: int = 0) -> np.ndarray:
    """The chain's pixels at a level, the same by programs and by NumPy."""
    shape = window(-(-ROWS // 2**level), -(-COLUMNS // 2**level), 10 * 2**level)
    fast = values(chain.max("t"), shape)
    with without_code():
        slow = values(chain.max("t"), shape, Engine(64 << 20))
    np.testing.assert_array_equal(fast, slow)
    return fast

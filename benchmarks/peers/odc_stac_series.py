"""odc-stac at a place: one pixel of every date and band, with threads of its own; asked by `benchmarks/places.py`.

A request on stdin, an answer on stdout, each a JSON document on a line: {"items": path} once, then {"x", "y"}, the
middle of a pixel in the items' CRS, for {"seconds", "processor", "values"}: the NDVI of each date. {"do": "bye"} ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path

from contestant import settings, unshadow

unshadow()
SETTINGS = settings(threads=2)
os.environ |= {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}

import odc.stac  # noqa: E402
import pystac  # noqa: E402
from affine import Affine  # noqa: E402
from odc.geo.geobox import GeoBox  # noqa: E402


def series(items: list[pystac.Item], x: float, y: float) -> list[float]:
    pixel, crs = items[0].assets["B04"].extra_fields["proj:transform"][0], items[0].properties["proj:code"]
    grid = GeoBox((1, 1), Affine(pixel, 0, x - pixel / 2, 0, -pixel, y + pixel / 2), crs)
    bands = odc.stac.load(items, bands=["B04", "B08"], geobox=grid, pool=SETTINGS["threads"])
    red, nir = bands.B04.astype("f4"), bands.B08.astype("f4")
    return ((nir - red) / (nir + red)).values.ravel().tolist()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    warnings.simplefilter("ignore")
    items: list[pystac.Item] = []
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "bye":
            break
        if request["do"] == "open":
            odc.stac.configure_rio(cloud_defaults=False, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
            items = [pystac.Item.from_dict(item) for item in json.loads(Path(request["items"]).read_text())["features"]]
            answer: dict[str, object] = {"version": odc.stac.__version__}
        else:
            start, used = time.perf_counter(), time.process_time()
            values = series(items, request["x"], request["y"])
            answer = {
                "seconds": time.perf_counter() - start, "processor": time.process_time() - used, "values": values,
            }  # fmt: skip
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()

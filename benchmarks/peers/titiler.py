"""titiler and rio-tiler behind Uvicorn on loopback: a mosaic of all dates per tile, asked for as a browser does.

titiler has no endpoint for the median of masked NDVI over a list of items: this is the one that its users write, a
route of their own with rio-tiler's `mosaic_reader` and `MedianMethod`, answered in FastAPI's threads and drawn by
titiler.core.
"""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from contestant import TILE, Result, Unsupported, View, ndvi_shift, serve, settings, unshadow

unshadow()
SETTINGS = settings(
    at_once=6,  # tiles at a time: a browser's connections
    threads=1,  # assets at a time within one of them
    cache_mb=256,
)
os.environ |= {  # before the imports, which read them
    "RIO_TILER_MAX_THREADS": str(SETTINGS["threads"]),
    "NUMEXPR_NUM_THREADS": "1",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": str(SETTINGS["cache_mb"]),
}

import numpy as np  # noqa: E402
import pystac  # noqa: E402
import uvicorn  # noqa: E402
from fastapi import FastAPI, Response  # noqa: E402
from rio_tiler.colormap import cmap  # noqa: E402
from rio_tiler.errors import EmptyMosaicError  # noqa: E402
from rio_tiler.io import STACReader  # noqa: E402
from rio_tiler.models import ImageData  # noqa: E402
from rio_tiler.mosaic import mosaic_reader  # noqa: E402
from rio_tiler.mosaic.methods.defaults import MedianMethod  # noqa: E402
from titiler.core import __version__  # noqa: E402
from titiler.core.resources.enums import ImageType  # noqa: E402
from titiler.core.utils import render_image  # noqa: E402


class Titiler:
    name = "titiler"
    version = __version__

    def __init__(self) -> None:
        self.dates: list[tuple[dict[str, Any], pystac.Item]] = []
        self.looking: View | None = None
        self.seen: dict[tuple[int, int], np.ma.MaskedArray] = {}
        app = FastAPI()
        app.get("/tiles/{z}/{x}/{y}.png")(self.tile)
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
        threading.Thread(target=server.run, daemon=True).start()
        while not server.started:
            time.sleep(0.01)
        self.address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    def open(self, folder: Path, items: list[dict[str, Any]]) -> None:
        self.dates = [(item, pystac.Item.from_dict(item)) for item in items]

    def forget(self) -> None:
        """Nothing to drop: each mosaic opens and closes its files, and GDAL's blocks go with them."""

    def view(self, view: View) -> Result:
        if view.workload not in ("W1", "W2"):
            raise Unsupported(f"{view.workload} is not written for titiler: W1 and W2 are")
        self.looking, self.seen = view, {}
        with ThreadPoolExecutor(SETTINGS["at_once"]) as pool:
            images = list(filter(None, pool.map(self.ask, view.tiles)))
        return Result(list(self.seen.values()), images, {"requests": len(view.tiles)})

    def ask(self, tile: tuple[int, int, int]) -> bytes:
        x, y, z = tile
        with urllib.request.urlopen(f"{self.address}/tiles/{z}/{x}/{y}.png") as response:
            return response.read()

    def tile(self, z: int, x: int, y: int) -> Response:
        assert self.looking is not None
        chosen = self.looking.choose([item for item, _ in self.dates])
        dates = [date for date in self.dates if date[0] in chosen]
        try:
            image, _ = mosaic_reader(
                dates, read, self.looking, x, y, z, pixel_selection=MedianMethod(), threads=SETTINGS["threads"]
            )
        except EmptyMosaicError:  # no scene there: maps show nothing
            self.seen[x, y] = np.ma.masked_all((1, TILE, TILE), "f4")
            return Response(status_code=204)
        if self.looking.threshold is not None:
            image.array.mask |= image.array.data < self.looking.threshold
        self.seen[x, y] = image.array
        scaled = ImageData(image.array.copy())
        scaled.rescale(((0, 1),))
        body, media = render_image(scaled, output_format=ImageType.png, colormap=cmap.get("rdylgn"))
        return Response(body, media_type=media)


def read(date: tuple[dict[str, Any], pystac.Item], view: View, x: int, y: int, z: int) -> ImageData:
    raw, item = date
    masked = view.workload == "W1"
    with STACReader(None, item=item) as source:
        bands = source.tile(x, y, z, assets=["B04", "B08", "SCL"] if masked else ["B04", "B08"])
    ndvi = bands.apply_expression(f"(1.0 * b2 - b1) / (b1 + b2 + {ndvi_shift(raw)})")
    if masked:
        ndvi.array.mask |= ~np.isin(bands.array.data[2:], view.classes, kind="table")
    return ndvi


if __name__ == "__main__":
    serve(Titiler())

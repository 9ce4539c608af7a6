"""Cloud-Optimised GeoTIFF: tiles of 512 pixels with overviews, values as they are, or classes as bytes with colours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.windows import Window as Pixels

from muses_lab.errors import ReadError
from muses_lab.export.metadata import PREFIX, Metadata
from muses_lab.export.pieces import COPY, SIZE, Pieces, file_checksum, opened
from muses_lab.export.running import RunningJob
from muses_lab.raster.gdal import open_raster
from muses_lab.raster.window import to_json
from muses_lab.raster.writing import copy_raster


class GeoTiff:
    """Bands are in the order of `t`, then `bands`, with their labels as descriptions."""

    name = "GeoTIFF"
    suffixes = (".tif", ".tiff")
    has_style = True

    def check(self, window: GeoBox) -> None:
        """It holds rasters on any window."""

    def write(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], path: Path, job: RunningJob) -> None:
        most = pieces.bytes * 4 / 3  # with the overviews

        def written(bytes: int) -> None:
            job.check()
            job.at("writing", COPY * min(1.0, bytes / most))

        said = facts.descriptions, tags, facts.unit
        values = pieces.described(*said)
        in_bytes = pieces.in_bytes(*said, facts.palette, job) if facts.palette and pieces.dtype == np.float32 else None
        complete = in_bytes or values
        with opened(complete, "r+") as file:
            # GDAL would make them while it copies, and does not survive it when that is stopped.
            for factor in _overviews(file.shape):
                job.check()
                file.build_overviews([factor], Resampling.nearest)
        with opened(complete) as source:
            copy_raster(
                source, path, driver="COG", written=written, COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=SIZE,
                OVERVIEWS="FORCE_USE_EXISTING", BIGTIFF="IF_SAFER", NUM_THREADS="ALL_CPUS",
            )  # fmt: skip

    def differing(self, pieces: Pieces, path: Path, job: RunningJob) -> list[Pixels]:
        return pieces.differing(path, job)

    def is_written(self, path: Path, chain: str, window: GeoBox) -> bool:
        try:
            with open_raster(path) as file:
                tags = file.tags()
                named = (tags.get(f"{PREFIX}CHAIN"), tags.get(f"{PREFIX}WINDOW")) == (
                    chain,
                    json.dumps(to_json(window)),
                )
                return named and tags.get(f"{PREFIX}CRC32") == file_checksum(file, window, SIZE)
        except ReadError:
            return False


WRITER = GeoTiff()


def _overviews(shape: tuple[int, int]) -> list[int]:
    """Factors of the overviews of a raster, down to one that fits into a block."""
    factors: list[int] = []
    while max(shape) > SIZE * 2 ** len(factors):
        factors.append(2 ** (len(factors) + 1))
    return factors

"""Cloud-Optimised GeoTIFF: tiles of 512 pixels with overviews, values as they are, or classes as bytes with colours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.windows import Window as Pixels

from muses_lab.errors import ReadError
from muses_lab.export import provenance, qgis
from muses_lab.export.formats import NoOptions
from muses_lab.export.metadata import Metadata
from muses_lab.export.pieces import COPY, SIZE, Pieces, file_checksum, opened
from muses_lab.export.provenance import PREFIX
from muses_lab.export.running import RunningJob
from muses_lab.plain import users_line
from muses_lab.raster.gdal import open_raster
from muses_lab.raster.writing import copy_raster, packed_bytes

_PREDICTORS = {"NO": 1, "FLOATING_POINT": 3}
"""Of floats, by GDAL's names for its driver COG."""


class GeoTiff:
    """Bands are in the order of `t`, then `bands`, with their labels as descriptions."""

    name = "GeoTIFF"
    suffixes = (".tif", ".tiff")
    packages = ("rasterio",)
    holds_texts = True
    draws = False
    options = NoOptions
    share = 0.8

    def check(self, target: Path, window: GeoBox, facts: Metadata) -> None:
        """It holds rasters on any window."""
        style = qgis.style_path(target)
        if facts.style is not None and style.exists() and not qgis.is_ours(style):
            warnings.warn(
                f"{style} is no style of an export: it is left as it is, and QGIS will show {target.name} with it",
                stacklevel=users_line(),
            )

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
        # Floats get no smaller by higher levels, which took 12 % of a median's export (benchmarks.medians).
        level, predictor = (6, "YES") if in_bytes else (1, _predictor(pieces))
        with opened(complete) as source:
            copy_raster(
                source, path, driver="COG", written=written, COMPRESS="DEFLATE", PREDICTOR=predictor, LEVEL=level,
                BLOCKSIZE=SIZE, OVERVIEWS="FORCE_USE_EXISTING", BIGTIFF="IF_SAFER", NUM_THREADS="ALL_CPUS",
            )  # fmt: skip

    def differing(self, pieces: Pieces, facts: Metadata, path: Path, job: RunningJob) -> list[Pixels]:
        return pieces.differing(path, job)

    def is_written(self, path: Path, chain: str, window: GeoBox) -> bool:
        try:
            with open_raster(path) as file:
                tags = file.tags()
                if not provenance.is_of(tags, chain, window):
                    return False
                return tags.get(f"{PREFIX}CRC32") == file_checksum(file, window, SIZE)
        except ReadError:
            return False

    def texts(self, path: Path) -> Mapping[str, str]:
        try:
            with open_raster(path) as file:
                return {name: text for name, text in file.tags().items() if name.startswith(PREFIX)}
        except ReadError:
            return {}

    def beside(self, target: Path, window: GeoBox, facts: Metadata) -> Mapping[Path, str | None]:
        """The style, which QGIS loads with it; one that was saved from QGIS is left as it is."""
        path = qgis.style_path(target)
        if path.exists() and not qgis.is_ours(path):
            return {}
        return {path: None if facts.style is None else qgis.style_text(facts.style, facts.bands)}


WRITER = GeoTiff()


def _overviews(shape: tuple[int, int]) -> list[int]:
    """Factors of the overviews of a raster, down to one that fits into a block."""
    factors: list[int] = []
    while max(shape) > SIZE * 2 ** len(factors):
        factors.append(2 ** (len(factors) + 1))
    return factors


def _predictor(pieces: Pieces) -> str:
    """That of TIFF with which the values take less room, by some of them.

    Few numbers that come again, such as reflectances and their medians, are a third smaller without one; quotients and
    means an eighth smaller with that for floats (TIFF Technical Note 3). Without one, writing takes a third less time.
    """
    some = [pieces.values(piece, range(1))[:, :256, :256] for piece in pieces.all[:: max(1, len(pieces.all) // 4)][:4]]
    bytes = {
        name: sum(packed_bytes(values, compress="DEFLATE", zlevel=1, predictor=number) for values in some)
        for name, number in _PREDICTORS.items()
    }
    return min(bytes, key=lambda name: bytes[name])

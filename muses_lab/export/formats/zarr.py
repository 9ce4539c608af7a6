"""Zarr 3 by the CF conventions: an array for each band, over `t` and the window's own coordinates, as xarray opens it.

Shards of 512 × 512 pixels and all dates that fit into 64 MB are one file each, with chunks of 256 × 256 pixels and one
date inside; metadata are consolidated. It is made for reading parts of long series, also from an object store.
Source: Zarr core specification 3, sharding codec (ZEP 2); grid mapping as of CF 1.11, which GeoZarr takes over.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab.errors import ArgumentError
from muses_lab.export import cf
from muses_lab.export.metadata import Metadata
from muses_lab.export.pieces import COPY, SIZE, Pieces
from muses_lab.export.running import RunningJob

_CHUNK = SIZE // 2
_SHARD = 64 << 20
"""Bytes of a file, before it is compressed."""


class Zarr(cf.Arrays):
    """One array for each band, with the dims (t, y, x) that the chain has; missing values are NaN."""

    name = "Zarr"
    suffixes = (".zarr",)
    packages = ("zarr", "numcodecs", "xarray", "rioxarray")
    share = 0.75

    def check(self, target: Path, window: GeoBox, facts: Metadata) -> None:
        super().check(target, window, facts)
        if target.is_dir() and any(target.iterdir()) and not (target / "zarr.json").exists():
            raise ArgumentError(
                f"{target} is a folder with something else in it than a Zarr; it is left as it is", argument="path"
            )

    def write(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], path: Path, job: RunningJob) -> None:
        import zarr
        from zarr.codecs import BloscCodec

        bands = cf.bands_of(facts)
        described = cf.described(pieces.window, facts).assign_attrs(cf.texts_of(facts, tags))
        dims = tuple(dim for dim in ("t", *cf.space_of(pieces.window)) if dim in described.dims)
        shape = tuple(described.sizes[dim] for dim in dims)
        size = pieces.dtype.itemsize
        with _quiet():
            described.to_zarr(path, zarr_format=3, consolidated=False)
            group = zarr.open_group(path, mode="r+", zarr_format=3)
            arrays = [
                group.create_array(
                    name, shape=shape, dtype=pieces.dtype, chunks=(*(1 for _ in shape[:-2]), _CHUNK, _CHUNK),
                    shards=(*(min(dates, _SHARD // (SIZE**2 * size)) for dates in shape[:-2]), SIZE, SIZE),
                    compressors=BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=size),
                    fill_value=np.nan, dimension_names=dims,
                    attributes=_plain(cf.attributes_of(band or facts.title, facts, pieces.dtype)),
                )
                for name, band in zip(cf.names_of(bands, facts.title), bands, strict=True)
            ]  # fmt: skip
            for number, piece in enumerate(pieces.all):
                job.check()
                job.at("writing", COPY * number / len(pieces.all))
                layers = cf.values_of(pieces, piece, len(bands))
                for place, array in enumerate(arrays):
                    array[(..., *piece.toslices())] = layers[:, place] if "t" in dims else layers[0, place]
            zarr.consolidate_metadata(path, zarr_format=3)

    @contextmanager
    def opened(self, path: Path) -> Iterator[xr.Dataset]:
        if not path.is_dir():
            raise OSError(f"{path} is no folder")
        with xr.open_zarr(path, chunks=None, decode_cf=False, consolidated=True) as dataset:
            yield dataset


WRITER = Zarr()


def _plain(attributes: Mapping[str, object]) -> dict[str, Any]:
    """Attributes as JSON has them."""
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in attributes.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that consolidated metadata are no part of Zarr 3 yet: xarray and zarr write and read them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata", module="zarr")
        yield

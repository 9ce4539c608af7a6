"""NetCDF by the CF conventions: a variable for each band, over `t` and the window's own coordinates.

Written by xarray with h5netcdf, a piece at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import h5netcdf
import numpy as np
import xarray as xr

from muses_lab.export import cf
from muses_lab.export.metadata import Metadata
from muses_lab.export.pieces import COPY, SIZE, Pieces
from muses_lab.export.running import RunningJob

_ENGINE: Final = "h5netcdf"
_MOST = 32 << 10
"""Bytes of a text that is an attribute, of which HDF5 holds 64 KB. A longer one is a variable of that name."""


class NetCdf(cf.Arrays):
    """One variable for each band, with the dims (t, y, x) that the chain has; missing values are NaN."""

    name = "NetCDF"
    suffixes = (".nc",)
    packages = ("xarray", "h5netcdf", "h5py", "rioxarray")
    share = 0.8

    def write(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], path: Path, job: RunningJob) -> None:
        bands = cf.bands_of(facts)
        names = cf.names_of(bands, facts.title)
        described = cf.described(pieces.window, facts)
        for name, text in cf.texts_of(facts, tags).items():
            if len(text.encode()) > _MOST:
                described[name] = ((), text)
            else:
                described.attrs[name] = text
        described.to_netcdf(path, engine=_ENGINE, format="NETCDF4")
        dims = tuple(dim for dim in ("t", *cf.space_of(pieces.window)) if dim in described.dims)
        shape = tuple(described.sizes[dim] for dim in dims)
        try:
            with h5netcdf.File(path, "a") as file:
                for name, band in zip(names, bands, strict=True):
                    variable = file.create_variable(
                        name, dims, pieces.dtype, fillvalue=np.nan, chunks=_chunks(shape), compression="gzip",
                        compression_opts=4, shuffle=True, fletcher32=True,
                    )  # fmt: skip
                    variable.attrs.update(cf.attributes_of(band or facts.title, facts, pieces.dtype))
                for number, piece in enumerate(pieces.all):
                    job.check()
                    job.at("writing", COPY * number / len(pieces.all))
                    layers = cf.values_of(pieces, piece, len(bands))
                    for place, name in enumerate(names):
                        values = layers[:, place]
                        file.variables[name][(..., *piece.toslices())] = values if "t" in dims else values[0]
        except RuntimeError as error:  # h5py's, where a disk is full
            raise OSError(str(error)) from error

    def opened(self, path: Path) -> xr.Dataset:
        return xr.open_dataset(path, engine=_ENGINE, cache=False, decode_cf=False)


WRITER = NetCdf()


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*(1 for _ in shape[:-2]), *(min(SIZE, size) for size in shape[-2:]))

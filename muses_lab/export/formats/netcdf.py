"""NetCDF by the CF conventions: a variable for each band, over `t` and the window's own coordinates.

Written by xarray with h5netcdf, a piece at a time; CRS and coordinates are described by rioxarray.
Source: NetCDF Climate and Forecast (CF) Metadata Conventions 1.8; Attribute Convention for Data Discovery 1.3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final

import h5netcdf
import numpy as np
import rioxarray  # noqa: F401  gives xarray its accessor `.rio`
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.windows import Window as Pixels

from muses_lab.errors import WindowError
from muses_lab.export.metadata import PREFIX, Metadata
from muses_lab.export.pieces import COPY, SIZE, Pieces, checksum_of, cut
from muses_lab.export.running import RunningJob
from muses_lab.raster.window import to_json

_ENGINE: Final = "h5netcdf"
_MAPPING = "spatial_ref"
"""Variable that holds the CRS, as rioxarray and odc-geo call it."""
_MOST = 32 << 10
"""Bytes of a text that is an attribute, of which HDF5 holds 64 KB. A longer one is a variable of that name."""
_TIME = {"units": "microseconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}


class NetCdf:
    """One variable for each band, with the dims (t, y, x) that the chain has; missing values are NaN."""

    name = "NetCDF"
    suffixes = (".nc",)
    has_style = False

    def check(self, window: GeoBox) -> None:
        """Coordinates of CF are one row and one column of numbers: a rotated grid has none."""
        if window.affine.b or window.affine.d:
            raise WindowError("the window is rotated, which NetCDF's coordinates cannot say; export a GeoTIFF")

    def write(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], path: Path, job: RunningJob) -> None:
        bands = facts.names if facts.names is not None else ("",)
        names = _names(bands, facts.title)
        described = _described(pieces.window, facts, tags)
        described.to_netcdf(path, engine=_ENGINE, format="NETCDF4")
        dims = tuple(dim for dim in ("t", *_space(pieces.window)) if dim in described.dims)
        shape = tuple(described.sizes[dim] for dim in dims)
        try:
            with h5netcdf.File(path, "a") as file:
                for name, band in zip(names, bands, strict=True):
                    variable = file.create_variable(
                        name, dims, pieces.dtype, fillvalue=np.nan, chunks=_chunks(shape), compression="gzip",
                        compression_opts=4, shuffle=True, fletcher32=True,
                    )  # fmt: skip
                    variable.attrs.update(_of_band(band or facts.title, facts, pieces.dtype))
                for number, piece in enumerate(pieces.all):
                    job.check()
                    job.at("writing", COPY * number / len(pieces.all))
                    layers = pieces.values(piece)
                    layers = layers.reshape(-1, len(bands), *layers.shape[1:])
                    for place, name in enumerate(names):
                        values = layers[:, place]
                        file.variables[name][(..., *piece.toslices())] = values if "t" in dims else values[0]
        except RuntimeError as error:  # h5py's, where a disk is full
            raise OSError(str(error)) from error

    def differing(self, pieces: Pieces, path: Path, job: RunningJob) -> list[Pixels]:
        found = []
        try:
            with _opened(path) as dataset:
                for number, piece in enumerate(pieces.all):
                    job.check()
                    job.at("checking", COPY + (1 - COPY) * number / len(pieces.all))
                    values = _read(dataset, piece)
                    if values is None or not pieces.holds(piece, values):
                        found.append(piece)
        except (OSError, ValueError, KeyError):
            return list(pieces.all)
        return found

    def is_written(self, path: Path, chain: str, window: GeoBox) -> bool:
        try:
            with _opened(path) as dataset:
                named = (_text(dataset, f"{PREFIX}CHAIN"), _text(dataset, f"{PREFIX}WINDOW"))
                if named != (chain, json.dumps(to_json(window))):
                    return False
                values = (_read(dataset, piece) for piece in cut(window, SIZE))
                return _text(dataset, f"{PREFIX}CRC32") == checksum_of(values)
        except (OSError, ValueError, KeyError):
            return False


WRITER = NetCdf()


def _described(window: GeoBox, facts: Metadata, tags: Mapping[str, str]) -> xr.Dataset:
    """All but the bands: coordinates, the grid mapping, and what the file says of itself."""
    coordinates = xr_coords(window)
    dataset = xr.Dataset(coords={name: (name, coordinates[name].values) for name in _space(window)})
    if facts.times is not None:
        times = np.array(facts.times, "datetime64[ns]")
        dataset = dataset.assign_coords(t=("t", times, {"standard_name": "time", "long_name": "time", "axis": "T"}))
        dataset.t.encoding.update(_TIME)
    if window.crs is not None:
        dataset = dataset.rio.write_crs(window.crs.to_wkt(), grid_mapping_name=_MAPPING)
        dataset = dataset.rio.write_coordinate_system()
    dataset = dataset.rio.write_transform(window.affine, grid_mapping_name=_MAPPING).reset_coords(_MAPPING)
    for name in dataset.dims:
        dataset[name].encoding["_FillValue"] = None
    for name, text in _texts(facts, tags).items():
        if len(text.encode()) > _MOST:
            dataset[name] = ((), text)
        else:
            dataset.attrs[name] = text
    return dataset


def _space(window: GeoBox) -> tuple[str, str]:
    """Names of rows and columns, as `compute` has them."""
    rows, columns, *_ = (str(name) for name in xr_coords(window))
    return rows, columns


def _of_band(label: str, facts: Metadata, dtype: np.dtype) -> dict[str, Any]:
    """Attributes of a variable: its name for people, where its CRS is, and the unit and classes that a style knows."""
    found: dict[str, Any] = {"long_name": label, "grid_mapping": _MAPPING}
    if facts.unit is not None:
        found["units"] = facts.unit
    if facts.style is not None and facts.style.classes:
        found["flag_values"] = np.array(list(facts.style.classes), dtype)
        found["flag_meanings"] = " ".join(_word(name) for name, _ in facts.style.classes.values())
    return found


def _texts(facts: Metadata, tags: Mapping[str, str]) -> dict[str, str]:
    """Attributes of the file: the conventions' names for what GDAL's users find in tags, and our own."""
    of_cf = {
        "Conventions": "CF-1.8, ACDD-1.3",
        "title": facts.title,
        "summary": tags["TIFFTAG_IMAGEDESCRIPTION"],
        "source": f"{tags['TIFFTAG_SOFTWARE']}, chain {tags[f'{PREFIX}CHAIN']}",
        "history": tags["HISTORY"],
        "time_coverage_start": tags["TIME_COVERAGE_START"],
        "time_coverage_end": tags["TIME_COVERAGE_END"],
    }
    return of_cf | {name: text for name, text in tags.items() if name.startswith(PREFIX)}


def _names(bands: tuple[str, ...], title: str) -> list[str]:
    """Names of variables: letters, digits and underscores, none twice."""
    found: list[str] = []
    for band in bands:
        word = _word(band or title)
        word = word if word[:1].isalpha() else f"band_{word}"
        taken = {*found, "t", "x", "y", "latitude", "longitude", _MAPPING}
        found.append(next(name for name in _numbered(word) if name not in taken))
    return found


def _numbered(word: str) -> Iterator[str]:
    yield word
    yield from (f"{word}_{number}" for number in count(2))


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "values"


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*(1 for _ in shape[:-2]), *(min(SIZE, size) for size in shape[-2:]))


def _opened(path: Path) -> xr.Dataset:
    return xr.open_dataset(path, engine=_ENGINE, cache=False, decode_cf=False)


def _read(dataset: xr.Dataset, piece: Pixels) -> np.ndarray:
    """A piece of all layers, in the order of `t`, then bands."""
    part = (..., *piece.toslices())
    bands = [variable[part].values for variable in dataset.data_vars.values() if variable.ndim >= 2]
    stacked = np.stack(bands, axis=-3)  # (t, bands, y, x) or (bands, y, x)
    return stacked.reshape(-1, *stacked.shape[-2:])


def _text(dataset: xr.Dataset, name: str) -> str | None:
    if name in dataset.variables:
        return str(dataset[name].values[()])
    return dataset.attrs.get(name)

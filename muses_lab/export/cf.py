"""Arrays described by the CF conventions, as NetCDF and Zarr hold them: a variable for each band, over `t` and space.

CRS and coordinates are described by rioxarray.
Source: NetCDF Climate and Forecast (CF) Metadata Conventions 1.11 (from 1.9 on integers may have 64 bits); Attribute
Convention for Data Discovery 1.3.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import rioxarray  # noqa: F401  gives xarray its accessor `.rio`
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.windows import Window as Pixels

from muses_lab.errors import WindowError
from muses_lab.export import provenance
from muses_lab.export.formats import NoOptions
from muses_lab.export.metadata import Metadata
from muses_lab.export.pieces import COPY, SIZE, Pieces, checksum_of, cut
from muses_lab.export.provenance import PREFIX
from muses_lab.export.running import RunningJob

MAPPING: Final = "spatial_ref"
"""Variable that holds the CRS, as rioxarray and odc-geo call it."""
_TIME = {"units": "microseconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}

_OF_TIME = {
    "standard_name": "time", "long_name": "time", "axis": "T",
    "units_metadata": "leap_seconds: none",  # 4.4: counted as POSIX does
}  # fmt: skip


_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError)
"""What libraries raise of files that are none, or broken."""


class Arrays(ABC):
    """What formats have in common that hold arrays so: how they are read back."""

    name: str
    holds_texts = True
    draws = False
    options = NoOptions

    @abstractmethod
    def opened(self, path: Path) -> AbstractContextManager[xr.Dataset]:
        """A file as xarray has it, with stored values."""

    def check(self, target: Path, window: GeoBox, facts: Metadata) -> None:
        """Coordinates of CF are one row and one column of numbers: a rotated grid has none."""
        if window.affine.b or window.affine.d:
            raise WindowError(f"the window is rotated, which {self.name}'s coordinates cannot say; export a GeoTIFF")

    def differing(self, pieces: Pieces, facts: Metadata, path: Path, job: RunningJob) -> list[Pixels]:
        try:
            with self.opened(path) as dataset:
                return differing(dataset, pieces, job)
        except _UNREADABLE:
            return list(pieces.all)

    def is_written(self, path: Path, chain: str, window: GeoBox) -> bool:
        try:
            with self.opened(path) as dataset:
                found = _texts_in(dataset)
                if not provenance.is_of(found, chain, window):
                    return False
                return found.get(f"{PREFIX}CRC32") == checksum_of(read(dataset, piece) for piece in cut(window, SIZE))
        except _UNREADABLE:
            return False

    def texts(self, path: Path) -> Mapping[str, str]:
        try:
            with self.opened(path) as dataset:
                return _texts_in(dataset)
        except _UNREADABLE:
            return {}

    def beside(self, target: Path, window: GeoBox, facts: Metadata) -> Mapping[Path, str | None]:
        return {}


def _texts_in(dataset: xr.Dataset) -> dict[str, str]:
    """The texts that say how the file was made: attributes, or, where they are long, variables."""
    found = {**dataset.attrs, **{str(name): one.values[()] for name, one in dataset.variables.items() if not one.ndim}}
    return {str(name): str(text) for name, text in found.items() if str(name).startswith(PREFIX)}


def bands_of(facts: Metadata) -> tuple[str, ...]:
    """The chain's bands; one without a name where it has none."""
    return facts.names if facts.names is not None else ("",)


def described(window: GeoBox, facts: Metadata) -> xr.Dataset:
    """All but the bands: coordinates and the grid mapping."""
    coordinates = xr_coords(window)
    dataset = xr.Dataset(coords={name: (name, coordinates[name].values) for name in space_of(window)})
    if facts.times is not None:
        times = np.array(facts.times, "datetime64[ns]")
        dataset = dataset.assign_coords(t=("t", times, _OF_TIME))
        dataset.t.encoding.update(_TIME)
    if window.crs is not None:
        dataset = dataset.rio.write_crs(window.crs.to_wkt(), grid_mapping_name=MAPPING)
        dataset = dataset.rio.write_coordinate_system()
    dataset = dataset.rio.write_transform(window.affine, grid_mapping_name=MAPPING).reset_coords(MAPPING)
    for name in dataset.dims:
        dataset[name].encoding["_FillValue"] = None
    return dataset


def space_of(window: GeoBox) -> tuple[str, str]:
    """Names of rows and columns, as `compute` has them."""
    rows, columns, *_ = (str(name) for name in xr_coords(window))
    return rows, columns


def attributes_of(label: str, facts: Metadata, dtype: np.dtype) -> dict[str, Any]:
    """Attributes of a variable: its name for people, where its CRS is, and the unit and classes that a style knows."""
    found: dict[str, Any] = {"long_name": label, "grid_mapping": MAPPING}
    if facts.unit is not None:
        found["units"] = facts.unit
    if facts.style is not None and facts.style.classes:
        found["flag_values"] = np.array(list(facts.style.classes), dtype)
        found["flag_meanings"] = " ".join(_word(name) for name, _ in facts.style.classes.values())
    return found


def texts_of(facts: Metadata, tags: Mapping[str, str]) -> dict[str, str]:
    """Attributes of the file: the conventions' names for what GDAL's users find in tags, and our own."""
    of_cf = {
        "Conventions": "CF-1.11, ACDD-1.3",
        "title": facts.title,
        "summary": tags["TIFFTAG_IMAGEDESCRIPTION"],
        "source": f"{tags['TIFFTAG_SOFTWARE']}, chain {tags[f'{PREFIX}CHAIN']}",
        "history": tags["HISTORY"],
        "time_coverage_start": tags["TIME_COVERAGE_START"],
        "time_coverage_end": tags["TIME_COVERAGE_END"],
    }
    return of_cf | {name: text for name, text in tags.items() if name.startswith(PREFIX)}


def names_of(bands: tuple[str, ...], title: str) -> list[str]:
    """Names of variables: letters, digits and underscores, none twice."""
    found: list[str] = []
    for band in bands:
        word = _word(band or title)
        word = word if word[:1].isalpha() else f"band_{word}"
        taken = {*found, "t", "x", "y", "latitude", "longitude", MAPPING}
        found.append(next(name for name in _numbered(word) if name not in taken))
    return found


def _numbered(word: str) -> Iterator[str]:
    yield word
    yield from (f"{word}_{number}" for number in count(2))


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "values"


def values_of(pieces: Pieces, piece: Pixels, bands: int) -> np.ndarray:
    """A piece as (dates, bands, rows, columns)."""
    layers = pieces.values(piece)
    return layers.reshape(-1, bands, *layers.shape[1:])


def differing(dataset: xr.Dataset, pieces: Pieces, job: RunningJob) -> list[Pixels]:
    """The pieces that a dataset does not hold as they were computed."""
    found = []
    for number, piece in enumerate(pieces.all):
        job.check()
        job.at("checking", COPY + (1 - COPY) * number / len(pieces.all))
        values = read(dataset, piece)
        if not pieces.holds(piece, values):
            found.append(piece)
    return found


def read(dataset: xr.Dataset, piece: Pixels) -> np.ndarray:
    """A piece of all layers, in the order of `t`, then bands."""
    part = (..., *piece.toslices())
    bands = [variable[part].values for variable in dataset.data_vars.values() if variable.ndim >= 2]
    stacked = np.stack(bands, axis=-3)  # (t, bands, y, x) or (bands, y, x)
    return stacked.reshape(-1, *stacked.shape[-2:])

"""One raster as a chain: a file where it lies, or an array, which is written to a file of our own."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import ODCExtension  # noqa: F401 (gives arrays their `.odc`)

from muses_lab import plain, settings
from muses_lab.api.chain import Chain
from muses_lab.api.collection import collection
from muses_lab.catalog.local import FolderCatalog
from muses_lab.catalog.register import add
from muses_lab.crs import crs_name
from muses_lab.errors import MusesError, NotFound, ReadError, TooLarge
from muses_lab.raster.gdal import environment
from muses_lab.raster.writing import copy_raster, create_raster

_ELSEWHERE = {
    (".json", ".geojson", ".parquet"): "ml.open_catalog(path) opens a catalogue, `muses-lab catalog add` makes one",
    (".nc", ".nc4", ".h5", ".hdf", ".zarr", ".grib", ".grb"): "open it with xarray, and show one variable: "
    "ml.from_array(xarray.open_dataset(path)['name'])",
    (".vrt",): "files that lead to other files are not read: make a GeoTIFF of it, `gdal_translate in.vrt out.tif`",
    (".png", ".jpg", ".jpeg", ".zip"): "such a file does not say where its pixels lie: make a GeoTIFF of it",
    (".shp", ".gpkg", ".kml"): "it holds outlines: m.add(ipyleaflet.GeoData(geo_dataframe=geopandas.read_file(path)))",
}  # fmt: skip


class ArrayError(MusesError, ValueError):
    """An array that cannot be placed on Earth, or is no image."""

    code = "array-refused"


def open_raster(path: str | os.PathLike[str]) -> Chain:
    """A GeoTIFF or JPEG 2000 of this machine as a chain: an image, with the file's bands.

    ```python
    dem = ml.open_raster("dem.tif")
    m.add(dem.style(cmap="terrain", vmin=0, vmax=3000), name="Heights")
    ndvi.where(dem > 500)
    ```

    The file stays where it is. What it says of its place, scale, offset and missing values holds, see `docs/data.md`;
    a file that is replaced later is left out of what was shown before.

    Raises
    ------
    NotFound
        There is no such file.
    ReadError
        It is no raster that can be placed; the message says what it is, and what to do with it.
    """
    file = plain.path("path", path, "dem.tif").absolute()
    if "://" in str(path):
        raise ReadError(f"{path} is an address: download it, or open its catalogue with ml.open_catalog(url)")
    if not file.exists():
        raise NotFound(f"there is no file {file}", path=str(file))
    if file.is_dir():
        raise ReadError(f"{file} is a folder: give one file, or make a catalogue of them by `muses-lab catalog add`")
    for suffixes, cure in _ELSEWHERE.items():
        if file.suffix.lower() in suffixes:
            raise ReadError(f"{file.name} is no GeoTIFF: {cure}")
    return _chain(
        file, f"{plain.slug(file.stem, 'raster')}-{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    )


def from_array(array: xr.DataArray) -> Chain:
    """An array with x, y and a CRS as a chain: an image, with the array's bands if it has any.

    ```python
    change = after.compute(window) - before.compute(window)
    m.add(ml.from_array(change).style(cmap="RdBu", vmin=-0.3, vmax=0.3), name="Change")
    ```

    The values are computed (if they are a Dask graph) and written once to a file in the user's folder, where the
    cluster reads them; equal arrays are one file. The oldest files go when all have more than `MUSES_ARRAY_BYTES`
    (2 GB); what was shown of them has to be added again.

    Parameters
    ----------
    array
        (y, x), or with one more dimension of bands. Numbers or booleans; NaN, and the array's own nodata, are missing.
        Times are no bands: choose or reduce them first, `array.median("time")`.

    Raises
    ------
    ArrayError
        It has no CRS, no regular x and y, dates, or values that are no real numbers.
    TooLarge
        It has more than `MUSES_MAX_COMPUTE_BYTES`.
    """
    if not isinstance(array, xr.DataArray):
        raise ArrayError(
            f"a {type(array).__name__} does not say where it lies: give an xarray.DataArray with x, y, CRS"
        )
    image, geobox = _image(array)
    limit = int(settings.number("MUSES_MAX_COMPUTE_BYTES"))
    if image.nbytes > limit:
        raise TooLarge(
            f"the array has {image.nbytes / 1e9:.1f} GB, the limit is {limit / 1e9:.1f} GB (MUSES_MAX_COMPUTE_BYTES): "
            "choose a part of it, or write it to a GeoTIFF and give its path to ml.open_raster"
        )
    values, nodata = _values(image)
    names = _names(image)
    described = f"{values.dtype.str} {values.shape} {geobox.affine[:6]} {crs_name(geobox.crs)} {nodata} {names}"
    digest = hashlib.sha256(values.tobytes() + described.encode()).hexdigest()[:16]
    folder = settings.home() / "arrays"
    folder.mkdir(exist_ok=True, mode=0o700)
    file = folder / f"{digest}.tif"
    if file.exists():
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))  # used now; changed it is not
    else:
        _write(file, values, geobox, nodata, names)
        _forget_oldest(folder, file)
    return _chain(file, f"array-{digest}")


def overview(chain: Chain, pixels: int = 512) -> GeoBox:
    """A window of all of a raster's chain, so coarse that neither side has more than `pixels`."""
    grid = next(iter(chain.published.prepared.output.grids.values()))
    level = next(level for level in range(64) if max(grid.rect(level).shape) <= pixels)
    return grid.geobox(level, grid.rect(level))


# Files


def _catalogue() -> Path:
    return settings.home() / "rasters"


def _chain(file: Path, name: str) -> Chain:
    """The chain of a file, which is the one scene of a collection of its own."""
    day = datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat()
    report = add([file], catalog=_catalogue(), collection=name, date=day)
    if report.failed:
        raise ReadError(f"{file.name} cannot be shown: {report.failed[0].reason}")
    return collection(name, FolderCatalog(_catalogue())).first("t")


def _write(file: Path, values: np.ndarray, geobox: GeoBox, nodata: float | None, names: tuple[str, ...] | None) -> None:
    """A Cloud-Optimised GeoTIFF, there when it is whole."""
    plain, part = (
        file.with_name(f".{file.stem}.{os.getpid()}.plain"),
        file.with_name(f".{file.stem}.{os.getpid()}.part"),
    )
    try:
        with environment():
            with create_raster(
                plain, count=values.shape[0], height=values.shape[1], width=values.shape[2], dtype=values.dtype.name,
                crs=crs_name(geobox.crs), transform=geobox.affine, nodata=nodata, tiled=True, bigtiff="IF_SAFER",
            ) as raster:  # fmt: skip
                raster.write(values)
                for number, name in enumerate(names or (), 1):
                    raster.set_band_description(number, name)
            means = "AVERAGE" if values.dtype.kind == "f" else "NEAREST"
            copy_raster(plain, part, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=512, OVERVIEW_RESAMPLING=means)
        os.replace(part, file)
    finally:
        for path in (plain, part):
            path.unlink(missing_ok=True)


def _forget_oldest(folder: Path, newest: Path) -> None:
    """Keeps the arrays' files within `MUSES_ARRAY_BYTES`, the one just written whatever its size."""
    files = sorted((f.stat().st_atime_ns, f.stat().st_size, f) for f in folder.glob("*.tif") if f != newest)
    room = settings.number("MUSES_ARRAY_BYTES") - newest.stat().st_size
    for _, size, file in reversed(files):
        room -= size
        if room < 0:
            file.unlink(missing_ok=True)
            shutil.rmtree(_catalogue() / f"array-{file.stem}", ignore_errors=True)


# Arrays


def _image(array: xr.DataArray) -> tuple[xr.DataArray, GeoBox]:
    """The array as (bands, y, x), and where it lies."""
    space = array.odc.spatial_dims
    if space is None:
        raise ArrayError(f"the array's dimensions are {_listed(array.dims)}: none of them are x and y (or lon and lat)")
    others = [d for d in array.dims if d not in space]
    for dim in list(others):
        if dim in ("t", "time") or array[dim].dtype.kind in "mM":
            if array.sizes[dim] > 1:
                raise ArrayError(
                    f"the array has {array.sizes[dim]} dates, a map shows one: array.isel({dim}=0), or "
                    f'array.median("{dim}")'
                )
            array = array.squeeze(dim)
            others.remove(dim)
    if len(others) > 1:
        raise ArrayError(f"the array has the dimensions {_listed(array.dims)}: an image has x, y and at most bands")
    if 0 in array.shape:
        raise ArrayError(f"the array of {dict(array.sizes)} has no pixels")
    if array.odc.crs is None:
        raise ArrayError(
            'the array has no CRS, so nobody knows where it lies: array.odc.assign_crs("EPSG:4326"), or '
            'array.rio.write_crs("EPSG:4326") with the system of its x and y'
        )
    geobox = array.odc.geobox
    if not isinstance(geobox, GeoBox) or not all(
        _is_regular(array[dim].values) for dim in space if dim in array.coords
    ):
        raise ArrayError(
            f"the array's {space[1]} and {space[0]} are no regular grid of numbers: array.interp(…) brings it to one"
        )
    if others:
        return array.transpose(*others, *space), geobox
    return array.transpose(*space).expand_dims("bands"), geobox


def _is_regular(places: np.ndarray) -> bool:
    """Whether pixels are equally far apart, but for a hundredth of one: what rounding leaves of coordinates."""
    even = np.linspace(places[0], places[-1], len(places))
    return bool(np.abs(places - even).max() <= 0.01 * abs(places[-1] - places[0]) / max(1, len(places) - 1))


def _values(image: xr.DataArray) -> tuple[np.ndarray, float | None]:
    """The numbers as a GeoTIFF can hold them, and which of them means missing."""
    if image.dtype.kind not in "biuf":
        raise ArrayError(f"the array holds {image.dtype}: a map shows real numbers, for example abs(array)")
    values = np.ascontiguousarray(image.values)
    nodata = next(
        (image.attrs[n] for n in ("_FillValue", "nodata") if n in image.attrs), image.encoding.get("_FillValue")
    )
    if values.dtype.kind == "f":
        return values.astype(np.float32 if values.dtype.itemsize < 4 else values.dtype.newbyteorder("=")), np.nan
    if values.dtype.kind == "b":
        return values.astype(np.uint8), None
    if values.dtype.itemsize == 8:
        within = np.iinfo(np.int32)
        fits = within.min <= values.min() and values.max() <= within.max
        values = values.astype(np.int32 if fits else np.float64)
    return values.astype(values.dtype.newbyteorder("=")), None if nodata is None else float(nodata)


def _names(image: xr.DataArray) -> tuple[str, ...] | None:
    """The bands' names, if they are texts."""
    dim = image.dims[0]
    labels = image[dim].values if dim in image.coords else ()
    named = len(labels) == image.sizes[dim] and all(isinstance(label, str) and label for label in labels)
    return tuple(map(str, labels)) if named else None


def _listed(dims: tuple[object, ...]) -> str:
    return ", ".join(map(str, dims)) or "none"

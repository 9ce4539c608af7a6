"""A file of the user's own, whatever it is: recognised by what is in it, checked, and ready to be shown and used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muses_lab import plain, settings
from muses_lab.api.chain import Chain
from muses_lab.api.collection import Collection, collection
from muses_lab.api.rasters import from_array, open_raster
from muses_lab.api.vectors import Vectors, vectors
from muses_lab.api.views import TYPE as VIEW
from muses_lab.catalog import open_catalog, register_catalog
from muses_lab.catalog.local import FolderCatalog
from muses_lab.catalog.register import add
from muses_lab.errors import NotFound, ReadError
from muses_lab.products.deliveries import delivery_of

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JP2 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_NETCDF = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
_SPACE = {"x", "y", "lon", "lat", "longitude", "latitude"}


def open_file(path: str | os.PathLike[str]) -> Chain | Vectors | Collection:
    """A file of this machine as what it is: a raster's chain, vectors, or the scenes of a catalogue.

    ```python
    m.add(ml.open_file("dem.tif"))
    samples = ml.open_file("samples.csv")
    chain = ml.open_file("chain.json")
    ```

    What it is is read from its first bytes, not from its name:

    - a GeoTIFF or JPEG 2000, a NetCDF with one variable that is an image → a `Chain`, as `ml.open_raster` and
      `ml.from_array` make it;
    - a GeoPackage, GeoJSON, Shapefile (with its other files, or a zip of them), GeoParquet, a CSV of points →
      `Vectors`, as of `ml.vectors`;
    - an openEO process graph, such as `chain.to_json()` → its `Chain`;
    - a STAC GeoParquet or ItemCollection with one collection, a product as its provider delivers it (a zipped
      Sentinel-2 SAFE) → the `Collection` of its scenes, registered by its name.

    Raises
    ------
    NotFound
        There is no such file.
    ReadError, ArgumentError
        It is none of these, or broken; the message says what is wrong, and what to do with it. A saved view of a map
        (`m.save_view`) is none: `Map.open_view` opens it.
    """
    file = plain.path("path", path, "dem.tif").absolute()
    if not file.exists():
        raise NotFound(f"there is no file {file}", path=str(file))
    if file.is_dir():
        raise ReadError(f"{file} is a folder: `muses-lab catalog add` makes a catalogue of the files in it")
    return _reader(file)(file)


def is_raster(path: str | os.PathLike[str]) -> bool:
    """Whether `open_file` makes a chain of the file's own pixels; of a document it makes one of whatever it says."""
    return _reader(Path(path)) in (open_raster, _netcdf)


def is_view(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a saved view of a map."""
    file = Path(path)
    with file.open("rb") as opened:
        if not _begins_as_json(opened.read(512)):
            return False
    body = file.read_bytes()
    if VIEW.encode() not in body:  # large GeoJSON is not parsed for this
        return False
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("type") == VIEW


def _begins_as_json(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))


def _reader(file: Path) -> Callable[[Path], Chain | Vectors | Collection]:
    """What reads a file that begins so."""
    with file.open("rb") as opened:
        head = opened.read(512)
    if not head:
        raise ReadError(f"{file.name} is empty")
    if head.startswith((*_TIFF, *_JP2)):
        return open_raster
    if head.startswith((_HDF5, *_NETCDF)):
        return _netcdf
    if _begins_as_json(head):
        return _json
    if head.startswith(b"PAR1"):
        return _parquet
    if delivery_of(file) is not None:
        return _product
    if head.startswith((b"PK\x03\x04", b"SQLite format 3\0", b"\0\0\x27\x0a")):
        return vectors
    if file.suffix.lower() in (".csv", ".tsv", ".txt"):
        return vectors
    if file.suffix.lower() in (".tif", ".tiff", ".jp2"):
        raise ReadError(
            f"{file.name} does not begin as a {file.suffix[1:].upper()} does: it is damaged, or another file"
        )
    return open_raster if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".vrt", ".grib", ".grb") else vectors


def _netcdf(file: Path) -> Chain:
    import xarray as xr

    try:
        opened = xr.open_dataset(file, decode_coords="all")
    except (OSError, ValueError) as error:
        raise ReadError(f"{file.name} cannot be read as NetCDF: {plain.first_line(error)}") from None
    with opened:
        images = [name for name, values in opened.data_vars.items() if len(_SPACE & set(values.dims)) == 2]
        if len(images) != 1:
            there = ", ".join(map(repr, images[:8])) or "none"
            raise ReadError(
                f"{file.name} has {len(images)} variables that are images ({there}); choose one: "
                f"ml.from_array(xarray.open_dataset({file.name!r})[name])"
            )
        return from_array(opened[images[0]])


def _json(file: Path) -> Chain | Vectors | Collection:
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{file.name} is no JSON: {plain.first_line(error)}") from None
    if isinstance(found, dict) and found.get("type") == VIEW:
        raise ReadError(f'{file.name} is a saved view of a map: Map.open_view("{file}") opens it')
    features = found.get("features") if isinstance(found, dict) else None
    if isinstance(features, list) and any(isinstance(f, dict) and "stac_version" in f for f in features):
        return _catalogue(file)
    if isinstance(found, dict) and ("process_graph" in found or _is_graph(found)):
        return Chain.from_json(file.read_text("utf-8-sig"))
    return vectors(file)


def _is_graph(found: dict[str, Any]) -> bool:
    return bool(found) and all(isinstance(node, dict) and "process_id" in node for node in found.values())


def _parquet(file: Path) -> Vectors | Collection:
    import pyarrow
    import pyarrow.parquet

    try:
        names = pyarrow.parquet.read_schema(file).names
    except pyarrow.ArrowException as error:
        raise ReadError(f"{file.name} cannot be read as Parquet: {plain.first_line(error)}") from None
    return _catalogue(file) if "assets" in names else vectors(file)


def _product(file: Path) -> Collection:
    """A product as its provider delivers it, as a scene of a collection of the user's."""
    folder = settings.home() / "my-scenes"
    report = add([file], catalog=folder)
    if report.failed:
        raise ReadError(f"{file.name} cannot be used: {report.failed[0].reason}")
    return collection(report.collection, FolderCatalog(folder))


def _catalogue(file: Path) -> Collection:
    """The one collection of a catalogue, which is known by its name from now on."""
    ids = [one["id"] for one in open_catalog(file).collections()]
    if len(ids) != 1:
        there = ", ".join(map(repr, ids[:8])) or "none"
        raise ReadError(
            f"{file.name} is a catalogue of {len(ids)} collections ({there}): ml.open_catalog(path) opens it, "
            "ml.collection(id, catalog) one of them"
        )
    catalog = register_catalog(file)
    return collection(ids[0], catalog)

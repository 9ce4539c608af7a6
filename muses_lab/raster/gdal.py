"""The one way to open a raster with GDAL: by one driver, in one environment, and with nothing to see but that file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import rasterio
from rasterio.errors import RasterioError

from muses_lab.errors import ReadError
from muses_lab.raster.contained import ByteFile, Contained, Source
from muses_lab.raster.files import LocalFile

_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no files beside it: see `sidecars`
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    # A second lock: what is opened cannot name an address, and if it could, it would not be asked for.
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    # Bytes of GDAL's own cache, which is one for the process and by itself takes a twentieth of the machine's memory.
    # The first thread that leaves ends the limit for all: what is read until the next one enters may exceed it.
    "GDAL_CACHEMAX": 64 << 20,
}

PIECE = 16 << 10
"""Bytes of a local file that are read at once on behalf of GDAL."""
_number = itertools.count()


def environment() -> Any:
    """GDAL's settings wherever rasters are opened, read or written: a context manager."""
    return rasterio.Env(**_OPTIONS)


def driver_of(path: str | os.PathLike[str]) -> str:
    """The only GDAL driver that may open a file of that name: one whose files hold their own pixels.

    >>> driver_of("https://example.org/T31TCJ_B04.jp2?signature=1"), driver_of("a.vrt")
    ('JP2OpenJPEG', 'GTiff')
    """
    name = urlsplit(path).path if isinstance(path, str) and "://" in path else str(path)
    return "JP2OpenJPEG" if name.lower().endswith((".jp2", ".j2k")) else "GTiff"


def open_source(
    source: Source, name: str, overview: int = 0, failures: list[ReadError] | None = None, piece: int = PIECE
) -> Any:
    """A rasterio dataset of a file's bytes; call it, and use what it gives, within `environment()`.

    Parameters
    ----------
    source
        The file's bytes; read as long as the dataset is open.
    name
        Path or URL, of which only the last part and its ending count.
    overview
        Number of the overview inside the file that is opened, from 1 on; 0: full resolution.
    failures
        Gets what went wrong when bytes were read: GDAL itself can only say that something did.
    piece
        Bytes that are read at once.

    Raises
    ------
    ReadError
        The file is no GeoTIFF or JPEG 2000, by its name, or is damaged.
    """
    driver = driver_of(name)
    failures = [] if failures is None else failures
    options: dict[str, Any] = {"overview_level": overview - 1} if overview else {}
    try:
        contained = Contained(source, driver)
        path, opener = _only(contained, name, piece, failures)
        return rasterio.open(path, driver=driver, opener=opener, sharing=False, **options)
    except RasterioError as error:
        raise failures[0] if failures else ReadError(f"the file cannot be opened: {reason(error)}") from None
    except OSError as error:
        raise ReadError(f"the file cannot be opened: {error.strerror or error}") from None


def _only(contained: Contained, name: str, piece: int, failures: list[ReadError]) -> tuple[str, Callable[..., Any]]:
    """Return a name that only GDAL sees, and an opener that knows this name and no other."""
    last = os.path.basename(urlsplit(name).path if "://" in name else name)
    path = f"raster-{os.getpid()}-{next(_number)}/{last}"

    def opener(asked: str, mode: str = "rb") -> ByteFile:
        if not asked.endswith(path):  # files beside it, which are not asked for
            raise FileNotFoundError(asked)
        return ByteFile(contained, piece, failures)

    return path, opener


@contextmanager
def open_raster(path: str | os.PathLike[str], overview: int = 0) -> Iterator[Any]:
    """A local GeoTIFF or JPEG 2000, whoever made it, as a rasterio dataset; nothing else is opened.

    ```python
    with open_raster("scene.tif") as dataset:
        dataset.read(1)
    ```

    Raises
    ------
    ReadError
        It cannot be opened or read.
    """
    failures: list[ReadError] = []
    with LocalFile.open(os.fspath(path)) as file, environment():
        try:
            with open_source(file, os.fspath(path), overview, failures) as dataset:
                yield dataset
        except RasterioError as error:
            raise failures[0] if failures else ReadError(reason(error)) from None


def reason(error: BaseException) -> str:
    """GDAL's own words rather than rasterio's "Read failed. See previous exception for details."."""
    cause = error.__cause__ or error.__context__ or error
    return os.path.basename(str(cause)) if "/" in str(cause) else str(cause)

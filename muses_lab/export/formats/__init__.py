"""The formats that exports are written in: a module each, which states its `WRITER`.

A package adds one by an entry point of the group `muses_lab.formats` that names such a module:

```toml
[project.entry-points."muses_lab.formats"]
zarr = "my_package.zarr_format"
```
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from odc.geo.geobox import GeoBox
from rasterio.windows import Window as Pixels

from muses_lab import plugins
from muses_lab.errors import ArgumentError
from muses_lab.export.metadata import Metadata
from muses_lab.export.pieces import Pieces
from muses_lab.export.running import RunningJob
from muses_lab.plain import shown


class Writer(Protocol):
    """How one format is written.

    It gets the values in pieces, so that a raster of any size takes little memory, and writes a file that nobody else
    sees yet: what computes the pieces also checks the disk, tries again, and puts the file in place.
    """

    name: str
    """What the format is called, in messages and as `format=`."""
    suffixes: tuple[str, ...]
    """Endings of its files' names, in lower case, the usual one first."""
    has_style: bool
    """Whether a style is put beside the file (`.qml`), because QGIS loads it with it."""

    def check(self, window: GeoBox) -> None:
        """Raises `WindowError` where the format cannot hold a raster on this window."""
        ...

    def write(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], path: Path, job: RunningJob) -> None:
        """Writes the pieces as one file; calls `job.check()` and `job.at("writing", share)` as it goes on.

        `facts` are what the file says to a GIS, `tags` all other metadata. `OSError` or GDAL's own where it fails.
        """
        ...

    def differing(self, pieces: Pieces, path: Path, job: RunningJob) -> list[Pixels]:
        """Reads the file back; the pieces that it does not hold as they were computed."""
        ...

    def is_written(self, path: Path, chain: str, window: GeoBox) -> bool:
        """Whether a file is the export of a chain (its hash) on a window, whole and as it was computed."""
        ...


@cache
def writers() -> tuple[Writer, ...]:
    """Every format, those of this package first."""
    return tuple(plugins.found(__name__, "muses_lab.formats", "WRITER", _check))


def writer_of(path: Path, format: str | None = None) -> Writer:
    """The format that a file's name asks for; `format` names one where several have that ending.

    >>> writer_of(Path("ndvi.tif")).name
    'GeoTIFF'

    Raises
    ------
    ArgumentError
        There is no such format, or it does not have such names.
    """
    known = writers()
    if format is not None:
        known = tuple(writer for writer in known if writer.name.lower() == str(format).lower())
        if not known:
            raise ArgumentError(f"format={shown(format)} is none of the formats: {_there_are()}", argument="format")
    for writer in known:
        if path.suffix.lower() in writer.suffixes:
            return writer
    wanted = f"a file of the format {known[0].name}" if format is not None else "a file of a format that is known"
    raise ArgumentError(f"{path.name!r} is not the name of {wanted}: {_there_are()}", argument="path")


def _there_are() -> str:
    return "; ".join(f"{writer.name} ({', '.join(writer.suffixes)})" for writer in writers())


def _check(writer: Any) -> None:
    missing = [name for name in ("name", "suffixes", "has_style", "check", "write", "differing", "is_written")
               if not hasattr(writer, name)]  # fmt: skip
    if missing:
        raise TypeError(f"WRITER has no {', '.join(missing)}")

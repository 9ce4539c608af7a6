"""The formats that exports are written in: a module each, which states its `WRITER`.

A package adds one by an entry point of the group `muses_lab.formats` that names such a module:

```toml
[project.entry-points."muses_lab.formats"]
netcdf3 = "my_package.netcdf3"
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from odc.geo.geobox import GeoBox
from rasterio.windows import Window as Pixels

from muses_lab import plugins
from muses_lab.errors import ArgumentError, NotFound
from muses_lab.export import provenance
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
    packages: tuple[str, ...]
    """Packages that write it, beside the ones that compute: other versions may write other bytes."""
    holds_texts: bool
    """Whether the file holds the texts of `export.provenance`; those of one that does not are put beside it."""
    draws: bool
    """Whether it holds colours instead of values: an export of a layer, by its style."""
    options: type[Any]
    """Frozen dataclass of what can be said of such an export besides what can be said of each; checks its fields."""
    share: float
    """Bytes of a file for each byte of the values (float32, where they are no larger), as a rule; for estimates."""

    def check(self, target: Path, window: GeoBox, facts: Metadata) -> None:
        """Raises `WindowError` or another `MusesError` where the format cannot hold such a raster on this window."""
        ...

    def write(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], path: Path, job: RunningJob) -> None:
        """Writes the pieces as one file or folder; calls `job.check()` and `job.at("writing", share)` as it goes on.

        `facts` are what the file says to a GIS, `tags` all other metadata: those whose names begin with `MUSES_` are
        what it takes to make the file again, see `export.provenance`. `OSError` or GDAL's own where it fails.
        """
        ...

    def differing(self, pieces: Pieces, facts: Metadata, path: Path, job: RunningJob) -> list[Pixels]:
        """Reads the file back; the pieces that it does not hold as they were computed."""
        ...

    def is_written(self, path: Path, chain: str, window: GeoBox) -> bool:
        """Whether a file is the export of a chain (its hash) on a window, whole and as it was computed."""
        ...

    def texts(self, path: Path) -> Mapping[str, str]:
        """The texts of a file of which the names begin with `MUSES_`; none where it has none or is none of ours."""
        ...

    def beside(self, target: Path, window: GeoBox, facts: Metadata) -> Mapping[Path, str | None]:
        """Texts of files that are put beside it for a GIS, by path; None removes what an earlier export has left."""
        ...


@dataclass(frozen=True)
class NoOptions:
    """Of a format of which nothing can be said."""


_PARTS = (
    "name", "suffixes", "packages", "holds_texts", "draws", "options", "share", "check", "write", "differing",
    "is_written", "texts", "beside",
)  # fmt: skip


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


def options_of(writer: Writer, given: Mapping[str, Any]) -> Any:
    """The options of a format by name; `ArgumentError` names those that there are for what is none."""
    known = [field.name for field in fields(writer.options)]
    for name in given:
        if name not in known:
            there_are = f"it has {', '.join(known)}" if known else "it has none of its own"
            raise ArgumentError(
                f"an export has no option {name!r}, and the format {writer.name} neither: {there_are}", argument=name
            )
    return writer.options(**given)


def texts_of(path: Path) -> Mapping[str, str]:
    """What an export says of how it was made (see `export.provenance`), whatever its format.

    Raises
    ------
    NotFound
        There is no such file, or it is no export of MUSES Lab.
    """
    if not path.exists():
        raise NotFound(f"there is no file {path}", path=str(path))
    for writer in writers():
        if path.suffix.lower() in writer.suffixes:
            found = writer.texts(path) if writer.holds_texts else provenance.texts_beside(path)
            if f"{provenance.PREFIX}CHAIN" in found:
                return found
    if f"{provenance.PREFIX}CHAIN" in (found := provenance.texts_beside(path)):
        return found
    beside = provenance.beside(path).name
    raise NotFound(
        f"{path.name} does not say how it was made: it is no export of MUSES Lab, another program has written it anew, "
        f"or its {beside} is not beside it",
        path=str(path),
    )


def _there_are() -> str:
    return "; ".join(f"{writer.name} ({', '.join(writer.suffixes)})" for writer in writers())


def _check(writer: Any) -> None:
    missing = [name for name in _PARTS if not hasattr(writer, name)]
    if missing:
        raise TypeError(f"WRITER has no {', '.join(missing)}")

"""The values of an export while it is made: a plain file that survives the death of its process.

Pieces are written in place as they arrive, and noted with their checksum after that. Who starts the same export again
finds the folder, checks what is noted, and computes the rest.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ElementTree, SubElement

import numpy as np
from filelock import FileLock, Timeout
from odc.geo.geobox import GeoBox
from rasterio.windows import Window as Pixels

from muses_lab.errors import ComputeError

if TYPE_CHECKING:
    from muses_lab.export.job import Job

VALUES = "values"
DONE = "done"
FLOAT = np.dtype("<f4")


class Pieces:
    """A raster of several layers in pieces, kept in a folder.

    Values lie layer after layer, row after row: GDAL reads them as they are.
    """

    def __init__(self, folder: Path, shape: Sequence[int], layers: int, size: int) -> None:
        self.folder = folder
        self.height, self.width = shape
        self.layers = layers
        self.all = [
            Pixels(col, row, min(size, self.width - col), min(size, self.height - row))
            for row in range(0, self.height, size)
            for col in range(0, self.width, size)
        ]
        self._make_room()
        there = self._there()
        self.missing = [piece for piece in self.all if _name(piece) not in there]

    def _make_room(self) -> None:
        """All that it will need, so that a disk that is too small is noticed now."""
        size = self.layers * self.height * self.width * FLOAT.itemsize
        handle = os.open(self.folder / VALUES, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(handle).st_size != size:
                (self.folder / DONE).unlink(missing_ok=True)
                os.ftruncate(handle, 0)
                os.posix_fallocate(handle, 0, size)
        finally:
            os.close(handle)

    def _there(self) -> set[str]:
        """Names of the pieces that an earlier process has written, as they should be."""
        try:
            lines = (self.folder / DONE).read_text("ascii").splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            return set()
        noted = dict(line.split(" ", 1) for line in lines if " " in line)
        return {_name(piece) for piece in self.all if noted.get(_name(piece)) == self._checksum(piece)}

    def _checksum(self, piece: Pixels) -> str:
        values = np.memmap(
            self.folder / VALUES, FLOAT, "r", shape=(self.layers, self.height, self.width)
        )[:, *piece.toslices()]  # fmt: skip
        return _checksum(values)

    def put(self, piece: Pixels, values: np.ndarray, final: bool = True) -> None:
        """Writes a piece; one that is not `final` is made again when the export is."""
        values = np.ascontiguousarray(values, FLOAT)
        rows, cols = piece.toslices()
        handle = os.open(self.folder / VALUES, os.O_WRONLY)
        try:
            for layer in range(self.layers):
                for row in range(rows.start, rows.stop):
                    at = (layer * self.height + row) * self.width + cols.start
                    _write(handle, values[layer, row - rows.start].data.cast("B"), at * FLOAT.itemsize)
        finally:
            os.close(handle)
        if final:
            with (self.folder / DONE).open("a", encoding="ascii") as file:
                file.write(f"{_name(piece)} {_checksum(values)}\n")

    def described(self, window: GeoBox, labels: Sequence[str], tags: Mapping[str, str]) -> Path:
        """A file that GDAL opens as the whole raster, with its place, descriptions and metadata."""
        root = Element("VRTDataset", rasterXSize=str(self.width), rasterYSize=str(self.height))
        assert window.crs is not None
        SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2").text = window.crs.to_wkt()
        SubElement(root, "GeoTransform").text = ", ".join(repr(float(v)) for v in window.affine.to_gdal())
        metadata = SubElement(root, "Metadata")
        for key, value in {"AREA_OR_POINT": "Area", **tags}.items():
            SubElement(metadata, "MDI", key=key).text = value
        line = self.width * FLOAT.itemsize
        for number, label in enumerate(labels):
            band = SubElement(
                root, "VRTRasterBand", dataType="Float32", band=str(number + 1), subClass="VRTRawRasterBand"
            )
            if label:
                SubElement(band, "Description").text = label
            SubElement(band, "NoDataValue").text = "nan"
            SubElement(band, "SourceFilename", relativeToVRT="1").text = VALUES
            SubElement(band, "ImageOffset").text = str(number * self.height * line)
            SubElement(band, "PixelOffset").text = str(FLOAT.itemsize)
            SubElement(band, "LineOffset").text = str(line)
            SubElement(band, "ByteOrder").text = "LSB"
        path = self.folder / "pieces.vrt"
        ElementTree(root).write(path, "utf-8")
        return path


@contextmanager
def workplace(target: Path, key: str, job: Job) -> Iterator[Path]:
    """The folder, beside the file, in which an export is made; for one process at a time.

    It stays when the process is killed or the cluster is lost, and is removed after every other end. What another
    export to the same file has left is removed.
    """
    mark = f".{target.name}.muses-"
    folder = target.with_name(mark + key)
    _check_writable(target.parent)
    for other in target.parent.glob(f"{_literal(mark)}*"):
        if other.is_dir() and other != folder:
            _remove_if_left(other)
    lock = _lock(folder)
    job.acquire(lock)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            yield folder
        except ComputeError:
            if not (folder / DONE).exists():
                shutil.rmtree(folder, ignore_errors=True)
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _check_writable(folder: Path) -> None:
    """A lock would be waited for for ever in some folders that take no files (/proc)."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, f"no file can be written in {folder}: {error.strerror}") from None


def _remove_if_left(folder: Path) -> None:
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _lock(folder: Path) -> FileLock:
    return FileLock(str(folder) + ".lock", mode=0o600)


def _literal(text: str) -> str:
    """A name as a pattern that only fits itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _name(piece: Pixels) -> str:
    return f"{piece.row_off}_{piece.col_off}"


def _checksum(values: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(values).data):08x}"


def _write(handle: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(handle, data, at)
        data, at = data[written:], at + written

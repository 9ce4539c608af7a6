"""The values of an export while it is made: a tiled TIFF without compression that survives the death of its process.

Each piece is written in place when it arrives, and its checksum is noted after that. When the same export is started
again, it finds the folder, checks the noted pieces, and computes the rest. At the end the checksums tell whether the
finished file holds what was computed.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from filelock import FileLock, Timeout
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.windows import Window as Pixels

from muses_lab.engine.materialized import checksum, plain
from muses_lab.errors import ComputeError, MusesError
from muses_lab.export.running import RunningJob
from muses_lab.export.tiled import UNIT, header
from muses_lab.raster.gdal import environment
from muses_lab.raster.writing import create_raster, open_own
from muses_lab.resources import cancel

SIZE = 512
"""Rows and columns of a piece of an export: a block of the finished file."""

VALUES = "values"
BYTES = "bytes"
DONE = "done"
FINISHED = "finished"

COPY = 0.7
"""Share of the last stage that it takes to put the pieces together; the rest is to compare them with the file."""

_LONGEST = 150
"""Bytes of a file's name that the name of its workplace begins with: names have 255 at most."""

_SCRATCH = "remake-"
"""What the name of a folder of `scratch` has after its mark."""

Colour = tuple[int, int, int, int]
"""Red, green, blue, opacity: 0 to 255."""


class Pieces:
    """A raster of several layers in pieces, kept in a folder; a piece is a tile of each layer of a TIFF."""

    def __init__(
        self, folder: Path, window: GeoBox, layers: int, size: int, dtype: np.dtype, colours: bool = False
    ) -> None:
        """`dtype`: float32 or float64; `colours`: whether the layers are red, green and blue."""
        self.folder, self.window, self.layers = folder, window, layers
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.all = cut(window, size)
        height, width = (min(size, -(-length // UNIT) * UNIT) for length in window.shape)
        self._tile = height, width
        self._header = header((window.shape.y, window.shape.x), layers, self._tile, window.affine, self.dtype, colours)
        self._bytes = layers * height * width * self.dtype.itemsize
        self._places = {_name(piece): len(self._header) + n * self._bytes for n, piece in enumerate(self.all)}
        self._make_room()
        self._sums = self._there()

    @property
    def bytes(self) -> int:
        """Of all pieces."""
        return len(self.all) * self._bytes

    @property
    def missing(self) -> list[Pixels]:
        """Pieces that are to be computed."""
        return [piece for piece in self.all if _name(piece) not in self._sums]

    @property
    def checksum(self) -> str:
        """That of the whole raster, when no piece is missing."""
        return _whole(self._sums[_name(piece)] for piece in self.all)

    def _make_room(self) -> None:
        """All that it will need, so that a disk that is too small is noticed now."""
        size = len(self._header) + len(self.all) * self._bytes
        handle = os.open(self.folder / VALUES, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _allocate(handle, size, self.folder.parent)
            os.ftruncate(handle, size)  # GDAL's description of an earlier try
        finally:
            os.close(handle)

    def _there(self) -> dict[str, str]:
        """Checksums of the pieces that an earlier process has written, as they should be, by name."""
        try:
            lines = (self.folder / DONE).read_text("ascii").splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            return {}
        noted = dict(line.split(" ", 1) for line in lines if " " in line)
        found = {}
        for piece in self.all:
            name = _name(piece)
            if name in noted:
                cancel.check()
                if noted[name] == self._stored(piece):
                    found[name] = noted[name]
        return found

    def _stored(self, piece: Pixels) -> str:
        """Checksum of a piece as it is in the file."""
        try:
            return _sum(self.values(piece))
        except OSError:
            return ""

    def values(self, piece: Pixels, layers: range | None = None) -> np.ndarray:
        """A piece (layers, rows, columns) as it is on the disk, or some of its layers that follow each other.

        `OSError` where it is not there.
        """
        layers = range(self.layers) if layers is None else layers
        layer = self._bytes // self.layers
        start = self._places[_name(piece)] + layers.start * layer
        values = np.fromfile(self.folder / VALUES, np.uint8, len(layers) * layer, offset=start)
        if values.size < len(layers) * layer:
            raise OSError("the pieces of the export are shorter than they were written")
        return values.view(self.dtype).reshape(len(layers), *self._tile)[:, : piece.height, : piece.width]

    def holds(self, piece: Pixels, values: np.ndarray) -> bool:
        """Whether values (layers, rows, columns) that were read back are those that were computed, bit by bit."""
        return values.shape[-2:] == (piece.height, piece.width) and _sum(values) == self._sums[_name(piece)]

    def put(self, piece: Pixels, values: np.ndarray, final: bool = True) -> None:
        """Writes a piece (…, rows, columns); one that is not `final` is made again when the export is."""
        _check_held(values, self.dtype)
        values = plain(values.reshape(self.layers, *values.shape[-2:]).astype(self.dtype, copy=False))
        tiles = values
        if values.shape[1:] != self._tile:
            tiles = np.zeros((self.layers, *self._tile), self.dtype)
            tiles[:, : piece.height, : piece.width] = values
        handle = os.open(self.folder / VALUES, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            _write(handle, tiles.data.cast("B"), self._places[_name(piece)])
        finally:
            os.close(handle)
        self._sums[_name(piece)] = noted = _sum(values)
        if final:
            with (self.folder / DONE).open("a", encoding="ascii") as file:
                file.write(f"{_name(piece)} {noted}\n")

    def described(self, labels: Sequence[str], tags: Mapping[str, str], unit: str | None = None) -> Path:
        """The file, for GDAL: with its place, descriptions and metadata."""
        self._make_room()
        path = self.folder / VALUES
        with path.open("r+b") as file:
            file.write(self._header)
        with opened(path, "r+") as file:
            file.crs = self.window.crs.to_wkt() if self.window.crs else None
            _describe(file, labels, tags, unit, math.nan)
        return path

    def in_bytes(
        self,
        labels: Sequence[str],
        tags: Mapping[str, str],
        unit: str | None,
        palette: Mapping[int, Colour],
        job: RunningJob,
    ) -> Path | None:
        """The only layer as bytes with a colour table; None where a value is neither one of 0 to 254 nor missing."""
        path, missing = self.folder / BYTES, max(palette)
        shape = {"count": self.layers, "height": self.window.shape.y, "width": self.window.shape.x}
        tiles = {"tiled": True, "blockysize": self._tile[0], "blockxsize": self._tile[1], "compress": "deflate"}
        with environment(), opened(self.folder / VALUES) as source:
            place = {"crs": source.crs, "transform": source.transform, "nodata": missing}
            with create_raster(path, dtype="uint8", **shape, **tiles, **place) as file:
                _describe(file, labels, tags, unit, missing)
                file.write_colormap(1, dict(palette))
                for piece in self.all:
                    job.check()
                    values = source.read(window=piece)
                    whole = np.where(np.isnan(values), missing, np.clip(np.nan_to_num(values), 0, missing))
                    stored = whole.astype(np.uint8)
                    if _floats(stored, missing).tobytes() != values.tobytes():
                        return None
                    file.write(stored, window=piece)
        return path

    def differing(self, finished: Path, job: RunningJob) -> list[Pixels]:
        """The pieces that a file does not hold as they were computed; all, where it or an overview cannot be read."""
        found = []
        try:
            with opened(finished) as file:
                for number, piece in enumerate(self.all):
                    job.check()
                    job.at("checking", COPY + (1 - COPY) * number / len(self.all))
                    if _read(file, piece) != self._sums[_name(piece)]:
                        found.append(piece)
                overviews = len(file.overviews(1))
            for level in range(overviews):
                _check_tiles(finished, level, job)
        except (RasterioError, imagecodecs.DeflateError):
            return self.all
        return found

    def damaged(self) -> list[Pixels]:
        """The pieces that are here, but not as they were computed."""
        return [piece for piece in self.all if self._stored(piece) != self._sums[_name(piece)]]

    def forget_damaged(self) -> int:
        """Counts damaged pieces as missing; returns how many there are."""
        damaged = self.damaged()
        for piece in damaged:
            del self._sums[_name(piece)]
        return len(damaged)


def _allocate(handle: int, size: int, folder: Path) -> None:
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror}: the values of the export need {size / 1e9:.3g} GB in {folder}"
        ) from None


def cut(window: GeoBox, size: int) -> list[Pixels]:
    """The pieces of a window, of at most `size` rows and columns, row after row."""
    height, width = window.shape
    return [
        Pixels(col, row, min(size, width - col), min(size, height - row))
        for row in range(0, height, size)
        for col in range(0, width, size)
    ]


def file_checksum(file: Any, window: GeoBox, size: int) -> str:
    """What `Pieces.checksum` is for the pieces of an open file."""
    return _whole(_read(file, piece) for piece in cut(window, size))


def checksum_of(values: Iterable[np.ndarray]) -> str:
    """What `Pieces.checksum` is for the values of the pieces, in the order of `cut`."""
    return _whole(map(_sum, values))


def opened(path: Path, mode: str = "r", **options: Any) -> Any:
    """A file of ours, decoded and encoded by as many threads as there are."""
    return open_own(path, mode, NUM_THREADS="ALL_CPUS", **options)


@contextmanager
def workplace(target: Path, key: str, job: RunningJob) -> Iterator[Path]:
    """The folder, beside the file, in which an export is made; for one process at a time.

    It stays when the process is killed or the cluster is lost, and is removed after every other end. What another
    export to the same file has left is removed.
    """
    folder = target.with_name(_mark(target) + key)
    _check_writable(target.parent)
    for other in _left(target):
        if other != folder:
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


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A folder beside a file in which one process makes it once more; removed at the end.

    What processes that were killed have left there is removed first.
    """
    mark = f"{_mark(target)}{_SCRATCH}"
    _check_writable(target.parent)
    for other in _left(target):
        if other.name.startswith(mark):
            _remove_if_left(other)
    folder = target.with_name(f"{mark}{secrets.token_hex(4)}")
    lock = _lock(folder)
    with lock:
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


def sweep(target: Path) -> None:
    """Removes what exports to a file have left that go on no more."""
    for folder in _left(target):
        _remove_if_left(folder, patience=5)  # a process that was killed has its files open a little longer


def _left(target: Path) -> list[Path]:
    return [path for path in target.parent.glob(f"{_literal(_mark(target))}*") if path.is_dir()]


def _mark(target: Path) -> str:
    """How the names of a file's workplaces begin."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST:
        name = f"{shortened(name, _LONGEST - 17)}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return f".{name}.muses-"


def shortened(name: str, most: int) -> str:
    """The beginning of a name, of at most so many bytes in a file system."""
    return name.encode()[:most].decode(errors="ignore")


def _check_writable(folder: Path) -> None:
    """A lock would be waited for for ever in some folders that take no files (/proc)."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, f"no file can be written in {folder}: {error.strerror}") from None


def _remove_if_left(folder: Path, patience: float = 0) -> None:
    lock = _lock(folder)
    try:
        lock.acquire(timeout=patience)
    except (Timeout, OSError):
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """After a power failure a file must not be there with its name and size but without its bytes.

    Who reads it next reads the disk, where the system can forget what it has in memory.
    """
    for one in (path, *path.rglob("*")) if path.is_dir() else (path,):
        handle = os.open(one, os.O_RDONLY)
        try:
            os.fsync(handle)
            if hasattr(os, "posix_fadvise") and one.is_file():
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def replace(made: Path, target: Path) -> None:
    """Puts a file or folder in place; a folder that is there is moved aside first, and back if that fails."""
    if not (target.is_dir() and not target.is_symlink()):
        os.replace(made, target)
        return
    if not made.is_dir():
        raise IsADirectoryError(f"{target} is a folder; it is left as it is")
    aside = made.with_name(f"{made.name}.before")
    os.replace(target, aside)
    try:
        os.replace(made, target)
    except BaseException:
        os.replace(aside, target)
        raise


def remove(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    return path.stat().st_size if path.is_file() else 0


def _lock(folder: Path) -> FileLock:
    return FileLock(str(folder) + ".lock", mode=0o600)


def _literal(text: str) -> str:
    """A name as a pattern that only fits itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _name(piece: Pixels) -> str:
    return f"{piece.row_off}_{piece.col_off}"


def _describe(file: Any, labels: Sequence[str], tags: Mapping[str, str], unit: str | None, nodata: float) -> None:
    file.nodata = nodata
    for number, label in enumerate(labels, 1):
        if label:
            file.set_band_description(number, label)
        if unit:
            file.set_band_unit(number, unit)
    file.update_tags(**tags)


def _check_held(values: np.ndarray, dtype: np.dtype) -> None:
    """`MusesError` where whole numbers would come out as others: files of which metadata promise smaller ones."""
    if values.dtype.itemsize <= dtype.itemsize:
        return
    odd = (values == np.rint(values)) & (values.astype(dtype) != values)
    if odd.any():
        raise MusesError(
            f"the value {values[odd][0]:.0f} is not one of {dtype.name}, which the export was to be written in by what "
            "the collection's metadata say of its bands: its files have larger numbers; state their data_type in the "
            "metadata (uint32 or float64, for example)"
        )


def _floats(stored: np.ndarray, nodata: float | None) -> np.ndarray:
    """The values that a file of bytes stands for."""
    return np.where(stored == nodata, np.float32(np.nan), stored.astype(np.float32))


def _read(file: Any, piece: Pixels) -> str:
    """Checksum of the values of a piece of an open file; empty where it cannot be read."""
    try:
        values = file.read(window=piece)
        return _sum(values if values.dtype.kind == "f" else _floats(values, file.nodata))
    except RasterioError:
        return ""


def _check_tiles(path: Path, overview: int, job: RunningJob) -> None:
    """Raises `DeflateError` where a tile of an overview is damaged: GDAL reads many of those as if they were whole.

    By libdeflate, and checksums by ISA-L: 2 % of a median's export (benchmarks.medians) less than by zlib.
    """
    with opened(path, OVERVIEW_LEVEL=overview) as file, path.open("rb") as body:
        room = bytearray(file.count * math.prod(file.block_shapes[0]) * np.dtype(file.dtypes[0]).itemsize)
        for (row, col), _ in file.block_windows(1):
            job.check()
            at, size = (file.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE"))
            body.seek(int(at))
            imagecodecs.deflate_decode(body.read(int(size)), out=room)


def _whole(sums: Iterable[str]) -> str:
    return f"{zlib.crc32(' '.join(sums).encode()):08x}"


def _sum(values: np.ndarray) -> str:
    return f"{checksum(values):08x}"


def _write(handle: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(handle, data, at)
        data, at = data[written:], at + written

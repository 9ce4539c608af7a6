"""Materialized blocks: a chain's result kept on disk, looked up before they would be computed.

`materialized/<node hash>/` holds blocks of one node as the engine knows it (`Program.root`), so that every chain with
this sub-expression finds them. For each grid and level there is a GeoTIFF, a tile of which is a block, and an index
(JSON) that names the file and the blocks in it, each with the scenes it was made of and a checksum. What no index
names is not there. `export.materialized` makes them; the folder belongs to one user, and a worker that does not see it
computes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import xarray as xr
from isal import isal_zlib
from rasterio.errors import RasterioError
from rasterio.windows import Window

from muses_lab import settings
from muses_lab.engine.graph import PreparedGraph, Step
from muses_lab.engine.keys import BlockKey
from muses_lab.engine.mosaic import Report
from muses_lab.errors import ReadError
from muses_lab.raster.gdal import environment
from muses_lab.raster.grid import BLOCK, Rect
from muses_lab.raster.writing import open_own

logger = logging.getLogger(__name__)

_REMEMBERED = 2.0
"""Seconds for which the state of a folder is taken as known."""

_MAX_OPEN = 16


def materialized_folder() -> Path:
    """The folder of this user's materialized blocks."""
    return settings.home() / "materialized"


def is_own(folder: Path) -> bool:
    """Whether a folder is there, and nobody but this user can have put files into it."""
    try:
        found = folder.stat()
    except OSError:
        return False
    mine = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
    return stat.S_ISDIR(found.st_mode) and mine


@dataclass(frozen=True, slots=True)
class Kept:
    """A block in a file."""

    used: frozenset[str]
    """Ids of the scenes that gave it valid pixels."""
    crc: int
    """CRC-32 of its values."""
    dtype: str
    """Of the values as they were computed; the file's own may be wider."""


@dataclass(frozen=True)
class Index:
    """The blocks of a grid at a level, and the file that holds them."""

    grid: str
    level: int
    file: str
    """Name of the GeoTIFF, beside the index."""
    first: tuple[int, int]
    """Row and column of the file's first block."""
    layers: int
    """Bands of the file: those of each date, one date after the other."""
    bytes: int
    """Size of the file."""
    blocks: Mapping[tuple[int, int], Kept]
    """By row and column."""

    @staticmethod
    def name(grid: str, level: int) -> str:
        """Name of the index of a grid and level; grid ids may hold what file names may not."""
        return f"{stem(grid, level)}.json"

    def window(self, row: int, col: int) -> Window:
        """Where a block lies in the file."""
        return Window((col - self.first[1]) * BLOCK, (row - self.first[0]) * BLOCK, BLOCK, BLOCK)

    def to_text(self) -> str:
        """JSON with a checksum."""
        body = self._to_json()
        return _json({"crc": zlib.crc32(_json(body).encode()), "index": body})

    @classmethod
    def read(cls, path: Path) -> Index:
        """The index of a file; `ReadError` where it does not hold what was written."""
        try:
            doc = json.loads(path.read_bytes())
            if doc["crc"] != zlib.crc32(_json(doc["index"]).encode()):
                raise ValueError("its checksum is another")
            return cls._from_json(doc["index"])
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise ReadError(f"the index {path.name} cannot be read: {error!r}") from None

    def _to_json(self) -> dict[str, Any]:
        """Plain data; most blocks of a level were made of the same scenes, so each set of them is there once."""
        sets = sorted({tuple(sorted(k.used)) for k in self.blocks.values()})
        scenes = sorted({id for used in sets for id in used})
        number, place = {id: n for n, id in enumerate(scenes)}, {used: n for n, used in enumerate(sets)}
        return {
            "grid": self.grid, "level": self.level, "file": self.file, "first_block": list(self.first),
            "layers": self.layers, "bytes": self.bytes, "scenes": scenes,
            "used": [[number[id] for id in used] for used in sets],
            "blocks": [[*at, place[tuple(sorted(k.used))], k.crc, k.dtype] for at, k in sorted(self.blocks.items())],
        }  # fmt: skip

    @classmethod
    def _from_json(cls, doc: Mapping[str, Any]) -> Index:
        used = [frozenset(doc["scenes"][n] for n in numbers) for numbers in doc["used"]]
        blocks = {(row, col): Kept(used[n], crc, dtype) for row, col, n, crc, dtype in doc["blocks"]}
        return cls(
            doc["grid"], doc["level"], doc["file"], tuple(doc["first_block"]), doc["layers"], doc["bytes"],
            blocks,
        )  # fmt: skip


def stem(grid: str, level: int) -> str:
    """How the names of the files of a grid and level begin."""
    digest = hashlib.sha256(grid.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9@.-]', '_', grid)[:80]}-{digest}-{level}"


def read_index(folder: Path, grid: str, level: int) -> Index | None:
    """The index of a grid and level; None where there is none.

    Raises
    ------
    ReadError
        It cannot be read, or is that of something else.
    """
    path = folder / Index.name(grid, level)
    try:
        index = Index.read(path)
    except FileNotFoundError:
        return None
    if (index.grid, index.level) != (grid, level) or Path(index.file).name != index.file:
        raise ReadError(f"the index {path.name} is that of {index.file!r}, {index.grid!r} at level {index.level}")
    return index


def open_file(folder: Path, index: Index) -> Any:
    """The file of an index, opened by rasterio; `ReadError` where it is not as the index says."""
    path = folder / index.file
    try:
        size = path.stat().st_size
        if size != index.bytes:
            raise ReadError(f"{index.file} has {size} bytes; it had {index.bytes} when it was made")
        dataset = open_own(path)
    except (OSError, RasterioError) as error:
        raise ReadError(f"{index.file} cannot be opened: {error}") from None
    shape = (index.layers, BLOCK, BLOCK)
    if (dataset.count, *dataset.block_shapes[0]) != shape:
        dataset.close()
        raise ReadError(f"{index.file} does not have {index.layers} bands in tiles of {BLOCK}")
    return dataset


def read_block(dataset: Any, index: Index, row: int, col: int) -> np.ndarray:
    """(layers, y, x) of a block as it was computed; `ReadError` where it is damaged."""
    kept = index.blocks[row, col]
    try:
        values = dataset.read(window=index.window(row, col)).astype(kept.dtype, copy=False)
    except (RasterioError, ValueError) as error:
        raise ReadError(f"block ({row}, {col}) cannot be read: {error.__cause__ or error}", block=(row, col)) from None
    if checksum(values) != kept.crc:
        raise ReadError(f"block ({row}, {col}) does not hold the values that were written", block=(row, col))
    return values


def plain(values: np.ndarray) -> np.ndarray:
    """Values with one NaN for all missing ones: arithmetic makes NaNs of several bit patterns, a file keeps one."""
    out = np.ascontiguousarray(values)
    if out.dtype.kind == "f" and np.isnan(out).any():
        out = np.where(np.isnan(out), out.dtype.type(np.nan), out)
    return out


def _json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))


def checksum(values: np.ndarray) -> int:
    return isal_zlib.crc32(np.ascontiguousarray(values).data)


@dataclass
class _Folder:
    """What is remembered of a folder."""

    until: float = 0.0
    """Until when it is taken as known."""
    stamp: tuple[int, int] | None = None
    """Times of its last change; None where it is not there, or had only just changed."""
    indexes: dict[tuple[str, int], Index | None] = field(default_factory=dict)


class MaterializedBlocks:
    """Blocks on disk, by node hash and block; thread-safe.

    Folders are looked at every few seconds at most: for a chain without materialized blocks a look-up is one in a set.
    """

    def __init__(self) -> None:
        self.blocks = 0
        """Blocks that were read."""
        self.failures: dict[str, str] = {}
        """Files and blocks that could not be used → why; they are computed instead."""
        self._lock = threading.Lock()
        self._root = _Folder()
        self._path = Path()
        self._nodes: frozenset[str] = frozenset()
        self._folders: dict[str, _Folder] = {}
        self._idle: OrderedDict[tuple[str, str], list[Any]] = OrderedDict()
        self._marked: WeakKeyDictionary[PreparedGraph, PreparedGraph] = WeakKeyDictionary()

    def marked(self, prepared: PreparedGraph) -> PreparedGraph:
        """A prepared graph with the steps marked of whose images there are blocks."""
        kept = {node for node in self.known() & prepared.steps.keys() if not prepared.steps[node].meta.time}
        if not kept:
            return prepared
        with self._lock:
            marked = self._marked.get(prepared)
            if marked is None or kept != {node for node, step in marked.steps.items() if step.kept}:
                marked = self._marked[prepared] = prepared.with_kept(kept)
            return marked

    def known(self) -> frozenset[str]:
        """Hashes of the nodes of which blocks are there (and names of other things in the folder)."""
        return self._known_nodes()

    def has(self, node: str, key: BlockKey) -> bool:
        """Whether a block of a node (by its hash) is there."""
        return self._find(node, key) is not None

    def covers(self, node: str, grid: str, level: int, rect: Rect) -> bool:
        """Whether all blocks that a rectangle of a node touches are there."""
        return all(self.has(node, BlockKey(grid, level, row, col)) for row, col in rect.blocks())

    def block(self, step: Step, key: BlockKey) -> tuple[xr.DataArray, Report] | None:
        """A block of a step as it was computed, with its report; None where it is not there or damaged."""
        node = step.node.hash
        for _ in range(2):  # a job that adds blocks replaces the file: the second look finds the new one
            index = self._find(node, key)
            if index is None:
                return None
            try:
                with self._opened(node, index) as dataset:
                    values = read_block(dataset, index, key.row, key.col)
                array = _array(values, step)
                break
            except ReadError as error:
                if not self._replaced(node, key, index):
                    with self._lock:  # a damaged block is not tried again; nor is a file that cannot be opened
                        self._report(_named(node, index, key if "block" in error.details else None), error.message)
                    return None
        else:
            return None
        with self._lock:
            self.blocks += 1
        return array, Report(index.blocks[key.row, key.col].used)

    def close(self) -> None:
        with self._lock:
            self._close_all({node for node, _ in self._idle})

    # ------------------------------------------------------------------------------------------ what is there

    def _find(self, node: str, key: BlockKey) -> Index | None:
        """The index that names a block."""
        if node not in self._known_nodes():
            return None
        index = self._index(node, key.grid, key.level)
        if index is None or (key.row, key.col) not in index.blocks:
            return None
        if self.failures and (_named(node, index) in self.failures or _named(node, index, key) in self.failures):
            return None
        return index

    def _known_nodes(self) -> frozenset[str]:
        if time.monotonic() < self._root.until:
            return self._nodes
        with self._lock:
            if time.monotonic() < self._root.until:  # another thread looked meanwhile
                return self._nodes
            self._path = materialized_folder()
            if _changed(self._root, self._path):
                nodes: frozenset[str] = frozenset()
                if is_own(self._path):
                    nodes = frozenset(os.listdir(self._path))
                elif self._path.exists():
                    self._report(str(self._path), "the folder must be this user's own, with mode 0700")
                self._close_all({node for node, _ in self._idle} - nodes)
                self._nodes = nodes
            self._root.until = time.monotonic() + _REMEMBERED  # last: from here on threads look without the lock
            return self._nodes

    def _index(self, node: str, grid: str, level: int) -> Index | None:
        with self._lock:
            folder = self._folders.setdefault(node, _Folder())
            if time.monotonic() >= folder.until:
                if _changed(folder, self._path / node):
                    folder.indexes.clear()
                    self._close_all({node})  # a file that was removed takes its space until nobody has it open
                folder.until = time.monotonic() + _REMEMBERED
            if (grid, level) not in folder.indexes:
                try:
                    folder.indexes[grid, level] = read_index(self._path / node, grid, level)
                except ReadError as error:
                    folder.indexes[grid, level] = None
                    self._report(f"{node}/{Index.name(grid, level)}", error.message)
            return folder.indexes[grid, level]

    def _replaced(self, node: str, key: BlockKey, index: Index) -> bool:
        """Whether the file that failed is another one by now."""
        with self._lock:
            self._folders.pop(node, None)
        now = self._index(node, key.grid, key.level)
        return now is None or now.file != index.file

    def _report(self, name: str, reason: str) -> None:
        if self.failures.get(name) != reason:
            logger.warning("materialized blocks are not used, what they hold is computed instead: %s: %s", name, reason)
        self.failures[name] = reason

    # ------------------------------------------------------------------------------------------ files

    @contextmanager
    def _opened(self, node: str, index: Index) -> Iterator[Any]:
        """A dataset for one thread's use: handles are kept, but none serves two threads at once."""
        key = (node, index.file)
        with self._lock:
            handles = self._idle.get(key)
            dataset = handles.pop() if handles else None
        with environment():
            if dataset is None:
                dataset = open_file(self._path / node, index)
            try:
                yield dataset
            except BaseException:
                dataset.close()
                raise
        with self._lock:
            self._idle.setdefault(key, []).append(dataset)
            self._idle.move_to_end(key)
            while sum(map(len, self._idle.values())) > _MAX_OPEN:
                _, oldest = self._idle.popitem(last=False)
                for handle in oldest:
                    handle.close()

    def _close_all(self, nodes: Set[str]) -> None:
        """Closes the files of some nodes; called under the lock."""
        for key in [key for key in self._idle if key[0] in nodes]:
            for handle in self._idle.pop(key):
                handle.close()


def _changed(folder: _Folder, path: Path) -> bool:
    """Whether a folder is another than it was when it was looked at last."""
    try:
        found = path.stat()
    except OSError:
        stamp = None
    else:
        stamp = (found.st_mtime_ns, found.st_ctime_ns)  # the latter changes with its mode and owner
    same = stamp == folder.stamp and folder.until > 0
    # A change within the clock's tick of the last one would go unseen: a folder that has just changed is not trusted.
    recent = stamp is not None and time.time_ns() - max(stamp) < 2_000_000_000
    folder.stamp = None if recent else stamp
    return not same


def _named(node: str, index: Index, key: BlockKey | None = None) -> str:
    return f"{node}/{index.file}" + ("" if key is None else f"#{key.row},{key.col}")


def _array(values: np.ndarray, step: Step) -> xr.DataArray:
    """Layers as the step's dimensions."""
    sizes: dict[str, int] = {}
    coords: dict[str, Any] = {}
    if step.meta.time:
        coords["t"] = np.array(step.times, dtype="datetime64[ns]")
        sizes["t"] = len(step.times)
    if step.meta.bands is not None:
        coords["bands"] = np.array(step.meta.bands, dtype=object)
        sizes["bands"] = len(step.meta.bands)
    try:
        shaped = values.reshape(*sizes.values(), *values.shape[-2:])
    except ValueError:
        raise ReadError(f"the file has {len(values)} bands; {sizes} are expected") from None
    return xr.DataArray(shaped, dims=(*sizes, "y", "x"), coords=coords)

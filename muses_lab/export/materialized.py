"""Blocks are materialized: a chain is evaluated at every level of its grids and kept on disk; listed and removed.

Each block that arrives is put aside in a file of its own, so that a job that was stopped, or killed, goes on where it
ended. When the last block of a level is there they become the tiles of one GeoTIFF, and its index makes it count.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import shapely
from filelock import FileLock, Timeout
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, box
from shapely.geometry.base import BaseGeometry

from muses_lab import compute
from muses_lab.compute.queue import Executor, Ticket
from muses_lab.compute.wholes import prepare
from muses_lab.crs import crs_name
from muses_lab.document import graph
from muses_lab.engine import BlockKey, Published
from muses_lab.engine import materialized as disk
from muses_lab.engine.graph import PreparedGraph, Step
from muses_lab.engine.materialized import Index, Kept
from muses_lab.errors import AccessDenied, ComputeError, MusesError, NotFound, ReadError, WindowError
from muses_lab.export.files import EXPORT_PRIORITY, TRIES
from muses_lab.export.job import Job
from muses_lab.export.journal import Journal
from muses_lab.export.metadata import labels_of
from muses_lab.export.pieces import to_disk
from muses_lab.export.provenance import PREFIX
from muses_lab.plain import shown
from muses_lab.publish.documents import check_extents, keep
from muses_lab.raster import window_checks
from muses_lab.raster.gdal import environment
from muses_lab.raster.grid import BLOCK, Grid, Rect, block_rect
from muses_lab.raster.window import checked
from muses_lab.raster.writing import create_raster
from muses_lab.resources import cancel
from muses_lab.settings import number
from muses_lab.store import JobRecord, default_store, new_id

MANIFEST = "manifest.json"
_AHEAD_BYTES = 256 << 20
"""Size of the blocks that are asked for before the first of them has arrived."""


def materialize(
    published: Published,
    area: GeoBox | Geometry | Mapping[str, Any] | Sequence[float] | None = None,
    levels: int | Iterable[int] | None = None,
    *,
    progress: bool = True,
    kind: type[Job] = Job,
) -> Job:
    """Computes a chain's blocks once and keeps them on disk; returns a `Job` at once.

    ```python
    median = s2.mask_clouds().ndvi().median("t")
    median.materialize().wait()                 # the folder of the blocks
    (median > 0.4).compute(window)              # reads no scene
    ```

    Afterwards everything that contains this chain as it is pinned now reads those blocks instead of scenes: maps,
    arrays, exports, and other chains of which it is a part. Values and reports are the same as without. A chain that
    needs fewer bands of it reads fewer bands, which is another computation: choose the bands first
    (`s2.mask_clouds().bands("B04", "B08").median("t")`).

    `area` is a window, bounds (west, south, east, north) in longitude and latitude, or a GeoJSON geometry; without it,
    wherever there are scenes. `levels` are 0 (the grid's own resolution), 1 (half of it), …; without them, all up to
    that at which a grid fits into one block of 512 × 512 pixels. Blocks that are there already are checked and left as
    they are: a job that was stopped goes on where it ended, another area is added. Blocks for which a scene could not
    be read are not kept; the job's `failed` names the scenes, and a later call tries them again.

    The blocks are in the user's own folder (`MUSES_LAB_HOME`); `muses-lab materialized list` shows them. Workers on
    machines that do not share this folder do not see them and compute as before.

    Raises
    ------
    MusesError
        The chain has no data in the area.
    """
    return start(published, None if area is None else _outline(area), levels, progress=progress, kind=kind)


def start(
    published: Published,
    outline: Geometry | None,
    levels: int | Iterable[int] | None,
    *,
    progress: bool,
    id: str | None = None,
    kind: type[Job] = Job,
) -> Job:
    """The materializing of blocks, from the beginning or (`id`) where it was interrupted."""
    check_extents(published.root)
    step = published.prepared.output
    labels = labels_of(step)
    if not labels:
        raise MusesError("the chain has no date in its selection, so there is nothing to keep")
    asked = None if levels is None else _checked(levels)
    wanted = _blocks(published.prepared, step, outline, asked)
    if not wanted:
        raise MusesError("the chain has no data in this area, so there is nothing to keep")
    chain_hash = keep(published, default_store())
    folder = _folder(step.node.hash)

    def work(job: Job) -> None:
        with _alone(folder, job):
            _sweep(folder)
            makers = [
                _Level(folder, published, grid, level, keys)
                for (grid, level), keys in sorted(wanted.items(), key=lambda item: (-item[0][1], item[0][0].id))
            ]
            _note(folder, published, job, complete=False)
            job.begin(sum(len(maker.missing) for maker in makers))
            executor = compute.executor()
            try:
                _make(job, executor, _prepared(executor, published), makers)
            finally:
                _note(folder, published, job, complete=not any(maker.missing for maker in makers))

    name = f"blocks of {step.node.hash[:12]}"
    options = {"area": None if outline is None else _area(outline), "levels": asked}
    blocks = sum(len(keys) for keys in wanted.values())
    record = JobRecord(
        id or new_id(), "materialize", name, str(folder), chain_hash, options, pixels=blocks * BLOCK**2 * len(labels)
    )
    return kind(folder, work, Journal(record, default_store()), progress, name)


def _make(job: Job, executor: Executor, published: Published, makers: list[_Level]) -> None:
    """Evaluates what is missing, coarse levels first: they are seen first, and soon done."""
    layers = len(labels_of(published.prepared.output))
    ahead = max(1, min(2 * executor.backend.threads, _AHEAD_BYTES // (layers * BLOCK * BLOCK * 4)))
    todo = deque((maker, key) for maker in makers for key in maker.missing)
    waiting: deque[tuple[_Level, BlockKey, Ticket]] = deque()

    unfinished = set(makers)

    def finish(maker: _Level) -> None:
        job.at("writing", 1 - len(unfinished) / len(makers))
        damaged = maker.finish()
        job.again(len(damaged))
        todo.extend((maker, key) for key in damaged)
        if not damaged:
            unfinished.discard(maker)
        job.at("computing", 1 - len(unfinished) / len(makers))

    for maker in makers:
        if not maker.missing:
            finish(maker)
    try:
        while todo or waiting:
            while todo and len(waiting) < ahead:
                maker, key = todo.popleft()
                waiting.append((maker, key, executor.request(published, key, EXPORT_PRIORITY, hint=published.remote)))
            maker, key, ticket = waiting[0]
            result = _wait(job, ticket)
            waiting.popleft()
            if result.report.failed:
                job.failed.update(result.report.failed)
            else:
                maker.put_aside(key, result.values, result.report.used)
            if maker not in {other for other, *_ in waiting} and (not todo or todo[0][0] is not maker):
                finish(maker)
            job.step()
    finally:
        for _, _, ticket in waiting:
            ticket.release()


def _wait(job: Job, ticket: Ticket) -> Any:
    limit = number("MUSES_TASK_SECONDS")
    waited = 0.0
    while waited < limit:
        job.check()
        try:
            return ticket.future.result(0.25)
        except TimeoutError:
            waited += 0.25
    raise ComputeError(f"a block was not ready after {limit:g} s; MUSES_TASK_SECONDS allows more")


def _prepared(executor: Executor, published: Published) -> Published:
    """The chain with the results of its `region` and `fit` nodes, made of all their scenes."""
    prepared = prepare(executor, published, EXPORT_PRIORITY)
    for step in published.prepared.whole_nodes():
        if default_store().result(step.node.hash) is None:  # it is stored only when no scene failed
            raise ReadError(
                f"{step.node.process!r} could not read all scenes of its extent; what is kept must not depend on that"
            )
    return prepared


# ------------------------------------------------------------------------------------------------- a level of a grid


@dataclass(frozen=True)
class _BlockAside:
    """A block put aside."""

    path: Path
    kept: Kept


class _Level:
    """The blocks of a grid at a level: those in the file, those put aside, and those that are missing."""

    def __init__(self, folder: Path, published: Published, grid: Grid, level: int, keys: list[BlockKey]) -> None:
        self.folder, self.published, self.grid, self.level = folder, published, grid, level
        self.labels = labels_of(published.prepared.output)
        self.tries = 0
        """How often it was written and found damaged."""
        self.index = self._checked_index()
        self.aside = folder / f"{disk.stem(grid.id, level)}.blocks"
        there = set() if self.index is None else set(self.index.blocks)
        self.pieces: dict[tuple[int, int], _BlockAside] = dict(self._left(there))
        self.missing = [key for key in keys if (key.row, key.col) not in there | set(self.pieces)]

    def _checked_index(self) -> Index | None:
        """The index of what is there and undamaged."""
        with suppress(ReadError):
            index = disk.read_index(self.folder, self.grid.id, self.level)
            if index is not None and (sound := _sound(self.folder, index)):
                return replace(index, blocks=sound)
        return None

    def _left(self, there: set[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], _BlockAside]]:
        """Blocks that an earlier job put aside."""
        for path in sorted(self.aside.glob("*.npz")) if self.aside.is_dir() else ():
            try:
                row, col = map(int, path.stem.split("_"))
                values, kept = _read_piece(path)
                values.reshape(len(self.labels), BLOCK, BLOCK)
            except (ReadError, ValueError):
                path.unlink()
                continue
            if (row, col) not in there:
                yield (row, col), _BlockAside(path, kept)

    def put_aside(self, key: BlockKey, values: np.ndarray, used: frozenset[str]) -> None:
        values = disk.plain(values.reshape(len(self.labels), BLOCK, BLOCK))
        self.aside.mkdir(mode=0o700, exist_ok=True)
        path = self.aside / f"{key.row}_{key.col}.npz"
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, values=values, used=np.array(sorted(used), dtype=str))
        part.replace(path)
        self.pieces[key.row, key.col] = _BlockAside(path, _kept(values, used))
        self.missing.remove(key)

    def finish(self) -> list[BlockKey]:
        """Writes the file with what was there and what was put aside, and the index that makes it count.

        Returns the blocks that did not come back from the disk as they were computed: without them there is no index,
        they are to be computed again.
        """
        before = self.index
        if not self.pieces and (before is None or before == disk.read_index(self.folder, self.grid.id, self.level)):
            return []
        blocks = {**(before.blocks if before else {}), **{at: piece.kept for at, piece in self.pieces.items()}}
        rows, cols = ([at[axis] for at in blocks] for axis in (0, 1))
        name = f"{disk.stem(self.grid.id, self.level)}-{uuid4().hex[:8]}.tif"
        part = self.folder / f"{name}.part"
        index = Index(self.grid.id, self.level, name, (min(rows), min(cols)), len(self.labels), 0, blocks)
        try:
            self._write(part, index, before, Rect(min(rows), max(rows) + 1, min(cols), max(cols) + 1))
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        to_disk(part)
        index = replace(index, bytes=part.stat().st_size)
        if damaged := blocks.keys() - _sound(self.folder, replace(index, file=part.name)).keys():
            part.unlink()
            return self._forget(damaged)
        part.replace(self.folder / name)
        self.index = index
        _write_text(self.folder / Index.name(self.grid.id, self.level), index.to_text())
        self.pieces = {}
        shutil.rmtree(self.aside, ignore_errors=True)
        for old in self.folder.glob(f"{disk.stem(self.grid.id, self.level)}-*.tif"):
            if old.name != name:
                with suppress(OSError):  # somebody reads it (Windows); the next job sweeps it up
                    old.unlink()
        return []

    def _forget(self, damaged: Set[tuple[int, int]]) -> list[BlockKey]:
        """Counts blocks as missing, a few times."""
        for at in damaged:
            if (piece := self.pieces.pop(at, None)) is not None:
                piece.path.unlink(missing_ok=True)
        if self.index is not None:
            sound = {at: kept for at, kept in self.index.blocks.items() if at not in damaged}
            self.index = replace(self.index, blocks=sound) if sound else None
        keys = [BlockKey(self.grid.id, self.level, *at) for at in sorted(damaged)]
        self.missing.extend(keys)
        self.tries += 1
        if self.tries == TRIES:
            raise MusesError(
                f"{keys[0]} and {len(keys) - 1} other blocks did not come back from the disk as they were computed, "
                f"{TRIES} times. Check the disk of {self.folder} and whether another program writes there"
            )
        return keys

    def _write(self, path: Path, index: Index, before: Index | None, rect: Rect) -> None:
        dtype = np.result_type(np.float32, *{kept.dtype for kept in index.blocks.values()})
        whole = Rect(*(v * BLOCK for v in rect))
        # Made once and read often: a block of zstd is decoded in a third of the time of deflate. The floating-point
        # predictor would save a tenth of the space and double that time.
        profile: dict[str, Any] = {
            "height": whole.shape[0], "width": whole.shape[1], "count": len(self.labels),
            "dtype": dtype, "crs": self.grid.crs, "transform": self.grid.geobox(self.level, whole).affine,
            "nodata": float("nan"), "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "interleave": "band",
            "compress": "zstd", "zstd_level": 1, "bigtiff": "IF_SAFER", "sparse_ok": True,
        }  # fmt: skip
        with environment(), create_raster(path, **profile) as file:
            for number_, label in enumerate(self.labels, 1):
                if label:
                    file.set_band_description(number_, label)
            file.update_tags(**_tags(self.published))
            for (row, col), piece in sorted(self.pieces.items()):
                cancel.check()
                with suppress(ReadError):  # what is not written is found when the file is compared
                    values, kept = _read_piece(piece.path)
                    if kept == piece.kept:
                        file.write(values.astype(dtype, copy=False), window=index.window(row, col))
            if before is not None:
                with suppress(ReadError), disk.open_file(self.folder, before) as old:
                    for row, col in before.blocks.keys() - self.pieces.keys():
                        cancel.check()
                        with suppress(ReadError):
                            values = disk.read_block(old, before, row, col).astype(dtype, copy=False)
                            file.write(values, window=index.window(row, col))


def _kept(values: np.ndarray, used: frozenset[str]) -> Kept:
    return Kept(used, disk.checksum(values), values.dtype.name)


def _read_piece(path: Path) -> tuple[np.ndarray, Kept]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            values, used = stored["values"], frozenset(stored["used"].tolist())
    except Exception as error:  # a damaged archive raises one of a dozen errors
        raise ReadError(f"{path.name} cannot be read: {error!r}") from None
    return values, _kept(values, used)


def _sound(folder: Path, index: Index) -> dict[tuple[int, int], Kept]:
    """The blocks that the file of an index holds as they were computed."""
    sound = {}
    with suppress(ReadError), environment(), disk.open_file(folder, index) as file:
        for at, kept in index.blocks.items():
            cancel.check()
            with suppress(ReadError):
                disk.read_block(file, index, *at)
                sound[at] = kept
    return sound


def _write_text(path: Path, content: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(content, "utf-8")
    part.replace(path)


# ------------------------------------------------------------------------------------------------------- which blocks


def _blocks(
    prepared: PreparedGraph, step: Step, outline: Geometry | None, asked: list[int] | None
) -> dict[tuple[Grid, int], list[BlockKey]]:
    """The blocks of a step's grids that hold data in an area, by grid and level."""
    found: dict[tuple[Grid, int], list[BlockKey]] = {}
    for grid in step.grids.values():
        where = prepared.outline(step, grid.id)
        if outline is not None:
            where = shapely.intersection(where, _on(grid, outline))
        if where.is_empty or not where.area:
            continue
        for level in range(_top(grid) + 1) if asked is None else asked:
            keys = list(_touched(grid, level, where))
            if keys:
                found[grid, level] = keys
    return found


def _checked(levels: int | Iterable[int]) -> list[int]:
    asked = [levels] if isinstance(levels, int) else sorted(set(levels))
    for level in asked:
        if not isinstance(level, int) or not 0 <= level <= 30:
            raise ValueError(f"{level!r} is not a level: 0 is the grid's own resolution, 1 half of it, and so on")
    return asked


def _top(grid: Grid) -> int:
    """The level at which a grid fits into one block."""
    level = 0
    while max(grid.rect(level).shape) > BLOCK:
        level += 1
    return level


def _touched(grid: Grid, level: int, where: BaseGeometry) -> Iterator[BlockKey]:
    west, south, east, north = where.bounds
    (r0, r1), (c0, c1) = grid.indices(level, np.array([west, east]), np.array([north, south]))
    rect = Rect(int(r0), int(r1) + 1, int(c0), int(c1) + 1).intersection(grid.rect(level))
    margin = min(grid.pixel(level)) * 1e-3  # what only shares an edge with a block is not in it
    shapely.prepare(where)
    for row, col in rect.blocks():
        w, s, e, n = grid.geobox(level, block_rect(row, col)).boundingbox.bbox
        if where.intersects(shapely.box(w + margin, s + margin, e - margin, n - margin)):
            yield BlockKey(grid.id, level, row, col)


def _outline(area: GeoBox | Geometry | Mapping[str, Any] | Sequence[float]) -> Geometry:
    if isinstance(area, GeoBox):
        return checked(area).extent
    if isinstance(area, Geometry):
        return area
    if isinstance(area, Mapping):
        return Geometry(dict(area.get("geometry", area)), "EPSG:4326")
    if isinstance(area, BaseGeometry):
        return Geometry(area, "EPSG:4326")
    try:
        west, south, east, north = area
    except (TypeError, ValueError):
        raise WindowError(
            f"{shown(area)} is not an area: give a window, bounds (west, south, east, north) in longitude and "
            "latitude, or a GeoJSON geometry"
        ) from None
    return box(
        *window_checks.bounds((west, south, east, north), window_checks.DEGREES, window_checks.DEGREES),
        window_checks.DEGREES,
    )


def _area(outline: Geometry) -> dict[str, Any]:
    """An area as a job keeps it."""
    return {"geometry": outline.json, "crs": crs_name("EPSG:4326" if outline.crs is None else outline.crs)}


def area_from_json(body: Mapping[str, Any] | None) -> Geometry | None:
    return None if body is None else Geometry(dict(body["geometry"]), crs_name(body["crs"]))


def _on(grid: Grid, outline: Geometry) -> BaseGeometry:
    """An area in a grid's CRS, as far as it is near the grid: elsewhere the CRS may not show it."""
    west, south, east, north = grid.bounds()
    crs = "EPSG:4326" if outline.crs is None else outline.crs
    common = box(west, south, east, north, grid.crs).to_crs(crs, resolution=(east - west) / 64).intersection(outline)
    if common.is_empty:
        return shapely.Polygon()
    b = common.boundingbox
    shape = common.to_crs(grid.crs, resolution=max(b.span_x, b.span_y) / 64 or None).geom
    return shapely.make_valid(shape)


# ------------------------------------------------------------------------------------------------- folders, manifests


def _folder(node: str) -> Path:
    """The folder of a node, made for this user alone."""
    root = disk.materialized_folder()
    root.mkdir(mode=0o700, exist_ok=True)
    if not disk.is_own(root):
        raise AccessDenied(f"{root} must be this user's own folder with mode 0700: others could put values there")
    folder = root / node
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _lock(folder: Path) -> FileLock:
    return FileLock(str(folder) + ".lock", mode=0o600)


@contextmanager
def _alone(folder: Path, job: Job) -> Iterator[None]:
    """One job at a time materializes a node; the others wait, and find what it has made."""
    lock = _lock(folder)
    job.acquire(lock)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)  # removed while we waited
        yield
    finally:
        lock.release()


def _sweep(folder: Path) -> None:
    """Removes what jobs left that were killed: parts, and files that no index names any more."""
    named = {index.file for index in _indexes(folder)}
    for path in [*folder.glob("*.part"), *folder.glob("*.tif")]:
        if path.name not in named:
            path.unlink()


def _tags(published: Published) -> dict[str, str]:
    from muses_lab import __version__

    return {
        f"{PREFIX}CHAIN": published.chain_hash,
        f"{PREFIX}DOCUMENT": published.document.decode(),
        f"{PREFIX}RELEASE": __version__,
    }


def _note(folder: Path, published: Published, job: Job, *, complete: bool) -> None:
    """Writes the manifest: for people, and for what lists materialized blocks; look-ups need the indexes alone."""
    from muses_lab import __version__

    step = published.prepared.output
    content = {
        "node": step.node.hash,
        "chain": published.chain_hash,
        "steps": [node.process.rpartition(":")[2] for node in graph.walk(published.root)],
        "document": json.loads(published.document),
        "bands": step.meta.bands,
        "dates": [str(t)[:19] + "Z" for t in step.times],
        "release": __version__,
        "changed": datetime.now(UTC).isoformat(timespec="seconds"),
        "complete": complete,
        "failed": dict(sorted(job.failed.items())),
        "levels": [
            {
                "grid": index.grid, "level": index.level, "metres": step.grids[index.grid].pixel_metres(index.level),
                "file": index.file, "blocks": len(index.blocks), "bytes": index.bytes,
            }
            for index in _indexes(folder)
            if index.grid in step.grids
        ],
    }  # fmt: skip
    _write_text(folder / MANIFEST, json.dumps(content, separators=(",", ":")))


def _indexes(folder: Path) -> list[Index]:
    found = []
    for path in folder.glob("*.json"):
        if path.name != MANIFEST:
            with suppress(FileNotFoundError, ReadError):
                found.append(Index.read(path))
    return sorted(found, key=lambda index: (index.grid, index.level))


# --------------------------------------------------------------------------------------------------- list and remove


@dataclass(frozen=True)
class Materialized:
    """The blocks of one node on disk."""

    node: str
    """Name of its folder: the hash of the node whose blocks it holds."""
    bytes: int
    """Space that it takes, with what an unfinished job put aside."""
    manifest: Mapping[str, Any] | None
    """What `materialize` wrote about it; None where that cannot be read."""
    indexes: tuple[Index, ...]
    problems: tuple[str, ...]
    """Files that are not as they were made."""

    @property
    def summary(self) -> str:
        """What was computed, and whether it is all there."""
        if self.manifest is None:
            return "its manifest cannot be read"
        steps, failed = self.manifest["steps"], self.manifest["failed"]
        state = "" if self.manifest["complete"] else ", unfinished"
        state += f", {len(failed)} scenes could not be read" if failed else ""
        return f"chain {_chain(self)[:12]}: {'… → ' if len(steps) > 4 else ''}{' → '.join(steps[-4:])}{state}"

    @property
    def details(self) -> list[str]:
        """A line for each grid, and for each problem."""
        grids: dict[str, list[Index]] = {}
        for index in self.indexes:
            grids.setdefault(index.grid, []).append(index)
        lines = [
            f"{grid}: {sum(len(i.blocks) for i in of)} blocks, levels {', '.join(str(i.level) for i in of)}"
            for grid, of in grids.items()
        ]
        return lines + [f"damaged, computed instead: {problem}" for problem in self.problems]


def kept() -> list[Materialized]:
    """All materialized blocks of this user, by node, the largest first."""
    root = disk.materialized_folder()
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    return sorted((_described(folder) for folder in folders), key=lambda p: (-p.bytes, p.node))


def _described(folder: Path) -> Materialized:
    problems = []
    indexes = _indexes(folder)
    for path in sorted(folder.glob("*.json")):
        if path.name not in {MANIFEST, *(Index.name(index.grid, index.level) for index in indexes)}:
            problems.append(f"{path.name} cannot be read")
    for index in indexes:
        try:
            disk.open_file(folder, index).close()
        except ReadError as error:
            problems.append(error.message)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Materialized(folder.name, size, _manifest(folder), tuple(indexes), tuple(problems))


def _manifest(folder: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() >= {"chain", "steps", "complete", "failed"} else None


def remove(name: str) -> Materialized:
    """Removes the materialized blocks whose node's (or chain's) hash begins with `name`.

    Raises
    ------
    NotFound
        There is none, or there are several.
    MusesError
        A job is making it.
    """
    found = [p for p in kept() if name and (p.node.startswith(name) or _chain(p).startswith(name))]
    if len(found) != 1:
        what = "no hash of materialized blocks begins" if not found else f"the hashes of {len(found)} of them begin"
        raise NotFound(f"{what} with {name!r}; `muses-lab materialized list` shows them")
    folder = disk.materialized_folder() / found[0].node
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise MusesError(f"the blocks of {found[0].node[:12]} are being made; cancel that job first") from None
    try:
        gone = folder.with_name(f".{folder.name}-{uuid4().hex[:8]}")
        folder.rename(gone)  # at once: nobody finds half of it
        shutil.rmtree(gone)
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
    return found[0]


def _chain(blocks: Materialized) -> str:
    return "" if blocks.manifest is None else str(blocks.manifest.get("chain", ""))

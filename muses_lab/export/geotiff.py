"""Cloud-optimised GeoTIFF: windows of blocks asked for ahead, written as they arrive, put in place at the end."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.shutil import copy
from rasterio.windows import Window as Pixels

from muses_lab import compute
from muses_lab.compute.admission import check_export
from muses_lab.compute.evaluate import Executor, WindowTicket, prepare, request_window
from muses_lab.engine import Resolved
from muses_lab.engine.plan import plan
from muses_lab.engine.program import Step
from muses_lab.errors import ExtentRequired, MusesError
from muses_lab.export.job import Job
from muses_lab.settings import number

if TYPE_CHECKING:
    from muses_lab.chain import Chain

PIECE = 512
"""Rows and columns of a piece of an export: a block of the file."""

_AHEAD = 256 << 20
"""Bytes of blocks that an export has asked for and not yet written."""

EXPORT_PRIORITY = 1e15
"""After everything that somebody looks at."""

PREFIX = "MUSES_"
"""Beginning of the names of the metadata that hold the chain's hash, document and scenes."""


def export(
    chain: Chain,
    path: str | os.PathLike[str],
    window: GeoBox | None = None,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> Job:
    """Writes a chain on a window as a Cloud-Optimised GeoTIFF; returns a `Job` at once.

    ```python
    chain.export("ndvi.tif", ml.Window.from_bounds((1.3, 43.5, 1.5, 43.7), crs="EPSG:32631", resolution=10)).wait()
    ```

    Values are the chain's own (float32, NaN where missing), never stretched for display; equal to the tiles of the
    same level, grid and resampling. Bands are in the order of `t`, then `bands`, with their labels as descriptions.
    The file appears when it is complete; the chain's document and its pinned scenes are in its metadata.

    Raises
    ------
    FileExistsError
        The file is there and `overwrite` is false.
    ExtentRequired
        No window was given.
    TooCostly
        The job's: the plan is above `MUSES_EXPORT_SECONDS`.
    """
    target = Path(path).expanduser().absolute()
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"{target.name!r} is not a GeoTIFF's name; it must end in .tif or .tiff")
    if window is None:
        raise ExtentRequired("an export needs a window: ml.Window.from_bounds(bounds, crs=…, resolution=…)")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is there already; give overwrite=True to replace it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist")
    chain._check_pinned()
    resolved = chain.resolved
    step = resolved.program.output
    labels = _labels(step)
    if not labels:
        raise MusesError("the chain has no date in its selection, so there is nothing to write")

    def work(job: Job) -> None:
        executor = compute.executor()
        check_export(plan(resolved.program, window))
        _remove_leftovers(target)
        with tempfile.TemporaryDirectory(prefix=f"{_mark(target)}{os.getpid()}-", dir=target.parent) as folder:
            plain = Path(folder, "pieces.tif")
            _write_pieces(job, executor, prepare(executor, resolved, EXPORT_PRIORITY), window, labels, plain)
            job.check()
            finished = Path(folder, target.name)
            copy(
                plain, finished, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=PIECE,
                OVERVIEW_RESAMPLING="NEAREST", BIGTIFF="IF_SAFER", NUM_THREADS="ALL_CPUS",
            )  # fmt: skip
            job.check()
            if target.exists() and not overwrite:
                raise FileExistsError(f"{target} was made by somebody else meanwhile; it is left as it is")
            os.replace(finished, target)

    return Job(target, work, progress)


def _mark(target: Path) -> str:
    """How the names of the temporary folders of exports from this machine to a file begin."""
    return f".{target.name}.{socket.gethostname()}."


def _remove_leftovers(target: Path) -> None:
    """Removes temporary folders of exports to this file whose process was killed."""
    mark = _mark(target)
    for folder in target.parent.iterdir():
        pid, _, rest = folder.name.removeprefix(mark).partition("-")
        if folder.name.startswith(mark) and rest and pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _labels(step: Step) -> list[str]:
    """Descriptions of the file's bands: date, band, or both."""
    dates = [str(t)[:19] + "Z" for t in step.times] if step.meta.time else [""]
    bands = step.meta.bands if step.meta.bands is not None else ("",)
    return [" ".join(filter(None, (date, band))) for date in dates for band in bands]


def _write_pieces(
    job: Job, executor: Executor, resolved: Resolved, window: GeoBox, labels: list[str], path: Path
) -> None:
    pieces = [
        Pixels(col, row, min(PIECE, window.shape.x - col), min(PIECE, window.shape.y - row))
        for row in range(0, window.shape.y, PIECE)
        for col in range(0, window.shape.x, PIECE)
    ]
    job.begin(len(pieces))
    profile: dict[str, Any] = {
        "driver": "GTiff", "height": window.shape.y, "width": window.shape.x, "count": len(labels),
        "dtype": "float32", "crs": str(window.crs), "transform": window.affine, "nodata": float("nan"),
        "tiled": True, "blockxsize": PIECE, "blockysize": PIECE, "bigtiff": "IF_SAFER", "interleave": "band",
    }  # fmt: skip
    ahead = max(1, min(8, _AHEAD // (4 * 4 * PIECE**2 * len(labels))))  # a piece may touch four blocks
    waiting: deque[tuple[Pixels, WindowTicket]] = deque()
    todo = deque(pieces)
    with rasterio.open(path, "w", **profile) as file:
        for index, label in enumerate(labels, 1):
            if label:
                file.set_band_description(index, label)
        file.update_tags(**_provenance(resolved))
        try:
            while todo or waiting:
                # A few pieces ahead keep the cluster busy while one is being written.
                while todo and len(waiting) < ahead:
                    piece = todo.popleft()
                    waiting.append((piece, request_window(executor, resolved, _part(window, piece), EXPORT_PRIORITY)))
                piece, ticket = waiting[0]
                found = _wait(job, ticket)
                values = found.values.reshape(len(labels), *found.values.shape[-2:]).astype(np.float32)
                file.write(values, window=piece)
                job.failed.update(found.report.failed)
                waiting.popleft()
                job.step()
        finally:
            for _, ticket in waiting:
                ticket.release()
        if job.failed:
            file.update_tags(**{f"{PREFIX}FAILED_SCENES": json.dumps(job.failed, sort_keys=True)})


def _wait(job: Job, ticket: WindowTicket):
    limit = number("MUSES_TASK_SECONDS", 900)
    waited = 0.0
    while not ticket.done.done() and waited < limit:
        job.check()
        try:
            ticket.done.result(0.25)
        except TimeoutError:
            waited += 0.25
    return ticket.result(0)


def _part(window: GeoBox, piece: Pixels) -> GeoBox:
    affine = window.affine @ Affine.translation(piece.col_off, piece.row_off)
    return GeoBox((int(piece.height), int(piece.width)), affine, window.crs)


def _provenance(resolved: Resolved) -> dict[str, str]:
    """What it takes to make the file again: the document, the pinned scenes, and their names."""
    from muses_lab import __version__

    scenes = {digest: scenes.to_json() for digest, scenes in resolved.scenes.items()}
    return {
        f"{PREFIX}CHAIN": resolved.chain_hash,
        f"{PREFIX}DOCUMENT": resolved.document.decode(),
        f"{PREFIX}SCENES": json.dumps(scenes, sort_keys=True),
        f"{PREFIX}RELEASE": __version__,
    }

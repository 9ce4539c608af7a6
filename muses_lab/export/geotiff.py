"""Cloud-optimised GeoTIFF: windows of blocks asked for ahead, written as they arrive, put in place at the end."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
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
from muses_lab.export.journal import Journal
from muses_lab.export.pieces import Pieces, workplace
from muses_lab.settings import number
from muses_lab.store import JobRecord, default_store, new_id
from muses_lab.window import to_json

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
    The file appears when it is complete; the chain's document and its pinned scenes are in its metadata. An export
    whose process was killed goes on where it was when it is started again, by `ml.jobs()` or by the same call.

    Raises
    ------
    FileExistsError
        The file is there and `overwrite` is false.
    ExtentRequired
        No window was given.
    TooCostly
        The job's: the plan is above `MUSES_EXPORT_SECONDS`.
    """
    return start(chain, Path(path).expanduser().absolute(), window, overwrite=overwrite, progress=progress)


def start(
    chain: Chain, target: Path, window: GeoBox | None, *, overwrite: bool, progress: bool, id: str | None = None
) -> Job:
    """An export, new or (`id`) one that was interrupted: its pieces that are there are not computed again."""
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
        with workplace(target, _key(resolved, window), job) as folder:
            pieces = Pieces(folder, window.shape, len(labels), PIECE)
            _write_pieces(job, executor, prepare(executor, resolved, EXPORT_PRIORITY), window, pieces)
            job.check()
            finished = folder / target.name
            copy(
                pieces.described(window, labels, _tags(resolved, job)), finished, driver="COG", COMPRESS="DEFLATE",
                PREDICTOR="YES", BLOCKSIZE=PIECE, OVERVIEW_RESAMPLING="NEAREST", BIGTIFF="IF_SAFER",
                NUM_THREADS="ALL_CPUS",
            )  # fmt: skip
            job.check()
            if target.exists() and not overwrite:
                raise FileExistsError(f"{target} was made by somebody else meanwhile; it is left as it is")
            os.replace(finished, target)

    options = {"window": to_json(window), "overwrite": overwrite, "scenes": sorted(resolved.scenes)}
    record = JobRecord(
        id or new_id(), "export", target.name, str(target), chain.publish(), options,
        pixels=window.shape.x * window.shape.y * len(labels),
    )  # fmt: skip
    return Job(target, work, Journal(record, default_store()), progress)


def _key(resolved: Resolved, window: GeoBox) -> str:
    """Names what an export to a file computes: pieces that are there are only used for the same."""
    from muses_lab import __version__

    text = f"{resolved.chain_hash} {to_json(window)} {__version__}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _labels(step: Step) -> list[str]:
    """Descriptions of the file's bands: date, band, or both."""
    dates = [str(t)[:19] + "Z" for t in step.times] if step.meta.time else [""]
    bands = step.meta.bands if step.meta.bands is not None else ("",)
    return [" ".join(filter(None, (date, band))) for date in dates for band in bands]


def _write_pieces(job: Job, executor: Executor, resolved: Resolved, window: GeoBox, pieces: Pieces) -> None:
    job.begin(len(pieces.all), done=len(pieces.all) - len(pieces.missing))
    ahead = max(1, min(8, _AHEAD // (4 * 4 * PIECE**2 * pieces.layers)))  # a piece may touch four blocks
    waiting: deque[tuple[Pixels, WindowTicket]] = deque()
    todo = deque(pieces.missing)
    try:
        while todo or waiting:
            # A few pieces ahead keep the cluster busy while one is being written.
            while todo and len(waiting) < ahead:
                piece = todo.popleft()
                waiting.append((piece, request_window(executor, resolved, _part(window, piece), EXPORT_PRIORITY)))
            piece, ticket = waiting[0]
            found = _wait(job, ticket)
            values = found.values.reshape(pieces.layers, *found.values.shape[-2:]).astype(np.float32)
            job.failed.update(found.report.failed)
            pieces.put(piece, values, final=not found.report.failed)
            waiting.popleft()
            job.step()
    finally:
        for _, ticket in waiting:
            ticket.release()


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


def _tags(resolved: Resolved, job: Job) -> dict[str, str]:
    """What it takes to make the file again: the document, the pinned scenes, and their names; and what is missing."""
    from muses_lab import __version__

    scenes = {digest: scenes.to_json() for digest, scenes in resolved.scenes.items()}
    return {
        f"{PREFIX}CHAIN": resolved.chain_hash,
        f"{PREFIX}DOCUMENT": resolved.document.decode(),
        f"{PREFIX}SCENES": json.dumps(scenes, sort_keys=True),
        f"{PREFIX}RELEASE": __version__,
        **({f"{PREFIX}FAILED_SCENES": json.dumps(job.failed, sort_keys=True)} if job.failed else {}),
    }

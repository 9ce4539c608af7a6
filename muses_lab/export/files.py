"""Files of exports, whatever their format: blocks asked for ahead, kept as they arrive, put in place at the end."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.windows import Window as Pixels

from muses_lab import compute, plain
from muses_lab.compute.admission import check_export
from muses_lab.compute.wholes import prepare
from muses_lab.compute.windows import Executor, WindowTicket, request_window
from muses_lab.engine import Published
from muses_lab.engine.cost import plan
from muses_lab.engine.coverage import nowhere
from muses_lab.engine.mosaic import reaches
from muses_lab.errors import ArgumentError, ExtentRequired, MusesError, NotFound
from muses_lab.export.formats import Writer, writer_of
from muses_lab.export.job import Job
from muses_lab.export.journal import Journal
from muses_lab.export.metadata import PREFIX, Metadata, labels_of
from muses_lab.export.pieces import FINISHED, SIZE, Pieces, to_disk, workplace
from muses_lab.publish.documents import check_extents, keep_for_job
from muses_lab.raster.window import checked, to_json
from muses_lab.settings import number
from muses_lab.store import JobRecord, default_store, new_id
from muses_lab.style import Style

_AHEAD = 256 << 20
"""Bytes of blocks that an export has asked for and not yet written."""

TRIES = 3
"""How often an export is put together whose pieces do not come back from the disk as they were computed."""

LONGEST_NAME = 255
"""Bytes of a file's name, as file systems have them."""

EXPORT_PRIORITY = 1e15
"""After everything that somebody looks at."""


def export(
    published: Published,
    path: str | os.PathLike[str],
    window: GeoBox | None = None,
    *,
    format: str | None = None,
    style: Style | None = None,
    title: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Job:
    """Writes a chain on a window as a file; returns a `Job` at once.

    ```python
    chain.export("ndvi.tif", ml.Window.from_bounds((1.3, 43.5, 1.5, 43.7), crs="EPSG:32631", resolution=10)).wait()
    ```

    The name's ending says which format it is: `.tif` Cloud-Optimised GeoTIFF, `.nc` NetCDF by the CF conventions (a
    variable for each band, over `t` and the window's coordinates), or what an installed package adds; `format` chooses
    where several have that ending. Values are the chain's own (float32, or float64 as of `compute`; NaN where
    missing), never stretched for display; equal to the tiles of the same level, grid and resampling. Bands of a
    GeoTIFF are in the order of `t`, then `bands`, with their labels as descriptions; one without has the title's. Tags
    say title, dates (`TIFFTAG_DATETIME` where all scenes are of one) and history.

    A `style` brings its unit, label and colours: in a file `.qml` beside a GeoTIFF, which QGIS loads with it, and as
    red, green and blue where it shows three bands in the file's order. Where it has classes, all whole numbers from 0
    to 254, and the values are nothing else, the file has bytes (255: missing) and a colour table. A style file that
    was saved from QGIS is left as it is.

    The file appears when it is complete and was read back and compared with what was computed; the chain's document,
    its pinned scenes, the window and a checksum are in its metadata. An export whose process was killed goes on where
    it was when it is started again, by `ml.jobs()` or by the same call. Where a script ends without having waited, the
    export is finished before the process ends; a notebook's kernel ends at once, and leaves it to be resumed.

    Raises
    ------
    ArgumentError
        No format has names that end so, or the named one has not; the message lists the formats.
    FileExistsError
        The file is there and `overwrite` is false.
    ExtentRequired
        No window was given.
    WindowError
        The window makes no sense, see `ml.Window.from_bounds`, or the format cannot hold a raster on it.
    NotFound
        No scene touches the window. (The job's, where they touch it on none of the chain's dates.)
    BandError
        The style shows a band that the chain has not.
    TooCostly
        The job's: the plan is above `MUSES_EXPORT_SECONDS`.
    MusesError
        The job's: the disk did not give back what was written to it, or is full.
    """
    target = plain.path("path", path, "ndvi.tif").absolute()
    if style is not None and not isinstance(style, Style):
        raise ArgumentError(
            f"style={plain.shown(style)} is no style: chain.style(cmap=…).export(…) brings one", argument="style"
        )
    if title is not None and not isinstance(title, str):
        raise ArgumentError(f"title={plain.shown(title)} is not a text", argument="title")
    return start(
        published, target, window, format=format, style=style, title=title, overwrite=overwrite, progress=progress
    )


def start(
    published: Published, target: Path, window: GeoBox | None, *, format: str | None = None,
    style: Style | None = None, title: str | None = None, overwrite: bool, progress: bool, id: str | None = None,
) -> Job:  # fmt: skip
    """An export, new or (`id`) one that was interrupted: its pieces that are there are not computed again."""
    writer = writer_of(target, format)
    _check_name(target)
    if window is None:
        raise ExtentRequired("an export needs a window: ml.Window.from_bounds(bounds, crs=…, resolution=…)")
    window = checked(window)
    writer.check(window)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is there already; give overwrite=True to replace it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist")
    check_extents(published.root)
    step = published.prepared.output
    labels = labels_of(step)
    if not labels:
        raise MusesError("the chain has no date in its selection, so there is nothing to write")

    if not reaches(published.prepared, window):
        raise NotFound(nowhere(published.prepared, window))
    facts = Metadata.of(style, title, labels, step, target, writer.has_style)

    def work(job: Job) -> None:
        executor = compute.executor()
        planned = plan(published.prepared, window)
        if not planned.scenes:
            raise NotFound(nowhere(published.prepared, window))
        check_export(planned)
        with workplace(target, _key(published, window), job) as folder:
            pieces = Pieces(folder, window, len(labels), SIZE, published.prepared.dtype, facts.is_rgb)
            prepared = prepare(executor, published, EXPORT_PRIORITY)
            job.begin(len(pieces.all), done=len(pieces.all) - len(pieces.missing))
            finished = folder / FINISHED
            differing: list[Pixels] = []
            for _ in range(TRIES):
                _write_pieces(job, executor, prepared, window, pieces)
                job.check()
                tags = facts.tags(planned.dates, published) | _tags(published, window, pieces, job)
                differing = _put_together(job, writer, pieces, facts, tags, finished)
                if not differing:
                    break
                job.again(pieces.forget_damaged())
                job.at("computing")
            else:
                raise _faulty(target, differing)
            job.check()
            if target.exists() and not overwrite:
                raise FileExistsError(f"{target} was made by somebody else meanwhile; it is left as it is")
            with facts.put_beside(target, folder) if writer.has_style else nullcontext():
                os.replace(finished, target)

    options = {
        "window": to_json(window), "overwrite": overwrite, "format": writer.name,
        **facts.to_json(),
    }  # fmt: skip
    record = JobRecord(
        id or new_id(), "export", target.name, str(target), keep_for_job(published, default_store()), options,
        pixels=window.shape.x * window.shape.y * len(labels),
    )  # fmt: skip
    return Job(target, work, Journal(record, default_store()), progress)


def _check_name(target: Path) -> None:
    """Refuses a path that cannot be a file's name, or that the store could not keep."""
    try:
        size = len(target.name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{target.name!r} is no text in UTF-8; give the file another name") from None
    if size > LONGEST_NAME:
        raise ValueError(f"the file's name {target.name[:40]!r}… has {size} bytes; it may have {LONGEST_NAME}")
    if not target.name.isprintable():
        raise ValueError(f"the file's name {target.name!r} has characters that cannot be shown; leave them out")


def _key(published: Published, window: GeoBox) -> str:
    """Name of what an export computes: pieces on disk are used again only for the same name."""
    from muses_lab import __version__

    text = f"{published.chain_hash} {to_json(window)} {__version__}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_pieces(job: Job, executor: Executor, published: Published, window: GeoBox, pieces: Pieces) -> None:
    ahead = max(1, min(8, _AHEAD // (4 * pieces.dtype.itemsize * SIZE**2 * pieces.layers)))
    waiting: deque[tuple[Pixels, WindowTicket]] = deque()
    todo = deque(pieces.missing)
    try:
        while todo or waiting:
            # A few pieces ahead keep the cluster busy while one is being written.
            while todo and len(waiting) < ahead:
                piece = todo.popleft()
                waiting.append((piece, request_window(executor, published, _part(window, piece), EXPORT_PRIORITY)))
            piece, ticket = waiting[0]
            found = _wait(job, ticket)
            job.failed.update(found.report.failed)
            pieces.put(
                piece, found.values.reshape(pieces.layers, *found.values.shape[-2:]), final=not found.report.failed
            )
            waiting.popleft()
            job.step()
    finally:
        for _, ticket in waiting:
            ticket.release()


def _wait(job: Job, ticket: WindowTicket):
    limit = number("MUSES_TASK_SECONDS")
    waited = 0.0
    while not ticket.done.done() and waited < limit:
        job.check()
        try:
            ticket.done.result(0.25)
        except TimeoutError:
            waited += 0.25
    return ticket.result(0)


def _put_together(
    job: Job, writer: Writer, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], finished: Path
) -> list[Pixels]:
    """Writes the pieces as one file, and returns those that are not in it as they were computed."""
    job.at("writing")
    try:
        writer.write(pieces, facts, tags, finished, job)
    except (RasterioError, OSError) as error:
        if damaged := pieces.damaged():
            return damaged
        why = str(error).partition("\n")[0]
        raise MusesError(f"{job.name} could not be put together ({why}); see whether its disk is full") from error
    job.check()
    to_disk(finished)
    return writer.differing(pieces, finished, job)


def _faulty(target: Path, differing: Sequence[Pixels]) -> MusesError:
    rows, cols = differing[0].toranges()
    others = f", and {len(differing) - 1} other pieces," if len(differing) > 1 else ""
    return MusesError(
        f"{target.name} is not written: rows {rows[0]} to {rows[1] - 1}, columns {cols[0]} to {cols[1] - 1}{others} "
        f"did not come back from the disk as they were computed, {TRIES} times. Check the disk of {target.parent} and "
        "whether another program writes there, or export to another disk"
    )


def _part(window: GeoBox, piece: Pixels) -> GeoBox:
    affine = window.affine @ Affine.translation(piece.col_off, piece.row_off)
    return GeoBox((int(piece.height), int(piece.width)), affine, window.crs)


def _tags(published: Published, window: GeoBox, pieces: Pieces, job: Job) -> dict[str, str]:
    """What it takes to make and to check the file: document, pinned scenes, window, checksum; and what is missing."""
    from muses_lab import __version__

    scenes = {digest: scenes.to_json() for digest, scenes in published.scenes.items()}
    return {
        f"{PREFIX}CHAIN": published.chain_hash,
        f"{PREFIX}DOCUMENT": published.document.decode(),
        f"{PREFIX}SCENES": json.dumps(scenes, sort_keys=True),
        f"{PREFIX}WINDOW": json.dumps(to_json(window)),
        f"{PREFIX}CRC32": pieces.checksum,
        f"{PREFIX}RELEASE": __version__,
        **({f"{PREFIX}FAILED_SCENES": json.dumps(job.failed, sort_keys=True)} if job.failed else {}),
        **({f"{PREFIX}PROBLEMS": json.dumps(published.left_out)} if published.left_out else {}),
    }

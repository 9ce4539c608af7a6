"""Files of exports, whatever their format: blocks asked for ahead, kept as they arrive, put in place at the end."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from muses_lab.export import provenance
from muses_lab.export.formats import Writer, options_of, writer_of
from muses_lab.export.job import Job
from muses_lab.export.journal import Journal
from muses_lab.export.metadata import Metadata, labels_of, put_beside
from muses_lab.export.pieces import FINISHED, SIZE, Pieces, remove, replace, to_disk, workplace
from muses_lab.publish.documents import check_extents, keep_for_job
from muses_lab.raster.gdal import environment
from muses_lab.raster.window import checked, to_json
from muses_lab.resources import rates
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
    asked: str | None = None,
    kind: type[Job] = Job,
    **options: Any,
) -> Job:
    """Writes a chain on a window as a file; returns a `Job` at once.

    ```python
    chain.export("ndvi.tif", ml.Window.from_bounds((1.3, 43.5, 1.5, 43.7), crs="EPSG:32631", resolution=10)).wait()
    ```

    The name's ending says which format it is: `.tif` Cloud-Optimised GeoTIFF; `.nc` NetCDF and `.zarr` Zarr by the CF
    conventions (a variable for each band, over `t` and the window's coordinates); `.gpkg` polygons of classes; of a
    layer `.png` its picture, `.gif`, `.mp4` and `.webm` its dates as an animation; or what an installed package adds.
    `format` chooses where several have that ending, and `options` are those of the format, as the page on formats
    lists them (`decoration=False` of a picture, `fps=4` of an animation, `values=[1]` of polygons).

    Values are the chain's own (float32, or float64 as of `compute`; NaN where missing), never stretched for display;
    equal to the tiles of the same level, grid and resampling. Bands of a GeoTIFF are in the order of `t`, then `bands`,
    with their labels as descriptions; one without has the title's. Tags say title, dates (`TIFFTAG_DATETIME` where all
    scenes are of one) and history.

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
        published, target, window, format=format, style=style, title=title, asked=asked, overwrite=overwrite,
        progress=progress, options=options, kind=kind,
    )  # fmt: skip


def start(
    published: Published, target: Path, window: GeoBox | None, *, format: str | None = None,
    style: Style | None = None, title: str | None = None, asked: str | None = None, overwrite: bool, progress: bool,
    id: str | None = None, options: Mapping[str, Any] | None = None, kind: type[Job] = Job,
) -> Job:  # fmt: skip
    """An export, new or (`id`) one that was interrupted: its pieces that are there are not computed again.

    `options` are those of the format, see `Writer.options`; `asked` is the document of the chain before its scenes were
    pinned, which people read more easily.
    """
    writer = writer_of(target, format)
    said = options_of(writer, options or {})
    if writer.draws and style is None:
        raise ArgumentError(
            f"{target.name!r} is a picture, for which the chain needs a style: chain.style(cmap=…).export(…)",
            argument="style",
        )
    _check_name(target)
    if window is None:
        raise ExtentRequired("an export needs a window: ml.Window.from_bounds(bounds, crs=…, resolution=…)")
    window = checked(window)
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
    facts = Metadata.of(style, title, labels, step, target, said)
    writer.check(target, window, facts)
    for path in writer.beside(target, window, facts):
        _check_name(path)
    asked = provenance.asked(asked, published)
    kept = {"format": writer.name, **facts.to_json(), **({"asked": asked} if asked else {})}
    made_by = {**kept, "title": facts.title}

    def work(job: Job) -> None:
        executor = compute.executor()
        planned = plan(published.prepared, window)
        if not planned.scenes:
            raise NotFound(nowhere(published.prepared, window))
        check_export(planned)
        with workplace(target, _key(published, window), job) as folder:
            pieces = Pieces(folder, window, len(labels), SIZE, published.prepared.dtype, facts.is_rgb)
            prepared = prepare(executor, published, EXPORT_PRIORITY)
            there = len(pieces.all) - len(pieces.missing)
            job.begin(len(pieces.all), there, last=pieces.bytes / rates.write_rate())
            finished = folder / f"{FINISHED}{target.suffix}"
            differing: list[Pixels] = []
            for _ in range(TRIES):
                _write_pieces(job, executor, prepared, window, pieces)
                job.check()
                history = provenance.texts(
                    published, window, planned, made_by, writer.packages, pieces.checksum, job.failed
                )
                tags = facts.tags(planned.dates, published) | history
                differing = _put_together(job, writer, pieces, facts, tags, finished)
                if not differing:
                    rates.record_write(pieces.bytes, job.seconds_of_last)
                    break
                job.again(pieces.forget_damaged())
                job.at("computing")
            else:
                raise _faulty(target, differing)
            job.check()
            if target.exists() and not overwrite:
                raise FileExistsError(f"{target} was made by somebody else meanwhile; it is left as it is")
            texts = {} if writer.holds_texts else {provenance.beside(target): provenance.as_text(history) + "\n"}
            with put_beside({**writer.beside(target, window, facts), **texts}, folder):
                replace(finished, target)

    record = JobRecord(
        id or new_id(), "export", target.name, str(target), keep_for_job(published, default_store()),
        {"window": to_json(window), "overwrite": overwrite, **kept},
        pixels=window.shape.x * window.shape.y * len(labels),
    )  # fmt: skip
    return kind(target, work, Journal(record, default_store()), progress)


def _check_name(target: Path) -> None:
    """Refuses a path that cannot be a file's name, or that the store could not keep."""
    try:
        size = len(target.name.encode())
    except UnicodeEncodeError:
        raise ArgumentError(f"{target.name!r} is no text in UTF-8; give the file another name") from None
    if size > LONGEST_NAME:
        raise ArgumentError(f"the file's name {target.name[:40]!r}… has {size} bytes; it may have {LONGEST_NAME}")
    if not target.name.isprintable():
        raise ArgumentError(f"the file's name {target.name!r} has characters that cannot be shown; leave them out")


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
            job.check()
            # A few pieces ahead keep the cluster busy while one is being written.
            while todo and len(waiting) < ahead:
                piece = todo.popleft()
                part = _part(window, piece)
                waiting.append((piece, request_window(executor, published, part, EXPORT_PRIORITY, once=True)))
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
    remove(finished)  # of an earlier try
    with environment():  # GDAL's own cache would take a twentieth of the machine's memory
        try:
            writer.write(pieces, facts, tags, finished, job)
        except (RasterioError, OSError) as error:
            if damaged := pieces.damaged():
                return damaged
            why = plain.first_line(error)
            raise MusesError(f"{job.name} could not be put together ({why}); see whether its disk is full") from error
        job.check()
        to_disk(finished)
        return writer.differing(pieces, facts, finished, job)


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

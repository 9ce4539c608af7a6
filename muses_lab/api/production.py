"""One chain over many areas and dates: each output an ordinary export, all of them in a ledger."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import shapely
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from shapely.geometry.base import BaseGeometry

from muses_lab import plain
from muses_lab.api.chain import Chain
from muses_lab.api.dated import of_dates
from muses_lab.api.layer import Layer
from muses_lab.api.ledger import Ledger, Output
from muses_lab.api.part import part
from muses_lab.api.vectors import Vectors, vectors
from muses_lab.crs import crs_name
from muses_lab.errors import (
    ArgumentError,
    ComputeError,
    ExtentRequired,
    MusesError,
    NotFound,
    PrivateChain,
    WindowError,
)
from muses_lab.export import Job
from muses_lab.export.formats import writer_of
from muses_lab.export.pieces import shortened, size_of
from muses_lab.progress import Progress
from muses_lab.raster.window import Window, to_json
from muses_lab.raster.window_checks import box_in
from muses_lab.store import default_store
from muses_lab.style import Style

_LONGEST = 100
"""Bytes of an area's name in a file's."""

_MOST = 100_000
"""Outputs of a production."""


class Area(NamedTuple):
    """Where an output lies."""

    name: str
    window: GeoBox | MusesError
    """Or why there is none."""
    outline: Vectors | None
    """Outside of which everything is missing; None: nothing is cut off."""


@dataclass(frozen=True)
class Production:
    """What has become of a production; shown as a table.

    ```python
    made = ml.produce(ndvi, "out", areas="parks.gpkg", dates=["2018-06", "2018-07"])
    made.table()                            # a row for each output
    made.failed                             # those that are not there, with the reason
    ```
    """

    folder: Path
    outputs: tuple[Output, ...]

    @property
    def done(self) -> tuple[Output, ...]:
        """Those that are written."""
        return tuple(one for one in self.outputs if one.state == "done")

    @property
    def failed(self) -> tuple[Output, ...]:
        """Those that could not be written: `why` says the reason."""
        return tuple(one for one in self.outputs if one.state == "failed")

    @property
    def left_out(self) -> tuple[Output, ...]:
        """Those for which there is nothing to write: no scene lies there on these dates."""
        return tuple(one for one in self.outputs if one.state == "left out")

    def table(self) -> pd.DataFrame:
        """A row for each output: area, dates, file, state, tries, scenes that were left out, bytes, seconds, why."""
        columns = ["area", "dates", "file", "state", "tries", "left_out", "bytes", "seconds", "why"]
        return pd.DataFrame([[getattr(one, name) for name in columns] for one in self.outputs], columns=columns)

    def __str__(self) -> str:
        counts = Counter(one.state for one in self.outputs)
        said = ", ".join(f"{count} {state}" for state, count in counts.items())
        return f"{self.table().to_string(index=False, max_colwidth=80)}\n{self.folder}: {said}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return cast(str, self.table().to_html(index=False, max_rows=60, border=0))


def produce(
    chain: Chain | Layer, folder: Any, areas: Any = None, *, tiles: str | float | None = None,
    dates: Sequence[Any] | str | None = None, name: str | None = None, suffix: str = ".tif", crs: Any = None,
    resolution: float | None = None, clip: bool = True, tries: int = 3, at_once: int = 2, progress: bool = True,
    **options: Any,
) -> Production:  # fmt: skip
    """Exports a chain over many areas or tiles, and many dates; returns what has become of each.

    ```python
    parks = ml.vectors("parks.gpkg")
    ml.produce(ndvi, "out", areas=parks, name="park", dates=["2018-06", "2018-07"])
    ml.produce(ndvi, "tiles", tiles="native")                       # a file for each grid: Sentinel-2's MGRS tiles
    ml.produce(ndvi, "tiles", areas="region.gpkg", tiles=20_000, crs="EPSG:32631", resolution=10)
    ```

    Each output is an export as `chain.export` makes it: whole or not at all, with its history inside. A ledger in the
    folder (`production.sqlite`) says what has become of each. The same call goes on where an earlier one ended, however
    it ended: what is done is left as it is, what was under way is finished to the same bytes, what failed is tried
    again. An area that fails does not stop the others; one without scenes is left out.

    Parameters
    ----------
    chain
        A chain, or a layer, whose style goes with the files.
    folder
        Where the files go; made if it is not there.
    areas
        Polygons, a file for each: what `ml.vectors` takes.
    tiles
        `"native"`: each grid of the chain's scenes, whole. A number: squares of that size, in units of `crs`, which
        cover the areas (or the scenes) and lie on the lattice through the origin of `crs`.
    dates
        Periods such as `"2018-06"` or (start, end), a file for each; by default the chain as it is.
    name
        Column of the areas that names them; by default their ids.
    suffix
        Which format the files have: `.tif`, `.nc`, …
    crs, resolution
        Grid of the outputs; by default those of the scenes. Squares need both.
    clip
        Whether what is outside of an area is missing.
    tries
        How often an output is tried whose failure may pass: a lost worker, a full disk.
    at_once
        Exports under way at a time.
    options
        Of `chain.export`: `title`, `style`, and those of the format.

    Raises
    ------
    ArgumentError
        Neither areas nor tiles are given, or what is given makes no sense.
    MusesError
        The folder holds another production, or another process is at work on it.
    """
    if isinstance(chain, Layer):
        chain, options = cast(Chain, chain.chain), {"style": chain.look, **options}
    place = plain.path("folder", folder, "out").absolute()
    found = list(_areas(chain, areas, tiles, name, crs, resolution, clip))
    periods = [None] if dates is None else [dates] if isinstance(dates, str) else list(dates)
    errors = [one.window for one in found if isinstance(one.window, MusesError)]
    if errors and len(errors) == len(found):
        raise errors[0]
    if not found or not periods:
        raise ArgumentError("there is nothing to produce: no area, or no dates", argument="areas")
    if len(found) * len(periods) > _MOST:
        count = f"{len(found)} areas on {len(periods)} dates"
        raise ArgumentError(f"{count} are more than the {_MOST} outputs of a production", argument="areas")
    writer_of(Path(f"a{suffix}"))
    outputs = _named(found, periods, suffix)
    place.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(place)
    with ledger.alone():
        ledger.begin(_about(chain, found, periods, suffix, options), outputs)
        work = _Work(chain, place, ledger, found, periods, plain.whole("tries", tries, 1), options)
        _run(work, plain.whole("at_once", at_once, 1), progress)
        return Production(place, tuple(ledger.outputs()))


# What is to be made


def _areas(
    chain: Chain, areas: Any, tiles: Any, name: str | None, crs: Any, resolution: float | None, clip: bool
) -> Iterator[Area]:
    outlines = None if areas is None else areas if isinstance(areas, Vectors) else vectors(areas)
    if outlines is None and tiles is None:
        raise ArgumentError("areas=… (polygons) or tiles=… say where the outputs lie", argument="areas")
    if tiles == "native":
        for id, grid in chain.published.prepared.output.grids.items():
            yield Area(id, grid.geobox(0, grid.rect(0)), None)
    elif tiles is not None:
        if crs is None or resolution is None:
            raise ArgumentError("tiles of a size need crs= and resolution=", argument="tiles")
        yield from _squares(chain, outlines, plain.number("tiles", tiles), crs_name(crs), resolution, clip)
    else:
        assert outlines is not None
        names = outlines.ids if name is None else outlines.column(name)
        for number, called in enumerate(names):
            one = outlines.chosen([at == number for at in range(len(outlines))])
            try:
                box: GeoBox | MusesError = part(chain, one, crs=crs, resolution=resolution, clip=False).window
            except (WindowError, ProjError) as error:  # this one has no place there, others have
                box = error if isinstance(error, MusesError) else WindowError(f"it has no place there: {error}")
            yield Area(str(called), box, one if clip else None)


def _squares(
    chain: Chain, outlines: Vectors | None, size: float, crs: str, resolution: float, clip: bool
) -> Iterator[Area]:
    """The squares of a lattice that touch the areas, or the scenes."""
    if size <= 0 or round(size / resolution) < 1 or abs(size / resolution - round(size / resolution)) > 1e-9:
        raise ArgumentError(f"tiles={size:g} is no multiple of the resolution {resolution:g}", argument="tiles")
    if outlines is not None:
        placed, odd = _placed(outlines, crs)
        yield from odd
        if not placed:
            return
        outlines = outlines.chosen(np.isin(np.arange(len(outlines)), list(placed)))
        there = list(placed.values())
    else:
        grids = chain.published.prepared.output.grids.values()
        there = [shapely.box(*box_in(grid.bounds(), grid.crs, crs)) for grid in grids]
    tree = shapely.STRtree(there)
    left, bottom, right, top = shapely.total_bounds(there)
    for row in range(int(bottom // size), int(top // size) + 1):
        for column in range(int(left // size), int(right // size) + 1):
            box = (column * size, row * size, (column + 1) * size, (row + 1) * size)
            square = shapely.box(*box)
            if not any(square.intersection(there[at]).area > 0 for at in tree.query(square, "intersects")):
                continue
            cut = outlines if clip else None
            yield Area(f"x{column}y{row}", Window.from_bounds(box, crs=crs, resolution=resolution, bounds_crs=crs), cut)


def _placed(outlines: Vectors, crs: str) -> tuple[dict[int, BaseGeometry], list[Area]]:
    """Shapes in a reference system by their number, and those that have no place there."""
    try:
        return dict(enumerate(outlines.reproject(crs).shapes)), []
    except ArgumentError:
        placed, odd = {}, []
    for number in range(len(outlines)):
        one = outlines.at(np.array([number]))
        try:
            placed[number] = one.reproject(crs).shapes[0]
        except ArgumentError as error:
            odd.append(Area(str(one.ids[0]), error, None))
    return placed, odd


def _named(areas: Sequence[Area], periods: Sequence[Any], suffix: str) -> list[Output]:
    """Each output with a file's name of its own, whatever the areas are called."""
    taken: set[str] = set()
    found: list[Output] = []
    for period in periods:
        for area in areas:
            stem = shortened(plain.slug(area.name, "area", _LONGEST, ascii=False), _LONGEST).rstrip("-_")
            stem += f"_{plain.slug(_text(period), 'dates')}" if period is not None else ""
            file, more = f"{stem}{suffix}", 2
            while file.lower() in taken:
                file, more = f"{stem}-{more}{suffix}", more + 1
            taken.add(file.lower())
            found.append(Output(len(found), file, area.name, _text(period)))
    return found


def _text(period: Any) -> str:
    if period is None or isinstance(period, str):
        return period or ""
    return " to ".join(str(part) for part in period)


def _about(
    chain: Chain, areas: Sequence[Area], periods: Sequence[Any], suffix: str, options: dict[str, Any]
) -> dict[str, str]:
    """What a production is, so that a folder is not filled with the files of two."""
    outlines = {id(one.outline): _digest(one.outline) for one in areas}  # squares share theirs
    said = [
        (one.name, None if isinstance(one.window, MusesError) else to_json(one.window), outlines[id(one.outline)])
        for one in areas
    ]
    return {
        "chain": chain.hash,
        "areas": hashlib.sha256(json.dumps(said).encode()).hexdigest(),
        "dates": json.dumps([_text(period) for period in periods]),
        "format": suffix,
        "options": json.dumps(plain.plain(options), sort_keys=True, default=_as_json),
    }


def _digest(outline: Vectors | None) -> str | None:
    if outline is None:
        return None
    known = hashlib.sha256(outline.crs.encode())
    for shape in shapely.to_wkb(outline.shapes):
        known.update(len(shape).to_bytes(8, "big") + shape)
    return known.hexdigest()


def _as_json(value: Any) -> Any:
    """An option that JSON has no word for."""
    return value.to_json() if isinstance(value, Style) else str(value)


# Making it


class _Work:
    """The exports of a production, in the order of its ledger."""

    def __init__(
        self, chain: Chain, folder: Path, ledger: Ledger, areas: Sequence[Area], periods: Sequence[Any], tries: int,
        options: dict[str, Any],
    ) -> None:  # fmt: skip
        self.folder, self.ledger, self.tries, self.options = folder, ledger, tries, options
        self.stopped = threading.Event()
        self._chain, self._areas, self._periods = chain, areas, periods
        self._of_dates: dict[str, Chain] = {}
        self._pinning = threading.Lock()
        self._jobs: set[Job] = set()

    @property
    def todo(self) -> list[Output]:
        """What is not there: what is said to be done and is gone is made again."""
        return [
            one for one in self.ledger.outputs()
            if not (one.state == "left out" or one.state == "done" and (self.folder / one.file).exists())
        ]  # fmt: skip

    def make(self, output: Output) -> None:
        """One output; what goes wrong is noted, and is no error here."""
        begun = monotonic()
        for number in range(1, self.tries + 1):
            if self.stopped.is_set():
                return
            self.ledger.note(output.number, state="running", tries=output.tries + number, why="")
            try:
                job = self._export(output)
            except Exception as error:  # whatever it is, the others go on
                if self.stopped.is_set():
                    return
                empty = isinstance(error, NotFound)
                self.ledger.note(output.number, state="left out" if empty else "failed", why=_why(error))
                if not _may_pass(error):
                    return
            else:
                size = size_of(self.folder / output.file)
                self.ledger.note(
                    output.number, state="done", job=job.id, left_out=len(job.failed), bytes=size,
                    seconds=round(monotonic() - begun, 2),
                )  # fmt: skip
                return

    def stop(self) -> None:
        """Ends what is under way so that it can go on later."""
        self.stopped.set()
        for job in list(self._jobs):
            job.leave()

    def _export(self, output: Output) -> Job:
        area = self._areas[output.number % len(self._areas)]
        if isinstance(area.window, MusesError):
            raise area.window
        chain = self._pinned(output)
        if area.outline is not None:
            chain = chain.mask_polygon(area.outline)
        job = chain.export(
            self.folder / output.file, area.window, overwrite=True, progress=False,
            **{"title": f"{output.area} {output.dates}".strip(), **self.options},
        )  # fmt: skip
        self._jobs.add(job)
        try:
            if self.stopped.is_set():
                job.leave()
            job.wait()
        finally:
            self._jobs.discard(job)
        return job

    def _pinned(self, output: Output) -> Chain:
        """The chain of the output's dates, with the scenes that it had when the first such output was begun."""
        with self._pinning:
            if output.dates not in self._of_dates:
                self._of_dates[output.dates] = self._pin(output)
            return self._of_dates[output.dates]

    def _pin(self, output: Output) -> Chain:
        period = self._periods[output.number // len(self._areas)]
        store = default_store()
        if (known := self.ledger.pinned(output.dates)) is not None:
            with suppress(NotFound):  # another home, or a store that was emptied: the scenes are searched again
                return Chain.from_json(store.document(known)).with_artefacts_of(store)
        chain = self._chain
        if period is not None:
            chain = of_dates(chain, *((period,) if isinstance(period, str) else tuple(period)))
        pinned = chain.resolve()
        with suppress(PrivateChain, ExtentRequired):  # what cannot be kept is made by running the notebook again
            self.ledger.pin(output.dates, pinned.publish(store))
        return pinned


def _why(error: Exception) -> str:
    """What an error says; of one that nobody foresaw, its kind too."""
    said = isinstance(error, MusesError | OSError | ValueError) and str(error)
    return (said or f"{type(error).__name__}: {error}")[:2000]


def _may_pass(error: Exception) -> bool:
    """Whether it may go well another time."""
    return isinstance(error, OSError | ComputeError) or (isinstance(error, MusesError) and error.http_status >= 500)


def _run(work: _Work, at_once: int, progress: bool) -> None:
    todo = work.todo
    with Progress(len(todo), "Produce", "output", shown=progress) as shown_, ThreadPoolExecutor(at_once) as pool:
        lock = threading.Lock()

        def make(output: Output) -> None:
            work.make(output)
            with lock:
                shown_.update(note=output.file)

        tasks = [pool.submit(make, output) for output in todo]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            for task in tasks:
                task.cancel()
            work.stop()
            raise


__all__ = ["Production", "produce"]

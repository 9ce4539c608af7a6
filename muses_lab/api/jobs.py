"""The user's jobs, as the store knows them: listed, and started again after a restart of kernel or server."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
from odc.geo.geobox import GeoBox

from muses_lab.api.chain import Chain
from muses_lab.api.collection import Collection
from muses_lab.api.layer import Layer
from muses_lab.api.own_files import open_file
from muses_lab.api.tabled import Tabled
from muses_lab.api.vectors import Vectors
from muses_lab.errors import MusesError, NotFound, Timeout
from muses_lab.export import Job, at_exit, files, journal, materialized, pieces
from muses_lab.export.formats import writer_of
from muses_lab.plain import Status, duration, whole
from muses_lab.publish import sharing
from muses_lab.raster import window as windows
from muses_lab.store import LIVE, WRITES_A_FILE, JobRecord, Store, default_store
from muses_lab.style import Style

_LOOK_SECONDS = 0.5
"""How often `wait` asks the store of a job that another process runs."""

_KNOWN_OPTIONS = {"window", "overwrite", "format", "title", "style", "asked", "options"}


@dataclass(frozen=True)
class KnownJob:
    """A job that was started now or at any time before.

    ```python
    ml.jobs()                   # the newest first
    ml.jobs()[0].resume().wait()
    ml.jobs()[0].cancel()       # also one that another notebook or script has started
    print(ml.jobs()[0].to_python())
    m.add(ml.jobs()[0].layer(), name="Result")
    ```
    """

    record: JobRecord
    store: Store

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def path(self) -> Path:
        return Path(self.record.target)

    @property
    def state(self) -> str:
        """`running`, `paused`, `done`, `failed`, `cancelled`, or `interrupted`: the process that ran it is gone.

        `cancelling`, `pausing`, `resuming`: that was asked of it, and its process has not heard of it yet.
        """
        if (here := at_exit.known(self.id)) is not None:
            return here.state
        return "interrupted" if journal.interrupted(self.record) else self.record.state

    @property
    def remaining(self) -> float | None:
        """Seconds that a job of this process will still take; None where nobody knows."""
        here = at_exit.known(self.id)
        return None if here is None else here.remaining

    @property
    def progress(self) -> float:
        """How much is done, from 0 to 1; of a job of another process, of its pieces."""
        if (here := at_exit.known(self.id)) is not None:
            return here.progress
        if self.state == "done":
            return 1.0
        return min(0.999, self.record.done / self.record.total) if self.record.total else 0.0

    @property
    def style(self) -> Style | None:
        """That with which it was exported."""
        style = self.record.options.get("style")
        return None if style is None else Style.from_json(style)

    # ------------------------------------------------------------------------------------------ while it goes on

    def cancel(self) -> None:
        """Stops the job, in whichever of the user's processes it runs; what an interrupted one has left is removed.

        A job of another process hears of it within some seconds.
        """
        here = at_exit.known(self.id)
        if here is not None and here.state in LIVE:
            here.cancel()
            return
        now = self._now()
        if now.state == "interrupted":
            if now.record.kind in WRITES_A_FILE:
                pieces.sweep(self.path)
            self.store.put_job(replace(now.record, state="cancelled"))
        elif now.state != "cancelling":
            now._wish("cancelling")

    def pause(self) -> None:
        """Stops asking for blocks until `resume`, in whichever of the user's processes the job runs."""
        here = at_exit.known(self.id)
        if here is not None:
            here.pause()
        elif (now := self._now()).state not in ("pausing", "paused"):
            now._wish("pausing")

    def resume(self, progress: bool = True) -> Job | KnownJob:
        """Goes on where the job was paused, interrupted, failed or was cancelled; returns it, running.

        What is there of an interrupted export, or of materialized blocks, is not computed again. A job that another
        process has paused goes on there.
        """
        here = at_exit.known(self.id)
        if here is not None and here.state == "paused":
            here.resume()
            return cast(Job, here)
        now = self._now()
        if now.state in ("paused", "pausing"):
            now._wish("resuming")
            return now._now()
        if now.state in LIVE:
            raise MusesError(f"{self.record.name} is running; it cannot be started twice")
        if now.state == "done":
            raise MusesError(f"{self.record.name} is done; {self.path} is where it went. run_again() does it once more")
        is_file = self.record.kind in WRITES_A_FILE
        overwrite = is_file and (self.record.options["overwrite"] or self._is_written())
        if is_file and self.path.exists() and not overwrite:
            raise FileExistsError(f"{self.path} is there, but not as this job makes it; move it away and resume again")
        return self._start(self.path, overwrite, progress, self.id)

    def retry(self, progress: bool = True) -> Job:
        """Does a job again that failed, or was cancelled; what it has left is used. `MusesError` of one that has not.

        A scene that could not be read is tried again, for the pieces of which it was left out.
        """
        if self.state not in ("failed", "cancelled", "interrupted"):
            raise MusesError(f"{self.record.name} is {self.state}; one that failed or was cancelled is tried again")
        return cast(Job, self.resume(progress))

    def run_again(self, path: Any = None, *, overwrite: bool = False, progress: bool = True) -> Job:
        """The same once more, as a new job: of the same scenes, window and style, to the same file or another one.

        ```python
        ml.jobs()[0].run_again("again.tif").wait()
        ml.jobs()[0].run_again(overwrite=True)
        ```
        """
        if self.state in LIVE:
            raise MusesError(f"{self.record.name} is {self.state}; it can be done again when it has ended")
        target = self.path if path is None else Path(path).expanduser().absolute()
        return self._start(target, overwrite, progress, None)

    def wait(self, timeout: float | None = None) -> Path:
        """The path of the file when it is written, also by another process; `MusesError` says why it is not."""
        if (here := at_exit.known(self.id)) is not None:
            return cast(Job, here).wait(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        while (now := self._now()).state in LIVE:
            if end is not None and time.monotonic() > end:
                raise Timeout(f"{self.record.name} is {now.state} after {timeout:g} s")
            time.sleep(_LOOK_SECONDS)
        if now.state != "done":
            why = f": {now.record.error}" if now.record.error else ""
            raise MusesError(f"{self.record.name} is {now.state}{why}")
        return self.path

    # ------------------------------------------------------------------------------------------------ its result

    def _check_is_made_again(self) -> None:
        """A table of more places or polygons than the store takes is not."""
        if self.record.kind == "table" and "area" not in self.record.options:
            raise MusesError(
                f"{self.record.name} is a table of more places or polygons than the store keeps: "
                f"ml.remake({self.path.name!r}) makes it again where it was written"
            )

    def chain(self) -> Chain:
        """The chain that it computes, with the scenes that it had when the job was started.

        `MusesError` where the chain was private: the store does not hold a notebook's own code.
        """
        try:
            document = self.store.document(self.record.chain)
        except NotFound:
            raise MusesError(
                f"the chain of {self.record.name} is not in the store: one with operators of a notebook is private, "
                "and is made by running that notebook again"
            ) from None
        return Chain.from_json(document).with_artefacts_of(self.store)

    def open(self) -> Chain | Vectors:
        """What the export wrote: a chain of a raster, vectors of a GeoPackage or a table; see `ml.open_file`.

        Of materialized blocks the chain itself. `ReadError` of what is neither, such as a picture.
        """
        if self.record.kind == "materialize":
            return self.chain()
        if self.record.kind == "table":
            reader = "read_parquet" if self.path.suffix.lower() == ".parquet" else "read_csv"
            raise MusesError(
                f"{self.record.name} is a table, which no map shows: pandas.{reader}({str(self.path)!r}) reads it"
            )
        if self.state != "done":
            raise MusesError(f"{self.record.name} is {self.state}, so there is nothing to open")
        opened = open_file(self.path)
        assert not isinstance(opened, Collection), "no export is a catalogue"
        return opened

    def layer(self) -> Layer | Vectors:
        """What the export wrote as a map shows it: a layer in the style with which it was exported, or vectors."""
        opened, style = self.open(), self.style
        if isinstance(opened, Vectors):
            return opened
        return opened.style() if style is None else Layer(opened, style)

    def to_python(self) -> str:
        """Python code that starts the same job: the chain, the window, the export.

        ```python
        print(job.to_python())
        # import muses_lab as ml
        #
        # chain = ml.collection('sample:sentinel-2-l2a').mask_clouds().ndvi().median('t')
        # window = ml.Window.from_bounds((…), crs='EPSG:32631', bounds_crs='EPSG:32631', resolution=10)
        # job = chain.export('/home/ada/ndvi.tif', window)
        ```

        The chain is the one that was written, so its collections are searched anew; `chain()` has the scenes of then.
        """
        self._check_is_made_again()
        record, options = self.record, self.record.options
        asked = options.get("asked")
        code = (Chain.from_json(asked) if asked else self.chain()).to_python("chain")
        if record.kind == "materialize":
            area = materialized.area_from_json(options["area"])
            given = ", ".join(filter(None, (
                "" if area is None else repr(area.to_crs("EPSG:4326").json),
                "" if options["levels"] is None else f"levels={options['levels']!r}",
            )))  # fmt: skip
            return f"{code}job = chain.materialize({given})\n"
        if record.kind == "table":
            table = Tabled.of_job(self.chain(), record, self.store)
            return code + table.to_python(record.target, options["overwrite"])
        window = windows.written(self.window)
        if not window.startswith("ml."):
            code = f"import affine\nimport odc.geo.geobox\n{code}"
        of = "chain" if self.style is None else f"chain.style({_styled(self.style)})"
        return f"{code}window = {window}\njob = {of}.export({_arguments(record)})\n"

    @property
    def window(self) -> GeoBox:
        """That of an export."""
        return windows.from_json(self.record.options["window"])

    def share(self, user: sharing.Names = None, group: sharing.Names = None, **options: Any) -> sharing.Link:
        """Lets other users of the hub make the same file; see `Chain.share`."""
        return journal.share(self.store, self.record, user, group, **options)

    def status(self) -> Status:
        """How far it is, and why it failed if it did; `print` gives JSON."""
        r, state, left = self.record, self.state, self.remaining
        return Status(
            kind="job", id=r.id, name=r.name, state=state, why=r.error if r.error and state == "failed" else None,
            progress=round(self.progress, 4), done=r.done, total=r.total,
            remaining=None if left is None else round(left), left_out=r.failed, path=r.target, chain=r.chain,
            bytes=r.bytes, started=None if r.created is None else r.created.isoformat(),
        )  # fmt: skip

    def __repr__(self) -> str:
        r = self.record
        error = f", {r.error}" if r.error and self.state == "failed" else ""
        return f"<{r.kind} {r.name}: {self.state}, {r.done} of {r.total} pieces{error}; {r.target}>"

    # ---------------------------------------------------------------------------------------------------- inside

    def _now(self) -> KnownJob:
        return KnownJob(self.store.job(self.id), self.store)

    def _wish(self, state: str) -> None:
        """Asks the job's process for something."""
        if self.state not in LIVE:
            verb = {"cancelling": "cancel", "pausing": "pause", "resuming": "resume"}[state]
            raise MusesError(f"{self.record.name} is {self.state}; there is nothing to {verb}")
        self.store.put_job(replace(self.record, state=state))

    def _is_written(self) -> bool:
        """Whether the file is there, whole, and this job's: the process ended between writing it and saying so."""
        if self.record.kind == "table":
            return False
        writer = writer_of(self.path, self.record.options["format"])
        return writer.is_written(self.path, self.record.chain, self.window)

    def _start(self, target: Path, overwrite: bool, progress: bool, id: str | None) -> Job:
        self._check_is_made_again()
        chain, options = self.chain(), self.record.options
        if self.record.kind == "table":
            if target.exists() and not overwrite:
                raise FileExistsError(f"{target} is there already; give overwrite=True to replace it")
            table = Tabled.of_job(chain, self.record, self.store)
            return table.start(target, overwrite, progress, id=id, kind=ChainJob)
        published = chain.published
        if self.record.kind == "materialize":
            area = materialized.area_from_json(options["area"])
            return materialized.start(published, area, options["levels"], progress=progress, id=id, kind=ChainJob)
        return files.start(
            published, target, self.window, format=options["format"], style=self.style, title=options["title"],
            asked=options.get("asked"), overwrite=overwrite, progress=progress, id=id, options=options["options"],
            kind=ChainJob,
        )  # fmt: skip


class ChainJob(Job):
    """A job of a chain, which can be done again, and of which the result is a chain."""

    @property
    def known(self) -> KnownJob:
        """The job as `ml.jobs()` has it."""
        return KnownJob(self.record, default_store())

    def retry(self, progress: bool = True) -> Job:
        """Does a job again that failed or was cancelled; see `KnownJob.retry`."""
        return self.known.retry(progress)

    def run_again(self, path: Any = None, *, overwrite: bool = False, progress: bool = True) -> Job:
        """The same once more, as a new job; see `KnownJob.run_again`."""
        return self.known.run_again(path, overwrite=overwrite, progress=progress)

    def open(self) -> Chain | Vectors:
        """What the export wrote; see `KnownJob.open`."""
        return self.known.open()

    def layer(self) -> Layer | Vectors:
        """What the export wrote, as a map shows it."""
        return self.known.layer()

    def to_python(self) -> str:
        """Python code that starts the same job; see `KnownJob.to_python`."""
        return self.known.to_python()


class Jobs(list[KnownJob]):
    """Jobs, the newest first; shown as a table."""

    def table(self) -> pd.DataFrame:
        """A row for each job: its name, state, how much is done, how long it will still take, when it began."""
        return pd.DataFrame([_row(one) for one in self], columns=_COLUMNS)

    def __repr__(self) -> str:
        if not self:
            return "no jobs yet: chain.export(path, window) starts one"
        return self.table().to_string(max_colwidth=60)

    def _repr_html_(self) -> str:
        if not self:
            return f"<p>{self!r}</p>"
        return cast(str, self.table().to_html(max_rows=60, border=0))


_COLUMNS = ["job", "file", "state", "done", "left", "started", "size", "note"]


def jobs(limit: int = 100) -> Jobs:
    """The user's exports and materializing jobs, newest first, also those of earlier kernels and servers.

    ```python
    ml.jobs()                               # a table
    ml.jobs()[0].resume().wait()
    [job for job in ml.jobs() if job.state == "failed"]
    ```
    """
    store = default_store()
    return Jobs(KnownJob(record, store) for record in store.jobs(whole("limit", limit, 1)))


def job(id: str) -> KnownJob:
    """The job of that name, or whose name begins so."""
    found = [known for known in jobs(1000) if id and known.id.startswith(id)]
    if len(found) != 1:
        raise MusesError(f"{'no job' if not found else f'{len(found)} jobs'} begin with {id!r}; ml.jobs() lists them")
    return found[0]


def _row(one: KnownJob) -> tuple[str, ...]:
    r, state, left = one.record, one.state, one.remaining
    note = r.error if state == "failed" else f"{r.failed} scenes left out" if r.failed else ""
    return (
        one.id[:8], r.name, state, f"{one.progress:.0%}", "" if left is None else duration(left),
        "" if r.created is None else f"{r.created.astimezone():%Y-%m-%d %H:%M}", _size(r.bytes), note,
    )  # fmt: skip


def _size(bytes: int) -> str:
    if not bytes:
        return ""
    return f"{bytes / 1e9:.1f} GB" if bytes >= 1e9 else f"{bytes / 1e6:.1f} MB"


def _styled(style: Style) -> str:
    said = {field.name: getattr(style, field.name) for field in fields(style)}
    changed = {field.name for field in fields(style) if said[field.name] != field.default}
    return ", ".join(f"{name}={said[name]!r}" for name in said if name in changed)


def _arguments(record: JobRecord) -> str:
    """Of `export`, as they are written."""
    options = record.options
    path = Path(record.target)
    given = dict(options.get("options") or {}) | {
        name: value for name, value in options.items() if name not in _KNOWN_OPTIONS
    }
    if options["title"] is not None:
        given["title"] = options["title"]
    if writer_of(path).name != options["format"]:
        given["format"] = options["format"]
    if options["overwrite"]:
        given["overwrite"] = True
    return ", ".join([repr(record.target), "window", *(f"{name}={value!r}" for name, value in given.items())])

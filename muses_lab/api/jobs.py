"""The user's jobs, as the store knows them: listed, and started again after a restart of kernel or server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from muses_lab.api.chain import Chain
from muses_lab.errors import MusesError
from muses_lab.export import Job, at_exit, files, journal, materialized, pieces
from muses_lab.export.formats import writer_of
from muses_lab.plain import Status, whole
from muses_lab.publish import sharing
from muses_lab.raster.window import from_json
from muses_lab.store import JobRecord, Store, default_store
from muses_lab.style import Style


@dataclass(frozen=True)
class KnownJob:
    """A job that was started now or at any time before.

    ```python
    ml.jobs()                   # the newest first
    ml.jobs()[0].resume().wait()
    ml.jobs()[0].cancel()       # also one that another notebook or script has started
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
        """`running`, `cancelling`, `done`, `failed`, `cancelled`, or `interrupted`: the process that ran it is gone."""
        if (here := at_exit.known(self.id)) is not None:
            return here.state
        return "interrupted" if journal.interrupted(self.record) else self.record.state

    def cancel(self) -> None:
        """Stops the job, in whichever of the user's processes it runs; what an interrupted one has left is removed.

        A job of another process hears of it within some seconds.
        """
        here = at_exit.known(self.id)
        if here is not None and here.state == "running":
            here.cancel()
            return
        now = KnownJob(self.store.job(self.id), self.store)
        if now.state == "running":
            self.store.put_job(replace(now.record, state="cancelling"))
        elif now.state == "interrupted":
            if now.record.kind == "export":
                pieces.sweep(self.path)
            self.store.put_job(replace(now.record, state="cancelled"))
        elif now.state != "cancelling":
            raise MusesError(f"{self.record.name} is {now.state}; there is nothing to cancel")

    def resume(self, progress: bool = True) -> Job:
        """Goes on where the job was interrupted, failed or was cancelled; returns it, running.

        What is there of an interrupted export, or of materialized blocks, is not computed again.
        """
        if self.state in ("running", "cancelling"):
            raise MusesError(f"{self.record.name} is running; it cannot be started twice")
        if self.record.state == "done":
            raise MusesError(f"{self.record.name} is done; {self.path} is where it went")
        chain = Chain.from_json(self.store.document(self.record.chain)).with_artefacts_of(self.store)
        options = self.record.options
        if self.record.kind == "materialize":
            area = materialized.area_from_json(options["area"])
            return materialized.start(chain.published, area, options["levels"], progress=progress, id=self.id)
        window = from_json(options["window"])
        overwrite = options["overwrite"] or self._is_written(window)
        if self.path.exists() and not overwrite:
            raise FileExistsError(f"{self.path} is there, but not as this job makes it; move it away and resume again")
        style = None if options["style"] is None else Style.from_json(options["style"])
        return files.start(
            chain.published, self.path, window, format=options["format"], style=style, title=options["title"],
            overwrite=overwrite, progress=progress, id=self.id,
        )  # fmt: skip

    def _is_written(self, window: GeoBox) -> bool:
        """Whether the file is there, whole, and this job's: the process ended between writing it and saying so."""
        writer = writer_of(self.path, self.record.options["format"])
        return writer.is_written(self.path, self.record.chain, window)

    def share(self, user: sharing.Names = None, group: sharing.Names = None, **options: Any) -> sharing.Link:
        """Lets other users of the hub make the same file; see `Chain.share`."""
        return journal.share(self.store, self.record, user, group, **options)

    def status(self) -> Status:
        """How far it is, and why it failed if it did; `print` gives JSON."""
        r, state = self.record, self.state
        return Status(
            kind="job", id=r.id, name=r.name, state=state, why=r.error if r.error and state == "failed" else None,
            done=r.done, total=r.total, left_out=r.failed, path=r.target, chain=r.chain,
        )  # fmt: skip

    def __repr__(self) -> str:
        r = self.record
        error = f", {r.error}" if r.error and self.state == "failed" else ""
        return f"<{r.kind} {r.name}: {self.state}, {r.done} of {r.total} pieces{error}; {r.target}>"


def jobs(limit: int = 100) -> list[KnownJob]:
    """The user's exports and materializing jobs, newest first, also those of earlier kernels and servers."""
    store = default_store()
    return [KnownJob(record, store) for record in store.jobs(whole("limit", limit, 1))]


def job(id: str) -> KnownJob:
    """The job of that name, or whose name begins so."""
    found = [known for known in jobs(1000) if id and known.id.startswith(id)]
    if len(found) != 1:
        raise MusesError(f"{'no job' if not found else f'{len(found)} jobs'} begin with {id!r}; ml.jobs() lists them")
    return found[0]

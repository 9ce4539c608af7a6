"""The user's jobs, as the store knows them: listed, and started again after a restart of kernel or server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioIOError

from muses_lab import sharing
from muses_lab.chain import Chain
from muses_lab.errors import MusesError
from muses_lab.export import Job, geotiff, journal, pyramid
from muses_lab.store import JobRecord, Store, default_store
from muses_lab.window import from_json


@dataclass(frozen=True)
class KnownJob:
    """A job that was started now or at any time before.

    ```python
    ml.jobs()                   # the newest first
    ml.jobs()[0].resume().wait()
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
        """`running`, `done`, `failed`, `cancelled`, or `interrupted`: the process that ran it is gone."""
        return "interrupted" if journal.interrupted(self.record) else self.record.state

    def resume(self, progress: bool = True) -> Job:
        """Goes on where the job was interrupted, failed or was cancelled; returns it, running.

        What is there of an interrupted export, or of a pyramid, is not computed again.
        """
        if self.state == "running":
            raise MusesError(f"{self.record.name} is running; it cannot be started twice")
        if self.record.state == "done":
            raise MusesError(f"{self.record.name} is done; {self.path} is where it went")
        chain = Chain.from_json(self.store.document(self.record.chain)).with_scenes_of(self.store)
        options = self.record.options
        if self.record.kind == "pyramid":
            area = pyramid.area_from_json(options["area"])
            return pyramid.start(chain, area, options["levels"], progress=progress, id=self.id)
        overwrite = options["overwrite"] or self._is_written()
        window = from_json(options["window"])
        return geotiff.start(chain, self.path, window, overwrite=overwrite, progress=progress, id=self.id)

    def _is_written(self) -> bool:
        """Whether the file is there, and of this chain: the process ended between writing it and saying so."""
        try:
            with rasterio.open(self.path) as file:
                return file.tags().get(f"{geotiff.PREFIX}CHAIN") == self.record.chain
        except RasterioIOError:
            return False

    def share(self, user: sharing.Names = None, group: sharing.Names = None, **options: Any) -> sharing.Link:
        """Lets other users of the hub make the same file; see `Chain.share`."""
        return journal.share(self.store, self.record, user, group, **options)

    def __repr__(self) -> str:
        r = self.record
        error = f", {r.error}" if r.error and self.state == "failed" else ""
        return f"<{r.kind} {r.name}: {self.state}, {r.done} of {r.total} pieces{error}; {r.target}>"


def jobs(limit: int = 100) -> list[KnownJob]:
    """The user's exports and pyramids, newest first, also those of earlier kernels and servers."""
    store = default_store()
    return [KnownJob(record, store) for record in store.jobs(limit)]


def job(id: str) -> KnownJob:
    """The job of that name, or whose name begins so."""
    found = [known for known in jobs(1000) if id and known.id.startswith(id)]
    if len(found) != 1:
        raise MusesError(f"{'no job' if not found else f'{len(found)} jobs'} begin with {id!r}; ml.jobs() lists them")
    return found[0]

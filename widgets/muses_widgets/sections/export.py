"""The export of what is seen: writes what is visible of a layer as a file, one at a time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from muses_lab.errors import NotFound
from muses_lab.export import Job
from muses_lab.plain import slug
from muses_widgets import view
from muses_widgets.sections import Section, SectionMap
from muses_widgets.service import served_folder

_LONGEST_SLUG = 60
"""Characters of a layer's name that go into a file's."""


class Export(Section):
    """Does what the export box asks for: {do: "export", layer, bounds, zoom} or {do: "cancel"}.

    It tells {state: idle | running | done | failed | cancelled, progress: 0..1, text}; of a file that is done also the
    job's id, the file's path, name and bytes, and its `place` in the folder that the Jupyter server shows (null: not in
    there). As `ExportState` in js/types.d.ts.
    """

    name = "export"

    def __init__(self, map: SectionMap) -> None:
        super().__init__(map)
        self._job: Job | None = None
        self.tell({"state": "idle"})

    def receive(self, message: dict[str, Any]) -> None:
        if message["do"] == "cancel":
            if self._job is not None:
                self._job.cancel()
        elif self._running:
            self.map.panel.show_problem("An export is under way; wait for it to finish, or cancel it.")
        else:
            try:
                self._start(message)
            except Exception as error:
                self._failed(error)

    @property
    def _running(self) -> bool:
        return self._job is not None and self._job.state == "running"

    def _start(self, message: dict[str, Any]) -> None:
        tiles = next((t for t in self.map.stack() if t.model_id == message["layer"]), None)
        if tiles is None:
            raise NotFound("that layer is no longer on the map")
        window = view.window(tuple(message["bounds"]), message["zoom"])
        path = _file_name(tiles.name, message["zoom"])
        self._job = tiles.layer.export(path, window, title=tiles.name, progress=False)
        self._progress(self._job)
        self._job.observe(self._follow)

    def _follow(self, job: Job) -> None:
        """Called in the job's own thread, after every piece and at the end."""
        if job.state == "running":
            self._progress(job)
        elif job.state == "cancelled":
            self.tell({"state": "cancelled", "text": f"Cancelled: {job.path.name} was not written"})
        elif job.error is not None:
            self._failed(job.error)
        else:
            self.tell({"state": "done", **_written(job)})

    def _progress(self, job: Job) -> None:
        self.tell({"state": "running", "progress": job.progress, "text": f"Writing {job.path.name}…"})

    def _failed(self, error: BaseException) -> None:
        self.tell({"state": "failed", "text": f"Export failed: {str(error) or type(error).__name__}"})


SECTION = Export


def _file_name(layer: str, zoom: float) -> Path:
    name = slug(layer, "layer", _LONGEST_SLUG, ascii=False).lower()
    return Path(f"{name}-z{round(zoom)}-{time.strftime('%Y%m%d-%H%M%S')}.tif")


def _written(job: Job) -> dict[str, Any]:
    left_out = f"{len(job.failed)} scene(s) could not be read and were left out" if job.failed else ""
    return {
        "id": job.id,
        "text": left_out,
        "path": str(job.path),
        "name": job.path.name,
        "bytes": job.path.stat().st_size,
        "place": _place(job.path),
    }


def _place(path: Path) -> str | None:
    """Where the page's Jupyter server serves the file, below its folder; None where it does not."""
    folder = served_folder()
    if folder is None or not path.resolve().is_relative_to(folder):
        return None
    place = path.resolve().relative_to(folder)
    hidden = any(part.startswith(".") for part in place.parts)
    return None if hidden else place.as_posix()

"""The user's jobs on the map's panel: what needs a kernel of it. The page asks the service for the list itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from muses_lab.api.jobs import KnownJob, job
from muses_lab.plain import first_line
from muses_widgets.sections import Section


class Jobs(Section):
    """{do: "retry" | "again" | "open" | "python", id}: tells {id, do, text}, where text is what became of it, or the
    code; `failed` where it could not be done."""

    name = "jobs"

    def receive(self, message: dict[str, Any]) -> None:
        told = {"id": message["id"], "do": message["do"], "failed": False}
        try:
            told["text"] = _DOES[message["do"]](self, job(message["id"]))
        except Exception as error:
            told |= {"text": first_line(error), "failed": True}
        self.tell(told)

    def open(self, known: KnownJob) -> str:
        """The result as a layer of the map."""
        self.map.add(known.layer(), name=known.record.name)
        return f"{known.record.name} is a layer now"


def _retry(_: Jobs, known: KnownJob) -> str:
    known.retry(progress=False)
    return f"{known.record.name} goes on"


def _again(_: Jobs, known: KnownJob) -> str:
    path = _free(known)
    known.run_again(path, progress=False)
    return f"{path.name} is being written"


def _free(known: KnownJob) -> Any:
    """A name beside the first result's that nobody has."""
    path = known.path
    numbers = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in range(2, 10_000))
    return next(one for one in numbers if not one.exists())


_DOES: dict[str, Callable[[Jobs, KnownJob], str]] = {
    "retry": _retry, "again": _again, "open": Jobs.open, "python": lambda _, known: known.to_python(),
}  # fmt: skip

SECTION = Jobs

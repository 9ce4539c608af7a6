"""The card of a course: objectives, how far one has come, the trainer's notes, the way back for each notebook."""

from __future__ import annotations

from typing import Any

import traitlets as t

from muses_lab.errors import MusesError
from muses_lab.exercises.participant import Course
from muses_lab.plain import Status
from muses_widgets.modules import JS, joined
from muses_widgets.threads import Told


class CourseCard(Told):
    """What `ml.course()` is displayed as.

    >>> course = ml.course()
    >>> course

    It follows what is answered, in this notebook and in others; the Jupyter server tells it, so it goes on without a
    kernel. A notebook is given back as it was published by **Start again**; answers and points stay.
    """

    _esm = joined(JS / "course/card.js")
    _css = "\n".join((JS / name).read_text("utf-8") for name in ("panel.css", "course/course.css"))

    # As `CardTraits` in js/types.d.ts.
    about: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """As `Course.status` tells it; the page asks its server for what is newer."""
    own_id = t.Unicode().tag(sync=True)

    def __init__(self, course: Course) -> None:
        self._course = course
        super().__init__(about=course.status())
        self.own_id = self.model_id or ""
        self.on_msg(self._receive)
        course.watch(self.refresh)

    def refresh(self) -> None:
        """Takes over what was answered meanwhile, by whichever kernel."""
        self.about = self._course.status()

    def status(self) -> Status:
        """What it shows; `print` gives JSON."""
        return Status(kind="course", state="ok", **self.about)

    def __repr__(self) -> str:
        return repr(self._course)

    def _receive(self, _: Any, message: dict[str, Any], __: Any) -> None:
        if message.get("do") != "reset":
            return
        try:
            self.send({"kind": "reset", "text": self._course.reset(message["notebook"]), "asked": message["asked"]})
        except (MusesError, OSError) as error:  # no cell is there in which it could appear
            self.send({"kind": "reset", "failed": str(error), "asked": message["asked"]})

"""courses/<id>/…: how far the user has come in a course: for cards and quizzes, also when no kernel is there."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from muses_lab.courses import places
from muses_lab.courses.description import FILE, ChoiceExercise, CourseError
from muses_lab.errors import NotFound
from muses_lab.service.failures import BadRequest
from muses_lab.service.handler import ServiceHandler, answer

if TYPE_CHECKING:
    from muses_lab.exercises.participant import Course


class MyCourseHandler(ServiceHandler):
    """GET: what the card shows, see `Course.status`, with the trainer's notes and the notebooks' places here."""

    _track_activity = False  # an open card that asks every few seconds is nobody at work

    @answer
    async def get(self, id: str) -> None:
        found = await self.service.pools.records.run(_status, id)
        root = Path(self.settings.get("server_root_dir", "")).expanduser().resolve()
        for notebook in found["notebooks"]:
            notebook["path"] = _below(root, Path(found["folder"]) / notebook["file"])
        del found["folder"]  # paths of this machine are for kernels
        self.send_json({**found, "notes": self.service.notes.of(id)})


class CourseResetHandler(ServiceHandler):
    """POST: gives back a notebook as it was published; what the user changed stays beside it."""

    auth_resource = "contents"
    """Where a server's authorizer lets others look only: this writes files."""

    @answer
    async def post(self, id: str, notebook: str) -> None:
        self.send_json(await self.service.pools.records.run(_reset, id, notebook))


class CourseAnswersHandler(ServiceHandler):
    """POST {"exercise": id, "chosen": [0, 2]}: an answer to a question of a quiz, looked at and kept."""

    auth_resource = "contents"

    @answer
    async def post(self, id: str) -> None:
        body = self.json_body()
        body = body if isinstance(body, dict) else {}
        exercise, chosen = body.get("exercise"), body.get("chosen")
        numbers = isinstance(chosen, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in chosen)
        if not isinstance(exercise, str) or not numbers:
            said = 'the body is {"exercise": its id, "chosen": places of choices from 0}'
            raise BadRequest(said, argument="exercise")
        self.send_json(await self.service.pools.records.run(_answer, id, exercise, chosen))


# In threads: what looks at answers is imported when somebody first asks.


def _status(id: str) -> dict[str, Any]:
    course = _course(id)
    return course.status() | {"folder": str(course.copy.folder)}


def _reset(id: str, notebook: str) -> dict[str, Any]:
    return {"text": _course(id).reset(notebook)}


def _answer(id: str, exercise: str, chosen: list[int]) -> dict[str, Any]:
    from muses_lab.exercises import quiz

    asked = _course(id).exercise(exercise)
    if not isinstance(asked.exercise, ChoiceExercise):
        raise BadRequest(f"the exercise {exercise!r} is no question of a quiz: its answer needs a kernel")
    return quiz.check(asked, chosen)


def _course(id: str) -> Course:
    try:
        copy = places.copy_of(id)
        stamp = (copy.published / FILE).stat()
    except (CourseError, OSError) as error:
        raise NotFound(str(error)) from None
    return _read(str(copy.folder), stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=16)
def _read(folder: str, changed: int, size: int) -> Course:
    """A course as it is described now: cards ask every few seconds."""
    from muses_lab.courses.copies import find_copy
    from muses_lab.exercises.participant import Course

    return Course(find_copy(Path(folder)))


def _below(root: Path, file: Path) -> str | None:
    """A file's place for JupyterLab's addresses, quoted; None where the server does not show it."""
    try:
        return quote(file.resolve().relative_to(root).as_posix())
    except ValueError:
        return None

"""Courses, as users' servers and scripts ask for them below `api/`: published, taken away, answered, told about."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO

from muses_lab.courses import archive, folder
from muses_lab.courses.folder import Published
from muses_lab.errors import AccessDenied, MusesError
from muses_lab.hub.api import PART, Api, answer, named
from muses_lab.hub.page import Page
from muses_lab.settings import number
from muses_lab.store.records import Answer, CourseRecord, Note, Presence, from_json, to_json


class CoursesHandler(Api):
    @answer
    async def get(self) -> None:
        self.send_json([to_json(course) for course in await self.ask(lambda store: store.courses())])


class CourseHandler(Api):
    """PUT takes a ZIP, which goes to a file as it comes: a course with its scenes is larger than the memory."""

    _file: IO[bytes] | None = None

    async def prepare(self) -> None:
        await super().prepare()
        if self.request.method != "PUT" or self._refusal is not None:
            return
        if not self.who.trainer:
            self._refusal = AccessDenied(
                f"{self.who.name} is no trainer of this hub: its administrator names trainers by MUSES_HUB_TRAINERS"
            )
            return
        handle, self._sent = tempfile.mkstemp(dir=self.service.courses, prefix=".sent-")
        self._file = os.fdopen(handle, "wb")

    def max_body(self) -> int:
        return int(number("MUSES_MAX_COURSE")) if self.request.method == "PUT" else self.limit

    def data_received(self, chunk: bytes) -> None:
        if self._file is None:
            super().data_received(chunk)
        else:
            self._file.write(chunk)

    @answer
    async def get(self, id: str) -> None:
        self.send_json(to_json(await self.ask(lambda store: store.course(id))))

    @answer
    async def put(self, id: str) -> None:
        assert self._file is not None
        self._file.close()
        sent = Path(self._sent)
        name, courses = self.who.name, self.service.courses
        size = sent.stat().st_size
        who, kept = self.who, []

        def keep(made: Published) -> None:
            record = CourseRecord(id, made.version, made.describe().to_json(), size)
            kept.append(self.service.store().of(who).put_course(record))

        await self.service.unpacking.run(lambda: archive.unpack(sent, courses, course=id, by=name, agreed=keep))
        self.send_json(to_json(kept[0]))

    @answer
    async def delete(self, id: str) -> None:
        answers = self.get_query_argument("answers", "0") == "1"
        await take_away(self, id, answers)
        self.send_json({})

    def _receive(self, size: int) -> None:
        """Its body goes into a file as it comes."""

    def on_finish(self) -> None:
        self._drop()
        super().on_finish()

    def on_connection_close(self) -> None:
        self._drop()
        super().on_connection_close()

    def _drop(self) -> None:
        """What was sent is a course by now, or of no use."""
        if self._file is not None:
            self._file.close()
            Path(self._sent).unlink(missing_ok=True)


async def take_away(handler: Api | Page, id: str, answers: bool) -> None:
    """Removes a course: first its files, so that what fails can be tried again while the store still knows it."""
    courses = handler.service.courses
    await handler.ask(lambda store: store.trained(id))

    def remove() -> None:
        if folder.place(id, courses).is_dir():
            folder.remove(id, courses)

    await handler.service.unpacking.run(remove)
    await handler.ask(lambda store: store.remove_course(id, answers))


class CourseStateHandler(Api):
    @answer
    async def put(self, id: str) -> None:
        body = self.json_body()
        if not isinstance(body, dict) or not isinstance(body.get("state"), str):
            raise MusesError("a course's state is {state: …}")
        await self.ask(lambda store: store.set_course_state(id, body["state"]))
        self.send_json({})


class AnswersHandler(Api):
    limit = 4 << 20

    @answer
    async def get(self, id: str) -> None:
        everybody = self.get_query_argument("everybody", "0") == "1"
        found = await self.ask(lambda store: store.answers(id, everybody))
        self.send_json([to_json(one) for one in found])

    @answer
    async def put(self, id: str) -> None:
        body = self.json_body()
        if not isinstance(body, list) or not all(isinstance(one, dict) for one in body):
            raise MusesError("answers are a list of JSON objects")
        answers = [from_json(Answer, {**one, "course": id}) for one in body]
        self.service.answering.take(self.who.name, len(answers))
        kept = await self.ask(lambda store: store.put_answers(answers))
        self.send_json({"had": kept.had, "has": kept.has})


class PresenceHandler(Api):
    """POST says what a participant does, and is answered with the notes and wishes for them."""

    @answer
    async def get(self, id: str) -> None:
        self.send_json([to_json(one) for one in await self.ask(lambda store: store.presences(id))])

    @answer
    async def post(self, id: str) -> None:
        body = self.json_body()
        presence = from_json(Presence, {**body, "course": id} if isinstance(body, dict) else body)
        heard = await self.ask(lambda store: store.put_presence(presence))
        self.send_json({"notes": [to_json(one) for one in heard.notes], "answers": heard.answers})


class NotesHandler(Api):
    @answer
    async def get(self) -> None:
        course = self.get_query_argument("course", "")
        self.send_json([to_json(one) for one in await self.ask(lambda store: store.notes(course))])


class NoteHandler(Api):
    @answer
    async def put(self, id: str) -> None:
        note = from_json(Note, named(self.json_body(), id))
        self.send_json(to_json(await self.ask(lambda store: store.put_note(note))))

    @answer
    async def delete(self, id: str) -> None:
        await self.ask(lambda store: store.remove_note(id))
        self.send_json({})


class NotebooksHandler(Api):
    @answer
    async def get(self, id: str) -> None:
        self.send_json([to_json(one) for one in await self.ask(lambda store: store.notebooks(id))])


class NotebookHandler(Api):
    """A participant's notebook by `?file=`, and of another one by `?user=`: names of files have `/` in them."""

    def max_body(self) -> int:
        return int(number("MUSES_MAX_NOTEBOOK"))

    @answer
    async def get(self, id: str) -> None:
        user, file = self.get_query_argument("user", self.who.name), self.get_query_argument("file", "")
        text = await self.ask(lambda store: store.notebook(id, user, file))
        self.set_header("Content-Type", "application/octet-stream")
        self.finish(text)

    @answer
    async def put(self, id: str) -> None:
        file, text = self.get_query_argument("file", ""), self.text_body()
        if "\0" in text:
            raise MusesError("a notebook is a text without NUL")
        await self.ask(lambda store: store.put_notebook(id, file, text))
        self.send_json({})


COURSE_ROUTES: list[tuple[str, type[Api]]] = [
    ("courses", CoursesHandler),
    (f"courses/{PART}", CourseHandler),
    (f"courses/{PART}/state", CourseStateHandler),
    (f"courses/{PART}/answers", AnswersHandler),
    (f"courses/{PART}/presence", PresenceHandler),
    (f"courses/{PART}/notebooks", NotebooksHandler),
    (f"courses/{PART}/notebook", NotebookHandler),
    ("notes", NotesHandler),
    (f"notes/{PART}", NoteHandler),
]

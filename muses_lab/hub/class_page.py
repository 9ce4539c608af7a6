"""Pages of courses: the one link that participants get, and the trainer's view of the class with what it can do."""

from __future__ import annotations

import hashlib
import html
import json
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from tornado.web import authenticated, stream_request_body

from muses_lab.document import strict_json
from muses_lab.errors import AccessDenied, MusesError
from muses_lab.hub import results
from muses_lab.hub.api import MAX_RECORD
from muses_lab.hub.courses import take_away
from muses_lab.hub.page import Page, bold
from muses_lab.store.records import CourseRecord, Note, new_id, to_json
from muses_lab.store.sql import SqlStore

CHUNK = 256 << 10


class CoursesPage(Page):
    """GET courses: what there is to join."""

    @authenticated
    async def get(self) -> None:
        found = await self.ask(lambda store: store.courses())
        listed = "".join(f"<li>{self._entry(course)}</li>" for course in found)
        self.send_page(
            "Courses", f"<ul class=courses>{listed}</ul>" if found else "<p>No course is open at present.</p>"
        )

    def _entry(self, course: CourseRecord) -> str:
        base = html.escape(self.hub_auth.base_url)
        state = "" if course.state == "open" else f" ({course.state})"
        view = f' · <a href="{base}courses/{course.id}/class">The class</a>' if course.trainer else ""
        return f'<a href="{base}courses/{course.id}">{html.escape(_title(course))}</a>{state}{view}'


class JoinPage(Page):
    """GET courses/<id>, the one link: what the course is, and the way into it on the visitor's own server."""

    @authenticated
    async def get(self, id: str) -> None:
        try:
            course = await self.ask(lambda store: store.course(id))
            begun, last = await self.ask(lambda store: (store.has_begun(id), store.last_notebook(id)))
        except MusesError as error:
            if error.details.get("state") == "removed":
                self._send_removed(id, error)
            else:
                self.send_refusal(error)
            return
        self.send_page(_title(course), self._course(course, begun, last))

    def _send_removed(self, id: str, error: MusesError) -> None:
        self.set_status(error.http_status)
        kept = f"What you wrote is in your notebooks, in <code>~/courses/{html.escape(id)}</code> on your own server."
        why = "The trainer took it from this hub: its exercises and scenes are gone."
        self.send_page("The course is removed", f"<p>{why}</p><p>{kept}</p>")

    def _course(self, course: CourseRecord, begun: bool, last: str) -> str:
        told = course.manifest
        notebooks = told["notebooks"]
        exercises = sum(len(one.get("exercises", ())) for one in notebooks)
        facts = [
            *([f"{told['hours']:g} hour{'s' if told['hours'] != 1 else ''}"] if told.get("hours") else []),
            _several(len(notebooks), "notebook"),
            *([_several(exercises, "exercise")] if exercises else []),
            *([f"by {', '.join(told['authors'])}"] if told.get("authors") else []),
        ]
        goals = "".join(f"<li>{html.escape(goal)}</li>" for goal in told.get("objectives", ()))
        parts = "".join(f"<li>{html.escape(one['title'])}{_minutes(one)}</li>" for one in notebooks)
        return (
            f"<p class=by>{html.escape(' · '.join(facts))}</p>"
            + (f"<h2>You will learn to</h2><ul>{goals}</ul>" if goals else "")
            + f"<h2>Notebooks</h2><ol>{parts}</ol>{self._way_in(course, begun, last)}"
        )

    def _way_in(self, course: CourseRecord, begun: bool, last: str) -> str:
        view = ""
        if course.trainer:
            link = html.escape(f"{self.hub_auth.base_url}courses/{course.id}/class")
            view = f'<p>You are a trainer of this course: <a href="{link}">see the class</a>.</p>'
        name, way = bold(self.current_user["name"]), self.user_page(f"courses/{course.id}")
        there = next((one for one in course.manifest["notebooks"] if one["file"] == last), None)
        where = ""
        if there is not None:
            way += "?" + html.escape(urlencode({"notebook": last}))
            where = f" You were last in {bold(there['title'])}."
        if course.state != "open":
            closed = f"<p class=closed>The course is {course.state}: nobody can join it now.</p>"
            on = f'<p><a class=open href="{way}">Go on</a> with what you have begun.{where}</p>'
            return closed + (on if begun and course.state == "closed" else "") + view
        if begun:
            kept = "Your copies of the notebooks are as you left them."
            return (
                f'<p><a class=open href="{way}">Go on</a></p>'
                f"<p class=by>You are logged in as {name}, and have joined this course.{where} {kept}</p>{view}"
            )
        return (
            f'<p><a class=open href="{way}">Join</a></p>'
            f"<p class=by>You are logged in as {name}. You get copies of the notebooks, which are yours to change. "
            f"Come back by this link to go on where you were.</p>{view}"
        )


def answer(method: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
    """What a script of the page asks for: a `MusesError` becomes its status and code; nobody is led to a login."""

    async def guarded(self: Page, *args: str) -> None:
        try:
            if self.current_user is None:
                raise AccessDenied("you are not logged in any more: load the page again")
            await method(self, *args)
        except MusesError as error:
            self.fail(error)

    return guarded


class ClassPage(Page):
    """GET courses/<id>/class: the trainer's view; what is in it comes from `ClassState`."""

    @authenticated
    async def get(self, id: str) -> None:
        try:
            course = await self.ask(lambda store: store.trained(id))
        except MusesError as error:
            self.send_refusal(error)
            return
        self.xsrf_token  # noqa: B018 (asking for it sets the cookie)
        copies = self.user_page(f"copies/{course.id}")
        root = (
            f'<div id="class" data-base="{html.escape(self.hub_auth.base_url)}" data-course="{course.id}" '
            f'data-copies="{copies}"><p>Loading…</p></div>'
            "<noscript><p>The trainer's view needs JavaScript.</p></noscript>"
        )
        self.send_page(_title(course), root, "class.js", wide=True)


class ClassState(Page):
    """GET courses/<id>/class/state: the class as it is now; 304 to whom has it as it is (`If-None-Match`)."""

    @answer
    async def get(self, id: str) -> None:
        body = json.dumps(await self.ask(lambda store: results.state(store, id)), ensure_ascii=False, allow_nan=False)
        tag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
        self.set_header("ETag", tag)
        self.set_header("Cache-Control", "no-cache")
        if self.request.headers.get("If-None-Match") == tag:
            self.set_status(304)
            self.finish()
            return
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(body)

    def compute_etag(self) -> str | None:
        return None


class ClassAnswers(Page):
    """GET courses/<id>/class/answers?user=: every try of one participant, and the notebooks that were kept."""

    @answer
    async def get(self, id: str) -> None:
        user = self.get_query_argument("user", "")

        def found(store: SqlStore) -> dict[str, Any]:
            answers = [to_json(one) for one in store.answers(id, everybody=True, of=user)]
            return {"answers": answers, "notebooks": [to_json(n) for n in store.notebooks(id) if n.user == user]}

        self.send_json(await self.ask(found))


@stream_request_body
class ClassAct(Page):
    """POST courses/<id>/class/act: {"do": "note", "text": …}, "unnote", "start", "stop", "close", "open", "remove"."""

    @answer
    async def post(self, id: str) -> None:
        try:
            wish = strict_json.loads(bytes(self._body))
        except ValueError as error:
            raise MusesError(f"the request's body is not JSON: {error}") from None
        if not isinstance(wish, dict):
            raise MusesError('the request says nothing such as {"do": "note", "text": "…"}')
        todo, text = wish.get("do"), str(wish.get("text", ""))
        if todo in ("note", "start", "stop"):
            await self.ask(lambda store: store.put_note(Note(new_id(), text, id, todo)))
        elif todo == "unnote":
            await self.ask(lambda store: store.remove_note(str(wish.get("id", ""))))
        elif todo in ("open", "close"):
            state = "open" if todo == "open" else "closed"
            await self.ask(lambda store: store.set_course_state(id, state))
        elif todo == "remove":
            await take_away(self, id, wish.get("answers") is True)
        else:
            raise MusesError(f"{str(todo)[:40]!r} is nothing that can be done with a class")
        self.send_json({})

    async def prepare(self) -> None:
        self._body = bytearray()
        self.request.connection.set_max_body_size(MAX_RECORD)  # type: ignore[union-attr]
        await super().prepare()

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk


class ResultsFile(Page):
    """GET courses/<id>/class/results.csv"""

    @authenticated
    async def get(self, id: str) -> None:
        try:
            text = await self.ask(lambda store: results.csv_of(store, id))
        except MusesError as error:
            self.send_refusal(error)
            return
        self.set_header("Content-Type", "text/csv; charset=UTF-8")
        self.set_header("Content-Disposition", f'attachment; filename="{id}-results.csv"')
        self.finish(text)


class NotebooksFile(Page):
    """GET courses/<id>/class/notebooks.zip: what every participant saved last, a folder for each."""

    @authenticated
    async def get(self, id: str) -> None:
        with tempfile.TemporaryFile() as file:
            try:
                await self.ask(lambda store: results.zip_of(store, id, file))
            except MusesError as error:
                self.send_refusal(error)
                return
            self.set_header("Content-Type", "application/zip")
            self.set_header("Content-Disposition", f'attachment; filename="{id}-notebooks.zip"')
            file.seek(0)
            while chunk := file.read(CHUNK):
                self.write(chunk)
                await self.flush()


def _title(course: CourseRecord) -> str:
    return str(course.manifest["title"])


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


def _minutes(notebook: dict[str, Any]) -> str:
    return f" <span class=by>{notebook['minutes']} min</span>" if notebook.get("minutes") else ""


ID = "([a-z0-9][a-z0-9-]{1,39})"
PAGES: list[tuple[str, type[Page]]] = [
    ("courses", CoursesPage),
    (f"courses/{ID}", JoinPage),
    (f"courses/{ID}/class", ClassPage),
    (f"courses/{ID}/class/state", ClassState),
    (f"courses/{ID}/class/answers", ClassAnswers),
    (f"courses/{ID}/class/act", ClassAct),
    (rf"courses/{ID}/class/results\.csv", ResultsFile),
    (rf"courses/{ID}/class/notebooks\.zip", NotebooksFile),
]

"""The store of a hub, asked over HTTP: its service `muses` knows by the server's token who asks."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import urllib3

from muses_lab import errors
from muses_lab.errors import AccessDenied, MusesError, NotFound, StoreUnavailable, StoreUnusable
from muses_lab.settings import number
from muses_lab.store.interface import Store
from muses_lab.store.records import (
    Answer,
    AuditEntry,
    CourseRecord,
    Heard,
    JobRecord,
    Kept,
    Note,
    NotebookCopy,
    Presence,
    Share,
    check_hash,
    from_json,
    to_json,
)

CACHE_BYTES = 32 << 20
"""Documents and styles that are kept once fetched: they never change."""

ANSWERS_AT_ONCE = 20
"""Answers in one request: with texts of the largest size they are below what the service takes."""

PUBLISH_SECONDS = 600
"""How long the service may take to unpack and check a course."""

T = TypeVar("T")
R = TypeVar("R", JobRecord, Share, AuditEntry, Answer, CourseRecord, Note, NotebookCopy, Presence)

_BUSY = {429, 502, 503, 504}
_ERRORS = {kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MusesError)}


class RemoteStore(Store):
    """The store behind a hub's service (see `Store`).

    While the service, its database or the hub's proxy is away, calls wait for it, `MUSES_STORE_SECONDS` (45) at most,
    and then raise `StoreUnavailable`. What is repeated (everything but `note`) may be: nothing is done twice.

    Parameters
    ----------
    url
        Address of the service, `http://…/services/muses`.
    token
        Whose token is sent, when it is needed; by default that of the user's server (`JUPYTERHUB_API_TOKEN`).
    """

    def __init__(self, url: str, token: Callable[[], str] | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token or _token
        self._pool = urllib3.PoolManager(maxsize=8, retries=False, timeout=urllib3.Timeout(connect=5, read=60))
        self._known = _Known(CACHE_BYTES)

    def __repr__(self) -> str:
        return f"RemoteStore({self.url!r})"

    def close(self) -> None:
        self._pool.clear()

    # Documents and styles

    def put_document(self, hash: str, text: str) -> None:
        self._ask("PUT", f"documents/{check_hash(hash)}", text.encode())

    def document(self, hash: str) -> str:
        return self._once(f"documents/{_part(hash)}")

    def documents(self, limit: int = 100) -> list[tuple[str, datetime]]:
        def read(found: Any) -> list[tuple[str, datetime]]:
            return [(check_hash(entry["hash"]), datetime.fromisoformat(entry["created"])) for entry in found]

        return self._json("GET", "documents", read, limit=limit)

    def put_style(self, hash: str, text: str) -> None:
        self._ask("PUT", f"styles/{check_hash(hash)}", text.encode())

    def style(self, hash: str) -> str:
        return self._once(f"styles/{_part(hash)}")

    def _once(self, path: str) -> str:
        body = self._known.get(path)
        if body is not None:
            return body.decode()
        body = self._ask("GET", path)
        text = self._read(bytes.decode, body)
        self._known.put(path, body)
        return text

    # Artefacts

    def put_artefact(self, digest: str, kind: str, body: bytes) -> None:
        if not self.has_artefact(check_hash(digest)):
            self._ask("PUT", f"artefacts/{digest}", body, kind=kind)

    def artefact(self, digest: str) -> bytes:
        return self._ask("GET", f"artefacts/{_part(digest)}")

    def has_artefact(self, digest: str) -> bool:
        return self._json("GET", f"holdings/{_part(digest)}", lambda found: found["held"] is True)

    def put_result(self, node_hash: str, digest: str) -> str:
        body = {"digest": check_hash(digest)}
        return self._json("PUT", f"results/{check_hash(node_hash)}", lambda found: check_hash(found["digest"]), body)

    def result(self, node_hash: str) -> str | None:
        def read(found: Any) -> str | None:
            return None if found["digest"] is None else check_hash(found["digest"])

        return self._json("GET", f"results/{_part(node_hash)}", read)

    # Jobs

    def put_job(self, job: JobRecord) -> None:
        self._json("PUT", f"jobs/{job.id}", body=to_json(job))

    def job(self, id: str) -> JobRecord:
        return self._json("GET", f"jobs/{_part(id)}", _one(JobRecord))

    def jobs(self, limit: int = 100) -> list[JobRecord]:
        return self._json("GET", "jobs", _several(JobRecord), limit=limit)

    # Shares

    def put_share(self, share: Share) -> Share:
        return self._json("PUT", f"shares/{share.id}", _one(Share), to_json(share))

    def share(self, id: str) -> Share:
        return self._json("GET", f"shares/{_part(id)}", _one(Share))

    def shares(self, limit: int = 100) -> list[Share]:
        return self._json("GET", "shares", _several(Share), limit=limit)

    def shared(self, limit: int = 100) -> list[Share]:
        return self._json("GET", "shared-with-me", _several(Share), limit=limit)

    def revoke(self, id: str) -> None:
        self._ask("DELETE", f"shares/{_part(id)}")

    # Audit

    def note(self, entries: Iterable[AuditEntry]) -> None:
        self._json("POST", "audit", body=[to_json(entry) for entry in entries])

    def audit(self, limit: int = 1000) -> list[AuditEntry]:
        return self._json("GET", "audit", _several(AuditEntry), limit=limit)

    # Courses

    def courses(self) -> list[CourseRecord]:
        return self._json("GET", "courses", _several(CourseRecord))

    def course(self, id: str) -> CourseRecord:
        return self._json("GET", f"courses/{_part(id)}", _one(CourseRecord))

    def publish_course(self, id: str, archive: Path) -> CourseRecord:
        """Sends a course's archive (a ZIP) to the hub, where it is unpacked for all users; for trainers.

        Parameters
        ----------
        id
            The course's name, as its `course.yml` has it.
        archive
            File of `courses.archive.pack`; at most `MUSES_MAX_COURSE` bytes of the hub's setting.
        """
        headers = {"Authorization": f"token {self._token()}", "Content-Length": str(archive.stat().st_size)}
        timeout = urllib3.Timeout(connect=5, read=PUBLISH_SECONDS)
        with archive.open("rb") as body:
            try:
                answer = self._pool.request(
                    "PUT", f"{self.url}/api/courses/{_part(id)}", body=body, headers=headers, redirect=False,
                    timeout=timeout,
                )  # fmt: skip
            except urllib3.exceptions.HTTPError as error:
                raise StoreUnavailable(f"the hub's store at {self.url} does not answer: {_reason(error)}") from None
        if answer.status != 200:
            raise _failure(answer, self.url)
        return self._read(lambda text: from_json(CourseRecord, json.loads(text)), answer.data)

    def set_course_state(self, id: str, state: str) -> None:
        self._json("PUT", f"courses/{_part(id)}/state", body={"state": state})

    def remove_course(self, id: str, answers: bool = False) -> None:
        self._ask("DELETE", f"courses/{_part(id)}", answers=int(answers))

    def put_answers(self, answers: Iterable[Answer]) -> Kept:
        by_course: dict[str, list[Answer]] = {}
        for one in answers:
            by_course.setdefault(one.course, []).append(one)
        had = has = 0
        kept = Kept(0, 0)
        for course, several in by_course.items():
            for begin in range(0, len(several), ANSWERS_AT_ONCE):
                body = [to_json(one) for one in several[begin : begin + ANSWERS_AT_ONCE]]
                kept = self._json("PUT", f"courses/{_part(course)}/answers", _kept, body)
                had += kept.had if begin == 0 else 0
            has += kept.has
        return Kept(had, has)

    def answers(self, course: str, everybody: bool = False) -> list[Answer]:
        return self._json("GET", f"courses/{_part(course)}/answers", _several(Answer), everybody=int(everybody))

    def put_presence(self, presence: Presence) -> Heard:
        def read(found: Any) -> Heard:
            return Heard(_several(Note)(found["notes"]), int(found["answers"]))

        return self._json("POST", f"courses/{presence.course}/presence", read, to_json(presence))

    def presences(self, course: str) -> list[Presence]:
        return self._json("GET", f"courses/{_part(course)}/presence", _several(Presence))

    def put_note(self, note: Note) -> Note:
        return self._json("PUT", f"notes/{note.id}", _one(Note), to_json(note))

    def notes(self, course: str = "") -> list[Note]:
        return self._json("GET", "notes", _several(Note), course=course)

    def remove_note(self, id: str) -> None:
        self._ask("DELETE", f"notes/{_part(id)}")

    def put_notebook(self, course: str, file: str, text: str) -> None:
        self._ask("PUT", f"courses/{_part(course)}/notebook", text.encode(), file=file)

    def notebooks(self, course: str) -> list[NotebookCopy]:
        return self._json("GET", f"courses/{_part(course)}/notebooks", _several(NotebookCopy))

    def notebook(self, course: str, user: str, file: str) -> str:
        body = self._ask("GET", f"courses/{_part(course)}/notebook", user=user, file=file)
        return self._read(bytes.decode, body)

    # HTTP

    def _json(
        self, method: str, path: str, read: Callable[[Any], T] = lambda found: found, body: Any = None, **query: Any
    ) -> T:
        """What `read` finds in the answer."""
        sent = None if body is None else json.dumps(body, allow_nan=False).encode()
        answer = self._ask(method, path, sent, **query)
        return self._read(lambda text: read(json.loads(text)), answer)

    def _read(self, read: Callable[[bytes], T], answer: bytes) -> T:
        """An answer that says 200 and is none of the store's is a page of a proxy or portal, or another release's."""
        try:
            return read(answer)
        except (MusesError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise StoreUnavailable(
                f"what answers at {self.url} is not the hub's store of this release ({_reason(error)}): look at what "
                "MUSES_STORE_URL names, and at proxies on the way"
            ) from None

    def _ask(self, method: str, path: str, body: bytes | None = None, **query: Any) -> bytes:
        """The answer's body; a failure that the service names becomes that error, others are waited for."""
        url = f"{self.url}/api/{path}{'?' + urlencode(query) if query else ''}"
        end = time.monotonic() + (number("MUSES_STORE_SECONDS") if method != "POST" else 0)
        pause = 0.1
        while True:
            try:
                answer = self._pool.request(
                    method, url, body=body, headers={"Authorization": f"token {self._token()}"}, redirect=False
                )
            except urllib3.exceptions.HTTPError as error:
                failure: MusesError = StoreUnavailable(
                    f"the hub's store at {self.url} does not answer: {_reason(error)}"
                )
            else:
                if answer.status == 200:
                    return answer.data
                failure = _failure(answer, self.url)
            if not isinstance(failure, StoreUnavailable) or time.monotonic() + pause > end:
                raise failure
            time.sleep(pause)
            pause = min(2 * pause, 2.0)


class _Known:
    """What was fetched last, under a budget of bytes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        with self._lock:
            if key in self._bodies:
                self._bodies.move_to_end(key)
            return self._bodies.get(key)

    def put(self, key: str, body: bytes) -> None:
        with self._lock:
            if key in self._bodies:
                return
            self._bodies[key] = body
            self._bytes += len(body)
            while self._bytes > self._budget:
                self._bytes -= len(self._bodies.popitem(last=False)[1])


def _failure(answer: urllib3.BaseHTTPResponse, url: str) -> MusesError:
    """What an answer says; what does not come from the service itself (the proxy's or hub's page) is not its word."""
    try:
        body = json.loads(answer.data)
        code, message, details = str(body["code"]), str(body["message"]), dict(body.get("details", {}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return StoreUnavailable(f"the hub's store at {url} does not answer: {answer.status} from the hub or its proxy")
    kind = _ERRORS.get(code)
    if answer.status in _BUSY and kind is not StoreUnusable:  # which waiting does not mend
        return StoreUnavailable(message)
    if kind is None:
        kind = {401: AccessDenied, 403: AccessDenied, 404: NotFound}.get(answer.status, MusesError)
    return kind(message, **details)


def _kept(found: Any) -> Kept:
    return Kept(int(found["had"]), int(found["has"]))


def _one(kind: type[R]) -> Callable[[Any], R]:
    return lambda found: from_json(kind, found)


def _several(kind: type[R]) -> Callable[[Any], list[R]]:
    return lambda found: [from_json(kind, body) for body in found]


def _part(name: str) -> str:
    """A name as one part of an address, whatever it is."""
    return quote(name, safe="").replace(".", "%2E") or "-"


def _token() -> str:
    found = os.environ.get("JUPYTERHUB_API_TOKEN")
    if not found:
        raise AccessDenied(
            "the hub's store needs JUPYTERHUB_API_TOKEN, which the hub gives to users' servers; outside of them leave "
            "MUSES_STORE_URL out, and a file of your own is used"
        )
    return found


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).split("\n")[0][:200]

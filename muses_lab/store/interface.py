"""What a store offers, wherever it is: in a file, in a database, or behind the hub."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import datetime

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
)


class Store(ABC):
    """Published documents, styles and artefacts by hash; the results, jobs and shares of a user; the audit log.

    Safe to use from any thread and from several processes at once. Everything that has a hash never changes, so a put
    is idempotent. On a hub a user reads what they have put themselves or were granted; all else is not there for them
    (`NotFound`). `StoreUnavailable` says that the database or the hub cannot be reached.

    >>> store = open_store("sqlite://")
    >>> text = '{"process_graph":{}}'
    >>> name = hashlib.sha256(text.encode()).hexdigest()
    >>> store.put_document(name, text)
    >>> store.document(name)
    '{"process_graph":{}}'
    """

    # Documents and styles

    @abstractmethod
    def put_document(self, hash: str, text: str) -> None:
        """Keeps a chain's document under its SHA-256; refuses a text that has another."""

    @abstractmethod
    def document(self, hash: str) -> str:
        """The document with this hash; `NotFound` if it was never published here."""

    @abstractmethod
    def documents(self, limit: int = 100) -> list[tuple[str, datetime]]:
        """(hash, when) of the documents that the user published last, newest first."""

    @abstractmethod
    def put_style(self, hash: str, text: str) -> None:
        """Keeps a style's document under its SHA-256; refuses a text that has another."""

    @abstractmethod
    def style(self, hash: str) -> str:
        """The document of the style with this hash; `NotFound` if it was never published here."""

    # Artefacts: lists of scenes, models, vectors, results of `fit` and `region` nodes

    @abstractmethod
    def put_artefact(self, digest: str, kind: str, body: bytes) -> None:
        """Keeps `body` under its SHA-256; refuses a body that has another."""

    @abstractmethod
    def artefact(self, digest: str) -> bytes:
        """The bytes with this SHA-256; `NotFound` if there are none."""

    @abstractmethod
    def has_artefact(self, digest: str) -> bool:
        """Whether the user has put these bytes here, and they are still there."""

    @abstractmethod
    def put_result(self, node_hash: str, digest: str) -> str:
        """Remembers which artefact a `fit` or `region` node gave the user; the first one stays, and is returned."""

    @abstractmethod
    def result(self, node_hash: str) -> str | None:
        """Digest of the artefact that this node gave the user, or None if it has not been evaluated.

        Each user has results of their own: nobody can say what another one's chain gives.
        """

    # Jobs

    @abstractmethod
    def put_job(self, job: JobRecord) -> None:
        """Keeps what is known of a job now; the user's oldest ended jobs are forgotten beyond some hundreds."""

    @abstractmethod
    def job(self, id: str) -> JobRecord:
        """The user's job of that name; `NotFound` if there is none."""

    @abstractmethod
    def jobs(self, limit: int = 100) -> list[JobRecord]:
        """The user's jobs, newest first."""

    # Shares

    @abstractmethod
    def put_share(self, share: Share) -> Share:
        """Grants others what the user has published; returns the share as it was kept."""

    @abstractmethod
    def share(self, id: str) -> Share:
        """A share that the user made or was granted, and that still holds; `NotFound` otherwise."""

    @abstractmethod
    def shares(self, limit: int = 100) -> list[Share]:
        """The shares that the user made, newest first, with those that were revoked or have expired."""

    @abstractmethod
    def shared(self, limit: int = 100) -> list[Share]:
        """The shares that others granted the user and that still hold, newest first."""

    @abstractmethod
    def revoke(self, id: str) -> None:
        """Takes back a share that the user made: from now on those it was granted to cannot read it."""

    # Audit

    @abstractmethod
    def note(self, entries: Iterable[AuditEntry]) -> None:
        """Adds to the audit log, under the user's name and the present hour."""

    @abstractmethod
    def audit(self, limit: int = 1000) -> list[AuditEntry]:
        """What the log has of the user, newest first."""

    # Courses: on a hub. Trainers are those of the hub, and whoever published the course.

    @abstractmethod
    def courses(self) -> list[CourseRecord]:
        """The courses that are open, newest first; for their trainers those that are closed or removed as well."""

    @abstractmethod
    def course(self, id: str) -> CourseRecord:
        """One of them; `NotFound` otherwise."""

    @abstractmethod
    def set_course_state(self, id: str, state: str) -> None:
        """Opens or closes a course; for its trainers."""

    @abstractmethod
    def remove_course(self, id: str, answers: bool = False) -> None:
        """Takes a course away; for its trainers. Answers and notebooks of participants are kept unless `answers`."""

    @abstractmethod
    def put_answers(self, answers: Iterable[Answer]) -> Kept:
        """Keeps answers of the user, each once however often it is sent; how many there were before, and are then.

        `NotFound` if there is no such course, `AccessDenied` if it was closed before the user had begun it.
        """

    @abstractmethod
    def answers(self, course: str, everybody: bool = False) -> list[Answer]:
        """The user's answers in the order in which they came; for trainers those of `everybody`."""

    @abstractmethod
    def put_presence(self, presence: Presence) -> Heard:
        """Keeps what the user does at the moment; returns the notes and wishes that are for them (see `notes`).

        `AccessDenied` if the course was closed before the user had begun it.
        """

    @abstractmethod
    def presences(self, course: str) -> list[Presence]:
        """What each participant did last; for trainers."""

    @abstractmethod
    def put_note(self, note: Note) -> Note:
        """Tells all participants of a course (for its trainers), or all users (for administrators); what was kept."""

    @abstractmethod
    def notes(self, course: str = "") -> list[Note]:
        """What holds now, newest first: for all users of the hub, and for the participants of `course`."""

    @abstractmethod
    def remove_note(self, id: str) -> None:
        """Takes a note back; for those who may put one there."""

    @abstractmethod
    def put_notebook(self, course: str, file: str, text: str) -> None:
        """Keeps the user's copy of a notebook of the course, in the place of the former one; for the trainers to see.

        `TooLarge` above `MUSES_MAX_NOTEBOOK`.
        """

    @abstractmethod
    def notebooks(self, course: str) -> list[NotebookCopy]:
        """What was kept of all participants; for trainers."""

    @abstractmethod
    def notebook(self, course: str, user: str, file: str) -> str:
        """The text of a participant's copy; for trainers, and for the participant."""

    def check(self) -> None:
        """Raises `StoreUnavailable` unless the store answers."""
        self.documents(limit=1)

    def close(self) -> None:  # noqa: B027 (not every store holds something open)
        """Ends connections; the store opens them again when it is used."""

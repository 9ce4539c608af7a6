"""What the store keeps besides documents: jobs, shares, and the audit log's entries."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from muses_lab.errors import MusesError

MAX_NAMES = 500
"""Users and groups that one share may be granted to."""

MAX_CONTENT = 64 << 10
"""Characters of a job's options or a share's content as JSON."""

MAX_TEXT = 4096
"""Characters of a title, a path, a message."""

WISHES = {"cancelling": ("running", "paused"), "pausing": ("running",), "resuming": ("paused",)}
"""What somebody has asked of a job, and its process has not heard of yet: the states in which it can be asked."""

LIVE = ("running", "paused", *WISHES)
"""States of a job that has not ended."""

WRITES_A_FILE = ("export", "table")
"""Kinds of jobs that leave a file."""

STATES = (*LIVE, "done", "failed", "cancelled", "interrupted")
"""Of a job. One whose process was killed is still `running` in the store; who asks can see that it was interrupted."""

ANSWERED = ("right", "wrong", "error")
"""States of an answer to an exercise."""

COURSE_STATES = ("open", "closed", "removed")
"""Of a course: one that is closed takes answers, but nobody new; of one that is removed the answers are kept."""

NOTE_KINDS = ("note", "start", "stop")
"""A text for everybody; or the wish that everybody's cluster starts or stops."""

MAX_MANIFEST = 1 << 20
"""Characters of a course's description as JSON."""

T = TypeVar("T")


@dataclass(frozen=True)
class Who:
    """On whose behalf the store is asked. On a user's own machine nobody is named: the file is the user's."""

    name: str = ""
    groups: frozenset[str] = frozenset()
    trainer: bool = False
    """Whether they may publish courses, and see the answers of all participants of all courses."""
    admin: bool = False
    """Whether they may send notes to all users of the hub."""


@dataclass(frozen=True)
class JobRecord:
    """An export, or the materializing of blocks: all it takes to list it, and to start it again."""

    id: str
    kind: str
    """`export`, `table` or `materialize`."""
    name: str
    target: str
    """Path of the file or folder, on the user's own disk."""
    chain: str
    """Hash of the published chain."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else it takes to start it again: the window, for example."""
    state: str = "running"
    process: str = ""
    """Where it runs (see `export.process`)."""
    total: int = 0
    done: int = 0
    failed: int = 0
    """Scenes that could not be read."""
    pixels: int = 0
    bytes: int = 0
    error: str = ""
    created: datetime | None = None
    changed: datetime | None = None

    def __post_init__(self) -> None:
        check_id("job", self.id)
        check_hash(self.chain)
        if self.state not in STATES:
            raise MusesError(f"{self.state!r} is not a job's state; it is one of {', '.join(STATES)}")
        _check_texts(self, "kind", "name", "target", "process", "error")


@dataclass(frozen=True)
class Share:
    """A chain, view or export that others may open: users and groups of the hub, until it is revoked or expires."""

    id: str
    """Names it in links. It opens nothing by itself: only those it was granted to can read it."""
    title: str
    content: Mapping[str, Any]
    """`chain` and `style` (hashes), `view` ({center, zoom}) or `export` ({name, window})."""
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Whom it was granted to; only its owner sees them."""
    artefacts: tuple[str, ...] = ()
    """Digests of what the chain needs: its lists of scenes."""
    owner: str = ""
    created: datetime | None = None
    expires: datetime | None = None
    revoked: datetime | None = None

    def __post_init__(self) -> None:
        check_id("share", self.id)
        for key in (*self.artefacts, *(self.content[k] for k in ("chain", "style") if k in self.content)):
            check_hash(key)
        if "chain" not in self.content:
            raise MusesError("a share needs the hash of a chain")
        if len(self.users) + len(self.groups) > MAX_NAMES:
            raise MusesError(f"a share is granted to {MAX_NAMES} users and groups at most; make a group of them")
        if not all(name and isinstance(name, str) for name in (*self.users, *self.groups)):
            raise MusesError("a user or group without a name cannot be granted anything")
        for value in (*self.users, *self.groups, self.owner):
            _check_text("name", value, 255)
        _check_texts(self, "title")

    @property
    def active(self) -> bool:
        """Whether those it was granted to can open it now."""
        return self.revoked is None and (self.expires is None or self.expires > datetime.now(UTC))


@dataclass(frozen=True)
class AuditEntry:
    """How much of something a user did with a chain in an hour."""

    action: str
    """`published`, `computed`, `exported`, `shared`, `revoked`, `opened`."""
    chain: str = ""
    """Hash of the chain; empty where so many were used that they are counted together."""
    count: int = 1
    pixels: int = 0
    bytes: int = 0
    seconds: float = 0.0
    """Time that workers took."""
    user: str = ""
    hour: datetime | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]{1,20}", self.action):
            raise MusesError(f"{self.action!r} is not an action's name")
        if self.chain:
            check_hash(self.chain)
        for name in ("count", "pixels", "bytes", "seconds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
                raise MusesError(f"{name}={value!r} is not a number of an audit entry")


@dataclass(frozen=True)
class Answer:
    """What a participant answered to an exercise of a course, and was told. It never changes: each try is one."""

    id: str
    """Made where it was answered (`new_id`), so that it may be sent again and is kept once."""
    course: str
    notebook: str
    """File of the course, such as `01-first-map.ipynb`."""
    exercise: str
    state: str
    """`right`, `wrong`, or `error` where the answer could not be looked at."""
    points: float = 0.0
    """That this answer earned; the best of all tries counts."""
    given: str = ""
    """The answer as text, shortened."""
    message: str = ""
    """What the participant was told."""
    at: datetime | None = None
    """When, by the participant's clock."""
    user: str = ""
    """Set by the store."""

    def __post_init__(self) -> None:
        check_id("answer", self.id)
        if self.state not in ANSWERED:
            raise MusesError(f"{self.state!r} is no state of an answer; it is one of {', '.join(ANSWERED)}")
        if not 0 <= self.points <= 100:
            raise MusesError(f"points={self.points!r} is not from 0 to 100")
        check_course(self.course)
        for name in ("notebook", "exercise"):
            _check_text(name, getattr(self, name), 255)
        _check_texts(self, "given", "message")


@dataclass(frozen=True)
class CourseRecord:
    """A course that was published on a hub."""

    id: str
    version: str
    """Of what was published: the beginning of the archive's SHA-256."""
    manifest: Mapping[str, Any]
    """`course.yml` as `courses.Description.to_json` gives it."""
    size: int = 0
    """Bytes of the archive."""
    owner: str = ""
    """Who published it first; set by the store."""
    state: str = "open"
    trainer: bool = False
    """Whether who asks sees everybody's answers; set by the store."""
    created: datetime | None = None
    changed: datetime | None = None

    def __post_init__(self) -> None:
        check_course(self.id)
        check_hash(self.version)
        if self.state not in COURSE_STATES:
            raise MusesError(f"{self.state!r} is no state of a course; it is one of {', '.join(COURSE_STATES)}")


@dataclass(frozen=True)
class Presence:
    """What a participant of a course does at the moment; the newest one is kept."""

    course: str
    notebook: str = ""
    """File of the course that is open."""
    error: str = ""
    """The last error of a cell, such as `NameError: name 'ndwi' is not defined`."""
    cluster: str = ""
    """`off`, `starting`, `idle`, `busy`, `silent`, or `threads` where there is none."""
    load: float = 0.0
    """Share of the cluster's threads that compute, from 0 to 1."""
    memory: int = 0
    """Bytes of the server, its kernels and its cluster."""
    seen: datetime | None = None
    """Set by the store."""
    user: str = ""
    """Set by the store."""

    def __post_init__(self) -> None:
        check_course(self.course)
        if not 0 <= self.load <= 1:
            raise MusesError(f"load={self.load!r} is not from 0 to 1")
        if not 0 <= self.memory < 2**53:
            raise MusesError(f"memory={self.memory!r} is no number of bytes")
        _check_text("cluster", self.cluster, 40)
        _check_text("notebook", self.notebook, 255)
        _check_texts(self, "error")


@dataclass(frozen=True)
class Note:
    """What a trainer tells all participants of a course, or an administrator all users of the hub."""

    id: str
    text: str = ""
    course: str = ""
    """Empty: for all users of the hub."""
    kind: str = "note"
    """`note`, or the wish `start` or `stop` for the participants' clusters."""
    until: datetime | None = None
    """It is shown until then: of a planned stop the time of the stop. Without it for a day."""
    at: datetime | None = None
    """Set by the store."""
    by: str = ""
    """Set by the store."""

    def __post_init__(self) -> None:
        check_id("note", self.id)
        if self.course:
            check_course(self.course)
        if self.kind not in NOTE_KINDS:
            raise MusesError(f"{self.kind!r} is no kind of a note; it is one of {', '.join(NOTE_KINDS)}")
        if self.kind == "note" and not self.text.strip():
            raise MusesError("a note needs a text")
        _check_text("text", self.text, 1000)


class Heard(NamedTuple):
    """What the store says to a participant's presence."""

    notes: list[Note]
    """Notes and wishes for them, newest first."""
    answers: int
    """How many of their answers to the course it has: fewer than before where some were lost."""


class Kept(NamedTuple):
    """What the store says to a participant's answers: how many of theirs to the course it had, and has now."""

    had: int
    has: int


@dataclass(frozen=True)
class Tries:
    """What a participant has tried at an exercise, without what was answered."""

    user: str
    exercise: str
    tries: int
    points: float
    """Of the best try."""
    right: bool
    """Whether one of them was."""
    state: str
    """Of the last one."""
    at: datetime | None = None
    """When the last one was."""
    message: str = ""
    """What was told last; empty where it was not asked for."""


@dataclass(frozen=True)
class NotebookCopy:
    """A participant's notebook of a course, as it was when it was saved last; without its content."""

    course: str
    file: str
    """The course's notebook that it is a copy of."""
    size: int
    digest: str
    user: str = ""
    at: datetime | None = None


def check_course(text: Any) -> str:
    """A course's id, which names folders and is part of addresses."""
    if not isinstance(text, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,39}", text):
        raise MusesError(
            f"{str(text)[:80]!r} is not the name of a course: it has 2 to 40 of a-z, 0-9 and '-', and begins with a "
            "letter or digit"
        )
    return text


def new_id() -> str:
    """A name for a job or share that nobody can guess, and that no command takes for an option."""
    while (name := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return name


def check_id(what: str, text: Any) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]{8,64}", text):
        raise MusesError(f"{str(text)[:80]!r} is not the name of a {what}")
    return text


def check_hash(key: Any) -> str:
    if not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{8,128}", key):
        raise MusesError(f"{str(key)[:80]!r} is not a hash (lower-case hexadecimal)")
    return key


def short(key: str) -> str:
    return f"{key[:12]}…" if len(key) > 13 else repr(key)


Record = JobRecord | Share | AuditEntry | Answer | CourseRecord | Presence | Note | NotebookCopy


def to_json(record: Record) -> dict[str, Any]:
    """A record as it travels: times as ISO texts, what is empty left out."""
    return {
        k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(record).items() if v not in (None, ())
    }


def from_json(kind: type[T], body: Any) -> T:
    """The record of `to_json`; a `MusesError` names what is wrong with it."""
    if not isinstance(body, Mapping):
        raise MusesError(f"a {kind.__name__} is a JSON object, not {type(body).__name__}")
    values = dict(body)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known:
            raise MusesError(f"a {kind.__name__} has no {name!r}")
        values[name] = _checked(name, str(known[name].type), value)
    try:
        return kind(**values)
    except TypeError as error:
        raise MusesError(f"not a {kind.__name__}: {error}") from None


def _checked(name: str, declared: str, value: Any) -> Any:
    wrong = MusesError(f"{name}={str(value)[:80]!r} is not {declared}")
    if declared.startswith("datetime"):
        try:
            found = datetime.fromisoformat(value)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            raise wrong from None
    if declared.startswith("tuple"):
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise wrong
        return tuple(value)
    if declared.startswith("Mapping"):
        if not isinstance(value, Mapping):
            raise wrong
        return value
    if declared == "bool":
        if not isinstance(value, bool):
            raise wrong
        return value
    wanted: tuple[type, ...] = {"str": (str,), "int": (int,), "float": (int, float)}[declared]
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise wrong
    if isinstance(value, int) and abs(value) >= 2**53:
        raise wrong
    return value


def _check_texts(record: Any, *names: str) -> None:
    for name in names:
        _check_text(name, getattr(record, name), MAX_TEXT)


def _check_text(name: str, value: str, limit: int) -> None:
    if len(value) > limit:
        raise MusesError(f"{name} has {len(value)} characters; {limit} are allowed")
    if any(c < " " and c not in "\n\t" for c in value):
        raise MusesError(f"{name}={value[:80]!r} has control characters")

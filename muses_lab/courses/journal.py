"""A participant's answers on disk: kept before anybody is told that they are, whatever else fails.

One file for each course, a line of JSON for each answer. Lines are only ever added. The hub gets what is new from a
position in the file on, again where it has not said that it has it, and all anew where it has fewer than it had: the
course was removed and published again, its database is of yesterday, or it is another hub.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from muses_lab import settings
from muses_lab.errors import MusesError
from muses_lab.plain import first_line
from muses_lab.store.records import MAX_TEXT, Answer, from_json, to_json

PATIENCE = 20.0
"""Seconds to wait for another process that reads or writes: it takes some thousandths of a second."""

BATCH = 200
"""Answers that are sent to the hub at once."""


class Broken(NamedTuple):
    """A line that is no answer: a write that a crash cut off, or a file that was changed by hand."""

    line: int
    """Counted from 1."""
    why: str

    def __str__(self) -> str:
        return f"line {self.line} is no answer and was left out: {self.why}"


@dataclass(frozen=True)
class Best:
    """What counts of a participant's tries at an exercise."""

    points: float
    tries: int
    last: Answer

    @property
    def right(self) -> bool:
        return self.points > 0

    def earned(self, of: float) -> float:
        """The points that the exercise has now where it was solved, whatever it had then."""
        return of if self.right else 0.0


class Journal:
    """The answers of a participant to a course.

    >>> journal = Journal("first-steps")                                                # doctest: +SKIP
    >>> journal.add(Answer(new_id(), "first-steps", "01-map.ipynb", "clear-dates", "right", 2.0))  # doctest: +SKIP
    >>> journal.best()["clear-dates"].points                                            # doctest: +SKIP
    2.0

    Several kernels and the Jupyter server may use the file at once: each write and each reading has it alone.

    Parameters
    ----------
    course
        Id of the course.
    folder
        Where the files are; by default `courses/answers` in the user's own folder (`MUSES_LAB_HOME`).
    """

    def __init__(self, course: str, folder: Path | None = None) -> None:
        self.course = course
        self.folder = folder or answers_folder()
        self.file = self.folder / f"{course}.jsonl"
        self._sent = self.folder / f"{course}.sent"

    # ---- answers

    def add(self, answer: Answer) -> None:
        """Keeps an answer: when this returns it is on the disk, and stays.

        Raises
        ------
        OSError
            The disk is full, or the folder cannot be written: the answer is not kept.
        """
        if answer.course != self.course:
            raise MusesError(f"an answer to the course {answer.course!r} was given to the journal of {self.course!r}")
        line = (json.dumps(to_json(answer), ensure_ascii=False) + "\n").encode()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone():
            new = not self.file.exists()
            handle = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                if _cut_off(handle):  # by a crash: what is there stays a line of its own
                    line = b"\n" + line
                _write(handle, line)
                os.fsync(handle)
            finally:
                os.close(handle)
            if new:
                _sync_folder(self.folder)

    def read(self) -> tuple[list[Answer], list[Broken]]:
        """All answers in the order in which they were given, each once; and the lines that are none."""
        found, broken, _ = self._read_from(0)
        return list({answer.id: answer for answer in reversed(found)}.values())[::-1], broken

    @property
    def answers(self) -> list[Answer]:
        """All answers in the order in which they were given; broken lines are left out."""
        return self.read()[0]

    def best(self) -> dict[str, Best]:
        """By exercise the best of its tries, how many there were, and the last one."""
        return best_of(self.answers)

    def remove(self) -> None:
        """Forgets all answers, for good: of this course, on this disk."""
        with self._alone():
            for file in (self.file, self._sent):
                file.unlink(missing_ok=True)

    # ---- outbox

    def unsent(self, most: int = BATCH) -> tuple[list[Answer], int]:
        """The next answers that the hub is not known to have, and the position that `sent` takes once it has them.

        Nothing to send: the list is empty; the position may have gone on all the same, past lines that are no answers.
        """
        start = self._position()
        found, _, ends = self._read_from(start)
        if len(found) <= most:
            return found, ends[-1] if ends else start
        return found[:most], ends[most - 1]

    def sent(self, position: int, held: int | None = None) -> None:
        """Notes that the hub has all answers before a position; `held`: of how many it said that it has them then."""
        with self._alone():
            self._note(position, self._noted()[1] if held is None else held)

    def hub_has(self, held: int) -> bool:
        """Takes how many of the user's answers to the course the hub says it has.

        Fewer than before: all are `unsent` again. Returns whether they are.

        >>> if journal.hub_has(store.put_presence(presence).answers):                         # doctest: +SKIP
        ...     send(journal)
        """
        with self._alone():
            position, before = self._noted()
            lost = before is not None and held < before
            if held != before:
                self._note(0 if lost else position, held)
            return lost

    def _position(self) -> int:
        """Where the hub's answers end; 0 where that is not known: it takes each answer once, however often it comes."""
        return self._noted()[0]

    def _noted(self) -> tuple[int, int | None]:
        """Where the hub's answers end, and how many it said that it has; None where it has not said."""
        try:
            position, *held = map(int, self._sent.read_text("ascii").split())
            size = self.file.stat().st_size
        except (OSError, ValueError):
            return 0, None
        return (position, held[0] if held else None) if 0 <= position <= size else (0, None)

    def _note(self, position: int, held: int | None) -> None:
        part = self._sent.with_suffix(".part")
        with part.open("w") as out:
            out.write(f"{int(position)}" if held is None else f"{int(position)} {int(held)}")
            out.flush()
            os.fsync(out.fileno())
        part.replace(self._sent)

    # ---- inside

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(self.folder / f"{self.course}.lock")
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise TimeoutError(
                f"another process has had the answers in {self.file} to itself for {PATIENCE:g} s"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _read_from(self, start: int) -> tuple[list[Answer], list[Broken], list[int]]:
        """Answers from a position on, lines that are none, and for each answer the position after it.

        The last of the positions is the end of all whole lines.
        """
        if not self.file.exists():
            return [], [], []
        with self._alone():
            content = self.file.read_bytes()[start:]
        found: list[Answer] = []
        broken: list[Broken] = []
        ends: list[int] = []
        position = start
        for number, line in enumerate(content.split(b"\n")[:-1], start=1):
            position += len(line) + 1
            if not line.strip():
                continue
            try:
                answer = from_json(Answer, json.loads(line))
                if answer.course != self.course:
                    raise MusesError(f"it is of the course {answer.course!r}")
            except (ValueError, MusesError, RecursionError) as error:
                broken.append(Broken(number, first_line(error)))
                if ends:
                    ends[-1] = position
            else:
                found.append(answer)
                ends.append(position)
        rest = content.rpartition(b"\n")[2]
        if rest.strip():
            broken.append(Broken(content.count(b"\n") + 1, "its writing was cut off"))
        return found, broken, ends or ([position] if position > start else [])


def answers_folder() -> Path:
    """Where a user's answers to all courses are kept."""
    return settings.home() / "courses" / "answers"


def journals() -> list[Journal]:
    """The journals of all courses that the user has answered something of."""
    folder = answers_folder()
    return [Journal(file.stem, folder) for file in sorted(folder.glob("*.jsonl"))]


def shortened(text: str) -> str:
    """A text as an answer's record takes it: without control characters, and not too long."""
    text = text.encode("utf-8", "replace").decode()  # half characters
    plain = "".join(c if c >= " " or c in "\n\t" else " " for c in text)
    return plain if len(plain) <= MAX_TEXT else plain[: MAX_TEXT - 1] + "…"


def _cut_off(handle: int) -> bool:
    """Whether the last line of a file has no end."""
    size = os.lseek(handle, 0, os.SEEK_END)
    return size > 0 and os.pread(handle, 1, size - 1) != b"\n"


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _sync_folder(folder: Path) -> None:
    """That a new file is there survives a power cut, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def best_of(answers: Iterable[Answer]) -> dict[str, Best]:
    """By exercise the best of its tries, how many there were, and the last one."""
    found: dict[str, Best] = {}
    for answer in answers:
        before = found.get(answer.exercise)
        points = max(answer.points, before.points if before else 0.0)
        found[answer.exercise] = Best(points, (before.tries if before else 0) + 1, answer)
    return found

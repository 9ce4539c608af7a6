"""What trainers and the hub's administrators tell, as this server heard it last."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from muses_lab.store import Note
from muses_lab.store.records import to_json


class Notes:
    """What the hub said last, by course; for the event loop's thread."""

    def __init__(self) -> None:
        self._known: dict[str, list[Note]] = {}

    def take(self, notes: Iterable[Note], course: str = "") -> None:
        """Takes the notes that the hub has for all its users, and for a course where one is named; newest first."""
        told = [note for note in notes if note.kind == "note"]
        self._known[""] = [note for note in told if not note.course]
        if course:
            self._known[course] = [note for note in told if note.course == course]

    def keep(self, courses: Iterable[str]) -> None:
        """Forgets what was told to courses other than these: they are no longer here."""
        wanted = {"", *courses}
        self._known = {name: notes for name, notes in self._known.items() if name in wanted}

    def of(self, course: str = "") -> list[dict[str, Any]]:
        """Those that still hold, newest first: of one course and for all users, or without a name of all courses."""
        now = datetime.now(UTC)
        courses = ("", course) if course else self._known
        found = {note.id: note for name in courses for note in self._known.get(name, ())}
        held = [note for note in found.values() if note.until is None or note.until > now]
        return [to_json(note) for note in sorted(held, key=lambda note: note.at or now, reverse=True)]

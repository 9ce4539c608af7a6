"""The class in numbers: participants × exercises, as the trainer's page, a table and an archive have it."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import IO, Any

from muses_lab.courses.collected import COLUMNS, LEFT_OUT, csv_row, left_out, place_of
from muses_lab.store.records import Presence, Tries, to_json
from muses_lab.store.sql import SqlStore

HERE_SECONDS = 30
"""A participant who was seen within this time is here."""


def state(store: SqlStore, id: str) -> dict[str, Any]:
    """All that the trainer's page shows: the course, its notes, and a row for every participant."""
    course = store.course(id)
    best = by_participant(store.tries(id))
    books = [_columns(one) for one in course.manifest["notebooks"]]
    worth = {one["id"]: one["points"] for book in books for one in book["exercises"]}
    presences = {one.user: one for one in store.presences(id)}
    copies: dict[str, list[str]] = {}
    for copy in store.notebooks(id):
        copies.setdefault(copy.user, []).append(copy.file)
    rows = []
    for user in sorted({*presences, *best, *copies}):
        row: dict[str, Any] = {"user": user, "here": False, "notebooks": copies.get(user, [])}
        if user in presences:
            row |= _presence(presences[user])
        row["answers"] = {
            exercise: _told(one, worth[exercise]) for exercise, one in best.get(user, {}).items() if exercise in worth
        }
        rows.append(row)
    notes = [] if course.state == "removed" else store.notes(id)
    return {
        "course": {"id": id, "title": course.manifest["title"], "state": course.state, "version": course.version},
        "notebooks": books,
        "notes": [to_json(note) for note in notes if note.course],
        "participants": rows,
    }


def _presence(one: Presence) -> dict[str, Any]:
    """Without the time of who is here: what the page has stays the same, and is not sent again."""
    told = {name: getattr(one, name) for name in ("notebook", "error", "cluster", "load", "memory")}
    seen = one.seen or datetime.now(UTC)
    here = (datetime.now(UTC) - seen).total_seconds() < HERE_SECONDS
    return {**told, "here": True} if here else {**told, "seen": seen.isoformat()}


def by_participant(tries: Iterable[Tries]) -> dict[str, dict[str, Tries]]:
    """By participant and exercise what came of the tries."""
    found: dict[str, dict[str, Tries]] = {}
    for one in tries:
        found.setdefault(one.user, {})[one.exercise] = one
    return found


def _told(one: Tries, worth: float) -> list[Any]:
    """State, tries, points: `right` once an answer was right, whatever the exercise was worth then, else the last."""
    if one.right:
        return ["right", one.tries, worth]
    return [one.state, one.tries, min(one.points, worth)]


def _columns(notebook: dict[str, Any]) -> dict[str, Any]:
    exercises = [
        {"id": one["id"], "title": one.get("title") or one["id"], "points": one.get("points", 1.0), "kind": one["kind"]}
        for one in notebook.get("exercises", ())
    ]
    return {"file": notebook["file"], "title": notebook["title"], "exercises": exercises}


def csv_of(store: SqlStore, id: str) -> str:
    """A line for each participant and exercise, those that were not tried, too; as `muses-lab course results`."""
    course = store.course(id)
    best = by_participant(store.tries(id, messages=True))
    users = sorted({*best, *(one.user for one in store.presences(id))})
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(COLUMNS)
    for user in users:
        for notebook in map(_columns, course.manifest["notebooks"]):
            for exercise in notebook["exercises"]:
                one, most = best.get(user, {}).get(exercise["id"]), exercise["points"]
                told = _told(one, most) if one else ["", 0, 0.0]
                last = f"{one.at:%Y-%m-%dT%H:%M:%SZ}" if one and one.at else ""
                message = one.message if one else ""
                row = [user, notebook["file"], exercise["id"], exercise["kind"], *told, most, last, message]
                lines.writerow(csv_row(row))
    return text.getvalue()


def zip_of(store: SqlStore, id: str, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in notebooks(store, id):
            archive.writestr(name, text)
        if missing := not_kept(store, id):
            archive.writestr(LEFT_OUT, "\n".join(missing) + "\n")


def not_kept(store: SqlStore, id: str) -> list[str]:
    """What the archive lacks: a line for each."""
    kept = {(one.user, one.file) for one in store.notebooks(id)}
    users = {user for user, _ in kept} | {one.user for one in store.presences(id)}
    users |= {one.user for one in store.tries(id)}
    return left_out(users, [one["file"] for one in store.course(id).manifest["notebooks"]], kept)


def notebooks(store: SqlStore, id: str) -> Iterator[tuple[str, str]]:
    """Each kept notebook under `<participant>/<file>`, with its text; one at a time."""
    for copy in store.notebooks(id):
        yield str(place_of(copy.user, copy.file)), store.notebook(id, copy.user, copy.file)

"""Participants' notebooks in one place: a folder for each participant, whatever their names are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import Any

from muses_lab.plain import spreadsheet_cell

COLUMNS = ("participant", "notebook", "exercise", "kind", "state", "tries", "points", "of", "last", "message")
"""Of a class's results."""

LEFT_OUT = "left-out.txt"
"""Beside the participants' folders: what is in none of them."""


def place_of(user: str, file: str) -> PurePosixPath:
    """Where the copy of a participant's notebook goes, below the folder of the class.

    >>> place_of("ada@example.org", "01-map.ipynb"), place_of("../root", "02.ipynb")
    (PurePosixPath('ada@example.org/01-map.ipynb'), PurePosixPath('_root/02.ipynb'))
    """
    folder = "".join(c if c.isalnum() or c in "@-_+." else "_" for c in user).lstrip(".")
    return PurePosixPath(folder or "_") / file


def csv_row(cells: Iterable[Any]) -> list[Any]:
    """A row of a class's results as CSV has it: participants' names and texts are no formulas."""
    return [spreadsheet_cell(cell) for cell in cells]


def left_out(users: Iterable[str], files: Iterable[str], kept: Collection[tuple[str, str]]) -> list[str]:
    """A sentence for each notebook of the course that was not kept of a participant.

    >>> left_out(["ada"], ["01-map.ipynb", "02.ipynb"], {("ada", "02.ipynb")})
    ['ada: nothing was kept of 01-map.ipynb: it is not in their copy (of another version), too large, or none']
    """
    why = "it is not in their copy (of another version), too large, or none"
    names = list(files)
    return [f"{user}: nothing was kept of {f}: {why}" for user in sorted(users) for f in names if (user, f) not in kept]

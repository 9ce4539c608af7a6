"""Files that users dropped on a map: where the tile service puts them, and kernels find them."""

from __future__ import annotations

import re
from pathlib import Path

from muses_lab.errors import ArgumentError
from muses_lab.settings import home

PART = ".part"
"""Ending of a file that is not whole yet."""


def uploads() -> Path:
    """The folder of all uploads of this user."""
    return home() / "uploads"


def folder(id: str) -> Path:
    """The folder of an upload: of one file, or of some that belong together."""
    if not re.fullmatch(r"[0-9a-f]{32}", id):
        raise ArgumentError("an upload's id has 32 hexadecimal digits", argument="id")
    return uploads() / id


def files(id: str) -> list[Path]:
    """Its files that are whole."""
    return sorted(path for path in folder(id).glob("*") if path.suffix != PART)

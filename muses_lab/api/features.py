"""Features that people hand over, read and repaired; what was wrong with them is told."""

from __future__ import annotations

import warnings
from typing import Any

from muses_lab.errors import ArgumentError, MusesError
from muses_lab.operators.vectors import Features, given
from muses_lab.plain import shown, users_line

_NOTES = 5
"""So many notes are told by a warning."""


class RepairedVectors(UserWarning):
    """Features were repaired or left out when they were read."""


def read(method: str, source: Any, layer: str | None = None, crs: Any = None) -> Features:
    """Features of a file, a GeoDataFrame, GeoJSON, or a geometry in degrees; `noted` tells what was repaired."""
    try:
        return given(source, layer, crs, repair=True)
    except (ValueError, TypeError, MusesError) as error:
        raise ArgumentError(f"{method}({shown(source)}): {error}", argument="source") from None


def noted(found: Any) -> Any:
    """Warns of what was repaired or left out."""
    if found.notes:
        more = f"; and {len(found.notes) - _NOTES} more, see .notes" if len(found.notes) > _NOTES else ""
        warnings.warn("; ".join(found.notes[:_NOTES]) + more, RepairedVectors, stacklevel=users_line())
    return found


def told(function: Any, *args: Any) -> Any:
    """What a function gives; what it refuses is an error of the arguments."""
    try:
        return function(*args)
    except ValueError as error:
        if isinstance(error, MusesError):
            raise
        raise ArgumentError(str(error)) from None

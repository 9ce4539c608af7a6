"""Values that people hand over as Python's own, and as they are shown in messages."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from muses_lab.errors import ArgumentError

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a text begins with that spreadsheets may run: https://owasp.org/www-community/attacks/CSV_Injection."""


def plain(value: Any) -> Any:
    """Python's numbers and lists for those of NumPy, pandas and xarray, whose `values.min()` is an array, too.

    >>> plain([np.float32(0.5), np.array(2), "red"])
    [0.5, 2, 'red']
    """
    if isinstance(value, np.generic) or (hasattr(value, "__array__") and hasattr(value, "tolist")):
        return value.tolist()
    if hasattr(value, "ndim") and hasattr(value, "values"):  # xarray, pandas
        return np.asarray(value).tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def shown(value: Any) -> str:
    """A value in a message: short, and on one line; of a long list no more is looked at than is shown."""
    text, seen = "", 0
    for piece in _pieces(value):
        text += piece
        seen += len("".join(piece.split()))
        if seen > 80:
            break
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:60]}… ({type(value).__name__})"


def _pieces(value: Any) -> Iterator[str]:
    """`repr` of a value in parts: of lists in lists, each there many times, the whole may be more than memory holds."""
    if type(value) not in (list, tuple, dict) or not value:
        yield repr(value)
        return
    first, last = ("[", "]") if type(value) is list else ("(", ")") if type(value) is tuple else ("{", "}")
    yield first
    for n, item in enumerate(value):
        yield ", " if n else ""
        yield from _pieces(item)
        if type(value) is dict:
            yield ": "
            yield from _pieces(value[item])
    yield f",{last}" if type(value) is tuple and len(value) == 1 else last


def number(argument: str, value: Any) -> float:
    """A finite number; also one in an array of no dimension."""
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, Real) or not math.isfinite(found):
        raise ArgumentError(f"{argument}={shown(value)} is not a finite number", argument=argument)
    return float(found)


def whole(argument: str, value: Any, least: int = 0) -> int:
    """A whole number that is not below `least`."""
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, Integral) or found < least:
        raise ArgumentError(f"{argument}={shown(value)} is not a whole number from {least} on", argument=argument)
    return int(found)


def path(argument: str, value: Any, example: str) -> Path:
    """A path of this machine, with `~` followed."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ArgumentError(
            f"{argument}={shown(value)} is no path: give a text or a pathlib.Path, for example {example!r}",
            argument=argument,
        )
    return Path(value).expanduser()


def duration(seconds: float) -> str:
    """A time that is about so long, as people say it.

    >>> duration(95), duration(600), duration(20_000)
    ('95 s', '10 min', '5.6 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Status(dict[str, Any]):
    """What something is doing, as values of JSON; `str` and `print` give the text."""

    def __str__(self) -> str:
        return json.dumps(self, indent=1, ensure_ascii=False)


def slug(text: str, otherwise: str, longest: int = 40, ascii: bool = True) -> str:
    """A text as a part of file names and ids: letters, digits, `_`, and `-` for all else; `otherwise` of none.

    >>> slug("NDVI, été / 2018", "layer"), slug("NDVI, été / 2018", "layer", ascii=False), slug("?", "layer")
    ('NDVI-t-2018', 'NDVI-été-2018', 'layer')
    """
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII if ascii else 0).strip("-_")[:longest].strip("-_") or otherwise


def first_line(error: BaseException) -> str:
    """What an error says, without what libraries write below it; its kind where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def users_line() -> int:
    """The `stacklevel` with which a warning points to the line of the user's own that led to it."""
    frame = inspect.currentframe()
    level = 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "muses_lab":
        level, frame = level + 1, frame.f_back
    return max(level, 1)


def spreadsheet_cell(value: Any) -> Any:
    """A value as CSV has it: a text that a spreadsheet would take for a formula gets an apostrophe before it.

    >>> spreadsheet_cell("=1+1"), spreadsheet_cell("ndvi"), spreadsheet_cell(-3)
    ("'=1+1", 'ndvi', -3)
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    with suppress(ValueError):
        float(value)
        return value
    return f"'{value}"

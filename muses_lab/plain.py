"""Values that people hand over as Python's own, and as they are shown in messages."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from muses_lab.errors import ArgumentError


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
    """A value in a message: short, and on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:60]}… ({type(value).__name__})"


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


def users_line() -> int:
    """The `stacklevel` with which a warning points to the line of the user's own that led to it."""
    frame = inspect.currentframe()
    level = 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "muses_lab":
        level, frame = level + 1, frame.f_back
    return max(level, 1)

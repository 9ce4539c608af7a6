"""JSON of strangers: what every reader understands alike, and nothing that only Python's would let in."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_DIGITS = 308
"""Whole numbers of more digits are above what a double can hold (RFC 8259, section 6)."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def loads(text: bytes) -> Any:
    """The value of a JSON text in UTF-8; `ValueError` says what is wrong with it.

    >>> loads(b'{"z": 11, "center": [43.6, 1.44]}')
    {'z': 11, 'center': [43.6, 1.44]}
    >>> loads(b'{"z": 1e400}')
    Traceback (most recent call last):
    ValueError: 1e400 is beyond the numbers that JSON's readers agree on

    Refused beside what is not JSON: `NaN` and `Infinity`, numbers that no double can hold, halves of surrogate pairs
    (which no UTF-8 can hold), and nesting that is too deep for the reader.
    """
    try:
        found = json.loads(text.decode(), parse_int=_whole, parse_float=_float, parse_constant=_constant)
        if _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"a text in it has half of a surrogate pair, {error.object[error.start]!a}") from None
    return found


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise _beyond(text)
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _beyond(text)
    return value


def _beyond(text: str) -> ValueError:
    shown = text if len(text) <= 24 else f"{text[:12]}… ({len(text)} characters)"
    return ValueError(f"{shown} is beyond the numbers that JSON's readers agree on")


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")

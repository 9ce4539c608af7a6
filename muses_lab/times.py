"""Times as catalogues write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta


def parse_time(text: str) -> datetime:
    """An ISO 8601 date or time in UTC; a month or year is its first day. `ValueError` for anything else.

    Finer than a microsecond is cut off; a leap second is the next one, as in POSIX.

    >>> parse_time("2018-03").isoformat()
    '2018-03-01T00:00:00+00:00'
    """
    full = re.sub(r"\s*(UTC|GMT|Z)$", "Z", str(text).strip().upper())
    full, leaps = re.subn(r"(T\d{2}:?\d{2}:?)60(?=$|[^\d])", r"\g<1>59", full)
    if re.fullmatch(r"\d{4}", full):
        full += "-01-01"
    elif re.fullmatch(r"\d{4}-\d{2}", full):
        full += "-01"
    try:
        time = datetime.fromisoformat(full) + timedelta(seconds=leaps)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a date; write it as 2018-01-31 or 2018-01-31T10:30:00Z") from None
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is beyond the years 1 to 9999") from None


def parse_moment(text: str) -> datetime:
    """As `parse_time`, and times of a day: they are those of the first day of 1970.

    >>> parse_moment("10:30:00Z").isoformat()
    '1970-01-01T10:30:00+00:00'
    """
    return parse_time(f"1970-01-01T{text.strip()}" if re.match(r"\s*\d{2}:", text) else text)


def format_time(time: datetime) -> str:
    """ISO 8601 in UTC, ending in Z, with fractions only where there are some.

    >>> format_time(parse_time("2018-01-31T11:00:00+01:00"))
    '2018-01-31T10:00:00Z'
    """
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")

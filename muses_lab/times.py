"""Times as catalogues write them."""

from __future__ import annotations

import re
from calendar import monthrange
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np


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


# ----------------------------------------------------------------------------------------------- reckoning with dates

UNITS = {
    "week": timedelta(weeks=1), "day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1),
    "second": timedelta(seconds=1), "millisecond": timedelta(milliseconds=1),
}  # fmt: skip
MONTHS = {"year": 12, "month": 1}


def moments(*texts: str) -> list[datetime]:
    """Dates, or times of a day, all of one kind: ValueError for one of each."""
    if len({text.strip()[2:3] == ":" for text in texts}) > 1:
        raise ValueError(f"{' and '.join(map(repr, texts))} are not of one kind: give dates, or times of a day")
    return [parse_moment(text) for text in texts]


def is_between(x: str, first: str, last: str, without_last: bool = False) -> bool:
    """Whether a date is in an interval; never where `first` is after `last`."""
    value, begin, end = moments(x, first, last)
    return begin <= value and (value < end if without_last else value <= end)


def difference(date1: str, date2: str, unit: str = "second") -> float:
    """How long it is from one date to another; of months and years those that are complete, and a share of the next."""
    first, second = moments(date1, date2)
    if unit in UNITS:
        return (second - first) / UNITS[unit]
    each = MONTHS[unit]
    if second < first:
        return -difference(date2, date1, unit)
    whole = ((second.year - first.year) * 12 + second.month - first.month) // each
    if months_later(first, whole * each) > second:
        whole -= 1
    begin = months_later(first, whole * each)
    if begin == second:
        return float(whole)
    try:
        return whole + (second - begin) / (months_later(first, (whole + 1) * each) - begin)
    except ValueError:
        raise ValueError(f"the {unit} that {date2} lies in ends beyond the year 9999") from None


def shifted(date: str, value: int, unit: str) -> str:
    """A date so many units later, written as it was given: a date without a time stays one, a time keeps its zone.

    >>> shifted("2020-01-31", 1, "month"), shifted("2016-12-31T23:59:60Z", 1, "day")
    ('2020-02-29', '2017-01-01T23:59:59Z')
    """
    text = date.strip().upper()
    if text[2:3] == ":":
        raise ValueError(f"{date!r} is a time of a day; only dates can be shifted")
    given = datetime.fromisoformat(re.sub(r"(T\d{2}:?\d{2}:?)60(?=$|[^\d])", r"\g<1>59", text))
    try:
        moved = months_later(given, value * MONTHS[unit]) if unit in MONTHS else given + value * UNITS[unit]
    except (ValueError, OverflowError):
        raise ValueError(f"{value} × {unit} from {date} is beyond the years 1 to 9999") from None
    return written_like(moved, text)


def months_later(date: datetime, months: int) -> datetime:
    """The same day of a later month; the last one where that has no such day."""
    year, month = divmod(date.year * 12 + date.month - 1 + months, 12)
    return date.replace(year=year, month=month + 1, day=min(date.day, monthrange(year, month + 1)[1]))


def written_like(time: datetime, text: str) -> str:
    """A time as text in the way of another one: a date, or with a time; in UTC as Z or as +00:00."""
    if len(text) <= len("2020-01-31"):
        return time.date().isoformat()
    written = time.isoformat(timespec="milliseconds" if time.microsecond else "seconds")
    return written.replace("+00:00", "Z") if text.endswith(("Z", "z")) else written


def short_dates(times: Sequence[np.datetime64]) -> list[str]:
    """Times as texts, as short as they are each the only one: days, minutes, or all of it.

    >>> short_dates(np.array(["2018-07-03T10:50", "2018-07-05T10:50", "2018-07-05T11:20"], "M8[us]"))
    ['2018-07-03', '2018-07-05 10:50', '2018-07-05 11:20']
    """
    texts = [str(time.astype("M8[us]")).replace("T", " ") for time in times]
    day, minute = len("2018-07-03"), len("2018-07-03 10:50")
    days, minutes = (Counter(text[:length] for text in texts) for length in (day, minute))
    return [
        text[:day] if days[text[:day]] == 1 else text[:minute] if minutes[text[:minute]] == 1 else text
        for text in texts
    ]

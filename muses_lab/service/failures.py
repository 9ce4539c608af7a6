"""Failures as the browser sees them: a code, a message without private paths or secrets, details."""

from __future__ import annotations

import errno
import re
from typing import Any
from urllib.parse import urlsplit

from muses_lab import settings
from muses_lab.errors import MusesError


class BadRequest(MusesError):
    """The request itself is malformed: a zoom that is not a number, a place off the map, a body that is not JSON."""

    code = "bad-request"


class DiskFull(MusesError):
    """What was to be kept could not be written."""

    code = "disk-full"
    http_status = 507


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def disk_full(error: BaseException | None) -> DiskFull | None:
    """What a full disk looks like to a user, if that is what lies behind `error`."""
    while error is not None:
        name = getattr(error, "sqlite_errorname", "")
        if getattr(error, "errno", None) in _FULL or name == "SQLITE_FULL":
            return DiskFull("the disk is full: nothing can be kept there until some of it is freed")
        if name.startswith("SQLITE_IOERR"):
            return DiskFull(f"the store cannot be written ({error}): is the disk full?")
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
    return None


class TooManyRequests(MusesError):
    """A user asks faster than the service answers; `retry_after` says in how many seconds to come back."""

    code = "too-many-requests"
    http_status = 429


CODES = {403: "forbidden", 404: "not-found", 405: "method-not-allowed", 413: "too-large", 500: "internal"}

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s'\"<>]+", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w./:~-])(?:/|[A-Za-z]:[\\/])(?:[^\s'\":;,()\\/]+[\\/])+([^\s'\":;,()\\/]*)")


def public(value: Any) -> Any:
    """`value` (text, or JSON of texts) without what must not reach a browser or a screenshot.

    Paths inside a catalogue become relative to it, other absolute paths keep their file's name only; URLs lose query
    (signatures) and user.

    >>> public("/home/ada/data/B04.tif: not found")
    '…/B04.tif: not found'
    """
    if isinstance(value, dict):
        return {str(k): public(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [public(v) for v in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value).replace("\0", "")  # it marks places below
    for root in _roots():
        text = text.replace(root, "")
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(_bare(match.group()))
        return f"\0{len(kept) - 1}\0"

    text = _PATH.sub(lambda m: f"…/{m.group(1)}", _URL.sub(keep, text))
    return re.sub("\0(\\d+)\0", lambda m: kept[int(m.group(1))], text)


def _bare(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "file" or not parts.netloc:
        return f"…/{parts.path.rsplit('/', 1)[-1]}"
    host = parts.netloc.rsplit("@", 1)[-1]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def _roots() -> list[str]:
    """Folders of the registered catalogues, the deepest first."""
    folders = set()
    try:
        catalogs = settings.known_catalogs()
    except MusesError:  # which may be what is to be told
        return []
    for entry in catalogs.values():
        folders |= {f.rstrip("/") + "/" for f in [entry["root"], *entry["roots"]] if "://" not in f and f.strip("/")}
    return sorted(folders, key=len, reverse=True)

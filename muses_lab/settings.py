"""Where things are kept, and the limits: one place, each overridable by an environment variable."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_data_path

from muses_lab.errors import NotFound, RegistryUnusable
from muses_lab.variables import VARIABLES


def home() -> Path:
    """Folder of the user's own state: store, registered catalogues, sample data (`MUSES_LAB_HOME`)."""
    path = _home(os.environ.get("MUSES_LAB_HOME"))
    if not os.path.isdir(path):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


@lru_cache(maxsize=8)
def _home(named: str | None) -> Path:
    return Path(named or user_data_path("muses-lab"))


def number(name: str, default: float | None = None) -> float:
    """A numeric setting from the environment variable `name`, which `variables.py` declares.

    `default` holds where the variable is not set and its declaration has no number, because it depends on the place.
    """
    text = os.environ.get(name)
    if not text:
        declared = VARIABLES[name].default if default is None else default
        if not isinstance(declared, int | float):
            raise TypeError(f"{name} has no number for a default: say one here or in its declaration")
        return declared
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is not a number") from None


def counts(name: str, default: Sequence[int]) -> list[int]:
    """A setting of several positive numbers from the environment variable `name`; none of them where it says `off`."""
    text = os.environ.get(name, "").strip()
    if not text:
        return list(default)
    if text.lower() == "off":
        return []
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise ValueError(
            f"{name}={text!r} is neither 'off' nor positive numbers such as '{','.join(map(str, default))}'"
        )
    return found


def worker_bytes() -> int:
    """Memory of one worker beyond what the imported libraries take (`MUSES_WORKER_BYTES`, default 1 GiB).

    Cache and evaluations together; `engine.memory` says how it is divided.
    """
    return int(number("MUSES_WORKER_BYTES"))


def store_url() -> str:
    """SQLAlchemy URL of the store (`MUSES_STORE_URL`); a SQLite file in `home()` by default."""
    return os.environ.get("MUSES_STORE_URL") or f"sqlite:///{home() / 'store.sqlite'}"


# Known catalogues: id → root folder or URL, and the folders outside it that its items may point to. Those that are
# registered are searched for collections; of those that were only opened it is remembered where their files are.


def _registry_file() -> Path:
    return home() / "catalogs.json"


def known_catalogs() -> dict[str, dict[str, Any]]:
    """All catalogues whose files may be read: id → {"root": ..., "roots": [...]}."""
    return copy.deepcopy(catalog_entries())


def registered_catalogs() -> dict[str, dict[str, Any]]:
    """Those of them that the user registered, made or got from the hub, and did not only open."""
    return {id: entry for id, entry in known_catalogs().items() if not entry.get("opened")}


def catalog_entries(lately: bool = False) -> dict[str, dict[str, Any]]:
    """The registry as it is, or (`lately`, with every read) as it was a fifth of a second ago at most."""
    global _looked
    named = os.environ.get("MUSES_LAB_HOME")
    if lately and _looked[0] == named and time.monotonic() - _looked[1] < 0.2:
        return _looked[2]
    file = _registry_file()
    try:
        found = file.stat()
    except FileNotFoundError:
        return {}
    entries = _registry(file, (found.st_ino, found.st_mtime_ns))
    _looked = named, time.monotonic(), entries
    return entries


_looked: tuple[str | None, float, dict[str, dict[str, Any]]] = (None, -1.0, {})


@lru_cache(maxsize=8)
def _registry(file: Path, stamp: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """The registry as it was at that time: it is asked for with every band that is read."""
    try:
        found = json.loads(file.read_text("utf-8"))
        if not isinstance(found, dict) or not all(map(_is_entry, found.values())):
            raise ValueError("its entries are not those of catalogues")
    except (OSError, ValueError, RecursionError) as error:
        raise RegistryUnusable(
            f"the list of registered catalogues cannot be read: {file} is damaged, or no file of MUSES Lab ({error}). "
            "Move it away, then register the catalogues again: `muses-lab catalog register PLACE`"
        ) from None
    return found


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("roots"), list):
        return False
    texts = [entry.get("root"), entry.get("source", ""), *entry["roots"]]
    return all(isinstance(text, str) for text in texts) and isinstance(entry.get("opened", False), bool)


def register_catalog(
    catalog_id: str, root: str, roots: list[str] | None = None, source: str | None = None, opened: bool = False
) -> None:
    """Remembers where a catalogue's files are, so that relative hrefs can be read by kernel, service and workers.

    `root` is a folder or URL; `roots` are folders outside it that its items may point to (files registered in place);
    `source` is what to open the catalogue by where that is not its root (one file in a folder). One that was only
    `opened` is not searched for collections; one that is registered stays so when it is opened.
    """
    with _changed_entries() as entries:
        known = entries.get(catalog_id, {})
        kept = known.get("roots", []) if known.get("root") == root else []
        source = source or (known.get("source") if known.get("root") == root else None)
        entry: dict[str, Any] = {"root": root, "roots": sorted({*kept, *(roots or [])})}
        if source and source != root:
            entry["source"] = source
        if opened and (not known or known.get("opened")):
            entry["opened"] = True
        if known == entry:
            return
        if "source" not in entry:  # a folder is one catalogue: made anew under another id, the old one is gone
            for id in [id for id, e in entries.items() if e["root"] == root and "source" not in e]:
                del entries[id]
        elif "opened" not in entry:  # a file that changed has another id; chains of what it was are read as before
            for other in entries.values():
                if (other["root"], other.get("source")) == (root, source):
                    other["opened"] = True
        entries[catalog_id] = entry


def forget_catalog(catalog_id: str) -> dict[str, Any]:
    """Takes a catalogue out of those that are known, and gives back what was known of it; its files stay."""
    with _changed_entries() as entries:
        if catalog_id not in entries:
            raise NotFound(f"no catalogue {catalog_id!r} is known here; {catalogs_there_are(entries)}")
        return entries.pop(catalog_id)


def catalogs_there_are(known: Iterable[str]) -> str:
    """The names of catalogues in a message: some of them, where there are many."""
    names = sorted(known)
    if not names:
        return (
            "none is registered yet: `muses-lab sample` makes one, `muses-lab catalog add FILES…` makes one of your own"
        )
    more = f" and {len(names) - _LISTED} more, see `muses-lab catalog list`" if len(names) > _LISTED else ""
    return f"there are: {', '.join(names[:_LISTED])}{more}"


_LISTED = 8
"""So many catalogues are named in a message."""


@contextmanager
def _changed_entries() -> Iterator[dict[str, dict[str, Any]]]:
    """The registry to change; it is written when it did."""
    global _looked
    file = _registry_file()
    with FileLock(str(file) + ".lock"):
        entries = known_catalogs()
        yield entries
        if entries == catalog_entries():
            return
        part = file.with_suffix(".part")
        part.write_text(json.dumps(entries, indent=1), "utf-8")
        part.replace(file)
        _looked = None, -1.0, {}

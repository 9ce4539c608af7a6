"""What opens catalogues of one kind: a module each, which states its `BACKEND`.

A package adds one by an entry point of the group `muses_lab.catalogs` that names such a module. All of them are
imported whenever a catalogue is opened: a module imports the libraries that it needs when it opens one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Protocol

from muses_lab import plugins
from muses_lab.errors import NotFound
from muses_lab.raster import access


class Backend(Protocol):
    """How catalogues of one kind are known and opened."""

    takes: str
    """What it opens, for people: `a catalogue folder (catalog.json)`."""

    def recognises(self, source: str) -> bool:
        """Whether a source is one of its kind, by scheme, name, or a look at the disk; nobody on the web is asked.

        `source` is a URL, or the full path of a file or folder that is there.
        """
        ...

    def open(self, source: str) -> Any:
        """The catalogue (`muses_lab.catalog.Catalog`), whose attribute `source` says what opens it again."""
        ...


@cache
def backends() -> tuple[Backend, ...]:
    """Every kind, those of this package first."""
    return tuple(plugins.found(__name__, "muses_lab.catalogs", "BACKEND", _check))


def opened(source: str) -> Any:
    """The catalogue that a path or URL leads to.

    Raises
    ------
    NotFound
        There is nothing, or nothing that one of the backends takes; the message says what they take.
    AccessDenied
        The address is none that may be asked.
    """
    if "://" not in source:
        path = Path(source).expanduser().resolve()
        if not path.exists():
            raise NotFound(f"there is no catalogue at {path}", path=str(path))
        source = str(path)
    for backend in backends():
        if backend.recognises(source):
            return backend.open(source)
    if "://" in source:
        access.check_url(source)
    hint = f"; `muses-lab catalog add {source}` makes a catalogue of the scenes in it" if Path(source).is_dir() else ""
    kinds = "; ".join(backend.takes for backend in backends())
    raise NotFound(f"{source} is not a catalogue{hint}. What can be opened: {kinds}")


def _check(backend: Any) -> None:
    if missing := [name for name in ("takes", "recognises", "open") if not hasattr(backend, name)]:
        raise TypeError(f"BACKEND has no {', '.join(missing)}")

"""The ledger of a production: what is to be made, and what has become of each, in one SQLite file beside the outputs.

It appears whole, with all that is to be made, and each change is a transaction: whoever is killed leaves it true.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from muses_lab.errors import MusesError

NAME = "production.sqlite"

_TABLES = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE output (
    number INTEGER PRIMARY KEY, file TEXT UNIQUE NOT NULL, area TEXT NOT NULL, dates TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', tries INTEGER NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT '',
    left_out INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0,
    job TEXT NOT NULL DEFAULT ''
);
"""


@dataclass(frozen=True)
class Output:
    """One file of a production."""

    number: int
    file: str
    area: str
    dates: str
    """Empty: those of the chain."""
    state: str = "waiting"
    """`waiting`, `running` (also where its process is gone), `done`, `failed`, `left out`: nothing is there."""
    tries: int = 0
    why: str = ""
    left_out: int = 0
    """Scenes that could not be read."""
    bytes: int = 0
    seconds: float = 0.0
    job: str = ""


class Ledger:
    """Of a folder of outputs; for one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While this process works on it; `MusesError` where another one does."""
        lock = FileLock(str(self.path) + ".lock", mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise MusesError(f"another process is at work on {self.path.parent}: wait for its end") from None
        try:
            yield
        finally:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

    def begin(self, about: Mapping[str, str], outputs: Iterable[Output]) -> None:
        """Makes the ledger, or goes on with the one that is there; `MusesError` where that is of something else."""
        if self.path.exists():
            known = self.about()
            if different := sorted(key for key in about.keys() | known.keys() if about.get(key) != known.get(key)):
                raise MusesError(
                    f"{self.path.parent} holds another production (another {', another '.join(different)}): choose "
                    "another folder, or remove it"
                )
            return
        made = self.path.with_name(f".{NAME}.{os.getpid()}")
        made.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(made)) as database, database:
                database.executescript(_TABLES)
                database.executemany("INSERT INTO about VALUES (?, ?)", about.items())
                rows = [(one.number, one.file, one.area, one.dates) for one in outputs]
                database.executemany("INSERT INTO output (number, file, area, dates) VALUES (?, ?, ?, ?)", rows)
            os.replace(made, self.path)
        finally:
            made.unlink(missing_ok=True)

    def about(self) -> dict[str, str]:
        with self._opened() as database:
            return dict(database.execute("SELECT key, value FROM about WHERE key NOT LIKE 'pinned %'"))

    def outputs(self) -> list[Output]:
        names = ", ".join(Output.__dataclass_fields__)
        with self._opened() as database:
            return [Output(*row) for row in database.execute(f"SELECT {names} FROM output ORDER BY number")]

    def note(self, number: int, **values: object) -> None:
        """What has become of an output."""
        changes = ", ".join(f"{name} = ?" for name in values)
        with self._opened() as database:
            database.execute(f"UPDATE output SET {changes} WHERE number = ?", (*values.values(), number))

    def pinned(self, dates: str) -> str | None:
        """Hash of the published chain of some dates, as it was when its first output was begun."""
        with self._opened() as database:
            row = database.execute("SELECT value FROM about WHERE key = ?", (f"pinned {dates}",)).fetchone()
        return None if row is None else str(row[0])

    def pin(self, dates: str, chain: str) -> None:
        with self._opened() as database:
            database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (f"pinned {dates}", chain))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as database, database:
                yield database
        except sqlite3.DatabaseError as error:
            raise MusesError(f"the ledger {self.path} cannot be used ({error})") from error

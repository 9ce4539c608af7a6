"""A whole store as one file, and back: from SQLite or PostgreSQL into either, consistent while it is in use.

The file is a ZIP: `store.json` says which schema it has and how many rows; each table is a JSON object a line;
documents and artefacts, which may be large, are entries of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, LargeBinary, MetaData, Table, func, select

from muses_lab.errors import MusesError
from muses_lab.store import migrate, schema
from muses_lab.store.database import Database, lock, revision, stamp

FORMAT = 1
BODIES = {"document": "hash", "style": "hash", "artefact": "digest"}
"""Tables whose column `body` is an entry of its own, named by this column: its SHA-256."""

_AT_ONCE = 500
"""Rows that are in memory at a time."""


def backup(database: Database, target: Path) -> dict[str, int]:
    """Writes all that the store holds at this moment to a new file that its owner alone can read; rows per table."""
    if target.exists():
        raise FileExistsError(f"{target} is there already; a backup never replaces another")
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                counts = _write(database, archive)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, target)  # unless somebody else has made it meanwhile
    finally:
        os.unlink(part)
    return counts


def restore(source: Path, database: Database) -> dict[str, int]:
    """Fills an empty store with what a backup holds, all of it or nothing; rows per table.

    A backup of an older release is brought to the schema of this one. Every document and artefact is checked.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            found = json.loads(archive.read("store.json"))
            if found.get("format") != FORMAT:
                raise MusesError(f"{source} has the format {found.get('format')!r}; this release reads {FORMAT}")
            migrate.check_known(database, found["revision"])
            with database.alone():
                _fill(database, archive, found)
                migrate.upgrade(database)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise MusesError(f"{source} is not a backup of a store, or is damaged: {error}") from None
    return found["rows"]


# ------------------------------------------------------------------------------------------------------------- writing


def _write(database: Database, archive: zipfile.ZipFile) -> dict[str, int]:
    counts = {}
    with database.snapshot() as connection:
        found = revision(connection)
        for table in _tables(connection):
            counts[table.name] = _write_table(database, connection, table, archive)
    info = {
        "format": FORMAT,
        "revision": found,
        "rows": counts,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    archive.writestr("store.json", json.dumps(info))
    return counts


def _write_table(database: Database, connection: Connection, table: Table, archive: zipfile.ZipFile) -> int:
    """Rows first, bodies after them: a ZIP is written one entry at a time."""
    key = BODIES.get(table.name)
    columns = [column for column in table.columns if not (key and column.name == "body")]
    count = 0
    with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as file:
        for row in _rows(connection, select(*columns).order_by(*table.primary_key)):
            file.write(json.dumps({k: _plain(v) for k, v in row.items()}).encode() + b"\n")
            count += 1
    if key:
        for row in _rows(connection, select(table.c[key]).order_by(table.c[key])):
            body = connection.scalar(select(table.c.body).where(table.c[key] == row[key]))
            if body is None:
                body = _outside(database, row[key])
            archive.writestr(f"{table.name}/{row[key]}", body if isinstance(body, str) else bytes(body))
    return count


def _outside(database: Database, digest: str) -> bytes:
    """The file of a large artefact. Such files never change and are never removed by the store."""
    try:
        return database.path(digest).read_bytes()
    except FileNotFoundError:
        raise MusesError(
            f"the file of artefact {digest[:12]}… is gone from beside the store; no backup was made"
        ) from None


def _rows(connection: Connection, query: Any) -> Iterator[dict[str, Any]]:
    found = connection.execution_options(yield_per=_AT_ONCE).execute(query)
    for row in found.mappings():
        yield dict(row)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


# ------------------------------------------------------------------------------------------------------------- filling


def _fill(database: Database, archive: zipfile.ZipFile, found: dict[str, Any]) -> None:
    with migrate.transaction(database) as connection:
        lock(connection)
        tables = _tables(connection)
        if held := [t.name for t in tables if connection.scalar(select(func.count()).select_from(t))]:
            raise MusesError(
                f"the store {database} is not empty ({', '.join(held)}); a backup is restored into an empty one: "
                "name a new file or database"
            )
        _make_schema(connection, tables, found["revision"])
        for table in _tables(connection):
            count = sum(_insert(database, connection, table, rows, archive) for rows in _lines(archive, table))
            if count != found["rows"].get(table.name, 0):
                raise MusesError(f"the backup has {count} rows of {table.name}, not {found['rows'].get(table.name)}")


def _make_schema(connection: Connection, before: list[Table], wanted: str) -> None:
    """The tables as they were when the backup was made."""
    if revision(connection) == wanted:
        return
    for table in reversed(before):
        table.drop(connection)
    stamp(connection, None)
    migrate.run(connection, wanted)


def _tables(connection: Connection) -> list[Table]:
    """The store's tables as the database has them, those that others refer to first."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name in schema.metadata.tables]


def _lines(archive: zipfile.ZipFile, table: Table) -> Iterator[list[dict[str, Any]]]:
    rows = []
    with archive.open(f"{table.name}.jsonl") as file:
        for line in file:
            rows.append(json.loads(line))
            if len(rows) == _AT_ONCE:
                yield rows
                rows = []
    if rows:
        yield rows


def _insert(
    database: Database, connection: Connection, table: Table, rows: list[dict[str, Any]], archive: zipfile.ZipFile
) -> int:
    key = BODIES.get(table.name)
    times = [column.name for column in table.columns if isinstance(column.type, DateTime)]
    for row in rows:
        for name in times:
            row[name] = datetime.fromisoformat(row[name]) if row[name] else None
        if key is None:
            continue
        body = archive.read(f"{table.name}/{row[key]}")
        if hashlib.sha256(body).hexdigest() != row[key]:
            raise MusesError(f"{table.name} {row[key][:12]}… is damaged in the backup; nothing was restored")
        if isinstance(table.c.body.type, LargeBinary):
            row["body"] = None if database.is_outside(len(body)) else body
            if row["body"] is None:
                database.write(row[key], body)
        else:
            row["body"] = body.decode()
        connection.execute(table.insert(), row)  # one at a time: many bodies may be more than the memory holds
        del row["body"]
    if key is None:
        connection.execute(table.insert(), rows)
    return len(rows)

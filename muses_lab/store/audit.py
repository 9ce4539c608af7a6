"""The audit log: who published, computed, exported and shared which chain, by the hour. Its size is bounded.

What goes through the store (publishing, sharing, opening, ends of exports) is written by the store itself. What a
user's own cluster computed is what the user's own processes report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, case, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from muses_lab.settings import number
from muses_lab.store import schema
from muses_lab.store.records import AuditEntry
from muses_lab.store.schema import audit

ROWS_A_DAY = 2000
"""Rows that one user's day may have. What they do with further chains is counted in one row for each hour and action:
nobody can fill the log, or drive somebody else's traces (or their own) out of it."""

_MOST = 2**53 - 1
"""Where counting ends: what JSON's numbers hold exactly."""


def add(connection: Connection, user: str, entries: Iterable[AuditEntry]) -> None:
    """Adds to the counts of the present hour."""
    now = schema.now()
    for entry in entries:
        row = {
            "owner": user, "hour": now.replace(minute=0, second=0, microsecond=0), "action": entry.action,
            "chain": entry.chain, "count": entry.count, "pixels": entry.pixels, "bytes": entry.bytes,
            "seconds": entry.seconds,
        }  # fmt: skip
        if not _there(connection, row) and _rows_today(connection, user, now) >= ROWS_A_DAY:
            row["chain"] = ""
        _count(connection, row)


def read(connection: Connection, limit: int, user: str | None = None) -> list[AuditEntry]:
    """The newest entries, of one user or of all."""
    query = select(audit).order_by(audit.c.hour.desc(), audit.c.owner, audit.c.action, audit.c.chain).limit(limit)
    if user is not None:
        query = query.where(audit.c.owner == user)
    return [_entry(row._mapping) for row in connection.execute(query)]


def forget(connection: Connection) -> int:
    """Removes what is older than `MUSES_AUDIT_DAYS` (default 365); how many rows that were."""
    oldest = schema.now() - timedelta(days=number("MUSES_AUDIT_DAYS"))
    return connection.execute(delete(audit).where(audit.c.hour < oldest)).rowcount


def _entry(row: Mapping[Any, Any]) -> AuditEntry:
    counts = {name: row[name] for name in ("count", "pixels", "bytes", "seconds")}
    return AuditEntry(row["action"], row["chain"], user=row["owner"], hour=row["hour"].replace(tzinfo=UTC), **counts)


def _there(connection: Connection, row: dict[str, Any]) -> bool:
    same = [audit.c[name] == row[name] for name in ("owner", "hour", "action", "chain")]
    return connection.scalar(select(audit.c.hour).where(*same)) is not None


def _rows_today(connection: Connection, user: str, now: datetime) -> int:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    query = select(func.count()).select_from(audit).where(audit.c.owner == user, audit.c.hour >= midnight)
    return connection.scalar(query) or 0


def _count(connection: Connection, row: dict[str, Any]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(audit).values(**row)
    sums = {}
    for name in ("count", "pixels", "bytes", "seconds"):
        found = audit.c[name] + insert.excluded[name]
        sums[name] = case((found < _MOST, found), else_=_MOST)
    connection.execute(insert.on_conflict_do_update(index_elements=["owner", "hour", "action", "chain"], set_=sums))

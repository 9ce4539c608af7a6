"""The tables. Whoever changes one adds a migration (`migrations/versions`) that does the same to stores that exist."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

REVISION = "0003"
"""The schema that is described here: the newest migration."""

metadata = MetaData()


def now() -> datetime:
    """The present as it is stored: UTC, without saying so."""
    return datetime.now(UTC).replace(tzinfo=None)


# What has a hash is kept once, whoever put it; `holding` says who has.

document = Table(
    "document",
    metadata,
    Column("hash", String, primary_key=True),
    Column("body", Text, nullable=False),
    Column("created", DateTime, nullable=False, default=now),
)

style = Table(
    "style",
    metadata,
    Column("hash", String, primary_key=True),
    Column("body", Text, nullable=False),
    Column("created", DateTime, nullable=False, default=now),
)

artefact = Table(
    "artefact",
    metadata,
    Column("digest", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("body", LargeBinary),  # None: a file beside the store
    Column("created", DateTime, nullable=False, default=now),
)

holding = Table(
    "holding",
    metadata,
    Column("owner", String, primary_key=True),
    Column("kind", String, primary_key=True),  # document, style, artefact
    Column("key", String, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("created", DateTime, nullable=False, default=now),
    Index("holding_latest", "owner", "kind", "created"),
)

result = Table(
    "result",
    metadata,
    Column("owner", String, primary_key=True),
    Column("node", String, primary_key=True),
    Column("digest", String, nullable=False),
)

# Jobs

job = Table(
    "job",
    metadata,
    Column("owner", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("target", String, nullable=False),
    Column("chain", String, nullable=False),
    Column("options", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("process", String, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("pixels", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("created", DateTime, nullable=False, default=now),
    Column("changed", DateTime, nullable=False, default=now),
    Index("job_latest", "owner", "created"),
)

# Shares: what, and with whom

share = Table(
    "share",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("title", String, nullable=False),
    Column("content", Text, nullable=False),
    Column("created", DateTime, nullable=False, default=now),
    Column("expires", DateTime),
    Column("revoked", DateTime),
    Index("share_latest", "owner", "created"),
)

share_item = Table(
    "share_item",
    metadata,
    Column("share", String, ForeignKey("share.id"), primary_key=True),
    Column("kind", String, primary_key=True),  # as in `holding`
    Column("key", String, primary_key=True),
    Index("share_item_key", "kind", "key"),
)

share_grant = Table(
    "share_grant",
    metadata,
    Column("share", String, ForeignKey("share.id"), primary_key=True),
    Column("kind", String, primary_key=True),  # user, group
    Column("name", String, primary_key=True),
    Index("share_grant_name", "kind", "name"),
)

# The audit log: one row for each hour in which a user did something with a chain

audit = Table(
    "audit",
    metadata,
    Column("owner", String, primary_key=True),
    Column("hour", DateTime, primary_key=True),
    Column("action", String, primary_key=True),
    Column("chain", String, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("pixels", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Index("audit_hour", "hour"),
)

# Courses of a class: what was published, what participants answered, and how they are at the moment

course = Table(
    "course",
    metadata,
    Column("id", String, primary_key=True),
    Column("version", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("state", String, nullable=False),  # open, closed, removed
    Column("created", DateTime, nullable=False, default=now),
    Column("changed", DateTime, nullable=False, default=now),
)

answer = Table(
    "answer",
    metadata,
    Column("owner", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("course", String, nullable=False),
    Column("notebook", String, nullable=False),
    Column("exercise", String, nullable=False),
    Column("state", String, nullable=False),
    Column("points", Float, nullable=False),
    Column("given", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("at", DateTime),
    Column("received", DateTime, nullable=False, default=now),
    Index("answer_course", "course", "owner", "exercise"),
)

presence = Table(
    "presence",
    metadata,
    Column("course", String, primary_key=True),
    Column("owner", String, primary_key=True),
    Column("notebook", String, nullable=False),
    Column("error", Text, nullable=False),
    Column("cluster", String, nullable=False),
    Column("load", Float, nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("seen", DateTime, nullable=False),
)

note = Table(
    "note",
    metadata,
    Column("id", String, primary_key=True),
    Column("course", String, nullable=False),  # empty: for all users of the hub
    Column("kind", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("owner", String, nullable=False),
    Column("at", DateTime, nullable=False),
    Column("until", DateTime, nullable=False),
    Index("note_course", "course", "until"),
)

notebook = Table(
    "notebook",
    metadata,
    Column("course", String, primary_key=True),
    Column("owner", String, primary_key=True),
    Column("file", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", DateTime, nullable=False),
)

"""A store as the first release made it, and what must be found in it ever after."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import create_engine, text

from muses_lab.store.sql import SqlStore

# As release 0.1.0 of November 2026 made its tables: never to be changed.
FIRST = {
    "sqlite": """
        CREATE TABLE document (
            hash VARCHAR NOT NULL, body TEXT NOT NULL, created DATETIME NOT NULL, PRIMARY KEY (hash));
        CREATE TABLE style (hash VARCHAR NOT NULL, body TEXT NOT NULL, created DATETIME NOT NULL, PRIMARY KEY (hash));
        CREATE TABLE artefact (
            digest VARCHAR NOT NULL, kind VARCHAR NOT NULL, size INTEGER NOT NULL, body BLOB,
            created DATETIME NOT NULL, PRIMARY KEY (digest));
        CREATE TABLE result (node VARCHAR NOT NULL, digest VARCHAR NOT NULL, PRIMARY KEY (node));
    """,
    "postgresql": """
        CREATE TABLE document (
            hash VARCHAR NOT NULL, body TEXT NOT NULL, created TIMESTAMP WITHOUT TIME ZONE NOT NULL,
            PRIMARY KEY (hash));
        CREATE TABLE style (
            hash VARCHAR NOT NULL, body TEXT NOT NULL, created TIMESTAMP WITHOUT TIME ZONE NOT NULL,
            PRIMARY KEY (hash));
        CREATE TABLE artefact (
            digest VARCHAR NOT NULL, kind VARCHAR NOT NULL, size INTEGER NOT NULL, body BYTEA,
            created TIMESTAMP WITHOUT TIME ZONE NOT NULL, PRIMARY KEY (digest));
        CREATE TABLE result (node VARCHAR NOT NULL, digest VARCHAR NOT NULL, PRIMARY KEY (node));
    """,
}
DOCUMENT, ITEMS, LARGE = '{"a": "é"}', b"\0items\xff", b"large" * (1 << 20)
WHEN = datetime(2026, 11, 20, 12, 30, 1, 250000)
NODE = "0c" * 32


def digest(body: bytes | str) -> str:
    return hashlib.sha256(body.encode() if isinstance(body, str) else body).hexdigest()


def make_first(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in FIRST[engine.dialect.name].split(";"):
            if statement.strip():
                connection.execute(text(statement))
        row = {"when": WHEN, "document": DOCUMENT, "name": digest(DOCUMENT)}
        for table in ("document", "style"):
            connection.execute(text(f"INSERT INTO {table} VALUES (:name, :document, :when)"), row)
        body: bytes | None
        for body in (ITEMS, LARGE):
            row = {"name": digest(body), "size": len(body), "body": body, "when": WHEN}
            if body is LARGE and engine.dialect.name == "sqlite":
                path = Path(str(engine.url.database)).with_suffix(".artefacts") / row["name"][:2] / row["name"]
                path.parent.mkdir(parents=True)
                path.write_bytes(body)
                row["body"] = None
            connection.execute(text("INSERT INTO artefact VALUES (:name, 'muses:items', :size, :body, :when)"), row)
        connection.execute(text("INSERT INTO result VALUES (:node, :name)"), {"node": NODE, "name": digest(ITEMS)})
    engine.dispose()


def check_first(store: SqlStore) -> None:
    """What the first release had kept is the user's own."""
    assert store.documents() == [(digest(DOCUMENT), WHEN.replace(tzinfo=UTC))]
    assert store.document(digest(DOCUMENT)) == store.style(digest(DOCUMENT)) == DOCUMENT
    for body in (ITEMS, LARGE):
        assert store.has_artefact(digest(body)) and store.artefact(digest(body)) == body
    assert store.result(NODE) == digest(ITEMS)
    store.put_document(digest("{}"), "{}")
    assert len(store.documents()) == 2

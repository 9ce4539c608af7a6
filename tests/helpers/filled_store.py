"""A store with something of everything, and what a reader sees of it."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from muses_lab.store import Answer, AuditEntry, CourseRecord, JobRecord, Note, Presence, Share, Who
from muses_lab.store.records import to_json
from muses_lab.store.sql import SqlStore

EVERYBODYS = ("courses", "notes")
"""What a stranger sees of it."""


def digest(body: bytes | str) -> str:
    return hashlib.sha256(body.encode() if isinstance(body, str) else body).hexdigest()


def document(text: str) -> tuple[str, str]:
    """Name and text of some document."""
    body = json.dumps({"process_graph": text})
    return digest(body), body


def fill(store: SqlStore, large: int = 0) -> None:
    """Alice and Bob publish; Alice shares with Bob and with a class; `large`: bytes of an artefact."""
    alice, bob = store.of(Who("alice")), store.of(Who("bob"))
    for user in (alice, bob):
        user.put_document(*document("both"))
        user.put_document(*document(f"{user.who.name}'s — é"))
        user.put_style(*document("style"))
        user.put_result(digest("node"), digest(user.who.name))
    items = b"\0items\xff" + os.urandom(large)
    alice.put_artefact(digest(items), "muses:items", items)
    chain = document("alice's — é")[0]
    options = {"window": {"shape": [4, 5]}}
    alice.put_job(JobRecord("job-12345", "export", "a.tif", "/home/alice/a.tif", chain, options, "done", pixels=20))
    alice.put_job(JobRecord("job-67890", "export", "b.tif", "/home/alice/b.tif", chain, options, process="elsewhere"))
    content = {"chain": chain, "style": document("style")[0], "view": {"center": [43.6, 1.4], "zoom": 11}}
    expires = datetime.now(UTC) + timedelta(days=3)
    alice.put_share(Share("share-12345", "NDVI", content, ("bob",), ("class",), (digest(items),), expires=expires))
    alice.put_share(Share("share-67890", "taken back", content, ("bob",)))
    alice.revoke("share-67890")
    alice.note([AuditEntry("computed", chain, 15, 15 << 18, 0, 1.5)])
    notebooks = [{"file": "01-map.ipynb", "title": "A map"}]
    store.put_course(CourseRecord("first-steps", "0" * 12, {"title": "First — é", "notebooks": notebooks}, 1000))
    told = ("first-steps", "01-map.ipynb", "clear-dates")
    alice.put_answers([Answer("answer-1", *told, "wrong", given="11"), Answer("answer-2", *told, "right", 1.5)])
    bob.put_answers([Answer("answer-1", *told, "error", message="é\n", at=datetime(2026, 12, 1, tzinfo=UTC))])
    alice.put_presence(Presence("first-steps", "01-map.ipynb", "NameError", "busy", 0.5, 10**10))
    alice.put_notebook("first-steps", "01-map.ipynb", '{"cells": ["é"]}')
    store.put_note(Note("note-12345", "Hello", "first-steps"))
    store.put_note(Note("note-67890", "The hub stops at noon", until=expires))


def seen(store: SqlStore) -> dict[str, Any]:
    """All that Alice, Bob, a member of the class and a stranger get to see."""
    whos = (Who("alice"), Who("bob"), Who("carol", frozenset({"class"})), Who("dan"), Who())
    return {who.name: _seen_by(store.of(who)) for who in whos}


def _seen_by(store: SqlStore) -> dict[str, Any]:
    documents = store.documents(1000)
    shares = store.shares(1000)
    shared = store.shared(1000)
    digests = {d for share in (*shares, *shared) for d in share.artefacts}
    return {
        "documents": [(name, when, store.document(name)) for name, when in documents],
        "shared documents": [store.document(share.content["chain"]) for share in shared],
        "style": [store.style(share.content["style"]) for share in (*shares, *shared)],
        "artefacts": {name: store.artefact(name) for name in sorted(digests)},
        "result": store.result(digest("node")),
        "jobs": [to_json(job) for job in store.jobs(1000)],
        "shares": [to_json(share) for share in (*shares, *shared)],
        "audit": [to_json(entry) for entry in store.audit()],
        "courses": [to_json(course) for course in store.courses()],
        "answers": [to_json(answer) for answer in store.answers("first-steps")],
        "notes": [to_json(note) for note in (store.notes("first-steps") if store.courses() else [])],
    }

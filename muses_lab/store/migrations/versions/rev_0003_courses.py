"""Courses: what was published, participants' answers and notebooks, how they are, and what they are told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "course",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("version", "owner")),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        *(sa.Column(name, sa.DateTime, nullable=False) for name in ("created", "changed")),
    )
    op.create_table(
        "answer",
        *(sa.Column(name, sa.String, primary_key=True) for name in ("owner", "id")),
        *(sa.Column(name, sa.String, nullable=False) for name in ("course", "notebook", "exercise", "state")),
        sa.Column("points", sa.Float, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("given", "message")),
        sa.Column("at", sa.DateTime),
        sa.Column("received", sa.DateTime, nullable=False),
    )
    op.create_index("answer_course", "answer", ["course", "owner", "exercise"])
    op.create_table(
        "presence",
        *(sa.Column(name, sa.String, primary_key=True) for name in ("course", "owner")),
        sa.Column("notebook", sa.String, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("cluster", sa.String, nullable=False),
        sa.Column("load", sa.Float, nullable=False),
        sa.Column("memory", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.DateTime, nullable=False),
    )
    op.create_table(
        "note",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("course", "kind")),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        *(sa.Column(name, sa.DateTime, nullable=False) for name in ("at", "until")),
    )
    op.create_index("note_course", "note", ["course", "until"])
    op.create_table(
        "notebook",
        *(sa.Column(name, sa.String, primary_key=True) for name in ("course", "owner", "file")),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )

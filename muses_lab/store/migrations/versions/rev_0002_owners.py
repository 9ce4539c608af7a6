"""Who has put what; jobs, shares and the audit log. What was there belongs to the file's user, who has no name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _holdings()
    _results()
    _jobs()
    _shares()
    _audit()


def _holdings() -> None:
    op.create_table(
        "holding",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
    )
    op.create_index("holding_latest", "holding", ["owner", "kind", "created"])
    for kind, key, size in (
        ("document", "hash", "length(body)"),
        ("style", "hash", "length(body)"),
        ("artefact", "digest", "size"),
    ):
        op.execute(
            "INSERT INTO holding (owner, kind, key, size, created) "
            f"SELECT '', '{kind}', {key}, {size}, created FROM {kind}"
        )


def _results() -> None:
    op.rename_table("result", "result_before")
    op.create_table(
        "result",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("node", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
    )
    op.execute("INSERT INTO result (owner, node, digest) SELECT '', node, digest FROM result_before")
    op.drop_table("result_before")


def _jobs() -> None:
    op.create_table(
        "job",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("kind", "name", "target", "chain")),
        sa.Column("options", sa.Text, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("state", "process")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("total", "done", "failed")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("pixels", "bytes")),
        sa.Column("error", sa.Text, nullable=False),
        *(sa.Column(name, sa.DateTime, nullable=False) for name in ("created", "changed")),
    )
    op.create_index("job_latest", "job", ["owner", "created"])


def _shares() -> None:
    op.create_table(
        "share",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("owner", "title")),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        *(sa.Column(name, sa.DateTime) for name in ("expires", "revoked")),
    )
    op.create_index("share_latest", "share", ["owner", "created"])
    op.create_table(
        "share_item",
        sa.Column("share", sa.String, sa.ForeignKey("share.id"), primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
    )
    op.create_index("share_item_key", "share_item", ["kind", "key"])
    op.create_table(
        "share_grant",
        sa.Column("share", sa.String, sa.ForeignKey("share.id"), primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
    )
    op.create_index("share_grant_name", "share_grant", ["kind", "name"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("hour", sa.DateTime, primary_key=True),
        sa.Column("action", sa.String, primary_key=True),
        sa.Column("chain", sa.String, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("count", "pixels", "bytes")),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_index("audit_hour", "audit", ["hour"])

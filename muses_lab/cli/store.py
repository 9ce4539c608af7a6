"""`muses-lab store`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from muses_lab import settings
from muses_lab.cli.plain import size_text
from muses_lab.errors import MusesError

app = typer.Typer()
store_app = typer.Typer(help="The store of chains, shares and jobs: for its administrator.", no_args_is_help=True)
app.add_typer(store_app, name="store")

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="SQLAlchemy URL; by default MUSES_HUB_DATABASE, else MUSES_STORE_URL, else the user's own file.",
        show_default=False,
    ),
]


@store_app.command("backup")
def backup_store(
    file: Annotated[Path, typer.Argument(help="The new file.")],
    url: StoreUrl = None,
) -> None:
    """Write the whole store to one file; it may be in use meanwhile."""
    from muses_lab.store.backup import backup

    counts = backup(_database(url), file)
    typer.echo(f"{file}: {size_text(file.stat().st_size)}, {_counts(counts)}")


@store_app.command("restore")
def restore_store(
    file: Annotated[Path, typer.Argument(help="A file that `muses-lab store backup` has made.")],
    url: StoreUrl = None,
) -> None:
    """Fill an empty store from a backup, of SQLite or PostgreSQL."""
    from muses_lab.store.backup import restore

    database = _database(url)
    typer.echo(f"{database}: {_counts(restore(file, database))}")


@store_app.command("migrate")
def migrate_store(url: StoreUrl = None) -> None:
    """Bring the store's tables to what this release needs. Make a backup first."""
    from muses_lab.store import migrate
    from muses_lab.store.schema import REVISION

    database = _database(url, schema=False)
    found = database.revision()
    if found == REVISION:
        typer.echo(f"{database} has the schema {REVISION} already")
        return
    if found is not None:
        migrate.check_known(database, found)
    migrate.upgrade(database)
    typer.echo(f"{database}: schema {found or 'none'} → {REVISION}")


@store_app.command("audit")
def show_audit(
    url: StoreUrl = None,
    user: Annotated[str | None, typer.Option(help="Only what this user did.")] = None,
    limit: Annotated[int, typer.Option(help="How many entries, from the newest.")] = 100,
) -> None:
    """Show who published, computed, exported and shared which chain, by the hour, as a table (CSV)."""
    import csv
    import sys

    from muses_lab.store import audit

    writer = csv.writer(sys.stdout)
    writer.writerow(["hour", "user", "action", "chain", "count", "pixels", "bytes", "seconds"])
    with _database(url).connect() as connection:
        for e in audit.read(connection, limit, user):
            hour = f"{e.hour:%Y-%m-%d %H:%M}"
            writer.writerow([hour, e.user, e.action, e.chain, e.count, e.pixels, e.bytes, round(e.seconds, 1)])


def _database(url: str | None, schema: bool = True) -> Any:
    """The store's database itself, not the hub's service before it."""
    from muses_lab.store.database import Database
    from muses_lab.store.opening import open_database

    url = url or os.environ.get("MUSES_HUB_DATABASE") or settings.store_url()
    if url.startswith(("http://", "https://")):
        raise MusesError(
            f"{url} is the hub's service; its administrator runs this where the database is, with MUSES_HUB_DATABASE"
        )
    return open_database(url) if schema else Database(url)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "empty"

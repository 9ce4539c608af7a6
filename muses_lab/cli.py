"""The `muses-lab` command: sample data, catalogues, the cluster, and what is missing.

Each command imports what it needs when it runs, so that `muses-lab doctor` and `--help` work on half an installation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from muses_lab import settings
from muses_lab.errors import MusesError


class _PlainErrors(TyperGroup):
    """What went wrong is said in one line, with exit code 1; a traceback would be ours to read, not the user's."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (MusesError, OSError) as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="muses-lab",
    help="MUSES Lab: an interactive Earth-observation laboratory in Jupyter.",
    cls=_PlainErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
catalog_app = typer.Typer(help="The catalogues of scenes that this user has registered.", no_args_is_help=True)
cluster_app = typer.Typer(help="The embedded Dask cluster of this user.", no_args_is_help=True)
pyramids_app = typer.Typer(help="Results that `chain.materialize()` has kept on disk.", no_args_is_help=True)
store_app = typer.Typer(help="The store of chains, shares and jobs: for its administrator.", no_args_is_help=True)
jobs_app = typer.Typer(help="Exports and pyramids, also those that were interrupted.", no_args_is_help=True)
app.add_typer(catalog_app, name="catalog")
app.add_typer(jobs_app, name="jobs")
app.add_typer(cluster_app, name="cluster")
app.add_typer(pyramids_app, name="pyramids")
app.add_typer(store_app, name="store")


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version

    typer.echo(version("muses-lab"))


@app.command()
def operators() -> None:
    """Print the supported processes with their parameters: docs/operators.md."""
    from muses_lab.operators.profile import markdown

    typer.echo(markdown(), nl=False)


@app.command()
def doctor() -> None:
    """Tell what this machine lacks for MUSES Lab, and the command that gets it. Exit code 1 if something is missing."""
    from muses_lab.doctor import examine

    healthy = True
    for finding in examine():
        typer.echo(str(finding))
        healthy = healthy and (finding.ok or not finding.needed)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def sample(
    folder: Annotated[
        Path | None, typer.Argument(help="Where it goes; your own data folder when left out.", show_default=False)
    ] = None,
    size: Annotated[int, typer.Option(help="Width of each of the two tiles in pixels of 10 m.")] = 4096,
    dates: Annotated[int, typer.Option(help="Number of overpasses in the year.")] = 36,
) -> None:
    """Make the sample catalogue, a year of Sentinel-2-like scenes near Toulouse; nothing is done when it is there."""
    from muses_lab.catalog import open_catalog
    from muses_lab.sample import generate

    catalog = open_catalog(generate(folder, size=size, dates=dates))
    names = ", ".join(collection["id"] for collection in catalog.collections())
    typer.echo(f"catalogue {catalog.id} at {catalog.root}, collection {names}")


@catalog_app.command("add")
def add_to_catalog(
    files: Annotated[list[Path], typer.Argument(help="STAC Items or ItemCollections (JSON), GeoTIFFs, stacks.")],
    catalog: Annotated[
        Path | None,
        typer.Option(help="Folder of the catalogue (my-scenes in your data folder)."),
    ] = None,
    collection: Annotated[str | None, typer.Option(help="Collection that they belong to.")] = None,
    stack: Annotated[Path | None, typer.Option(help="JSON or YAML that says which band of a stack is what.")] = None,
    date: Annotated[str | None, typer.Option(help="Date of the GeoTIFFs, where their names do not have it.")] = None,
    pattern: Annotated[str | None, typer.Option(help="Regular expression with a group 'date', for names.")] = None,
) -> None:
    """Register files of this machine; they stay where they are. Exit code 1 if one of them could not be."""
    from tqdm import tqdm

    from muses_lab.catalog.register import add

    folder = catalog or settings.home() / "my-scenes"
    with tqdm(total=len(files), unit="file", disable=None) as bar:

        def show(done: int, _: int, path: str) -> None:
            bar.set_postfix_str(Path(path).name)
            bar.update(done - bar.n)

        report = add(
            files,
            catalog=folder,
            collection=collection,
            stack=stack,
            date=date,
            pattern=pattern,
            progress=show,
        )
    typer.echo(str(report))
    raise typer.Exit(1 if report.failed else 0)


@catalog_app.command("list")
def list_catalogs() -> None:
    """List the registered catalogues with their collections."""
    from muses_lab.catalog import find_catalog

    known = settings.registered_catalogs()
    if not known:
        typer.echo("no catalogue is registered yet; `muses-lab sample` makes one, `muses-lab catalog add` another")
    for name in sorted(known):
        typer.echo(f"{name}  {known[name].get('source') or known[name]['root']}")
        try:
            collections = find_catalog(name).collections()
        except MusesError as error:  # one that is gone must not hide the others
            typer.echo(f"  not readable: {error}")
            continue
        for collection in collections:
            typer.echo(f"  {collection['id']}  {_dates(collection)}")


@catalog_app.command("show")
def show_catalog(
    name: Annotated[str, typer.Argument(help="Id of a catalogue or collection.")],
) -> None:
    """Show the collections of a catalogue: scenes, dates, place, bands."""
    from muses_lab.catalog import Query, find_catalog

    if name in settings.registered_catalogs():
        catalog = find_catalog(name)
        collections = catalog.collections()
    else:
        catalog = find_catalog(collection_id=name)
        collections = [catalog.collection(name)]
    typer.echo(f"catalogue {catalog.id} at {catalog.root}")
    for collection in collections:
        box = ", ".join(f"{value:.3f}" for value in collection["extent"]["spatial"]["bbox"][0])
        typer.echo(f"\n{collection['id']}: {collection.get('title') or collection.get('description', '')}")
        if "://" not in catalog.root:  # a catalogue on the web would send all its items to be counted
            typer.echo(f"  scenes {len(catalog.search(Query(collection['id'])))}")
        typer.echo(f"  dates  {_dates(collection)}")
        typer.echo(f"  place  {box} (west, south, east, north)")
        typer.echo(f"  bands  {', '.join(collection.get('item_assets', {})) or 'not described'}")


def _dates(collection: dict[str, Any]) -> str:
    first, last = collection["extent"]["temporal"]["interval"][0]
    return f"{(first or '…')[:10]} to {(last or '…')[:10]}"


@cluster_app.command("status")
def cluster_status() -> None:
    """Show the embedded cluster, and who keeps it running."""
    from muses_lab.compute import embedded

    found = embedded.status()
    if not found["running"]:
        typer.echo("no cluster is running; it starts when a map or a script needs it")
        return
    typer.echo(f"{found['workers']} workers, {found['threads']} threads at {found['address']} (process {found['pid']})")
    typer.echo(f"release  {found['release']}")
    typer.echo(f"log      {found['log']}")
    for holder in found["holders"]:
        typer.echo(f"used by  {holder['pid']}  {holder['program']}")


@cluster_app.command("stop")
def cluster_stop() -> None:
    """End the embedded cluster, even if it is in use; it starts again when it is needed."""
    from muses_lab.compute import embedded

    typer.echo("stopped" if embedded.stop() else "no cluster was running")


@pyramids_app.command("list")
def list_pyramids() -> None:
    """List the pyramids with their sizes, levels and dates; the largest first."""
    from muses_lab.export.pyramid import kept

    found = kept()
    if not found:
        typer.echo("no pyramid is kept; chain.materialize() makes one")
        return
    for pyramid in found:
        typer.echo(f"{pyramid.node[:12]}  {_size(pyramid.bytes)}  {pyramid.summary}")
        for line in pyramid.details:
            typer.echo(f"  {line}")
    typer.echo(f"{len(found)} in all, {_size(sum(p.bytes for p in found))}")


@pyramids_app.command("remove")
def remove_pyramids(
    hashes: Annotated[list[str], typer.Argument(help="How the hashes of the pyramids (or their chains) begin.")],
) -> None:
    """Remove pyramids; what they held is computed again when it is asked for."""
    from muses_lab.export.pyramid import remove

    for name in hashes:
        gone = remove(name)
        typer.echo(f"{gone.node[:12]} removed, {_size(gone.bytes)} freed")


@jobs_app.command("list")
def list_jobs(limit: Annotated[int, typer.Option(help="How many, from the newest.")] = 20) -> None:
    """List the user's jobs, the newest first."""
    from muses_lab.resuming import jobs

    for known in jobs(limit):
        started = f"{known.record.created:%Y-%m-%d %H:%M}"
        typer.echo(
            f"{known.id[:8]}  {started}  {known.state:11}  {known.record.done}/{known.record.total}  {known.path}"
        )


@jobs_app.command("resume")
def resume_job(
    name: Annotated[str, typer.Argument(help="How the job's name in `muses-lab jobs list` begins.")],
) -> None:
    """Go on with a job that was interrupted, failed or was cancelled, and wait for its end."""
    from muses_lab.resuming import job

    typer.echo(f"{job(name).resume().wait()} is written")


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
    typer.echo(f"{file}: {_size(file.stat().st_size)}, {_counts(counts)}")


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
    import os

    from muses_lab.store.database import Database

    url = url or os.environ.get("MUSES_HUB_DATABASE") or settings.store_url()
    if url.startswith(("http://", "https://")):
        raise MusesError(
            f"{url} is the hub's service; its administrator runs this where the database is, with MUSES_HUB_DATABASE"
        )
    return Database(url, schema=schema)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "empty"


def _size(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"

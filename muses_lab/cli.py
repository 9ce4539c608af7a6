"""The `muses-lab` command: sample data, catalogues, the cluster, and what is missing.

Each command imports what it needs when it runs, so that `muses-lab doctor` and `--help` work on half an installation.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
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
            typer.echo(f"Error: {_as_typed(str(error), _options(self))}", err=True)
            raise typer.Exit(1) from None


def _options(command: Any) -> set[str]:
    """Python's names of the options of a command and those below it."""
    own = {p.name for p in command.params if p.param_type_name == "option"}
    return own.union(*(_options(c) for c in getattr(command, "commands", {}).values()))


def _as_typed(message: str, options: set[str]) -> str:
    """A message of the library, which names arguments as Python does (`size=5`), as it is typed here (`--size 5`)."""

    def typed(match: re.Match[str]) -> str:
        name, value = match.groups()
        return f"--{name.replace('_', '-')} {value}" if name in options else match[0]

    return re.sub(r"(?<![\w?&/.-])([a-z_]+)=('[^']*'|\"[^\"]*\"|[^\s,;:)]+)", typed, message)


app = typer.Typer(
    name="muses-lab",
    help="MUSES Lab: an interactive Earth-observation laboratory in Jupyter.",
    cls=_PlainErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
catalog_app = typer.Typer(help="The catalogues of scenes that this user has registered.", no_args_is_help=True)
cluster_app = typer.Typer(help="The embedded Dask cluster of this user.", no_args_is_help=True)
materialized_app = typer.Typer(help="Results that `chain.materialize()` has kept on disk.", no_args_is_help=True)
store_app = typer.Typer(help="The store of chains, shares and jobs: for its administrator.", no_args_is_help=True)
jobs_app = typer.Typer(help="Exports and materializing jobs, also those that were interrupted.", no_args_is_help=True)
app.add_typer(catalog_app, name="catalog")
app.add_typer(jobs_app, name="jobs")
app.add_typer(cluster_app, name="cluster")
app.add_typer(materialized_app, name="materialized")
app.add_typer(store_app, name="store")


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version

    typer.echo(version("muses-lab"))


@app.command()
def operators() -> None:
    """Print the supported processes, their parameters and how they are written in Python, as a page of the site."""
    from muses_lab.operators.profile import markdown

    typer.echo(markdown(), nl=False)


@app.command()
def products() -> None:
    """Print the known products with their bands and masks: the middle of docs/products.md."""
    from muses_lab.products.page import markdown

    typer.echo(markdown(), nl=False)


@app.command("settings")
def settings_page() -> None:
    """Print all settings (environment variables), their defaults and what they mean: docs/settings.md."""
    from muses_lab.variables import markdown

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
def check(
    graph: Annotated[Path, typer.Argument(help="An openEO process graph, process or job (JSON).")],
    parameter: Annotated[
        list[str] | None, typer.Option(help="A value of a parameter: NAME=JSON or text.", show_default=False)
    ] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="What a collection is here: THEIRS=OURS.", show_default=False)
    ] = None,
    processes: Annotated[
        Path | None, typer.Option(help="Definitions of processes that it calls (JSON).", show_default=False)
    ] = None,
) -> None:
    """Tell whether an openEO document of others can be read here; exit code 1, and what is wrong at which node, if not.

    Nothing is computed, and no code in the document is run.
    """
    import json

    from muses_lab.api.reading import faults, read_graph

    given = {name: _json(value) for name, value in map(_pair, parameter or ())}
    here = dict(map(_pair, collection or ()))
    known = json.loads(processes.read_text(encoding="utf-8")) if processes else None
    found = faults(graph, given, known, here)
    for fault in found:
        typer.echo(str(fault))
    if found:
        raise typer.Exit(1)
    for result in read_graph(graph, given, known, trust_code=True, collections=here):
        typer.echo(f"{result.name}  {result.format or 'no format'}  {', '.join(result.loads) or 'loads no collection'}")


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise MusesError(f"{text!r} is no NAME=VALUE")
    return name, value


def _json(text: str) -> Any:
    """A value as JSON; what is none is a text."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


@app.command()
def sample(
    folder: Annotated[
        Path | None, typer.Argument(help="Where it goes; your own data folder when left out.", show_default=False)
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Two tiles of 41 km and 36 overpasses: 2.4 GB, five minutes of two cores.")
    ] = False,
    size: Annotated[
        int | None, typer.Option(help="Width of each of the two tiles in pixels of 10 m (2112).", show_default=False)
    ] = None,
    dates: Annotated[
        int | None, typer.Option(help="Number of overpasses in the year (24).", show_default=False)
    ] = None,
    reuse: Annotated[
        Path | None, typer.Option(help="Folder of a sample to take the files of, if there is one.", show_default=False)
    ] = None,
) -> None:
    """Make the sample catalogue, a year of Sentinel-2-like scenes near Toulouse: 470 MB, under a minute of two cores.

    Nothing is done when it is there. A run that was ended before leaves nothing, and the next one begins anew.
    """
    from muses_lab.catalog import register_catalog
    from muses_lab.sample import generate
    from muses_lab.sample.make import FULL

    if full:
        size, dates = FULL["size"] if size is None else size, FULL["dates"] if dates is None else dates
    catalog = register_catalog(generate(folder, size=size, dates=dates, reuse=reuse, progress=True))
    names = ", ".join(collection["id"] for collection in catalog.collections())
    typer.echo(f"catalogue {catalog.id} at {catalog.root}, collection {names}")


@catalog_app.command("add")
def add_to_catalog(
    files: Annotated[
        list[str], typer.Argument(help="STAC Items or ItemCollections (JSON), GeoTIFFs, stacks, or folders of them.")
    ],
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
    from muses_lab.catalog.register import add
    from muses_lab.progress import Progress

    folder = catalog or settings.home() / "my-scenes"
    with Progress(len(files), "Add", "file") as progress:

        def show(done: int, _: int, path: str) -> None:
            progress.update(done - progress.done, Path(path).name)

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


@catalog_app.command("register")
def register_catalogs(
    places: Annotated[
        list[str], typer.Argument(help="Catalogue folders, .parquet, ItemCollections, URLs of STAC APIs.")
    ],
) -> None:
    """Register whole catalogues, so that their collections are found by their names."""
    from muses_lab.catalog import register_catalog

    for place in places:
        catalog = register_catalog(place)
        typer.echo(f"{catalog.id}  {catalog.root}")
        for collection in catalog.collections():
            typer.echo(f"  {collection['id']}  {_dates(collection)}")


@catalog_app.command("remove")
def remove_catalogs(
    names: Annotated[list[str], typer.Argument(help="Ids of catalogues, or where they are.")],
) -> None:
    """Forget catalogues; no file is deleted. Their chains and maps cannot be read here until they are back."""
    from muses_lab.catalog import remove_catalog

    for name in names:
        typer.echo(remove_catalog(name))


@catalog_app.command("list")
def list_catalogs() -> None:
    """List the registered catalogues with their collections."""
    from muses_lab.catalog import find_catalog

    known, registered = settings.known_catalogs(), settings.registered_catalogs()
    if not registered:
        typer.echo("no catalogue is registered yet; `muses-lab sample` makes one, `muses-lab catalog add` another")
    for name in sorted(registered):
        typer.echo(f"{name}  {_place(known[name])}")
        try:
            collections = find_catalog(name).collections()
        except MusesError as error:  # one that is gone must not hide the others
            typer.echo(f"  not readable: {error}")
            continue
        for collection in collections:
            typer.echo(f"  {collection['id']}  {_dates(collection)}")
    if opened := sorted(known.keys() - registered.keys()):
        typer.echo("opened, not registered:")
        for name in opened:
            typer.echo(f"  {name}  {_place(known[name])}")


def _place(entry: dict[str, Any]) -> str:
    return entry.get("source") or entry["root"]


@catalog_app.command("show")
def show_catalog(
    name: Annotated[str, typer.Argument(help="Id of a catalogue or collection, or catalogue:collection.")],
) -> None:
    """Show the collections of a catalogue: scenes, dates, place, bands."""
    from muses_lab.catalog import Query, find_catalog, find_collection

    if name in settings.known_catalogs():
        catalog = find_catalog(name)
        collections = catalog.collections()
    else:
        catalog, id = find_collection(name)
        collections = [catalog.collection(id)]
    typer.echo(f"catalogue {catalog.id} at {catalog.root}")
    for collection in collections:
        box = ", ".join(f"{value:.3f}" for value in collection["extent"]["spatial"]["bbox"][0])
        typer.echo(f"\n{collection['id']}: {collection.get('title') or collection.get('description', '')}")
        if "://" not in catalog.root:  # a catalogue on the web would send all its items to be counted
            typer.echo(f"  scenes {catalog.count(Query(collection['id']))}")
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


@materialized_app.command("list")
def list_materialized() -> None:
    """List the materialized blocks with their sizes, levels and dates; the largest first."""
    from muses_lab.export.materialized import kept

    found = kept()
    if not found:
        typer.echo("no blocks are kept; chain.materialize() makes them")
        return
    for blocks in found:
        typer.echo(f"{blocks.node[:12]}  {_size(blocks.bytes)}  {blocks.summary}")
        for line in blocks.details:
            typer.echo(f"  {line}")
    typer.echo(f"{len(found)} in all, {_size(sum(p.bytes for p in found))}")


@materialized_app.command("remove")
def remove_materialized(
    hashes: Annotated[list[str], typer.Argument(help="How the hashes of the blocks' nodes (or chains) begin.")],
) -> None:
    """Remove materialized blocks; what they held is computed again when it is asked for."""
    from muses_lab.export.materialized import remove

    for name in hashes:
        gone = remove(name)
        typer.echo(f"{gone.node[:12]} removed, {_size(gone.bytes)} freed")


@jobs_app.command("list")
def list_jobs(limit: Annotated[int, typer.Option(help="How many, from the newest.")] = 20) -> None:
    """List the user's jobs, the newest first."""
    from muses_lab.api.jobs import jobs

    for known in jobs(limit):
        started = f"{known.record.created:%Y-%m-%d %H:%M}"
        typer.echo(
            f"{known.id[:8]}  {started}  {known.state:11}  {known.record.done}/{known.record.total}  {known.path}"
        )


@jobs_app.command("resume")
def resume_job(
    name: Annotated[str, typer.Argument(help="How the job's name in `muses-lab jobs list` begins.")],
    while_runs: Annotated[int | None, typer.Option(hidden=True, help="The process that waits for this one.")] = None,
) -> None:
    """Go on with a job that was interrupted, failed or was cancelled, and wait for its end. Ctrl-C cancels it."""
    from muses_lab.api.jobs import job

    resumed = job(name).resume()
    if while_runs is not None:
        _end_with(while_runs)
    try:
        typer.echo(f"{resumed.wait()} is written")
    except KeyboardInterrupt as interrupt:
        typer.echo(str(interrupt), err=True)
        raise typer.Exit(130) from None


@jobs_app.command("cancel")
def cancel_job(
    name: Annotated[str, typer.Argument(help="How the job's name in `muses-lab jobs list` begins.")],
) -> None:
    """Stop a job, wherever it runs; of an export nothing is left."""
    from muses_lab.api.jobs import job

    known = job(name)
    known.cancel()
    typer.echo(f"{known.record.name} is to be cancelled")


def _end_with(parent: int) -> None:
    """Ends this process with the one that waits for it: nobody would see what it does."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


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


def _size(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"

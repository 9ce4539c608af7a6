"""`muses-lab sample` and `muses-lab catalog`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from muses_lab import settings
from muses_lab.errors import MusesError

app = typer.Typer()
catalog_app = typer.Typer(help="The catalogues of scenes that this user has registered.", no_args_is_help=True)
app.add_typer(catalog_app, name="catalog")


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

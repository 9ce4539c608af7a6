"""What this release and this machine have; whether documents of others can be read here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muses_lab.cli.plain import json_or_text, pair

app = typer.Typer()


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

    given = {name: json_or_text(value) for name, value in map(pair, parameter or ())}
    here = dict(map(pair, collection or ()))
    known = json.loads(processes.read_text(encoding="utf-8")) if processes else None
    found = faults(graph, given, known, here)
    for fault in found:
        typer.echo(str(fault))
    if found:
        raise typer.Exit(1)
    for result in read_graph(graph, given, known, trust_code=True, collections=here):
        typer.echo(f"{result.name}  {result.format or 'no format'}  {', '.join(result.loads) or 'loads no collection'}")


@app.command()
def view(file: Annotated[Path, typer.Argument(help="A view that `Map.save_view` wrote (JSON).")]) -> None:
    """Tell what a saved view of a map shows, and what of it cannot be seen here; exit code 1 if something cannot.

    Nothing is computed, and no code in the file is run.
    """
    from muses_lab.api.views import View

    found = View.read(file)
    told = found.document
    lat, lon = told.center
    base = told.basemap.name if told.basemap else "None"
    typer.echo(f"Around {lat:.4f}, {lon:.4f} (latitude, longitude), zoom {told.zoom:g}, base map {base}")
    for kind, parts in (("layer", told.layers), ("vectors", told.vectors), ("background", told.backgrounds)):
        for part in parts:
            typer.echo(f"{kind} {part.name!r}{'' if part.visible else ', hidden'}")
    faults = found.faults()
    for fault in faults:
        typer.echo(f"{'missing' if fault.lost else 'note'}: {fault}")
    if any(fault.lost for fault in faults):
        raise typer.Exit(1)

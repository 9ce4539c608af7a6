"""`muses-lab export|produce|history|remake`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from muses_lab.cli.plain import at_terminal, json_or_text, pair
from muses_lab.errors import MusesError

app = typer.Typer()

ChainFile = Annotated[str, typer.Argument(help="A chain as JSON (chain.to_json(), an openEO document): a file, or -.")]
Parameters = Annotated[
    list[str] | None, typer.Option("--parameter", help="A value of a parameter: NAME=JSON or text.", show_default=False)
]
StyleFile = Annotated[
    Path | None, typer.Option("--style", help="A style (JSON), for a GIS and for pictures.", show_default=False)
]
FormatOptions = Annotated[
    list[str] | None, typer.Option("--option", help="Of the format: NAME=JSON or text.", show_default=False)
]


@app.command("export")
def export_chain(
    chain: ChainFile,
    out: Annotated[Path, typer.Argument(help="The file; its ending says the format.")],
    bounds: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(help="West, south, east, north, in degrees.", show_default=False),
    ] = None,
    bounds_crs: Annotated[str, typer.Option(help="What the bounds are in.")] = "EPSG:4326",
    area: Annotated[
        Path | None, typer.Option(help="Polygons (GeoPackage, GeoJSON, …): outside is missing.", show_default=False)
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="A raster of which grid and extent are taken.", show_default=False)
    ] = None,
    crs: Annotated[str | None, typer.Option(help="Reference system of the grid.", show_default=False)] = None,
    resolution: Annotated[
        float | None, typer.Option(help="Size of pixels, in units of the system.", show_default=False)
    ] = None,
    dates: Annotated[
        list[str] | None, typer.Option(help="2018-06, or twice: from, and before.", show_default=False)
    ] = None,
    bands: Annotated[str | None, typer.Option(help="Names of bands, with commas.", show_default=False)] = None,
    format: Annotated[
        str | None, typer.Option(help="Where several formats have the ending.", show_default=False)
    ] = None,
    title: Annotated[str | None, typer.Option(help="What the file is called in a GIS.", show_default=False)] = None,
    style: StyleFile = None,
    option: FormatOptions = None,
    parameter: Parameters = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Tell what it would take, and do nothing.")] = False,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Take code that the document holds.")] = False,
) -> None:
    """Write a chain on a window to a file; without a window, on the whole grid of its scenes.

    A bar shows how far it is where somebody looks on. Exit codes: 0 written, 1 not written (the reason is told), 3
    written, but scenes that could not be read are left out, 130 after Ctrl-C. An export that was killed goes on where
    it was when the same command is given again.
    """
    made = _chain(chain, parameter, trust_code)
    if dates:
        from muses_lab.api.dated import of_dates

        made = of_dates(made, *dates)
    grid = {"crs": crs, "resolution": resolution, "like": like}
    asked: dict[str, Any] = {name: value for name, value in grid.items() if value is not None}
    if bands:
        asked["bands"] = [name.strip() for name in bands.split(",")]
    where = _where(bounds, bounds_crs, area, like)
    if bounds is not None and bounds_crs != "EPSG:4326":
        asked["clip"] = False
    if estimate:
        typer.echo(str(made.plan(where, format=format or out.name, **asked)))
        return
    said: dict[str, Any] = {"title": title, "format": format, **_options_given(option)}
    if style is not None:
        said["style"] = _style(style)
    said = {name: value for name, value in said.items() if value is not None}
    job = made.export(out, where, overwrite=overwrite, progress=at_terminal(), **asked, **said)
    try:
        path = job.wait()
    except KeyboardInterrupt as interrupt:
        typer.echo(str(interrupt), err=True)
        raise typer.Exit(130) from None
    for id, why in job.failed.items():
        typer.echo(f"left out: {id}: {why}", err=True)
    typer.echo(f"{path} is written")
    raise typer.Exit(3 if job.failed else 0)


@app.command("produce")
def produce_outputs(
    chain: ChainFile,
    folder: Annotated[Path, typer.Argument(help="Where the files go, with the ledger production.sqlite.")],
    areas: Annotated[
        Path | None, typer.Option(help="Polygons (GeoPackage, GeoJSON, …), a file for each.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Column that names the areas.", show_default=False)] = None,
    tiles: Annotated[
        str | None, typer.Option(help="native (each grid of the scenes), or the size of squares.", show_default=False)
    ] = None,
    dates: Annotated[
        list[str] | None, typer.Option(help="A period (2018-06, or FROM/BEFORE), a file for each.", show_default=False)
    ] = None,
    crs: Annotated[str | None, typer.Option(help="Reference system of the grid.", show_default=False)] = None,
    resolution: Annotated[
        float | None, typer.Option(help="Size of pixels, in units of the system.", show_default=False)
    ] = None,
    clip: Annotated[
        bool, typer.Option("--clip/--no-clip", help="Whether what is outside of an area is missing.")
    ] = True,
    suffix: Annotated[str, typer.Option(help="Ending of the files, which says the format.")] = ".tif",
    style: StyleFile = None,
    option: FormatOptions = None,
    parameter: Parameters = None,
    tries: Annotated[int, typer.Option(help="How often what may pass is tried.")] = 3,
    at_once: Annotated[int, typer.Option(help="Exports under way at a time.")] = 2,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Take code that the document holds.")] = False,
) -> None:
    """Export a chain over many areas or tiles and dates; the same command goes on where an earlier one ended.

    A table at the end says what has become of each. Exit codes: 0 all are there (but those without scenes), 1 the
    production could not begin, 3 some failed, 130 after Ctrl-C.
    """
    from muses_lab.api.production import produce

    said = _options_given(option)
    if style is not None:
        said["style"] = _style(style)
    periods = [tuple(part.split("/")) if "/" in part else part for part in dates or ()]
    try:
        made = produce(
            _chain(chain, parameter, trust_code), folder, areas, name=name, suffix=suffix, crs=crs, clip=clip,
            tiles=float(tiles) if tiles and tiles.replace(".", "", 1).isdigit() else tiles, dates=periods or None,
            resolution=resolution, tries=tries, at_once=at_once, progress=at_terminal(), **said,
        )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo(f"interrupted; the same command goes on with {folder}", err=True)
        raise typer.Exit(130) from None
    typer.echo(str(made))
    raise typer.Exit(3 if made.failed else 0)


def _chain(source: str, parameter: list[str] | None, trust_code: bool) -> Any:
    """The chain of a document: of a file, or of what is piped in."""
    from muses_lab.api.chain import Chain

    text = sys.stdin.read() if source == "-" else Path(source).expanduser().read_text("utf-8")
    return Chain.from_json(text, {name: json_or_text(value) for name, value in map(pair, parameter or ())}, trust_code)


def _options_given(option: list[str] | None) -> dict[str, Any]:
    return {name.replace("-", "_"): json_or_text(value) for name, value in map(pair, option or ())}


def _style(path: Path) -> Any:
    import json

    from muses_lab.style import Style

    return Style.from_json(json.loads(path.read_text("utf-8")))


def _where(
    bounds: tuple[float, float, float, float] | None, bounds_crs: str, area: Path | None, like: Path | None
) -> Any:
    """The area of an export, as `Chain.export` takes it; None: that of the raster that it is to be like."""
    if bounds is not None and area is not None:
        raise MusesError("--bounds and --area both say where it is: give one of them")
    if area is not None:
        return area
    if bounds is None:
        return None if like is not None else "footprint"
    if bounds_crs == "EPSG:4326":
        return bounds
    import geopandas
    import shapely

    return geopandas.GeoDataFrame(geometry=[shapely.box(*bounds)], crs=bounds_crs)


@app.command("history")
def tell_history(file: Annotated[Path, typer.Argument(help="A file that an export has written.")]) -> None:
    """Tell how a file was made: chain, window, scenes, what was left out, versions."""
    from muses_lab.api.history import history

    typer.echo(str(history(file)))


@app.command("remake")
def remake_file(
    file: Annotated[Path, typer.Argument(help="A file that an export has written.")],
    new: Annotated[
        Path | None, typer.Argument(help="The new file; without one it is only compared.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace NEW if it is there.")] = False,
) -> None:
    """Make a file again by what it says of itself; exit code 2, and what differs, where the bytes are not the same."""
    from muses_lab.api.history import remake

    again = remake(file, new, overwrite=overwrite, progress=at_terminal())
    typer.echo(str(again))
    raise typer.Exit(0 if again else 2)

"""`muses-lab cluster` and `muses-lab materialized`."""

from __future__ import annotations

from typing import Annotated

import typer

from muses_lab.cli.plain import size_text

app = typer.Typer()
cluster_app = typer.Typer(help="The embedded Dask cluster of this user.", no_args_is_help=True)
materialized_app = typer.Typer(help="Results that `chain.materialize()` has kept on disk.", no_args_is_help=True)
app.add_typer(cluster_app, name="cluster")
app.add_typer(materialized_app, name="materialized")


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
        typer.echo(f"{blocks.node[:12]}  {size_text(blocks.bytes)}  {blocks.summary}")
        for line in blocks.details:
            typer.echo(f"  {line}")
    typer.echo(f"{len(found)} in all, {size_text(sum(p.bytes for p in found))}")


@materialized_app.command("remove")
def remove_materialized(
    hashes: Annotated[list[str], typer.Argument(help="How the hashes of the blocks' nodes (or chains) begin.")],
) -> None:
    """Remove materialized blocks; what they held is computed again when it is asked for."""
    from muses_lab.export.materialized import remove

    for name in hashes:
        gone = remove(name)
        typer.echo(f"{gone.node[:12]} removed, {size_text(gone.bytes)} freed")

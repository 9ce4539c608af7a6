"""`muses-lab jobs`."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Annotated, Any

import typer

from muses_lab.cli.plain import at_terminal

app = typer.Typer()
jobs_app = typer.Typer(help="Exports and materializing jobs, also those that were interrupted.", no_args_is_help=True)
app.add_typer(jobs_app, name="jobs")


@jobs_app.command("list")
def list_jobs(limit: Annotated[int, typer.Option(help="How many, from the newest.")] = 20) -> None:
    """List the user's jobs, the newest first."""
    from muses_lab.api.jobs import jobs

    typer.echo(repr(jobs(limit)))


@jobs_app.command("resume")
def resume_job(
    name: Annotated[str, typer.Argument(help="How the job's name in `muses-lab jobs list` begins.")],
    while_runs: Annotated[int | None, typer.Option(hidden=True, help="The process that waits for this one.")] = None,
) -> None:
    """Go on with a job that was paused, interrupted, failed or cancelled, and wait for its end. Ctrl-C cancels it."""
    from muses_lab.api.jobs import job

    resumed = job(name).resume(progress=while_runs is not None or at_terminal())
    if while_runs is not None:
        _end_with(while_runs)
    _wait_for(resumed)


def _wait_for(job: Any) -> None:
    try:
        typer.echo(f"{job.wait()} is written")
    except KeyboardInterrupt as interrupt:
        typer.echo(str(interrupt), err=True)
        raise typer.Exit(130) from None


@jobs_app.command("retry")
def retry_job(
    name: Annotated[str, typer.Argument(help="How the job's name in `muses-lab jobs list` begins.")],
) -> None:
    """Do a job again that failed or was cancelled, and wait for its end. Ctrl-C cancels it."""
    from muses_lab.api.jobs import job

    _wait_for(job(name).retry(progress=at_terminal()))


@jobs_app.command("pause")
def pause_job(
    name: Annotated[str, typer.Argument(help="How the job's name in `muses-lab jobs list` begins.")],
) -> None:
    """Let a job wait, wherever it runs, until `muses-lab jobs resume`; nothing of it is lost."""
    from muses_lab.api.jobs import job

    known = job(name)
    known.pause()
    typer.echo(f"{known.record.name} is to be paused")


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

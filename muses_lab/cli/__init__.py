"""The `muses-lab` command: sample data, catalogues, exports, jobs, the cluster, and what is missing.

Each command imports what it needs when it runs, so that `muses-lab doctor` and `--help` work on half an installation.
"""

from __future__ import annotations

import typer

from muses_lab.cli import about, catalogs, cluster, courses, exports, hub, jobs, store
from muses_lab.cli.plain import PlainErrors

app = typer.Typer(
    name="muses-lab",
    help="MUSES Lab: an interactive Earth-observation laboratory in Jupyter.",
    cls=PlainErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for part in (about, exports, catalogs, jobs, courses, cluster, store, hub):
    app.add_typer(part.app)

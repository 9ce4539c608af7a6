"""What Dask's workers do when they start (`distributed.worker.preload`): load the engine before a block needs it."""

from __future__ import annotations

import threading
from typing import Any

from muses_lab.compute import tasks
from muses_lab.compute.niceness import give_way
from muses_lab.resources.helpers import HELPERS


def dask_setup(worker: Any) -> None:
    """Called by Dask in every worker that starts, also in one that takes the place of a dead one.

    Returns at once: until it is loaded the worker is known to the scheduler, and its first block waits for it.
    """
    give_way()
    HELPERS.threads = worker.state.nthreads
    threading.Thread(target=tasks.engine, name="muses-preload", daemon=True).start()

"""Users' evaluations give way to the class's evaluator and to servers on the same machine."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from muses_lab.settings import number


def give_way() -> None:
    """Lowers the priority of the calling thread, and of those that it starts, by `MUSES_WORKER_NICE` (Linux).

    So an export on a user's own cluster does not hold up the maps of a class: of one core two that are busy share one
    to nine with a difference of ten.
    """
    nice = int(number("MUSES_WORKER_NICE"))
    if nice > 0 and hasattr(os, "setpriority"):
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid it; then all are equal
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + nice, 19))

"""Moments of an export at which something happens to it: in a test's own process, or in a script that a test runs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muses_lab.export import Job, at_exit, files
from muses_lab.export.formats import geotiff

MOMENTS = ("planning", "pieces", "last stage")


def at(moment: str, act: Callable[[], None], patch: Callable[[Any, str, Any], None] = setattr) -> None:
    """Has `act` called once, in the job's own thread, when the next export is there."""
    left = [act]

    def once() -> None:
        if left:
            left.pop()()

    if moment == "planning":
        plan = files.check_export

        def planned(*args: Any) -> None:
            once()
            plan(*args)

        patch(files, "check_export", planned)
    elif moment == "pieces":
        step = Job.step

        def stepped(job: Job) -> None:
            step(job)
            if job.done == 4:
                once()

        patch(Job, "step", stepped)
    else:
        copy = geotiff.copy_raster

        def copied(*args: Any, written: Callable[[int], None], **options: Any) -> None:
            def counted(number: int) -> None:
                if number:
                    once()
                written(number)

            copy(*args, written=counted, **options)

        patch(geotiff, "copy_raster", copied)


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    """Waits until something is so; a test that waits for ever tells nothing."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.01)


def is_waited_for() -> bool:
    """Whether the main thread is within `Job.wait`, and in there waits."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    names = []
    while frame is not None:
        names.append((Path(frame.f_code.co_filename).name, frame.f_code.co_name))
        frame = frame.f_back
    return names[:1] == [("threading.py", "wait")] and ("job.py", "wait") in names


def stops() -> None:
    """Holds the job until somebody has asked it to stop."""
    until(lambda: any(job.stopping for job in at_exit.running()))

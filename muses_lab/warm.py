"""Compiles what is compiled, and the list of places, and keeps it on disk: `python -m muses_lab.warm`, once after
installing.

It takes about a minute, and a few seconds when nothing changed. `make install` runs it.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from muses_lab import render
from muses_lab.catalog.place import prepare
from muses_lab.engine import warm as kernels


def often() -> None:
    """What every view calls: more than half of it is the one function that runs all chains."""
    kernels.warm()


def others() -> None:
    kernels.seldom()
    render.warm()
    prepare()


PARTS = often, others
"""Compiled side by side. No function is of both: two processes that write a function's index lose each other's."""

if __name__ == "__main__":
    with ProcessPoolExecutor(len(PARTS), get_context("spawn")) as side_by_side:
        for part in [side_by_side.submit(part) for part in PARTS]:
            part.result()

"""Compiles what is compiled, and the list of places, and keeps it on disk: `python -m muses_lab.warm`, once after
installing.

It takes about a minute, and a second or two when nothing changed. `make install` runs it.
"""

from __future__ import annotations

from muses_lab import render
from muses_lab.catalog.place import prepare
from muses_lab.engine import warm as kernels

if __name__ == "__main__":
    kernels.warm()
    kernels.seldom()
    render.warm()
    prepare()

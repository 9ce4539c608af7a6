"""A course's chains, computed before the class comes: for its area, at the levels of its zooms, and kept on disk."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import requests

from muses_lab.courses.copies import Copy
from muses_lab.courses.description import CourseError
from muses_lab.courses.folder import Published, find
from muses_lab.engine.mosaic import reasons
from muses_lab.errors import ComputeError, MusesError
from muses_lab.exercises.participant import Course
from muses_lab.export import Job
from muses_lab.export.materialized import kept, materialize
from muses_lab.raster.window import Window


@dataclass(frozen=True)
class Warmed:
    """A chain whose blocks are kept now."""

    name: str
    levels: tuple[int, ...]
    """Those that the course's zooms show."""
    blocks: int
    """Blocks of 512 × 512 pixels that are kept."""
    bytes: int
    failed: dict[str, str]
    """Scenes that could not be read, with the reason: blocks with them are computed when they are looked at."""

    def __str__(self) -> str:
        levels = ", ".join(map(str, self.levels))
        told = f"{self.name}: {self.blocks} blocks at levels {levels}, {self.bytes / 1e6:.1f} MB"
        return "\n".join([told, *(f"  not read: {line}" for line in reasons(self.failed))])


def warm(
    published: Published, *, progress: bool = True, told: Callable[[str, Job], None] | None = None
) -> Iterator[Warmed]:
    """Computes the chains that a published course names, one after the other; each is told of when it is done.

    ```python
    for chain in warm(find("first-steps")):
        print(chain)
    ```

    Maps and values of these chains, and of what is made of them, read the kept blocks from then on. What is there
    already is not computed again, and what was interrupted goes on where it ended. `told` is called with a chain's name
    and its job after every step.

    Raises
    ------
    CourseError
        The course names no chains, or has no area.
    """
    course = Course(Copy(published.folder, published.folder, published.version))
    description = course.description
    if not description.chains:
        raise CourseError(f"{course.id} names no chains: `chains: {{ndvi: chains/ndvi.json}}` in its course.yml")
    if description.area is None:
        raise CourseError(f"{course.id} has no `area` in its course.yml: where is the class going to look?")
    for name in description.chains:
        chain = course.chain(name).published
        step = chain.prepared.output
        levels: set[int] = set()
        for zoom in range(description.zoom[0], description.zoom[1] + 1):
            tile = Window.tile(zoom, 0, 0)  # a level depends on the zoom and the grid, not on the tile
            levels |= {grid.level_for(tile) for grid in step.grids.values()}
        job = materialize(chain, description.area, sorted(levels), progress=progress)
        if told is not None:
            job.observe(partial(told, name))
        job.wait()
        made = next(one for one in kept() if one.node == step.node.hash)
        blocks = sum(len(index.blocks) for index in made.indexes)
        yield Warmed(name, tuple(sorted(levels)), blocks, made.bytes, dict(job.failed))


def warm_for_class(url: str, token: str, course: str, told: Callable[[str, int, int], None]) -> list[Warmed]:
    """Has the class's evaluator compute the chains of a published course, and waits until it has.

    Parameters
    ----------
    url, token
        The evaluator's address (`MUSES_COURSE_URL`), and the user's token.
    course
        A course of the hub.
    told
        Called with a chain's name, and how many of its blocks are done of how many.

    Raises
    ------
    ComputeError
        It could not; the message says why.
    """
    place = f"{url.rstrip('/')}/api/courses/{quote(course, safe='')}/warm"
    headers = {"Authorization": f"token {token}"}
    try:
        answer = requests.post(place, headers=headers, timeout=60)
        while True:
            status = answer.json()
            if not answer.ok:
                raise ComputeError(f"the class's evaluator refuses: {status.get('message', answer.reason)}")
            for name, one in status["chains"].items():
                told(name, one.get("done", 0), one.get("of", 0))
            if status["state"] == "done":
                return [Warmed(**{"name": name, **_kept(one)}) for name, one in status["chains"].items()]
            if status["state"] not in ("waiting", "running"):
                why = status.get("why", "it was restarted; the same command goes on where it was")
                raise ComputeError(f"the chains of {course} were not all computed: {why}")
            time.sleep(_LOOK)
            answer = requests.get(place, headers=headers, timeout=60)
    except (requests.RequestException, ValueError) as error:
        raise ComputeError(f"the class's evaluator does not answer: {error}") from None


_LOOK = 0.5
"""Seconds between two looks at what the evaluator does."""


def _kept(told: dict[str, Any]) -> dict[str, Any]:
    return {"levels": tuple(told["levels"]), **{name: told[name] for name in ("blocks", "bytes", "failed")}}


def main(course: str) -> None:
    """Computes a course's chains and tells of it on standard output, a JSON object on each line.

    `{"chain", "done", "of"}` after every block, `{"chain", "levels", "blocks", "bytes", "failed"}` at each chain's end.
    """

    def step(name: str, job: Job) -> None:
        print(json.dumps({"chain": name, "done": job.done, "of": job.total}), flush=True)

    if hasattr(os, "nice"):
        os.nice(10)
    for chain in warm(find(course), progress=False, told=step):
        said = asdict(chain)
        print(json.dumps({"chain": said.pop("name"), **said}), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (MusesError, OSError) as error:
        sys.exit(str(error))

"""Stand-ins: operators that are known by their answers alone, for a process in which their code must not run.

A node's operator is asked for bands, dates, grids and radii before a pixel is evaluated. For one node, whose arguments
are known, each answer is a value: with these values a stand-in answers, and there is nothing in it that could run.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from muses_lab.errors import PrivateChain
from muses_lab.operators.contract import PIXEL, Cube, Focal, Groups, Meta, Regrid, Support
from muses_lab.operators.declared import Operator, Traits
from muses_lab.operators.registered import OWN
from muses_lab.raster.grid import Grid, Rect

_DIGITS = 32
"""Of the hash, in the id."""


@dataclass(frozen=True)
class Answers:
    """What an operator answers for the arguments of one node."""

    cubes: tuple[str, ...]
    """Its arguments that are cubes."""
    meta: Meta
    """Of its result."""
    needs: Mapping[str, tuple[str, ...] | None]
    """Argument → bands of that cube that are used."""
    strict: bool
    reduces: str | None
    along: str | None
    masks: str | None
    dates: tuple[np.datetime64, ...] | None = None
    """Those that it keeps; None: all."""
    groups: Groups | None = None
    labels: tuple[str, ...] | None = None
    """What the dates of its groups are called."""
    radii: tuple[tuple[float, int], ...] | None = None
    """(metres per pixel, radius in pixels); None: a pixel depends on the same pixel."""
    grids: Mapping[str, Grid] | None = None
    """Those of its result, where they are not those of its cubes."""

    def to_json(self) -> dict[str, Any]:
        groups = None
        if self.groups is not None:
            groups = {str(time): [str(t) for t in group] for time, group in self.groups.items()}
        return {
            "cubes": list(self.cubes),
            "meta": {"time": self.meta.time, "bands": self.meta.bands, "common": dict(self.meta.common)},
            "needs": dict(self.needs),
            "strict": self.strict, "reduces": self.reduces, "along": self.along, "masks": self.masks,
            "dates": self.dates and [str(time) for time in self.dates],
            "groups": groups,
            "labels": self.labels,
            "radii": self.radii,
            "grids": self.grids and {id: asdict(grid) for id, grid in self.grids.items()},
        }  # fmt: skip

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Answers:
        groups = told["groups"] and {
            np.datetime64(time): tuple(map(np.datetime64, group)) for time, group in told["groups"].items()
        }
        meta = told["meta"]
        return cls(
            cubes=tuple(told["cubes"]),
            meta=Meta(meta["time"], _tuple(meta["bands"]), meta["common"]),
            needs={name: _tuple(bands) for name, bands in told["needs"].items()},
            strict=told["strict"], reduces=told["reduces"], along=told["along"], masks=told["masks"],
            dates=told["dates"] and tuple(map(np.datetime64, told["dates"])),
            groups=groups,
            labels=_tuple(told["labels"]),
            radii=told["radii"] and tuple((float(size), int(radius)) for size, radius in told["radii"]),
            grids=told["grids"] and {id: _grid(grid) for id, grid in told["grids"].items()},
        )  # fmt: skip


class StandIn(Operator):
    """Answers in the place of an operator. Its id names the answers."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        digest = hashlib.sha256(json.dumps(answers.to_json(), sort_keys=True).encode()).hexdigest()
        groups, dates, labels = answers.groups, answers.dates, answers.labels
        super().__init__(
            _function(answers.cubes),
            f"{OWN}:sealed_{digest[:_DIGITS]}",
            digest,
            _support(answers),
            lambda arguments, metas: answers.meta,
            lambda arguments, metas, wanted: dict(answers.needs),
            Traits(
                private=True, method=None, strict=answers.strict, reduces=answers.reduces, along=answers.along,
                masks=answers.masks,
                dates=None if dates is None or groups is not None else lambda arguments, times: dates,
                groups=None if groups is None else lambda arguments, times: groups,
                labels=None if labels is None else lambda arguments, found: list(labels),
            ),
        )  # fmt: skip


def _function(cubes: tuple[str, ...]) -> Any:
    """A function of these cubes, which is never called."""

    def sealed(*cubes: Any, **arguments: Any) -> Any:
        raise PrivateChain("the operator's code is not here: it runs on its author's own cluster only")

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    sealed.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind, annotation=Cube) for name in cubes], return_annotation=Cube
    )
    sealed.__annotations__ = {name: Cube for name in (*cubes, "return")}
    return sealed


def _support(answers: Answers) -> Support:
    grids, radii = answers.grids, answers.radii
    if grids is not None:
        return Regrid(lambda arguments, inputs: grids)
    if not radii:
        return PIXEL
    return Focal(lambda arguments, pixel: min(radii, key=lambda known: abs(known[0] - pixel))[1])


def _grid(told: Mapping[str, Any]) -> Grid:
    return Grid(**{**told, "origin": tuple(told["origin"]), "extent": Rect(*told["extent"])})


def _tuple(told: Any) -> Any:
    return None if told is None else tuple(told)

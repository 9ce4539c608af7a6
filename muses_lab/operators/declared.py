"""A declared operator: what its function, its support and its traits say of it, whatever others there are."""

from __future__ import annotations

import inspect
import keyword
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from muses_lab.cached import cached_property
from muses_lab.document.artefacts import Artefact
from muses_lab.document.graph import Node
from muses_lab.operators.arguments import CONTEXT, DIGEST, Argument, argument_of, kind_of
from muses_lab.operators.contract import (
    Array,
    CostOf,
    Cube,
    Date,
    Dates,
    DimensionOf,
    Fit,
    Focal,
    GroupsOf,
    ImagesOf,
    LabelsOf,
    LengthOf,
    MethodOf,
    Narrowed,
    Needs,
    Region,
    Rule,
    Shape,
    Support,
    reduced_bands,
    reduced_shape,
    same_bands,
    same_shape,
)

_INJECTED = ("meta", "pixel_size", "fitted", "places", "geobox", "halo", "groups", "axes", "in_extent", "rect",
             "features")  # fmt: skip
# What the engine gives to a function that asks for it by name: `meta`, the Meta of its first cube; `pixel_size` in
# metres; `fitted`, what `Fit.fit` returned; `places(crs)`, the coordinates (x, y) of all pixel centres; `geobox`, the
# window of what it is given; `halo`, the pixels on each side of that which are not to be in its result; `groups`, the
# dates of its result that are wanted, each with the dates that it is made of (of an operator that declares groups);
# `axes`, the dates that each of its cubes can have, by argument; `in_extent`, slices of rows and columns of what it is
# given that lie on the grid's extent; `rect`, where that is: rows and columns of the level's pixels, from the grid's
# origin on; `features`, those of the table that it is given (of what is fitted to tables).


@dataclass(frozen=True)
class Traits:
    """What else an operator declares of itself; see `operator`."""

    strict: bool | Callable[[Mapping[str, Any]], bool] = True
    rule: Rule | None = None
    cost: CostOf | None = None
    reduces: DimensionOf = None
    dates: Callable[[Mapping[str, Any], Dates], Dates] | None = None
    groups: GroupsOf | None = None
    labels: LabelsOf | None = None
    asks_dates_of: str | None = None
    narrowed: Narrowed | None = None
    masks: str | None = None
    selects: bool = False
    code: str | None = None
    images: ImagesOf | None = None
    expands: Callable[..., Node] | None = None
    method: MethodOf = ""
    along: DimensionOf = None
    length: LengthOf | None = None
    private: bool = False
    anywhere: bool = False
    texts: bool = False
    partly: str = ""


class Operator:
    """A declared operator; also the `graph.Signature` of its process. It knows no other operator."""

    def __init__(
        self, fn: Callable[..., Any], id: str, version: str, support: Support, shape: Shape | None = None,
        needs: Needs | None = None,
        traits: Traits = Traits(),
    ) -> None:  # fmt: skip
        cost, rule = traits.cost, traits.rule
        if cost is None and isinstance(support, Focal | Region | Fit) and not traits.private:
            raise TypeError(
                f"operator {id!r} looks at more than a pixel and does not say what that takes: declare it with cost="
            )
        self.fn = fn
        self.id = id
        self.version = version
        self.support = support
        dropped = traits.reduces if traits.reduces in ("t", "bands") and traits.groups is None else None
        self.shape = shape or (reduced_shape(dropped) if dropped else same_shape)
        self.needs = needs or (reduced_bands(dropped) if dropped else same_bands)
        self.rule = rule
        self.dates = traits.dates
        """(arguments, dates) → the dates that it keeps; None: all of them."""
        self.groups = traits.groups
        """(arguments, dates of each cube) → the dates of its result, each with those it is made of; None: its own."""
        self.labels = traits.labels
        """(arguments, groups) → what the dates of its result are called; None: nothing but their dates."""
        self.asks_dates_of = traits.asks_dates_of
        """The cube argument of which only the dates are used."""
        self.narrowed = traits.narrowed
        """(arguments, metas of its cubes, bands wanted of it) → arguments that say the same of those needed only."""
        self.masks = traits.masks
        """The cube argument that removes values of the first cube where it is true."""
        self.selects = traits.selects
        """Whether it does nothing to a cube that has just its bands."""
        self.code = traits.code
        """Name of the instruction, or of the reduction, that compiled code has for it."""
        self.images = traits.images
        """How compiled code does it; None: it does not."""
        self.expands = traits.expands
        """How it is defined by other processes."""
        self.private = traits.private
        """Whether it runs code of its user: only on their own cluster, and never from a document of others."""
        self.anywhere = traits.anywhere
        """Whether it is a process of cubes that callbacks may be, too: its cube is a parameter there."""
        self.brings: tuple[Artefact, ...] = ()
        """Artefacts that it needs wherever it is evaluated: its code, where that is not of an installed package."""
        self._reduces = traits.reduces
        self._along = traits.along or traits.reduces
        self._strict = traits.strict
        self.declared_cost = cost
        hints = typing.get_type_hints(fn, include_extras=True)
        parameters = inspect.signature(fn).parameters
        self.injected = tuple(n for n in parameters if n in _INJECTED)
        self.arguments: dict[str, Argument] = {
            name: argument_of(name, hints[name], p.default) for name, p in parameters.items() if name not in _INJECTED
        }
        self.cubes = tuple(a.name for a in self.arguments.values() if a.kind == "cube")
        self.gives = kind_of(hints.get("return"))
        """The kind of artefact that it makes; empty: it is a step of a chain.

        It runs when a document is read, or, where it takes cubes (`fits`), when the document is published.
        """
        self.is_cube_process = bool(self.cubes or self.gives) or hints.get("return") is Cube
        self.artefacts = tuple(a.name for a in self.arguments.values() if a.kind == "artefact")
        if self.artefacts and not self.is_cube_process:
            raise TypeError(f"operator {id!r} refers to an artefact, which only operators on cubes may")
        if self.cubes and shape is not None and needs is None:
            raise TypeError(
                f"operator {id!r} says what shape its result has and not which bands it reads for it: declare it with "
                "needs=, which is same_bands where each band of the result is made of the same band of its cubes"
            )
        for trait, value in (("reduces", traits.reduces), ("along", traits.along)):
            if not callable(value) and value not in (None, "t", "bands", *self.arguments):
                raise TypeError(f"operator {id!r}: {trait}={value!r} is neither a dimension nor an argument of it")
        if self.groups is not None and self.dates is not None:
            raise TypeError(f"operator {id!r} chooses dates (dates=) or makes others of them (groups=), not both")
        if self.asks_dates_of is not None and (self.groups is None or self.asks_dates_of not in self.cubes[1:]):
            raise TypeError(
                f"operator {id!r}: asks_dates_of={self.asks_dates_of!r} is no cube beside its first one whose dates "
                "its groups= could be told"
            )
        self.gives_series = hints.get("return") is Array
        self.length = traits.length
        """How long the array is that it gives; None: as long as the first array that it is given."""
        kinds_of_arguments = {a.kind for a in self.arguments.values()}
        self.is_elementwise = "scalar" in kinds_of_arguments and not (
            self.is_cube_process or self.gives_series or "array" in kinds_of_arguments
        )
        """Whether it is a process of values: of arrays it makes an array, element by element."""
        self.takes_context = "callback" in kinds_of_arguments and CONTEXT not in self.arguments
        """Whether `context` is a constant for its callbacks."""
        self.gives_date = hints.get("return") is Date
        self.build = traits.method if callable(traits.method) else None
        """(node of a chain, what is given to the method) → node; None: as `operators.methods` makes it."""
        self.method = self._method_name(traits.method)
        """Name of the method that chains have for it; None: they have none."""
        self.partly = traits.partly
        """How much of openEO's process of its id it is; empty: nothing is known to be missing."""
        self.takes_text = traits.texts
        """Whether its values may be texts; only in conditions on properties and labels, cubes hold numbers."""
        for argument in self.arguments.values():
            if argument.kind == "value":
                _ = argument.adapter  # an annotation that cannot be validated fails now

    def __repr__(self) -> str:
        return f"<Operator {self.id} {self.version}>"

    def current(self) -> Operator:
        """The operator that a chain gets that is built now: of one declared in a notebook, as its code is now."""
        return self

    def _method_name(self, method: MethodOf) -> str | None:
        if method is None:
            return None
        name = method if isinstance(method, str) else getattr(method, "__name__", "").strip("_")
        name = name or self.id.rpartition(":")[2]
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise TypeError(f"operator {self.id!r}: no method can be called {name!r}; declare it with method=, or None")
        if self.build is None and not (self.arguments and self._takes_a_chain()):
            raise TypeError(
                f"operator {self.id!r} has no cube, value or series of values as its first argument, so there is no "
                "method that chains could have for it: declare it with method=None"
            )
        return name

    def _takes_a_chain(self) -> bool:
        first = next(iter(self.arguments.values()))
        return first.kind in ("cube", "scalar") or (first.kind == "array" and not self.gives_series)

    def reduces(self, arguments: Mapping[str, Any]) -> str | None:
        """The dimension that it reduces to one value: `t`, `bands`, or None."""
        return self._dimension(self._reduces, arguments)

    def along(self, arguments: Mapping[str, Any]) -> str | None:
        """The dimension of which it looks at whole series, whether it reduces it or not: `t`, `bands`, or None."""
        return self._dimension(self._along, arguments)

    def _dimension(self, told: DimensionOf, arguments: Mapping[str, Any]) -> str | None:
        if callable(told):
            return told(arguments)
        return arguments[told] if told in self.arguments else told

    def is_strict(self, arguments: Mapping[str, Any]) -> bool:
        """Missing in, missing out: a date that is missing altogether may be left out before it."""
        return self._strict(arguments) if callable(self._strict) else self._strict

    def referred(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """Argument → digest of the artefact that it refers to."""
        given = {name: arguments.get(name) for name in self.artefacts}
        return {name: v for name, v in given.items() if isinstance(v, str) and re.fullmatch(DIGEST, v)}

    def cubes_in(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Its cubes that are given: one that may be left out is not."""
        return tuple(name for name in self.cubes if arguments.get(name) is not None)

    @property
    def fits(self) -> bool:
        """Whether it makes an artefact of the values of tables, such as a model."""
        return bool(self.gives and self.cubes)

    @property
    def needs_extent(self) -> bool:
        return isinstance(self.support, Region | Fit)

    @property
    def depends_on(self) -> str:
        """What of its pinned extent its result depends on, for messages."""
        assert isinstance(self.support, Region | Fit)
        return self.support.depends_on

    @cached_property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON schemas of its arguments by name; making one takes a millisecond, and a chain has many."""
        return {argument.name: argument.schema() for argument in self.arguments.values()}

    def takes(self, argument: str) -> bool:
        """Whether it has an argument of this name."""
        return argument in self.arguments

    def offers(self, argument: str) -> tuple[str, ...]:
        """The parameters that a callback given as the argument has."""
        declared = self.arguments.get(argument)
        return declared.offers if declared is not None else ()

"""All operators by id, and what they tell of whole graphs."""

from __future__ import annotations

import threading
import typing
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from muses_lab.document.artefacts import Artefact, kinds, known
from muses_lab.document.graph import Node, make, walk
from muses_lab.errors import DocumentError
from muses_lab.operators.checks import Checks
from muses_lab.operators.contract import Meta
from muses_lab.operators.declared import Operator
from muses_lab.operators.refused import REFUSED

OWN = "own"
"""The namespace of operators that are declared in notebooks."""

_COMMON = frozenset({
    "coastal", "blue", "green", "green05", "yellow", "pan", "red", "rededge", "rededge071", "rededge075", "rededge078",
    "rededge1", "rededge2", "rededge3", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir", "lwir11",
    "lwir12",
})  # fmt: skip
"""Names that bands may be asked for by, and are not called: those of STAC."""


Lent = typing.TypeVar("Lent", bound=Operator)


class OperatorRegistry:
    """All operators by id: the profile of openEO processes that this release supports."""

    def __init__(self) -> None:
        self._operators: dict[str, Operator] = {}
        self._held: dict[str, Operator] = {}
        self._lent: WeakValueDictionary[str, Operator] = WeakValueDictionary()
        self._lending = threading.Lock()
        self._offered: dict[str, Operator] = {}
        self._methods: dict[str, str] = {}
        self._uses: list[Callable[[Operator], None]] = []
        self.broken: dict[str, str] = {}
        """Entry points of other packages that could not be loaded, with the reason: their operators are missing."""
        self.checks = Checks(self)

    def add(self, op: Operator) -> None:
        if op.id in self._operators:
            raise ValueError(f"operator {op.id!r} is declared twice")
        if op.method is not None and (other := self._methods.get(op.method)) is not None:
            raise ValueError(
                f"operator {op.id!r} would have the method .{op.method}(), which {other!r} has: declare it with "
                "method='…', another name"
            )
        for use in self._uses:
            use(op)
        self._operators[op.id] = op
        if op.method is not None:
            self._methods[op.method] = op.id

    def hold(self, op: Operator) -> None:
        """Knows an operator of this session by its id, beside those that are declared for everybody."""
        self._held[op.id] = op

    def lend(self, op: Lent) -> Lent:
        """Knows an operator by its id for as long as somebody else holds what this returns.

        That is the one which is known by this id already, where there is one: it goes with the last of its holders.
        """
        with self._lending:
            return typing.cast(Lent, self._lent.setdefault(op.id, op))

    def offer(self, op: Operator) -> None:
        """Tells of an operator of this session (see `each`): it takes the place of what was offered by its name."""
        if op.method is not None and (other := self._methods.get(op.method)) is not None:
            raise ValueError(
                f"chains have the method .{op.method}() of {other!r} already: give the function another name, or "
                "declare it with method='…'"
            )
        for use in self._uses:
            use(op)
        if op.method is not None:
            self._offered[op.method] = op

    def each(self, use: Callable[[Operator], None]) -> None:
        """Calls `use` with every operator: those there are, and those that are declared later, before they count."""
        for op in self._operators.values():
            use(op)
        self._uses.append(use)

    def of_method(self, name: str) -> Operator | None:
        """The operator that chains have as the method of this name."""
        return self._operators.get(self._methods.get(name, "")) or self._offered.get(name)

    def __getitem__(self, id: str) -> Operator:
        return self._operators.get(id) or self._held.get(id) or self._lent[id]

    def __iter__(self):
        return iter(self._operators.values())

    def signature(self, process: str, node: str) -> Operator:
        try:
            return self[process]
        except KeyError:
            import difflib

            close = difflib.get_close_matches(process, self._operators, n=3)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            hint += "".join(
                f"; the entry point {name} could not be loaded ({why})" for name, why in self.broken.items()
            )
            namespace = process.rpartition(":")[0]
            if namespace == OWN:
                hint = ": it was declared in a notebook, and runs only there, on its author's own cluster"
            elif namespace not in ("", "muses"):
                hint += (
                    f"; operators of {namespace!r} come from a package, which must be installed here and name its "
                    "module in the entry-point group muses_lab.operators"
                )
            if process in REFUSED:
                hint = f": {REFUSED[process]}"
            raise DocumentError(
                f"node {node!r}: there is no process {process!r} here{hint}",
                openeo="ProcessUnsupported",
                node=node,
                process=process,
            ) from None

    def checked(self, process: str, arguments: dict[str, Any], node: str, inside_callback: bool) -> dict[str, Any]:
        """Arguments checked and normalised, defaults left out; raises `DocumentError` naming node and argument."""
        return self.checks.check(self.signature(process, node), arguments, node, inside_callback)

    def labels(self, node: Node, dimension: str) -> list[str]:
        """The labels of a dimension of a cube, as far as its document says them: names of bands.

        Raises
        ------
        DocumentError
            There is no such dimension, or its labels are those of scenes that are not known yet.
        """
        metas: dict[str, Meta] = {}
        for one in walk(node):
            op = self[one.process]
            arguments = {a.name: one.arguments.get(a.name, a.default) for a in op.arguments.values()}
            if cubes := [name for name in op.cubes if arguments[name] is not None]:
                metas[one.hash] = op.shape(arguments, {name: metas[arguments[name].hash] for name in cubes})
                continue
            bands = tuple(arguments.get("bands") or ())
            if dimension == "bands" and (not bands or not _COMMON.isdisjoint(bands)):
                said = f"{sorted(_COMMON.intersection(bands))[0]!r}, a common name," if bands else "no `bands`"
                raise DocumentError(
                    f"the labels of 'bands' are not known before scenes are found: {op.id!r} says {said}; give the "
                    "names of bands"
                )
            metas[one.hash] = Meta(True, bands)
        meta = metas[node.hash]
        if dimension == "t" and meta.time:
            raise DocumentError(
                "the labels of 't' are not known before scenes are found; a callback along 't' has array_labels"
            )
        if dimension != "bands" or meta.bands is None:
            text = "x and y have no labels here" if dimension in ("x", "y") else f"there is no dimension {dimension!r}"
            raise DocumentError(text, openeo="DimensionNotAvailable")
        return list(meta.bands)

    def artefact(self, node: Node) -> Artefact:
        """What a node makes whose operator gives artefacts (`Operator.gives`).

        Raises
        ------
        DocumentError
            An artefact that it refers to is not here, or its function refuses (ValueError) what it is given.
        """
        op = self[node.process]
        held = {artefact.digest: artefact for artefact in node.artefacts}
        arguments = dict(node.arguments)
        for name, digest in op.referred(node.arguments).items():
            artefact = held.get(digest) or known(digest)
            if artefact is None:
                kind = kinds[op.arguments[name].artefact]
                raise DocumentError(f"{op.id!r}: the {kind.noun} {digest[:12]}… is not here", argument=name)
            arguments[name] = artefact.value
        try:
            return Artefact.of(kinds[op.gives], op.fn(**arguments))
        except ValueError as error:
            raise DocumentError(f"{op.id!r}: {error}", openeo=getattr(error, "openeo", ""), process=op.id) from None

    def node(self, process: str, /, inside_callback: bool = False, **arguments: Any) -> Node:
        """A checked node of `process`."""
        return make(self, process, arguments, inside_callback=inside_callback)


registry = OperatorRegistry()


def is_array(value: Any) -> bool:
    """Whether an argument in a callback is an array: `data`, a list, what gives one, or values computed of one."""
    return registry.checks.is_array(value)


def parameters_of(root: Node) -> set[str]:
    """Names of the parameters that a callback graph uses, those that callbacks inside it have of their own left out."""
    return registry.checks.parameters_of(root)


def references(root: Node) -> dict[str, str]:
    """What a chain refers to: digest → kind of artefact, in order."""
    found: dict[str, str] = {}
    for node in walk(root):
        op = registry[node.process]
        for name, digest in op.referred(node.arguments).items():
            kind = op.arguments[name].artefact
            if found.setdefault(digest, kind) != kind:
                raise DocumentError(f"the artefact {digest[:12]}… is taken for {found[digest]!r} and for {kind!r}")
        found |= {artefact.digest: artefact.kind.name for artefact in op.brings}
    return found

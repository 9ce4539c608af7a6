"""Expressions: what chains are as documents, and how they are combined. Nothing is searched, read or computed here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Self

from muses_lab.api.adjustable import Adjustable
from muses_lab.api.formula import SIGNS
from muses_lab.api.parameters import replayable
from muses_lab.api.written import Written, infix, prefix, recorded, text
from muses_lab.cached import cached_property
from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import ArgumentError, DocumentError
from muses_lab.operators import registry
from muses_lab.operators.given import extent as box_of
from muses_lab.operators.methods import handed_over
from muses_lab.plain import number, plain, shown
from muses_lab.publish import documents
from muses_lab.publish.pinning import Searches
from muses_lab.publish.private import private_node

Number = int | float

_NEVER_COMBINED = (str, bytes, list, tuple, dict, set, complex)
"""What says nothing of chains, and chains nothing of it."""


@recorded
class Expression(Adjustable):
    """A node of a process graph, with what is known of the scenes that it stands for: immutable.

    Arithmetic and comparison build new expressions, pixel by pixel, so an expression is not a truth value. Only where
    Python asks whether two are equal (`if a == b`, `in`, `.index`, a dictionary, the options of a widget) the answer is
    whether they are the same, as `.identical(other)` says.
    """

    def __init__(
        self,
        node: Node,
        artefacts: Mapping[str, Artefact] | None = None,
        problems: Mapping[str, tuple[str, ...]] | None = None,
        searches: Mapping[str, Searches] | None = None,
    ) -> None:
        if not isinstance(node, Node):
            raise ArgumentError(f"{shown(node)} is no chain: ml.collection(id) begins one, Chain.from_json reads one")
        self._root = node
        self._artefacts: dict[str, Artefact] = dict(artefacts or {})  # by digest: lists of scenes, models, vectors
        self._problems: dict[str, tuple[str, ...]] = dict(problems or {})  # by the digest of a list of scenes
        self._searches: dict[str, Searches] = dict(searches or {})  # by the hash of a loading node

    def _new(
        self,
        node: Node,
        artefacts: Mapping[str, Artefact],
        problems: Mapping[str, tuple[str, ...]],
        searches: Mapping[str, Searches],
    ) -> Self:
        """What operations on this one make: a chain, also of a collection."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------- document

    @property
    def _node(self) -> Node:
        return self._root

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical document. Publishing pins the scenes, which gives another hash."""
        return hashlib.sha256(graph.to_bytes(self._node)).hexdigest()

    def identical(self, other: Any) -> bool:
        """Whether both chains have the same document."""
        return isinstance(other, Expression) and self._node.hash == other._node.hash

    def __bool__(self) -> bool:
        same = _comparison(self._node)
        if same is None:
            raise TypeError(
                "a chain has no truth value: nothing has been computed. Combine conditions with & | ~, compare chains "
                "with .identical(other), test a value with .at(lon, lat)"
            )
        return same

    def __hash__(self) -> int:
        return hash(self._node.hash)

    __array_ufunc__ = None  # NumPy's numbers leave arithmetic to the chain

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __dask_tokenize__(self) -> str:
        return self._node.hash

    @cached_property
    def _written(self) -> Written:
        """As it was written; of a document, its processes."""
        return text(" → ".join(_step(node) for node in graph.walk(self._node)[-8:]))

    def __repr__(self) -> str:
        try:
            name = self.hash[:8]
        except DocumentError:  # too large for a document, and told when one is asked for
            name = "of many nodes"
        private = "private, " if self.is_private else ""
        return f"<Chain {private}{name}: {self._written}>"

    @property
    def is_private(self) -> bool:
        """Whether it runs code of its author: an operator declared in the notebook, or a UDF.

        Such a chain is computed on the author's own cluster only, and cannot be published or shared.
        """
        return private_node(self._node) is not None

    # ------------------------------------------------------------------------------------------- building

    def _with(self, process: str, /, *others: Expression, **arguments: Any) -> Self:
        return self._made(registry.node(process, **handed_over(process, arguments)), *others)

    def _made(self, node: Node, *others: Expression) -> Self:
        """A chain of this one and others, with what is known of their scenes, and the artefacts that they refer to."""
        made = self._new(node, self._artefacts, self._problems, self._searches)
        made._artefacts |= {artefact.digest: artefact for artefact in node.artefacts}
        for other in others:
            made._artefacts |= other._artefacts
            made._problems |= other._problems
            made._searches |= other._searches
        return made

    @replayable
    def _apply(self, process: str, argument: str = "x", /, **arguments: Any) -> Self:
        callback = registry.node(process, inside_callback=True, **{argument: Parameter("x")}, **plain(arguments))
        return self._with("apply", data=self._node, process=Callback(callback))

    @replayable
    def _combine(
        self, other: Expression | Number, process: str, a: str = "x", b: str = "y", swap: bool = False
    ) -> Self:
        made = self._combined(other, process, a, b, swap)
        if isinstance(made, Expression):
            shown = other if isinstance(other, Expression) else plain(other)
            made._written = infix(SIGNS[process], *((shown, self) if swap else (self, shown)))
        return made

    def _combined(self, other: Expression | Number, process: str, a: str, b: str, swap: bool) -> Self:
        if isinstance(other, Expression):
            first, second = (other, self) if swap else (self, other)
            resolver = registry.node(process, inside_callback=True, **{a: Parameter("x"), b: Parameter("y")})
            return self._with(
                "merge_cubes", other, cube1=first._node, cube2=second._node, overlap_resolver=Callback(resolver)
            )
        value = plain(other)
        if isinstance(value, list) and hasattr(other, "shape"):
            raise TypeError(
                f"an array of {' × '.join(map(str, other.shape))} values cannot be combined with a chain, which has "
                "pixels of its own: use a number, another chain, or the array of .compute(window)"
            )
        if not isinstance(value, int | float):
            if process not in ("eq", "neq") and (other is None or isinstance(other, _NEVER_COMBINED)):
                raise TypeError(f"{shown(other)} cannot be combined with a chain; numbers and other chains can")
            return NotImplemented
        mine, its = (b, a) if swap else (a, b)
        return self._apply(process, mine, **{its: value})

    def __add__(self, other: Self | Number) -> Self:
        return self._combine(other, "add")

    def __sub__(self, other: Self | Number) -> Self:
        return self._combine(other, "subtract")

    def __mul__(self, other: Self | Number) -> Self:
        return self._combine(other, "multiply")

    def __truediv__(self, other: Self | Number) -> Self:
        return self._combine(other, "divide")

    def __mod__(self, other: Self | Number) -> Self:
        return self._combine(other, "mod")

    def __pow__(self, other: Self | Number) -> Self:
        return self._combine(other, "power", "base", "p")

    def __radd__(self, other: Number) -> Self:
        return self._combine(other, "add", swap=True)

    def __rsub__(self, other: Number) -> Self:
        return self._combine(other, "subtract", swap=True)

    def __rmul__(self, other: Number) -> Self:
        return self._combine(other, "multiply", swap=True)

    def __rtruediv__(self, other: Number) -> Self:
        return self._combine(other, "divide", swap=True)

    def __rmod__(self, other: Number) -> Self:
        return self._combine(other, "mod", swap=True)

    def __rpow__(self, other: Number) -> Self:
        return self._combine(other, "power", "base", "p", swap=True)

    def __neg__(self) -> Self:
        made = self * -1
        made._written = prefix("-", self._written)
        return made

    def __abs__(self) -> Self:
        made = self._apply("absolute")
        made._written = Written(("abs(", self._written, ")"))
        return made

    def __gt__(self, other: Self | Number) -> Self:
        return self._combine(other, "gt")

    def __ge__(self, other: Self | Number) -> Self:
        return self._combine(other, "gte")

    def __lt__(self, other: Self | Number) -> Self:
        return self._combine(other, "lt")

    def __le__(self, other: Self | Number) -> Self:
        return self._combine(other, "lte")

    def __eq__(self, other: Self | Number) -> Self:  # type: ignore[override]
        return self._combine(other, "eq")

    def __ne__(self, other: Self | Number) -> Self:  # type: ignore[override]
        return self._combine(other, "neq")

    def __and__(self, other: Self) -> Self:
        return self._combine(other, "and")

    def __or__(self, other: Self) -> Self:
        return self._combine(other, "or")

    def __xor__(self, other: Self) -> Self:
        return self._combine(other, "xor")

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Self:
        made = self._apply("not")
        made._written = prefix("~", self._written)
        return made

    @property
    def is_pinned(self) -> bool:
        """Whether all operators that need an explicit extent and resolution have them."""
        return not any(True for _ in self._unpinned())

    def _unpinned(self) -> Iterator[Node]:
        for node in graph.walk(self._node):
            if registry[node.process].needs_extent and not documents.has_extent(node):
                yield node

    def pin(self, bounds: tuple[float, float, float, float], resolution: float, crs: str | int = 4326) -> Self:
        """The chain with the extent (west, south, east, north) and resolution (metres) given to all that lack them."""
        extent = box_of(bounds)
        if crs not in (4326, "EPSG:4326"):
            extent["crs"] = crs
        resolution = number("resolution", resolution)

        def pinned(node: Node, arguments: dict[str, Any]) -> Node:
            if registry[node.process].needs_extent and not documents.has_extent(node):
                arguments = {**arguments, "extent": extent, "resolution": resolution}
            return registry.node(node.process, **arguments)

        return self._made(graph.rebuild(self._node, pinned))


def _comparison(node: Node) -> bool | None:
    """Whether what a comparison says of two chains as such is true: `a == b` where they are the same chain.

    None: the node is no comparison of two chains.
    """
    resolver = node.arguments.get("overlap_resolver")
    if (
        node.process != "merge_cubes"
        or not isinstance(resolver, Callback)
        or resolver.root.process not in ("eq", "neq")
    ):
        return None
    if not all(isinstance(resolver.root.arguments.get(name), Parameter) for name in ("x", "y")):
        return None
    same = node.arguments["cube1"].hash == node.arguments["cube2"].hash
    return same == (resolver.root.process == "eq")


def _step(node: Node) -> str:
    """A process in a repr, with what it does to each value or series."""
    inside = [value.root.process for value in node.arguments.values() if isinstance(value, Callback)]
    return node.process.rpartition(":")[2] + (f"({inside[0]})" if inside else "")

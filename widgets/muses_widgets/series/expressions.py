"""What is plotted, written as a text: a layer's name, a band, an index, or arithmetic of these."""

from __future__ import annotations

import ast
import difflib
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import muses_lab as ml
from muses_lab.api.chain import chain_of
from muses_lab.document.graph import Callback, Node, walk
from muses_lab.engine import Published
from muses_lab.errors import ArgumentError, MusesError
from muses_lab.operators import registry
from muses_lab.series import dated
from muses_lab.style import Style

Item = ml.Chain | ml.Layer | ml.TimeLayer | ml.OverTime

_SAME_QUANTITY = {"array_element", "first", "last", "max", "mean", "median", "min", "quantiles"}
"""Reducers whose result is of the same quantity as the values that they reduce, so the layer's unit is theirs too."""

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
}  # fmt: skip
_COMPARED: dict[type, Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Lt: operator.lt, ast.LtE: operator.le,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: lambda x: x, ast.Invert: operator.inv}
_LONGEST = 500
_WORD = re.compile(r"\w[\w -]*|EPSG:\d+|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?")
"""A text that is given to an operator: a choice, a band, an index, a date, a grid. Never a path, an address or code."""


@dataclass(frozen=True)
class Quantity:
    """What is plotted."""

    text: str
    chain: Any
    look: Style | None = None
    """The style whose unit and label are those of the values."""

    @property
    def unit(self) -> str:
        return (self.look.unit if self.look else None) or ""

    @property
    def label(self) -> str:
        return (self.look.label if self.look else None) or self.text


@dataclass(frozen=True)
class Scenes:
    """The scenes that layers are made of, with all of their bands."""

    masked: Any
    """The chain of them, with the masks that the layer puts on its dates."""
    plain: Any
    """Without."""


class Expressions:
    """Texts as chains: of the layers on a map, of chains that were given a name, and of the bands of their scenes.

    >>> known = Expressions({"NDVI 2018": layer}, {"wet": ndwi > 0})
    >>> known.quantity("EVI").chain
    >>> known.quantity("(B08 - B04) / (B08 + B04)")
    >>> known.quantity("NDVI.whittaker(smoothness=2)")

    A band or index is that of the scenes of the first layer that has it, with the masks of that layer. Operators are
    methods; their arguments are numbers, words, dates and lists of these. The readers of a page that is made of a
    notebook may write such a text, so it runs no code and reaches no file: operators with code of a user, with models
    or with shapes are refused. Nothing else of Python is understood.
    """

    def __init__(self, layers: Mapping[str, Item], named: Mapping[str, Item] | None = None) -> None:
        self._layers, self._named = dict(layers), dict(named or {})
        self.scenes = _scenes([_chain(item) for item in (*self._layers.values(), *self._named.values())])

    def quantity(self, text: str) -> Quantity:
        """What a text means; `ArgumentError` says what in it is not known."""
        wanted = text.strip()
        for known in (self._layers, self._named):
            if wanted in known:
                return _of_item(wanted, known[wanted])
        if len(wanted) > _LONGEST:
            raise ArgumentError(f"the expression has {len(wanted)} characters; the limit is {_LONGEST}")
        try:
            tree = ast.parse(wanted, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ArgumentError(f"{wanted!r} is no expression: write EVI, B08 / B04 or (NDVI + 1) / 2") from None
        made = self._made(tree)
        if not isinstance(made, ml.Chain):
            raise ArgumentError(f"{wanted!r} has no band, index or layer in it: it is the same on every date")
        return Quantity(wanted, made)

    def first(self) -> str:
        """The text that is plotted where nobody has chosen one: the first layer that is made of one series."""
        for name, item in {**self._layers, **self._named}.items():
            with suppress(MusesError):
                parts = dated(_chain(item).published)
                output = parts[0].published.prepared.output if len(parts) == 1 else None
                if output and len(output.times) > 1 and len(output.meta.bands or ("",)) == 1:
                    return name
        for scenes in self.scenes:
            if "NDVI" in scenes.masked.indices().index:
                return "NDVI"
            return str(_bands(scenes)[0])
        return ""

    def choices(self) -> list[dict[str, str]]:
        """{value, label} of what may be written: layers, named chains, bands, indices."""
        told = [{"value": name, "label": "layer"} for name in self._layers]
        told += [{"value": name, "label": "chain"} for name in self._named]
        for scenes in self.scenes:
            meta = scenes.masked.published.prepared.output.meta
            names = {band: common for common, band in meta.common.items()}
            told += [{"value": str(band), "label": names.get(band, "band")} for band in meta.bands or ()]
            with suppress(MusesError):
                told += [{"value": str(n), "label": str(row["title"])} for n, row in scenes.masked.indices().iterrows()]
        return list({choice["value"]: choice for choice in reversed(told)}.values())[::-1]

    # ---- the tree

    def _made(self, tree: ast.expr) -> Any:
        match tree:
            case ast.Constant(value=bool() | int() | float() as number):
                return number
            case ast.Name(id=name):
                return self._of_name(name)
            case ast.UnaryOp(op=sign, operand=of) if type(sign) in _UNARY:
                return self._signed(_UNARY[type(sign)], of)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
                return self._combined(_BINARY[type(sign)], left, right)
            case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _COMPARED:
                return self._combined(_COMPARED[type(sign)], left, right)
            case ast.Call(func=ast.Attribute(value=of, attr=method), args=args, keywords=keywords):
                return self._called(of, method, args, keywords)
        written = ast.unparse(tree)
        raise ArgumentError(
            f"{written!r} is not understood in an expression: it has bands, indices, layers, numbers, + - * / **, "
            "comparisons and operators, as in NDVI.focal_mean(2)"
        )

    def _signed(self, sign: Callable[[Any], Any], of: ast.expr) -> Any:
        made = self._made(of)
        try:
            return sign(made)
        except TypeError as error:
            raise ArgumentError(f"{ast.unparse(of)}: {error}") from None

    def _combined(self, sign: Callable[[Any, Any], Any], left: ast.expr, right: ast.expr) -> Any:
        a, b = self._made(left), self._made(right)
        are_numbers = not isinstance(a, ml.Chain) and not isinstance(b, ml.Chain)
        if are_numbers and sign is operator.pow and (abs(a) > 1e6 or abs(b) > 100):
            raise ArgumentError(f"{a} ** {b} is too large")
        try:
            made = sign(a, b)
        except (ZeroDivisionError, OverflowError, TypeError) as error:
            raise ArgumentError(f"{ast.unparse(left)} and {ast.unparse(right)}: {error}") from None
        if isinstance(made, complex):
            raise ArgumentError(f"({a}) ** {b} is no real number")
        return made

    def _called(self, of: ast.expr, method: str, args: list[ast.expr], keywords: list[ast.keyword]) -> Any:
        chain = self._made(of)
        _check_operator(method)
        if not isinstance(chain, ml.Chain):
            raise ArgumentError(f"{ast.unparse(of)} is a number: operators are of bands, indices and layers")
        if any(one.arg is None for one in keywords) or any(isinstance(one, ast.Starred) for one in args):
            raise ArgumentError(f"* and ** are not understood in {method}(...): write its arguments, as in radius=2")
        given = [self._argument(method, one) for one in args]
        named = {str(one.arg): self._argument(method, one.value) for one in keywords}
        try:
            return getattr(chain, method)(*given, **named)
        except TypeError as error:
            raise ArgumentError(str(error)) from None

    def _argument(self, method: str, tree: ast.expr) -> Any:
        try:
            value = ast.literal_eval(tree)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return self._made(tree)
        for one in _leaves(value):
            if isinstance(one, str) and not _WORD.fullmatch(one):
                raise ArgumentError(
                    f"{one[:60]!r} is not understood as an argument of {method!r}: texts are choices, names of bands "
                    "and indices, and dates, as in 'm', 'B08' or '2018-06-30'; no paths, addresses or code"
                )
            if not isinstance(one, str | int | float | None):
                raise ArgumentError(f"{one!r:.60} is not understood: arguments are numbers, words, dates and lists")
        return value

    def _of_name(self, name: str) -> Any:
        for known in (self._layers, self._named):
            if name in known:
                return with_dates(_chain(known[name]))
        for scenes in self.scenes:
            with suppress(MusesError):
                return scenes.masked.band(scenes.masked.published.prepared.output.meta.find(name))
        for scenes in self.scenes:
            for known in scenes.masked.indices().index if _bands(scenes) else ():
                if name in (known, known.upper(), known.lower()):
                    return scenes.masked.index(known)
        there = [choice["value"] for choice in self.choices()]
        close = difflib.get_close_matches(name, there, n=3, cutoff=0.5)
        raise ArgumentError(
            f"there is no band, index or layer {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else "")
        )


def _check_operator(method: str) -> None:
    """Whether an operator may be written: not one with code of a user, a model, shapes or the like."""
    op = registry.of_method(method)
    if op is None:
        understood = [op.method for op in registry if op.method and not op.private and not op.artefacts]
        close = difflib.get_close_matches(method, understood, n=1)
        raise ArgumentError(f"there is no operator {method!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    if op.private or op.artefacts:
        why = "it runs code of its user" if op.private else "it takes a file of shapes or a model"
        raise ArgumentError(
            f"the operator {method!r} is not understood in an expression: {why}. Use it in a cell, and plot the chain "
            "by name: SeriesPanel(m, expressions={'mine': chain})"
        )


def _leaves(value: Any) -> Iterator[Any]:
    """The values in lists and tables, and the names in tables."""
    if isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _leaves(name)
            yield from _leaves(one)
    else:
        yield value


def chain_and_look(item: Item) -> tuple[Any, Style | None]:
    """The chain of a layer with all of its dates, and its style."""
    if isinstance(item, ml.TimeLayer):
        return item.over.cube, item.look
    if isinstance(item, ml.OverTime):
        return item.cube, None
    return (item.chain, item.look) if isinstance(item, ml.Layer) else (item, None)


def same_quantity(root: Node) -> bool:
    """Whether a layer's own values are those of its series, reduced: its unit and its classes are theirs."""
    reducers = [value.root for value in root.arguments.values() if isinstance(value, Callback)]
    return bool(reducers) and all(node.process in _SAME_QUANTITY for reducer in reducers for node in walk(reducer))


def _chain(item: Item) -> Any:
    return chain_and_look(item)[0]


def _of_item(name: str, item: Item) -> Quantity:
    chain, look = chain_and_look(item)
    published = chain.published
    is_same = published.prepared.output.meta.time or same_quantity(published.root)
    return Quantity(name, chain, look if is_same else None)


def with_dates(chain: Any) -> Any:
    """The chain, or that part of it which has dates."""
    parts = dated(chain.published)
    if len(parts) != 1:
        raise ArgumentError(
            f"the layer is made of {len(parts)} series, not of one: write what is plotted of its bands, such as "
            "NDVI or B08 / B04"
        )
    part = parts[0].published
    return chain_of(part.root, part.artefacts)


def _bands(scenes: Scenes) -> tuple[str, ...]:
    return tuple(scenes.masked.published.prepared.output.meta.bands or ())


def _scenes(chains: Iterable[Any]) -> list[Scenes]:
    """The scenes of chains, each list of them once, with the masks of the first chain that uses it."""
    found: dict[str, Scenes] = {}
    for chain in chains:
        with suppress(MusesError):
            for part in dated(chain.published):
                for hash, scenes in _of_part(part.published).items():
                    found.setdefault(hash, scenes)
    return list(found.values())


def _of_part(published: Published) -> dict[str, Scenes]:
    prepared = published.prepared
    plain: dict[str, Node] = {}
    masked: dict[str, Node] = {}
    for node in walk(prepared.root):
        if prepared.steps[node.hash].reads:
            whole = _all_bands(node)
            plain[whole.hash] = masked[whole.hash] = whole
            continue
        argument = registry[node.process].masks
        data = node.arguments.get(registry[node.process].cubes[0]) if argument in node.arguments else None
        if data is None:
            continue
        used = {_all_bands(load.node).hash for load in prepared.loads_below(data)}
        if len(used) == 1:  # the mask is one of these scenes, whatever was made of them before
            (hash,) = used
            masked[hash] = registry.node(
                node.process, **{**node.arguments, registry[node.process].cubes[0]: masked[hash]}
            )
    return {
        hash: Scenes(chain_of(masked[hash], published.artefacts), chain_of(node, published.artefacts))
        for hash, node in plain.items()
        if len(prepared.output.times) > 1
    }


def _all_bands(node: Node) -> Node:
    return registry.node(node.process, **{name: value for name, value in node.arguments.items() if name != "bands"})

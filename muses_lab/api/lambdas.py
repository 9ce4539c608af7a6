"""Callbacks as functions of Python, as `operators.functions.callback` takes them: `lambda data: data["nir"].max()`."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any

from muses_lab.api.formula import SIGNS
from muses_lab.document.graph import Callback, Node, Parameter, walk
from muses_lab.operators import registry

_LONGEST = 4000
"""Characters of a function: where values are used often, each use is written out."""

_COMPARED = ("gt", "gte", "lt", "lte", "eq", "neq")


class NotWritten(Exception):
    """A graph that no function of terms makes: it is written as JSON."""


def as_lambda(callback: Callback, parameters: tuple[str, ...]) -> str:
    """A callback as a function of its parameters."""
    texts: dict[str, str] = {}
    for node in walk(callback.root):
        texts[node.hash] = text = _call(node, texts)
        if len(text) > _LONGEST:
            raise NotWritten
    return f"lambda {', '.join(parameters)}: {texts[callback.root.hash]}"


def _call(node: Node, texts: Mapping[str, str]) -> str:
    op = registry[node.process]
    names = [name for name in op.arguments if name in node.arguments]
    values = [node.arguments[name] for name in names]
    if not names or names[0] != next(iter(op.arguments)):
        raise NotWritten
    first, *others = values
    # Python turns 0.4 < x into x > 0.4, which is another process.
    least = values[:1] if node.process in _COMPARED else values
    if node.process in SIGNS and len(values) == 2 and any(map(_is_term, least)):
        return f"({_text(first, texts)} {SIGNS[node.process]} {_text(others[0], texts)})"
    if node.process == "array_create" and names == ["data"] and isinstance(first, list):
        return _text(first, texts)
    if not _is_term(first) or any(isinstance(one, Node) and one.process == "array_create" for one in values):
        raise NotWritten
    if node.process == "array_element" and names[1:] in (["index"], ["label"]) and isinstance(others[0], int | str):
        return f"{_text(first, texts)}[{others[0]!r}]"
    namespace, _, plain = node.process.rpartition(":")
    if namespace:
        raise NotWritten
    method = f"{plain}_" if keyword.iskeyword(plain) else plain
    given = [
        f"{name}={as_lambda(value, op.offers(name)) if isinstance(value, Callback) else _text(value, texts)}"
        for name, value in zip(names[1:], others, strict=True)
    ]
    return f"{_text(first, texts)}.{method}({', '.join(given)})"


def _is_term(value: Any) -> bool:
    return isinstance(value, Parameter | Node)


def _text(value: Any, texts: Mapping[str, str]) -> str:
    if isinstance(value, Node):
        return texts[value.hash]
    if isinstance(value, Parameter):
        return value.name
    if isinstance(value, list):
        return f"[{', '.join(_text(one, texts) for one in value)}]"
    return repr(value)

"""CQL2 filters, evaluated in process.

An item matches when the condition is true for it. An item that lacks a property the condition needs (or has it null)
does not match: neither `x > 3` nor `NOT x > 3` holds for an item without `x`; ask `x IS NULL` for those. A property
that *no* item of the collection has is a mistake, and an error that names it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import cql2

from muses_lab.catalog.query import QueryError

OWN_FIELDS = frozenset({"id", "collection", "geometry"})
"""What CQL2 finds on the item itself; everything else is looked for among its properties."""

MAX_LENGTH = 8_000
MAX_BRACKETS = 10
"""Open at once. The parser tries an opening bracket in two ways: with each further one it takes twice as long."""
MAX_TERMS = 500
"""Names, numbers, texts and signs other than commas: the parser goes as deep, and would take the process along."""

_TOKEN = re.compile(r"'(?:[^']|'')*'?|\"(?:[^\"]|\"\")*\"?|[A-Za-z0-9_:.]+|,|\s+|.", re.DOTALL)


class Condition:
    """
    >>> condition = Condition("eo:cloud_cover < 60")
    >>> sorted(condition.properties)
    ['eo:cloud_cover']
    >>> condition.matches({"id": "a", "properties": {"eo:cloud_cover": 12}})
    True
    """

    def __init__(self, text: str) -> None:
        self.text = text
        _check_size(text)
        try:
            self._expression = cql2.Expr(text)
            self.json = self._expression.to_json()
        except RecursionError:
            raise QueryError(f"the filter {_short(text)} is nested too deeply") from None
        except Exception as error:  # cql2 raises plain Exception with the parser's drawing of the place
            raise QueryError(f"the filter {text!r} is not CQL2:\n{error}") from None
        self.properties = frozenset(_properties(self.json))

    def check_known(self, known: Iterable[str]) -> None:
        """Raises `QueryError` for a property that is not among `known`."""
        known = {*known, *OWN_FIELDS}
        for name in sorted(self.properties):
            if name.removeprefix("properties.") in known:
                continue
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5) or sorted(known)[:1]
            quoted = "" if ":" in name else f", or quote a text: '{name}'"
            raise QueryError(
                f"no item has the property {name!r} of the filter {self.text!r}; did you mean {close[0]!r}{quoted}?",
                property=name,
            )

    def matches(self, item: dict[str, Any]) -> bool:
        try:
            return bool(self._expression.matches(item))
        except Exception:
            # cql2 cannot reduce the expression: because this item lacks a property, or because it makes no sense
            values = {name: _value(item, name) for name in self.properties}
            if any(value is None for value in values.values()):
                return False
            shown = ", ".join(f"{name} = {str(value)[:60]!r}" for name, value in sorted(values.items()))
            raise QueryError(
                f"the filter {self.text!r} is neither true nor false for item {item.get('id')!r} with {shown}: "
                "compare numbers with numbers, texts with 'texts', and use CQL2 functions only"
            ) from None


def _check_size(text: str) -> None:
    """Refuses what cql2 would take for ever to read, or die of: it is found out before it is asked."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"the filter {_short(text)} has {len(text)} characters; the limit is {MAX_LENGTH}")
    depth = terms = 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token.isspace() or token == ",":
            continue
        depth += (token == "(") - (token == ")")
        terms += 1
        if depth > MAX_BRACKETS:
            raise QueryError(f"the filter {_short(text)} opens more than {MAX_BRACKETS} brackets at once")
    if terms > MAX_TERMS:
        raise QueryError(f"the filter {_short(text)} has {terms} terms; the limit is {MAX_TERMS}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _properties(document: Any) -> Iterator[str]:
    """Names of the properties in CQL2 JSON."""
    stack = [document]
    while stack:
        node = stack.pop()
        if isinstance(node, dict) and isinstance(node.get("property"), str):
            yield node["property"]
        elif isinstance(node, dict | list):
            stack.extend(node.values() if isinstance(node, dict) else node)


def _value(item: dict[str, Any], name: str) -> Any:
    name = name.removeprefix("properties.")
    return item.get(name) if name in OWN_FIELDS else item.get("properties", {}).get(name)

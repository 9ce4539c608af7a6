"""CQL2 filters, evaluated in process.

An item matches when the condition is true for it. An item that lacks a property the condition needs (or has it null)
does not match: neither `x > 3` nor `NOT x > 3` holds for an item without `x`; ask `x IS NULL` for those. A property
that *no* item of the collection has is a mistake, and an error that names it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import cql2

from muses_lab.catalog.query import QueryError

OWN_FIELDS = frozenset({"id", "collection", "geometry"})
"""What CQL2 finds on the item itself; everything else is looked for among its properties."""


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
        try:
            self._expression = cql2.Expr(text)
            self.json = self._expression.to_json()
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


def _properties(node: Any) -> set[str]:
    """Names of the properties in CQL2 JSON."""
    if isinstance(node, dict):
        if isinstance(node.get("property"), str):
            return {node["property"]}
        return set().union(*(_properties(value) for value in node.values())) if node else set()
    if isinstance(node, list):
        return set().union(*(_properties(value) for value in node)) if node else set()
    return set()


def _value(item: dict[str, Any], name: str) -> Any:
    name = name.removeprefix("properties.")
    return item.get(name) if name in OWN_FIELDS else item.get("properties", {}).get(name)

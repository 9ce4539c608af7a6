"""CQL2 filters, read by the library `cql2` and evaluated in process.

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

from muses_lab.catalog.cql2 import OWN_FIELDS, Senseless, steps, value_for, value_of
from muses_lab.catalog.query import QueryError

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
            self.json = cql2.Expr(text).to_json()
        except RecursionError:
            raise QueryError(f"the filter {_short(text)} is nested too deeply") from None
        except Exception as error:  # cql2 raises plain Exception with the parser's drawing of the place
            raise QueryError(f"the filter {text!r} is not CQL2:\n{error}") from None
        try:
            self._steps = steps(self.json)
        except Senseless as error:
            raise QueryError(f"the filter {_short(text)} is not CQL2: {error}") from None
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
            found = value_for(self._steps, item)
            if found is not None and not isinstance(found, bool):
                raise Senseless(f"it is {found!r}")
        except Senseless as error:
            values = {name: value_of(item, name) for name in self.properties}
            shown = ", ".join(f"{name} = {str(value)[:60]!r}" for name, value in sorted(values.items()))
            raise QueryError(
                f"the filter {self.text!r} is neither true nor false for item {item.get('id')!r} with {shown}: "
                f"{error}; compare numbers with numbers, texts with 'texts', and use CQL2 functions only"
            ) from None
        return found is True


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

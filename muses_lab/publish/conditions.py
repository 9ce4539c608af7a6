"""openEO's conditions on the properties of scenes as CQL2 text, which every catalogue is searched by.

```python
as_text({"eo:cloud_cover": Callback(lte(value, 60))})      # '"eo:cloud_cover" <= 60'
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import DocumentError
from muses_lab.products.items import spelt

_COMPARISONS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
"""The same comparison with its sides exchanged."""


def as_text(conditions: Mapping[str, Callback] | None) -> str | None:
    """openEO `properties` as CQL2 text; all of them hold."""
    if not conditions:
        return None
    return " AND ".join(_condition(name, callback) for name, callback in sorted(conditions.items()))


def _condition(name: str, callback: Callback) -> str:
    quoted = '"' + name.replace('"', '""') + '"'
    text = _text(callback.root, name, quoted)
    return f"({text})" if callback.root.process in ("or", "any") else text


def _text(node: Any, name: str, quoted: str) -> str:
    if not isinstance(node, Node):
        raise _refused(name, f"is {node!r:.40} somewhere, which is no condition")
    arguments = node.arguments
    if node.process in _COMPARISONS:
        return _comparison(node, name, quoted)
    if node.process in ("and", "or"):
        sides = (_text(arguments[side], name, quoted) for side in ("x", "y"))
        return "(" + f" {node.process.upper()} ".join(sides) + ")"
    if node.process in ("all", "any") and isinstance(arguments.get("data"), list):
        return "(" + (" AND " if node.process == "all" else " OR ").join(
            _text(one, name, quoted) for one in arguments["data"]
        ) + ")"  # fmt: skip
    if node.process == "not":
        return f"NOT ({_text(arguments['x'], name, quoted)})"
    if node.process == "array_contains" and not _are_constants(arguments.get("data")):
        raise _refused(name, "uses 'array_contains' of something else than a list of numbers and texts")
    if (write := _TESTS.get(node.process)) is None or not _is_value(arguments.get(_TESTED.get(node.process, "data"))):
        known = ", ".join((*_COMPARISONS, "and", "or", "all", "any", "not", *_TESTS))
        raise _refused(name, f"uses {node.process!r}; conditions on properties may be {known} of `value` and constants")
    return write(quoted, arguments)


def _comparison(node: Node, name: str, quoted: str) -> str:
    x, y = node.arguments.get("x"), node.arguments.get("y")
    sign = _COMPARISONS[node.process]
    if _is_value(y):
        x, y, sign = y, x, _TURNED.get(sign, sign)
    if not _is_value(x) or not isinstance(y, int | float | str):
        raise _refused(name, f"uses {node.process!r} of something else than `value` and a number or text")
    if (delta := node.arguments.get("delta")) is not None:
        within = f"{quoted} BETWEEN {y - abs(delta)!r} AND {y + abs(delta)!r}"
        return within if node.process == "eq" else f"NOT ({within})"
    if node.arguments.get("case_sensitive") is False and isinstance(y, str):
        return f"CASEI({quoted}) {sign} CASEI({_literal(y)})"
    if name == "platform" and isinstance(y, str) and sign in ("=", "<>") and spelt(y) != y:
        either = f"{quoted} IN ({_literal(y)}, {_literal(spelt(y))})"  # some catalogues have it as others write it
        return either if sign == "=" else f"NOT ({either})"
    return f"{quoted} {sign} {_literal(y)}"


def _between(quoted: str, arguments: Mapping[str, Any]) -> str:
    upper = "<" if arguments.get("exclude_max") else "<="
    low, high = _literal(arguments["min"]), _literal(arguments["max"])
    return f"({quoted} >= {low} AND {quoted} {upper} {high})"


def _like(begins: str, ends: str) -> Callable[[str, Mapping[str, Any]], str]:
    def write(quoted: str, arguments: Mapping[str, Any]) -> str:
        escaped = "".join(f"\\{c}" if c in "%_\\" else c for c in arguments["pattern"])
        pattern = _literal(f"{begins}{escaped}{ends}")
        if arguments.get("case_sensitive") is False:
            return f"CASEI({quoted}) LIKE CASEI({pattern})"
        return f"{quoted} LIKE {pattern}"

    return write


def _among(quoted: str, arguments: Mapping[str, Any]) -> str:
    return f"{quoted} IN ({', '.join(map(_literal, arguments['data']))})"


_TESTS: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "between": _between,
    "date_between": _between,
    "array_contains": _among,
    "text_begins": _like("", "%"),
    "text_ends": _like("%", ""),
    "text_contains": _like("%", "%"),
    "is_nodata": lambda quoted, arguments: f"{quoted} IS NULL",
    "is_valid": lambda quoted, arguments: f"{quoted} IS NOT NULL",
}
_TESTED = {"between": "x", "date_between": "x", "array_contains": "value", "is_nodata": "x", "is_valid": "x"}
"""The argument that is `value`, where it is not `data`."""


def _is_value(argument: Any) -> bool:
    return isinstance(argument, Parameter) and argument.name == "value"


def _are_constants(argument: Any) -> bool:
    return isinstance(argument, list) and all(isinstance(one, int | float | str) for one in argument)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


def _refused(name: str, reason: str) -> DocumentError:
    return DocumentError(f"the condition on {name!r} {reason}", openeo="ProcessParameterInvalid", argument="properties")

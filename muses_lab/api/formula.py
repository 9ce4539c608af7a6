"""What is done with each value or series, as a line that people read: `median(data)`, `(nir - red) / (nir + red)`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from muses_lab.document.graph import Callback, Node, Parameter, walk
from muses_lab.operators import registry

SIGNS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "mod": "%", "power": "**", "gt": ">", "gte": ">=",
    "lt": "<", "lte": "<=", "eq": "==", "neq": "!=", "and": "&", "or": "|", "xor": "^",
}  # fmt: skip
"""Processes of two values that Python has a sign for."""

_WHOLE = 40
"""Steps of a formula that is written whole: a longer one may repeat its parts very often."""
_LONGEST = 240
"""Characters of a formula, or of a value; of a longer one the beginning is shown."""


def formula(root: Node) -> str:
    """A callback's graph as one line.

    >>> formula(ndvi.median("t")._node.arguments["reducer"].root)            # doctest: +SKIP
    'median(data)'
    """
    lines: dict[str, str] = {}
    for node in walk(root):
        lines[node.hash] = shortened(_line(node, lines))
    return lines[root.hash]


def steps(root: Node) -> list[str]:
    """The processes of a callback's graph one by one, each with the number of the line that it takes: `#1 > 0.4`."""
    numbers: dict[str, str] = {}
    found = []
    for node in walk(root):
        found.append(shortened(_line(node, numbers)))
        numbers[node.hash] = f"#{len(found)}"
    return found


def value_text(value: Any) -> str:
    """An argument's value for reading: JSON, shortened; a callback as its formula."""
    if isinstance(value, Callback):
        return formula(value.root)
    if isinstance(value, Mapping) and any(isinstance(one, Callback) for one in value.values()):
        return shortened("; ".join(f"{name}: {value_text(one)}" for name, one in value.items()))
    return shortened(_text(value, {}))


def shortened(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def told_apart(a: Any, b: Any, longest: int = _LONGEST) -> tuple[str, str]:
    """Two values that differ, for reading, each shortened so that what differs is seen: the part around it.

    >>> told_apart([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 0, 9], 12)
    ('… 6, 7, 8, 9]', '… 6, 7, 0, 9]')
    """
    one, two = _whole(a), _whole(b)
    if max(len(one), len(two)) <= longest:
        return one, two
    same = len(os.path.commonprefix([one, two]))
    start = max(0, same - longest // 2) if same >= longest - 2 else 0
    return _part(one, start, longest), _part(two, start, longest)


def _part(text: str, start: int, longest: int) -> str:
    """`longest` characters of a text from a place on; dots stand for what is left out."""
    if start == 0:
        return shortened(text, longest)
    found = "…" + text[start:]
    return found if len(found) <= longest else found[: longest - 1] + "…"


def _whole(value: Any) -> str:
    """A value with nothing left out; of a long formula the beginning."""
    if isinstance(value, Callback):
        nodes = walk(value.root)
        if len(nodes) > _WHOLE:
            return formula(value.root)
        lines: dict[str, str] = {}
        for node in nodes:
            lines[node.hash] = _line(node, lines, None)
        return lines[value.root.hash]
    if isinstance(value, Mapping) and any(isinstance(one, Callback) for one in value.values()):
        return "; ".join(f"{name}: {_whole(one)}" for name, one in value.items())
    return _text(value, {}, None)


def _line(node: Node, known: Mapping[str, str], most: int | None = 60) -> str:
    given = {name: _text(value, known, most) for name, value in node.arguments.items()}
    sign = SIGNS.get(node.process)
    if sign and len(given) == 2:
        names = [a for a in registry[node.process].arguments if a in given]
        first, second = (given[name] for name in names)
        return f"{grouped(first)} {sign} {grouped(second)}"
    if node.process == "array_element" and given.keys() - {"return_nodata"} in ({"data", "label"}, {"data", "index"}):
        chosen = node.arguments.get("label", node.arguments.get("index"))
        return chosen if isinstance(chosen, str) else f"{given['data']}[{_text(chosen, known)}]"
    if node.process == "if" and "accept" in given:
        otherwise = f" else {grouped(given['reject'])}" if "reject" in given else ""
        return f"{grouped(given['accept'])} where {grouped(given['value'])}{otherwise}"
    if node.process == "array_contains" and given.keys() == {"data", "value"}:
        return f"{grouped(given['value'])} in {grouped(given['data'])}"
    if node.process == "not" and given:
        return f"not {grouped(given['x'])}"
    inputs = [name for name, value in node.arguments.items() if isinstance(value, Node | Parameter)]
    texts = [given[name] for name in inputs] + [f"{n}={text}" for n, text in given.items() if n not in inputs]
    return f"{node.process.rpartition(':')[2]}({', '.join(texts)})"


def grouped(text: str) -> str:
    """In brackets where a sign stands outside of all brackets."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == " " and not depth:
            return f"({text})"
    return text


def _text(value: Any, known: Mapping[str, str], most: int | None = 60) -> str:
    if isinstance(value, Node):
        return known.get(value.hash, "…")
    if isinstance(value, Parameter):
        return value.name
    if isinstance(value, Callback):
        return formula(value.root)
    if isinstance(value, list | tuple):
        rest = ", …" if most is not None and len(value) > most else ""
        return f"[{', '.join(_text(one, known, most) for one in value[:most])}{rest}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_text(one, known, most)}' for name, one in value.items())}}}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)

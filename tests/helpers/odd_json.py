"""JSON that few writers write and all readers get: huge numbers, halves of characters, depth, length, wrong types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD = [
    "9" * 401,
    "-" + "9" * 401,
    "9" * 5000,
    "1e400",
    "-1e400",
    "1e308",
    "-1e308",
    "1e-400",
    "123456789012345678901234567890",
    "NaN",
    "Infinity",
    "-Infinity",
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-1",
    "0.5",
    "1e19",
    "9223372036854775808",
    '""',
    '"\\ud800"',
    '"\\udfff x"',
    '"\\u0000"',
    '"\\u202e"',
    '"' + "x" * 20_000 + '"',
    '"' + "\\ud83d\\ude00" * 50 + '"',
    "[]",
    "{}",
    "[[[[]]]]",
    "[" * 70 + "]" * 70,
    "[" * 5000 + "]" * 5000,
    '{"a":' * 70 + "1" + "}" * 70,
    "[null]",
    "[" + "1," * 3000 + "1]",
    '{"": null}',
    '{"\\ud800": 1}',
    '{"__class__": "x"}',
    '"NaN"',
    '"1e400"',
    '"' + "0" * 64 + '"',
    '"../../etc/passwd"',
    '"0001-01-01T00:00:00+23:59"',
    '"9999-12-31T23:59:59-23:59"',
    '"%00"',
    '" "',
    '"a/b"',
    "[0,0,0,0]",
    "[1e308,1e308,1e308,1e308]",
    "[-1e308,-90,1e308,90]",
    "[true,true,true,true]",
]
"""As texts: most of these no writer of JSON would make."""

_MARK = "\x01odd\x01"


def _places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _places(inner, (*path, number))


def _with_mark(value: Any, path: tuple) -> Any:
    if not path:
        return _MARK
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with_mark(value[path[0]], path[1:])
    return copy


def damaged(document: Any) -> st.SearchStrategy[bytes]:
    """A document as bytes, with something odd in one place of it, or as one more member."""
    places = list(_places(document))

    def put(path: tuple, odd: str) -> bytes:
        return json.dumps(_with_mark(document, path)).replace(json.dumps(_MARK), odd).encode()

    return st.builds(put, st.sampled_from(places), st.sampled_from(ODD))


def anything(names: list[str]) -> st.SearchStrategy[bytes]:
    """Any JSON, with member names that the reader knows."""
    leaves = (
        st.sampled_from(ODD)
        | st.text(max_size=20).map(json.dumps)
        | st.integers().map(str)
        | st.floats().map(json.dumps)
    )
    members = st.sampled_from(names).map(json.dumps)

    def more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        lists = st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]")
        pairs = st.lists(st.tuples(members, inner).map(":".join), max_size=4)
        return lists | pairs.map(lambda items: "{" + ",".join(items) + "}")

    texts = st.recursive(leaves, more, max_leaves=8)
    return texts.map(str.encode) | st.binary(max_size=30)

"""JSON of strangers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muses_lab.document.strict_json import loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_a_writer_of_json_writes_is_read(value: object, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9" * 401, "401 characters"),
        ("[-" + "9" * 401 + "]", "beyond the numbers"),
        ("9" * 5000, "beyond"),
        ("1e400", "1e400 is beyond"),
        ('{"a": -1e400}', "beyond"),
        ("NaN", "NaN is not JSON"),
        ("[Infinity]", "Infinity"),
        ('"\\ud800"', "half of a surrogate pair"),
        ('"\\uDFFF x"', "half of a surrogate pair"),
        ('{"\\udc00": 1}', "half"),
        ("[" * 100_000, "nested too deeply"),
        ("", "Expecting value"),
        ("{", "Expecting"),
        ("\ufeff1", "BOM"),
    ],
)
def test_what_others_would_read_otherwise_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loads(text.encode())
    with pytest.raises(ValueError):
        loads(b"\xff" + text.encode())

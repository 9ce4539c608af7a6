"""CQL2 filters: each form of the standard (OGC 21-065r2) chooses the right rows, or is an error."""

from __future__ import annotations

from typing import Any

import pytest

from muses_lab.catalog.condition import Condition
from muses_lab.catalog.query import QueryError

TIMES = ["2020-06-01T23:59:59Z", "2020-06-02T00:00:00Z", "2020-06-02T10:30:00Z", "2020-06-03T00:00:00Z", "2020-06-04"]


def item(**properties: Any) -> dict[str, Any]:
    geometry = properties.pop("geometry", {"type": "Point", "coordinates": [1.5, 43.5]})
    return {"type": "Feature", "id": "a", "collection": "c", "geometry": geometry, "properties": properties}


def rows(text: str, name: str = "datetime", values: list[Any] = TIMES) -> list[int]:
    condition = Condition(text)
    return [n for n, value in enumerate(values) if condition.matches(item(**{name: value}))]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("datetime < DATE('2020-06-02')", [0]),
        ("datetime <= DATE('2020-06-02')", [0, 1, 2]),
        ("datetime = DATE('2020-06-02')", [1, 2]),
        ("datetime <> DATE('2020-06-02')", [0, 3, 4]),
        ("datetime > DATE('2020-06-02')", [3, 4]),
        ("datetime >= DATE('2020-06-02')", [1, 2, 3, 4]),
        ("DATE('2020-06-02') < datetime", [3, 4]),
        ("datetime BETWEEN DATE('2020-06-02') AND DATE('2020-06-03')", [1, 2, 3]),
        ("datetime NOT BETWEEN DATE('2020-06-02') AND DATE('2020-06-03')", [0, 4]),
        ("datetime BETWEEN TIMESTAMP('2020-06-02T00:00:00Z') AND TIMESTAMP('2020-06-03T00:00:00Z')", [1, 2, 3]),
        ("datetime > TIMESTAMP('2020-06-02T00:00:00Z') AND datetime < TIMESTAMP('2020-06-03T00:00:00Z')", [2]),
        ("datetime = TIMESTAMP('2020-06-02T12:30:00+02:00')", [2]),
        ("datetime <= '2020-06-02'", [0, 1, 2]),
        ("datetime IN (DATE('2020-06-01'), DATE('2020-06-04'))", [0, 4]),
        ("T_AFTER(datetime, DATE('2020-06-02'))", [3, 4]),
        ("T_BEFORE(datetime, TIMESTAMP('2020-06-02T00:00:00Z'))", [0]),
        ("T_INTERSECTS(datetime, INTERVAL('2020-06-02', '2020-06-03'))", [1, 2, 3]),
        ("T_DURING(datetime, INTERVAL('2020-06-01', '2020-06-02'))", [0, 1, 2]),
        ("T_DURING(datetime, INTERVAL('2020-06-03', '..'))", [4]),  # its beginning is not within it
        ("T_EQUALS(datetime, TIMESTAMP('2020-06-02T10:30:00Z'))", [2]),
    ],
)
def test_times(text: str, wanted: list[int]) -> None:
    assert rows(text) == wanted


@pytest.mark.parametrize(
    ("relation", "start", "end"),
    [
        ("AFTER", "2020-03-01", "2020-03-02"), ("BEFORE", "2020-01-01", "2020-01-02"),
        ("CONTAINS", "2020-02-01", "2020-02-28"), ("DURING", "2020-02-06", "2020-02-07"),
        ("DISJOINT", "2020-03-01", "2020-03-02"), ("EQUALS", "2020-02-05", "2020-02-10"),
        ("FINISHEDBY", "2020-02-01", "2020-02-10"), ("FINISHES", "2020-02-06", "2020-02-10"),
        ("INTERSECTS", "2020-02-10", "2020-03-01"), ("OVERLAPPEDBY", "2020-02-07", "2020-02-20"),
        ("OVERLAPS", "2020-02-01", "2020-02-07"), ("STARTEDBY", "2020-02-05", "2020-02-20"),
        ("STARTS", "2020-02-05", "2020-02-07"),
    ],
)  # fmt: skip
def test_intervals(relation: str, start: str, end: str) -> None:
    text = f"T_{relation}(INTERVAL(start_datetime, end_datetime), INTERVAL('2020-02-05', '2020-02-10'))"
    assert Condition(text).matches(item(start_datetime=start, end_datetime=end))
    outside = relation == "INTERSECTS"
    other = ("2020-04-01", "2020-04-02") if outside or relation not in ("AFTER", "DISJOINT") else ("2020-02-06",) * 2
    assert not Condition(text).matches(item(start_datetime=other[0], end_datetime=other[1]))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("v LIKE 'T31%'", [0, 1]),
        ("v LIKE 'T31TC_'", [0]),
        ("v NOT LIKE 'T31%'", [2, 3]),
        (r"v LIKE '100\%'", [3]),
        ("CASEI(v) LIKE CASEI('t31tcj')", [0]),
        ("CASEI(v) = CASEI('t31tcj')", [0]),
        ("CASEI(v) IN (CASEI('t31TCJ'), CASEI('ÉTÉ'))", [0, 2]),
        ("ACCENTI(v) = ACCENTI('ete')", [2]),
        ("v = 'it''s' OR v >= 'é'", [2]),
        ("v BETWEEN 'T31TA' AND 'T31TD'", [0]),
        ("v IS NULL", [4]),
        ("v IS NOT NULL", [0, 1, 2, 3]),
        ("NOT v = 'été'", [0, 1, 3]),
    ],
)
def test_texts(text: str, wanted: list[int]) -> None:
    assert rows(text, "v", ["T31TCJ", "T31UDQ_", "été", "100%", None]) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("v + 2 * 3 ^ 2 = 20", [1]),
        ("v / 4 > 1", [3]),
        ("v % 2 = 1", [0, 3]),
        ("v DIV 2 = 1", [1, 2]),
        ("-v <= -2.5", [2, 3]),
        ("3 > v AND v > 1", [1, 2]),
        ("v IN (1, 5)", [0, 3]),
        ("v NOT IN (1, 5)", [1, 2]),
        ("v BETWEEN 2 AND 2.5", [1, 2]),
        ("v > 4 OR w > 1", [3]),  # what is unknown does not hide what is true
        ("NOT (v > 4 AND w > 1)", [0, 1, 2]),
    ],
)
def test_numbers(text: str, wanted: list[int]) -> None:
    assert rows(text, "v", [1, 2, 2.5, 5]) == wanted


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("S_INTERSECTS(geometry, BBOX(1, 43, 2, 44))", True),
        ("S_INTERSECTS(geometry, POLYGON((10 10, 11 10, 11 11, 10 10)))", False),
        ("S_DISJOINT(geometry, POINT(1 2))", True),
        ("S_WITHIN(geometry, POLYGON((1 43, 2 43, 2 44, 1 44, 1 43)))", True),
        ("S_CONTAINS(geometry, POINT(1.5 43.5))", True),
        ("S_EQUALS(geometry, POINT(1.5 43.5))", True),
        ("S_TOUCHES(geometry, LINESTRING(1.5 43.5, 2 44))", True),
        ("S_CROSSES(geometry, LINESTRING(1 43, 2 44))", False),
        ("S_OVERLAPS(geometry, POINT(1 2))", False),
        ("A_CONTAINS(tags, ('a'))", True),
        ("A_CONTAINEDBY(tags, ('a', 'b', 'c'))", True),
        ("A_EQUALS(tags, ('a', 'b'))", True),
        ("A_OVERLAPS(tags, ('x', 'b'))", True),
        ("A_CONTAINS(tags, ('a', 'x'))", False),
        ("flag", True),
        ("flag = TRUE AND NOT flag = FALSE", True),
    ],
)
def test_places_lists_and_truth_values(text: str, holds: bool) -> None:
    assert Condition(text).matches(item(tags=["a", "b"], flag=True)) is holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v > 'a'", "a number .* a text"),
        ("v = 'a'", "a number .* a text"),
        ("v = TRUE", "a number .* a truth value"),
        ("v IN ('a')", "a number .* a text"),
        ("v BETWEEN 'a' AND 'b'", "a number .* a text"),
        ("v LIKE 'a%'", "LIKE compares texts"),
        ("CASEI(v) = 'a'", "CASEI takes a text"),
        ("v / 0 > 1", "zero"),
        ("v", "it is 1;"),
        ("t > DATE('2020-01-01')", "'soon' is not a date"),
        ("v > DATE('2020-01-01')", "a number .* a time"),
        ("datetime > 'yesterday'", "'yesterday' is not a date"),
        ("S_INTERSECTS(v, POINT(1 2))", "not a geometry"),
        ("T_AFTER(datetime, DATE('2020-02-31'))", "not a date"),
        ("avg(v) > 3", "'avg' is no operator or function of CQL2"),
        ("A_CONTAINS(v, (1))", "not both lists"),
    ],
)
def test_what_makes_no_sense_is_an_error_and_never_no_row(text: str, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        Condition(text).matches(item(v=1, t="soon", datetime="2020-01-01T00:00:00Z"))

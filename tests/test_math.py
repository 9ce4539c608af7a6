"""Mathematical functions, constants and dates of openEO: against Python's own, and compiled code against NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import muses_lab as ml
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.engine import Engine
from muses_lab.engine.compiled import compiler, vm
from muses_lab.errors import ArgumentError, DocumentError
from muses_lab.operators import registry, run
from tests.helpers.examples import examples
from tests.helpers.made_scenes import pixels
from tests.helpers.made_stacks import own_window, stack
from tests.oracles.uncompiled import without_code

pytestmark = pytest.mark.usefixtures("in_threads")

NAN, INFINITE = math.nan, math.inf
X = Parameter("x")


def node(process: str, /, **arguments: Any) -> Node:
    return registry.node(process, inside_callback=True, **arguments)


def of(process: str, *values: Any, **arguments: Any) -> np.ndarray:
    """A process on arrays of single precision."""
    op = registry[process]
    names = [a.name for a in op.arguments.values()]
    given = {n: xr.DataArray(np.asarray(v, np.float32)) for n, v in zip(names, values, strict=False)}
    found = op.fn(**given, **arguments)
    assert found.dtype == np.float32
    return found.values


def compiled(process: str, *values: np.ndarray) -> np.ndarray:
    """The instruction of a process, on arrays of one dimension."""
    n, count = values[0].size, len(values)
    images = [np.ascontiguousarray(v, np.float32).reshape(1, n) for v in values]
    planes = [
        (i.__array_interface__["data"][0], i.strides[0], vm.AS_IS, vm.NOTHING, -1, 0, 0, 0, n, vm.STRAIGHT)
        for i in images
    ]
    load = [(vm.LOAD, k, k, 0, 0) for k in range(count)]
    does = (getattr(vm, registry[process].code or ""), count, *range(count), *(0,) * (3 - count))
    out = np.empty((1, 1, n), np.float32)
    vm.run(
        np.array([*load, does], np.int32), np.empty(0, np.int32), np.empty(0, np.float32), count + 1,
        np.array([[k, k + 1] for k in range(count)], np.int32), np.array(planes, np.int64),
        np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)), np.zeros(1, np.int32), np.zeros(1, np.float32),
        np.full(count, np.nan, np.float32), np.ones((0, 1), np.bool_), np.array([count], np.int32),
        np.array([[vm.FIRST, 0]], np.int32), np.zeros(1), *vm.networks(0, False), 64, 0, 1, out,
    )  # fmt: skip
    return out[0, 0]


UNARY: dict[str, Callable[[float], float]] = {
    "ln": math.log, "exp": math.exp, "sin": math.sin, "cos": math.cos, "tan": math.tan, "arcsin": math.asin,
    "arccos": math.acos, "arctan": math.atan, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh,
    "arsinh": math.asinh, "arcosh": math.acosh, "artanh": math.atanh, "int": math.trunc,
    "sgn": lambda x: (x > 0) - (x < 0), "sqrt": math.sqrt,
}  # fmt: skip
BINARY: dict[str, Callable[[float, float], float]] = {
    "power": math.pow, "arctan2": math.atan2, "log": lambda x, base: math.log(x) / math.log(base),
    "mod": lambda x, y: math.fmod(math.fmod(x, y) + y, y),
}  # fmt: skip
NUMBERS = [-7.5, -2.0, -1.0, -0.4, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 8.25]


def tried(function: Callable[..., float], *values: float) -> float:
    try:
        return function(*values)
    except (ValueError, ZeroDivisionError, OverflowError):
        return NAN


@pytest.mark.parametrize("process", UNARY)
def test_functions_are_pythons(process: str) -> None:
    expected = [tried(UNARY[process], x) for x in map(float, np.float32(NUMBERS))]
    expected = [v if not (process == "artanh" and abs(x) == 1) else x * INFINITE for x, v in zip(NUMBERS, expected)]  # noqa: B905
    np.testing.assert_array_equal(of(process, NUMBERS), np.float32(expected))
    assert np.isnan(of(process, [NAN])).all()


@pytest.mark.parametrize("process", BINARY)
def test_functions_of_two_are_pythons(process: str) -> None:
    pairs = [(x, y) for x in NUMBERS for y in NUMBERS if not (process == "log" and (y <= 0 or y == 1))]
    x, y = (np.float32(side) for side in zip(*pairs, strict=True))
    expected = [tried(BINARY[process], float(a), float(b)) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(of(process, x, y), np.float32(expected), rtol=1e-6, atol=2e-7)
    for a, b in ((NAN, 2.0), (2.0, NAN), (1.0, NAN), (NAN, 0.0)):  # also where the other one would decide
        assert np.isnan(of(process, [a], [b])).all() and np.isnan(compiled(process, np.float32([a]), np.float32([b])))


def test_what_the_functions_have_no_value_for() -> None:
    assert of("ln", [0.0]) == -INFINITE and np.isnan(of("ln", [-1.0]))
    assert of("power", [0.0], [-1.0]) == INFINITE and np.isnan(of("power", [-8.0], [1 / 3]))
    assert (
        of("mod", [1.0], [0.0]) == INFINITE and of("mod", [-1.0], [0.0]) == -INFINITE and np.isnan(of("mod", [0], [0]))
    )
    assert np.isnan(of("arcsin", [1.1])) and np.isnan(of("arcosh", [0.9])) and np.isnan(of("artanh", [1.1]))
    assert of("exp", [100.0]) == INFINITE and of("exp", [-INFINITE]) == 0
    assert of("log", [1000.0], base=10) == 3 and of("log", [8.0], base=2) == 3


def test_rounding_is_half_to_even() -> None:
    for x, p, expected in (
        (2.5, 0, 2), (3.5, 0, 4), (-2.5, 0, -2), (-3.5, 0, -4), (0.25, 1, 0.2), (0.375, 2, 0.38), (3.56, 1, 3.6),
        (-0.4444444, 2, -0.44), (1234.5, -2, 1200), (1250, -2, 1200), (1350, -2, 1400), (1e30, 3, 1e30), (7, -100, 0),
        (INFINITE, 2, INFINITE), (NAN, 2, NAN),
    ):  # fmt: skip
        np.testing.assert_array_equal(of("round", [x], p=p), np.float32([expected]))
        np.testing.assert_array_equal(compiled("round", np.float32([x]), np.float32([p])), np.float32([expected]))


def test_kinds_of_values() -> None:
    values = [NAN, INFINITE, -INFINITE, 0.0, 3.5]
    assert of("is_nan", values).tolist() == [1, 0, 0, 0, 0]
    assert of("is_valid", values).tolist() == [0, 0, 0, 1, 1]
    assert of("is_infinite", values).tolist() == [0, 1, 1, 0, 0]


@given(
    hnp.arrays(np.float32, 40, elements=st.floats(width=32)),
    hnp.arrays(np.float32, 40, elements=st.floats(width=32) | st.sampled_from([0.0, 0.5, 2.0, -1.0, 3.0])),
)
@hypothesis_settings(max_examples=examples(15))
def test_compiled_code_and_numpy_give_the_same_of_any_numbers(x: np.ndarray, y: np.ndarray) -> None:
    """To the bit, but for libraries that differ in the last digit of double precision."""
    for process in (*UNARY, "is_nan", "is_valid", "is_infinite", "floor", "ceil", "absolute"):
        found, expected = compiled(process, x), of(process, x)
        _same(process, found, expected)
    for process in (*BINARY, "add", "subtract", "multiply", "divide"):
        _same(process, compiled(process, x, y), of(process, x, y))
    digits = np.clip(np.nan_to_num(y), -30, 30).astype(np.int32)
    for p in np.unique(digits)[:5].tolist():
        _same("round", compiled("round", x, np.full(40, p, np.float32)), of("round", x, p=p))


def _same(process: str, found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected), err_msg=process)
    exact = getattr(vm, registry[process].code or "") not in vm.COSTLY
    ulp = 0 if exact else 1
    good = ~np.isnan(found)
    with np.errstate(all="ignore"):
        apart = np.abs(found[good].view(np.int32).astype(np.int64) - expected[good].view(np.int32))
    assert ((apart <= ulp) | (found[good] == expected[good])).all(), process


# --------------------------------------------------------------------------------------------- in chains


@pytest.fixture
def image(tmp_path: Path) -> ml.Collection:
    values = np.random.default_rng(2).uniform(-2, 4, (3, 2, 4, 6)).astype(np.float32)
    values[0, 0, 0, :3] = np.nan
    return stack(values, tmp_path)


def applied(chain: ml.Chain, root: Node) -> ml.Chain:
    return chain._with("apply", data=chain._node, process=Callback(root))


def both(chain: ml.Chain) -> np.ndarray:
    """A chain's values by a program, which there is, and the same by NumPy."""
    prepared = chain.published.prepared
    assert compiler.code_of(prepared, prepared.output) is not None
    fast = pixels(Engine(64 << 20), chain, own_window(4, 6)).values
    with without_code():
        slow = pixels(Engine(64 << 20), chain, own_window(4, 6)).values
    np.testing.assert_array_equal(fast, slow)
    return fast


def test_constants_are_numbers_wherever_values_are(image: ml.Collection) -> None:
    red = image.band("B4")
    values = red.max("t").compute(own_window(4, 6)).values
    degrees = node("multiply", x=X, y=node("divide", x=180, y=node("pi")))
    found = both(applied(red, degrees).max("t"))
    np.testing.assert_allclose(found[0], values * np.float32(180 / math.pi), rtol=1e-6)
    power = both(applied(red, node("power", base=node("e"), p=X)).max("t"))
    np.testing.assert_allclose(power[0], np.exp(values), rtol=1e-6)
    assert np.isnan(both(applied(red, node("add", x=X, y=node("nan"))).max("t"))).all()
    np.testing.assert_array_equal(both(applied(red, node("constant", x=0.5)).max("t")), np.float32(0.5))
    chosen = node("if", value=node("gt", x=node("pi"), y=3), accept=X, reject=0)
    np.testing.assert_array_equal(both(applied(red, chosen).max("t"))[0], values)


def test_precision_is_that_of_the_values(image: ml.Collection) -> None:
    root = node("multiply", x=X, y=node("multiply", x=node("pi"), y=node("e")))
    assert run(Callback(root), x=xr.DataArray(np.ones(3, np.float32))).dtype == np.float32
    assert run(Callback(root), x=xr.DataArray(np.ones(3, np.float64))).dtype == np.float64
    assert of("sin", [1e6]) == np.float32(math.sin(1e6))


def test_methods(image: ml.Collection) -> None:
    red, nir = image.band("B4"), image.band("B8")
    a, b = red.max("t").compute(own_window(4, 6)).values, nir.max("t").compute(own_window(4, 6)).values
    red, nir = red.max("t"), nir.max("t")
    for chain, expected in (
        (red.arctan2(nir), np.arctan2(a, b)), (red.arctan2(0.5), np.arctan2(a, 0.5)), (red.log(2), np.log2(a)),
        (red.round(1), np.round(a.astype(np.float64), 1)), ((red * 10).int(), np.trunc(a * 10)), (red.cos(), np.cos(a)),
    ):  # fmt: skip
        np.testing.assert_allclose(chain.compute(own_window(4, 6)).values, expected, rtol=2e-6, atol=1e-6)


def test_wrong_arguments_are_told(image: ml.Collection) -> None:
    red = image.band("B4")
    for base in (0, 1, -2):
        with pytest.raises(DocumentError, match=f"base={base} is no base of a logarithm"):
            red.log(base)
    for call in (lambda: red.log("x"), lambda: red.arctan2("x")):
        with pytest.raises(ArgumentError, match="'x'"):
            call()
    with pytest.raises(DocumentError, match="round"):
        red.round(0.5)


# --------------------------------------------------------------------------------------------------- dates


def value(root: Node) -> Any:
    return run(Callback(root))


def test_dates_are_compared() -> None:
    for x, first, last, exclude, expected in (
        ("2020-01-01", "2020-01-01", "2020-02-01", False, 1), ("2020-02-01", "2020-01-01", "2020-02-01", False, 1),
        ("2020-02-01", "2020-01-01", "2020-02-01", True, 0),
        ("2019-12-31T23:59:59Z", "2020-01-01", "2020-02-01", False, 0),
        ("2020-01-01T00:30:00+01:00", "2020-01-01", "2020-02-01", False, 0),
        ("10:30:00Z", "10:00:00Z", "11:00:00Z", True, 1),
        ("2020-01-15", "2020-02-01", "2020-01-01", False, 0),
    ):  # fmt: skip
        assert value(node("date_between", x=x, min=first, max=last, exclude_max=exclude)) == expected


def test_differences_of_dates() -> None:
    for first, second, unit, expected in (
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:15.5Z", "second", 15.5), ("2020-01-02", "2020-01-01", "day", -1),
        ("2020-01-01T00:00:00Z", "2020-01-01T01:00:00+01:00", "second", 0), ("2020-02-28", "2020-03-01", "day", 2),
        ("2020-01-31", "2020-02-29", "month", 1), ("2020-01-01", "2020-01-16T12:00:00Z", "month", 0.5),
        ("2019-03-01", "2020-03-01", "year", 1), ("2020-03-01", "2019-03-01", "year", -1),
        ("2020-02-29", "2021-02-28", "year", 1), ("2020-01-01", "2020-01-08", "week", 1),
        ("2020-01-01", "2020-01-01T00:00:01Z", "millisecond", 1000),
    ):  # fmt: skip
        assert value(node("date_difference", date1=first, date2=second, unit=unit)) == pytest.approx(expected)


def test_dates_are_shifted() -> None:
    shift = registry["date_shift"].fn
    for date, number, unit, expected in (
        ("2020-02-01T17:22:45Z", 6, "month", "2020-08-01T17:22:45Z"), ("2020-01-31", 1, "month", "2020-02-29"),
        ("2021-03-31T00:00:00+02:00", -7, "day", "2021-03-24T00:00:00+02:00"), ("2018-01-01", 25, "hour", "2018-01-02"),
        ("2020-02-29T17:22:45Z", 1, "year", "2021-02-28T17:22:45Z"), ("2018-01-01", -1, "hour", "2017-12-31"),
        ("2016-12-31T23:59:59Z", 1, "second", "2017-01-01T00:00:00Z"), ("2020-01-01", -2, "week", "2019-12-18"),
        ("2018-12-31T17:22:45Z", 1150, "millisecond", "2018-12-31T17:22:46.150Z"),
    ):  # fmt: skip
        assert shift(date, number, unit) == expected


@given(st.dates(), st.integers(-5000, 5000), st.sampled_from(["day", "week", "month", "year"]))
@hypothesis_settings(max_examples=examples(30))
def test_a_shift_is_the_difference_that_there_is_then(day: Any, number: int, unit: str) -> None:
    date = day.isoformat()
    try:
        later = registry["date_shift"].fn(date, number, unit)
    except ValueError as error:
        assert "beyond the years" in str(error)
        return
    found = value(node("date_difference", date1=date, date2=later, unit=unit))
    assert found == pytest.approx(number, abs=0 if unit in ("day", "week") or day.day <= 28 else 0.15)


def test_dates_are_constants_of_pixels(image: ml.Collection) -> None:
    """Compared while the chain is compiled."""
    red = image.band("B4")
    shifted = node("date_shift", date="2020-01-31", value=1, unit="month")
    summer = node("date_between", x=shifted, min="2020-02-01", max="2020-03-01")
    found = both(applied(red, node("if", value=summer, accept=X, reject=0)).max("t"))
    np.testing.assert_array_equal(found, red.max("t").compute(own_window(4, 6)).values[None])


def test_what_is_no_date_is_told() -> None:
    for process, arguments, message in (
        ("date_difference", {"date1": "soon", "date2": "2020-01-01"}, r"'soon' is not a date"),
        ("date_difference", {"date1": 5, "date2": "2020-01-01"}, r"must be a date \(text\)"),
        ("date_difference", {"date1": X, "date2": "2020-01-01"}, "must be a date"),
        ("date_difference", {"date1": "2020-01-01", "date2": "10:30:00"}, "are not of one kind"),
        ("date_shift", {"date": "9999-12-01", "value": 1, "unit": "month"}, "beyond the years 1 to 9999"),
        ("date_shift", {"date": "10:30:00", "value": 1, "unit": "day"}, "time of a day"),
        ("add", {"x": node("date_shift", date="2020-01-01", value=1, unit="day"), "y": 1}, "must be a number"),
    ):  # fmt: skip
        with pytest.raises(DocumentError, match=message):
            node(process, **arguments)
    cube = registry.node("load_collection", id="x")
    with pytest.raises(DocumentError, match="gives one value"):
        registry.node("apply", data=cube, process=Callback(node("date_shift", date="2020-01-01", value=1, unit="day")))

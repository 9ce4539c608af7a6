"""Mathematical functions of openEO, value by value: powers and logarithms, trigonometry, rounding, constants.

Compiled code has an instruction for each. Both compute in double precision and round once to the precision of the
values. What has no value (the logarithm of -1) is missing; what grows beyond all bounds (1 / 0, the logarithm of 0) is
infinite, as IEEE 754 says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.operators.contract import Cost, Scalar
from muses_lab.operators.declare import operator
from muses_lab.operators.elementwise import elementwise, truth
from muses_lab.operators.methods import on_values
from muses_lab.operators.registered import registry
from muses_lab.plain import number
from muses_lab.resources import cancel

NAN = np.float32("nan")


def _costly(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    return Cost(20e-9 * rows * columns)


def in_double(fn: Callable[..., Any], *values: Any) -> Any:
    """`fn` in double precision, an image at a time, rounded to the precision that the values have."""

    def rounded(*given: Any) -> Any:
        dtype = np.result_type(*given)
        arrays = np.broadcast_arrays(*(np.asarray(v, dtype) for v in given))
        out = np.empty(arrays[0].shape, dtype)
        for image in np.ndindex(out.shape[:-2]):
            cancel.check()
            out[image] = fn(*(v[image].astype(np.float64) for v in arrays))
        return out

    return elementwise(rounded, *values)


# ---------------------------------------------------------------------------------------------- of one value


def _declare(id: str, fn: Callable[[Any], Any], doc: str) -> None:
    def function(x: Scalar) -> Scalar:
        return in_double(fn, x)

    function.__name__ = id
    function.__doc__ = f"{doc}\n\n```python\nimage.{id}()\n```"
    operator(id, code=id.upper(), cost=_costly)(function)


_declare("ln", np.log, "Natural logarithm; missing for negative values, minus infinity for 0.")
_declare("sin", np.sin, "Sine of an angle in radians.")
_declare("cos", np.cos, "Cosine of an angle in radians.")
_declare("tan", np.tan, "Tangent of an angle in radians.")
_declare("arcsin", np.arcsin, "Inverse sine, in radians from -π/2 to π/2; missing beyond -1 and 1.")
_declare("arccos", np.arccos, "Inverse cosine, in radians from 0 to π; missing beyond -1 and 1.")
_declare("arctan", np.arctan, "Inverse tangent, in radians from -π/2 to π/2.")
_declare("sinh", np.sinh, "Hyperbolic sine.")
_declare("cosh", np.cosh, "Hyperbolic cosine.")
_declare("tanh", np.tanh, "Hyperbolic tangent.")
_declare("arsinh", np.arcsinh, "Inverse hyperbolic sine.")
_declare("arcosh", np.arccosh, "Inverse hyperbolic cosine; missing below 1.")
_declare("artanh", np.arctanh, "Inverse hyperbolic tangent; infinite at -1 and 1, missing beyond.")


@operator("exp", code="EXP", cost=_costly)
def exp(p: Scalar) -> Scalar:
    """e to the power p.

    ```python
    image.exp()
    ```
    """
    return in_double(np.exp, p)


@operator("sgn", code="SGN")
def sgn(x: Scalar) -> Scalar:
    """Sign: 1 above 0, -1 below, 0 at 0.

    ```python
    (image - 0.3).sgn()
    ```
    """
    return elementwise(np.sign, x)


@operator("int", code="INT")
def int_(x: Scalar) -> Scalar:
    """The whole number in x, towards 0: 3.6 gives 3, -0.4 gives 0.

    ```python
    (image * 100).int()
    ```
    """
    return elementwise(np.trunc, x)


def _digits(arguments: Mapping[str, Any]) -> None:
    p = arguments["p"]
    if isinstance(p, int | float) and (not float(p).is_integer() or abs(p) > 100):
        raise ValueError(f"p={p:g} is no number of digits: it is a whole number from -100 to 100")


def _round(data: Node, p: int = 0) -> Node:
    return on_values(data, "round", p=number("p", p))


@operator("round", rule=_digits, code="ROUND", cost=_costly, method=_round)
def round_(x: Scalar, p: Scalar = 0) -> Scalar:  # type: ignore[assignment]
    """x to `p` digits after the point, or to tens (-1), hundreds (-2) and so on; of two as near, the even one.

    ```python
    image.round(2)
    (image * 1000).round(-2)
    ```

    2.5 gives 2 and 3.5 gives 4 (IEEE 754).
    """

    def rounded(v: Any, digits: Any) -> Any:
        factor = np.power(10.0, np.abs(digits))
        scaled = np.where(digits >= 0, v * factor, v / factor)
        whole = np.rint(scaled)
        return np.where(np.isfinite(scaled), np.where(digits >= 0, whole / factor, whole * factor), v)

    return in_double(rounded, x, p)


# ---------------------------------------------------------------------------------------------- of two values


@operator("power", code="POWER", cost=_costly, method=None)
def power(base: Scalar, p: Scalar) -> Scalar:
    """base to the power p; missing where either is, also where the other one would decide (openEO).

    ```python
    image ** 2
    image ** other
    ```
    """

    def raised(b: Any, exponent: Any) -> Any:
        return np.where(np.isnan(b) | np.isnan(exponent), np.nan, np.power(b, exponent))

    return in_double(raised, base, p)


def _a_base(arguments: Mapping[str, Any]) -> None:
    base = arguments["base"]
    if isinstance(base, int | float) and (base <= 0 or base == 1):
        raise ValueError(f"base={base:g} is no base of a logarithm: it is above 0 and not 1")


def _log(data: Node, base: float) -> Node:
    return on_values(data, "log", base=number("base", base))


@operator("log", rule=_a_base, code="LOG", cost=_costly, method=_log)
def log(x: Scalar, base: Scalar) -> Scalar:
    """Logarithm of x to a base; missing for negative values, minus infinity for 0.

    ```python
    image.log(10)
    ```
    """
    return in_double(lambda v, b: np.log(v) / np.log(b), x, base)


def _modulo(x: Any, y: Any) -> Any:
    return np.where(np.equal(y, 0), np.divide(x, y), np.mod(x, y))


@operator("mod", code="MOD", cost=_costly, method=None)
def mod(x: Scalar, y: Scalar) -> Scalar:
    """Remainder of x / y with the sign of y; x modulo 0 gives ±infinity, as x / 0 does.

    ```python
    image % other
    ```
    """
    return in_double(_modulo, x, y)


def _arctan2(data: Node, x: Node | float) -> Node:
    """The angle of the points (x, y), in radians from -π to π, of chains or a number: the chain is y.

    ```python
    image.arctan2(other)
    image.arctan2(0.5)
    ```
    """
    if not isinstance(x, Node):
        return on_values(data, "arctan2", "y", x=number("x", x))
    angle = registry.node("arctan2", inside_callback=True, y=Parameter("x"), x=Parameter("y"))
    return registry.node("merge_cubes", cube1=data, cube2=x, overlap_resolver=Callback(angle))


@operator("arctan2", code="ARCTAN2", cost=_costly, method=_arctan2)
def arctan2(y: Scalar, x: Scalar) -> Scalar:
    """The angle of the point (x, y) from the x axis, in radians from -π to π: the inverse tangent of y / x.

    ```python
    image.arctan2(other)
    ```
    """
    return in_double(np.arctan2, y, x)


# ---------------------------------------------------------------------------------- kinds of values, constants


@operator("is_nan", strict=False, code="IS_NODATA")
def is_nan(x: Scalar) -> Scalar:
    """1 where x is no number (missing), else 0; of the constant null, which is not NaN, too.

    ```python
    image.is_nan()
    ```
    """
    return False if x is None else truth(lambda v: np.isnan(v).astype(np.float32), x)


@operator("is_valid", strict=False, code="IS_VALID")
def is_valid(x: Scalar) -> Scalar:
    """1 where x is a finite number, else 0.

    ```python
    image.is_valid()
    ```
    """
    return truth(lambda v: np.isfinite(v).astype(np.float32), x)


@operator("is_infinite", strict=False, code="IS_INFINITE")
def is_infinite(x: Scalar) -> Scalar:
    """1 where x is plus or minus infinity, else 0 (also where it is missing).

    ```python
    (1 / image).is_infinite()
    ```
    """
    return truth(lambda v: np.isinf(v).astype(np.float32), x)


def _declare_constant(id: str, value: float, doc: str) -> None:
    def function() -> Scalar:
        return value  # type: ignore[return-value]

    function.__name__ = id
    node = f'{{"process_id": "{id}", "arguments": {{}}, "result": True}}'
    function.__doc__ = f"{doc}\n\n```python\nml.Chain.from_json(everywhere({node}))\n```\n\n{_EVERYWHERE}"
    operator(id, method=None)(function)


_EVERYWHERE = "(`everywhere` makes a document of a process: what it gives at every pixel, by `apply`.)"

_declare_constant("e", math.e, "Euler's number e = 2.71828…, the base of natural logarithms.")
_declare_constant("pi", math.pi, "The number π = 3.14159….")
_declare_constant("nan", math.nan, "What is no number: a missing value.")


@operator("constant", strict=False, method=None)
def constant(x: Scalar) -> Scalar:
    """x as it is: a number, a truth value, or null.

    ```python
    ml.Chain.from_json(everywhere({"process_id": "constant", "arguments": {"x": 0.5}, "result": True}))
    ```

    (`everywhere` makes a document of a process: what it gives at every pixel, by `apply`.)
    """
    return x

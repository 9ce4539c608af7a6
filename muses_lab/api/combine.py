"""Several chains as one: bands side by side, colours, one or the other, the first that is valid, a blend.

All are documents of openEO processes (`add_dimension`, `merge_cubes`, `apply`, `reduce_dimension`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

from muses_lab.api.chain import Chain
from muses_lab.api.parameters import replayable
from muses_lab.api.written import called
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import ArgumentError
from muses_lab.operators import registry
from muses_lab.operators.given import band_name
from muses_lab.operators.methods import band_value, over
from muses_lab.plain import number, shown

Number = int | float
X, Y = Parameter("x"), Parameter("y")


@replayable
def rgb(red: Chain, green: Chain, blue: Chain) -> Chain:
    """Three chains (images without bands) as the bands `red`, `green`, `blue` of one.

    ```python
    median = s2.mask_clouds().median("t")
    ml.rgb(median.band("red"), median.band("green"), median.band("blue")).style(vmax=0.3)
    ```
    """
    _check_chains("rgb", red, green, blue)
    merged = stack(red=red, green=green, blue=blue)
    merged._written = called("rgb", red, green, blue)
    return merged


@replayable
def hsv(hue: Chain, saturation: Chain | Number = 1, value: Chain | Number = 1) -> Chain:
    """Hue, saturation and value (brightness) as the bands `red`, `green`, `blue`, from 0 to 1.

    ```python
    ml.hsv(day_of_peak / 365 * 360, 1, ndvi).style(vmin=0, vmax=1)
    ```

    `hue` is an angle in degrees (0 red, 120 green, 240 blue; 360 is 0 again), the others run from 0 to 1 and are
    limited to that. Missing where one of them is (Smith 1978).
    """
    _check_chains("hsv", hue)
    parts = [hue, *(_like(hue, part, "hsv") for part in (saturation, value))]
    cube = stack(hue=parts[0], saturation=parts[1], value=parts[2])
    colours = {
        name: cube._made(over(cube._node, "bands", _channel(n))) for name, n in (("red", 5), ("green", 3), ("blue", 1))
    }
    made = stack(**colours)
    made._written = called("hsv", hue, saturation, value)
    return made


def _channel(n: int) -> Node:
    """v - v s max(0, min(k, 4 - k, 1)) with k = (n + hue / 60) mod 6."""
    turned = _do("add", x=_do("divide", x=band_value("hue"), y=60), y=n)
    turns = _do("floor", x=_do("divide", x=turned, y=6))
    k = _do("subtract", x=turned, y=_do("multiply", x=turns, y=6))
    near = _do("subtract", x=2, y=_do("absolute", x=_do("subtract", x=k, y=2)))
    s, v = (_do("clip", x=band_value(name), min=0, max=1) for name in ("saturation", "value"))
    return _do("subtract", x=v, y=_do("multiply", x=_do("multiply", x=v, y=s), y=_do("clip", x=near, min=0, max=1)))


def _do(process: str, **arguments: Any) -> Node:
    return registry.node(process, inside_callback=True, **arguments)


@replayable
def stack(*chains: Chain, **named: Chain) -> Chain:
    """The bands of chains side by side, in order; an image without bands becomes the band that it is given as.

    ```python
    ml.stack(ndvi=ndvi, height=height)
    ml.stack(s2.median("t"), ndvi=ndvi)
    ```
    """
    _check_chains("stack", *chains, *named.values())
    layers = list(chains)
    for label, chain in named.items():
        layers.append(chain._with("add_dimension", data=chain._node, name="bands", label=band_name(label)))
    if not layers:
        raise ArgumentError("stack() takes chains, for example stack(ndvi=ndvi, height=height)")
    merged = reduce(lambda a, b: a._with("merge_cubes", b, cube1=a._node, cube2=b._node), layers)
    if merged is not layers[0]:
        merged._written = called("stack", *chains, *named.values())
    return merged


@replayable
def where(condition: Chain, a: Chain | Number, b: Chain | Number) -> Chain:
    """`a` where the condition is true, `b` where it is false; missing where it is unknown.

    ```python
    ml.where(ndvi > 0.3, ndvi, 0)
    ```

    Where the chosen one is missing the result is.
    """
    _check_chains("where", condition)
    for part in (a, b):
        if not isinstance(part, Chain):
            number("where", part)
    yes = _chosen(condition, a, Y)
    no = _chosen(condition, b, _do("not", x=Y))
    made = _first_valid(yes, no)
    made._written = called("where", condition, a, b)
    return made


def _chosen(condition: Chain, values: Chain | Number, when: Any) -> Chain:
    """Values (x) where something that is made of the condition (y) is true, else missing."""
    if isinstance(values, Chain):
        return _merged(values, condition, _do("if", value=when, accept=X))
    when = X if when is Y else _do("not", x=X)
    return _applied(condition, _do("if", value=when, accept=values))


@replayable
def mosaic(chains: Iterable[Chain]) -> Chain:
    """Of each pixel the first value that is not missing, in the order of the chains.

    ```python
    ml.mosaic([optical, radar.on_grid(optical)])
    ```

    All have the same bands, or none, and lie on one grid: what does not says on which by `.on_grid(…)`.
    """
    if isinstance(chains, Chain | str) or not isinstance(chains, Iterable):
        raise ArgumentError(f"mosaic({shown(chains)}) takes a list of chains")
    layers = list(chains)
    _check_chains("mosaic", *layers)
    if not layers:
        raise ArgumentError("mosaic([]) has no chains: give them in the order in which they count")
    made = reduce(_first_valid, layers)
    if len(layers) > 1:
        made._written = called("mosaic", *layers)
    return made


def _first_valid(a: Chain, b: Chain) -> Chain:
    return _merged(a, b, _do("if", value=_do("is_nodata", x=X), accept=Y, reject=X))


@replayable
def blend(a: Chain, b: Chain | Number, alpha: Chain | Number) -> Chain:
    """`b` over `a`: a × (1 - alpha) + b × alpha; missing where one of them is.

    ```python
    ml.blend(winter, summer, 0.3)
    ml.blend(winter, summer, share)
    ```

    `alpha` runs from 0 (only `a`) to 1 (only `b`); a chain is limited to that.
    """
    _check_chains("blend", a)
    if isinstance(alpha, Chain):
        share: Any = alpha._apply("clip", min=0, max=1)
    else:
        share = number("alpha", alpha)
        if not 0 <= share <= 1:
            raise ArgumentError(f"alpha={share:g} is not between 0 (only the first) and 1 (only the second)")
    other = b if isinstance(b, Chain) else number("b", b)
    made = a * (1 - share) + share * other
    made._written = called("blend", a, b, alpha)
    return made


def _merged(x: Chain, y: Chain, combined: Node) -> Chain:
    """Two chains combined value by value."""
    return x._with("merge_cubes", y, cube1=x._node, cube2=y._node, overlap_resolver=Callback(combined))


def _applied(x: Chain, process: Node) -> Chain:
    return x._with("apply", data=x._node, process=Callback(process))


def _like(chain: Chain, value: Chain | Number, call: str) -> Chain:
    """A number as an image, missing where a chain is."""
    if isinstance(value, Chain):
        return value
    return chain * 0 + number(call, value)


def _check_chains(call: str, *chains: Any) -> None:
    for chain in chains:
        if not isinstance(chain, Chain):
            raise ArgumentError(f"{call}({shown(chain)}) takes a chain, for example median.band('red')")

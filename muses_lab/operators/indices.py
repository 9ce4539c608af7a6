"""Spectral indices: formulas of bands, each defined by other processes.

NumPy, compiled code and documents for other tools all use the one definition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from inspect import Parameter as Argument
from inspect import Signature, signature
from typing import Any

import xarray as xr

from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import BandError
from muses_lab.operators.callbacks import Series, run, wanted_labels
from muses_lab.operators.contract import Compiling, Cube, Images, Meta, MethodOf
from muses_lab.operators.declare import operator
from muses_lab.operators.registered import registry


@dataclass(frozen=True)
class Value:
    """A number, or a process of the values of a pixel: what a formula is made of."""

    node: Node | float

    def __add__(self, other: Value | float) -> Value:
        return _of("add", self, other)

    def __radd__(self, other: float) -> Value:
        return _of("add", other, self)

    def __sub__(self, other: Value | float) -> Value:
        return _of("subtract", self, other)

    def __rsub__(self, other: float) -> Value:
        return _of("subtract", other, self)

    def __mul__(self, other: Value | float) -> Value:
        return _of("multiply", self, other)

    def __rmul__(self, other: float) -> Value:
        return _of("multiply", other, self)

    def __truediv__(self, other: Value | float) -> Value:
        return _of("divide", self, other)

    def __rtruediv__(self, other: float) -> Value:
        return _of("divide", other, self)

    def __neg__(self) -> Value:
        return _of("multiply", self, -1)

    def __pow__(self, p: float) -> Value:
        if p == 2:
            return self * self
        if p == 0.5:
            return Value(registry.node("sqrt", inside_callback=True, x=self.node))
        return Value(registry.node("power", inside_callback=True, base=self.node, p=p))

    def exp(self) -> Value:
        return Value(registry.node("exp", inside_callback=True, p=self.node))


def _of(process: str, x: Value | float, y: Value | float) -> Value:
    a, b = (v.node if isinstance(v, Value) else v for v in (x, y))
    return Value(registry.node(process, inside_callback=True, x=a, y=b))


def normalized_difference(x: Value, y: Value) -> Value:
    """(x - y) / (x + y); missing where x + y is 0."""
    return _of("normalized_difference", x, y)


def ratio(x: Value, y: Value) -> Value:
    """x / y; missing where y is 0."""
    quotient = _of("divide", x, y)
    return Value(registry.node("if", inside_callback=True, value=y.node, accept=quotient.node))


def band(label: str) -> Value:
    """The value of a band, by its name or common name."""
    return Value(registry.node("array_element", inside_callback=True, data=Parameter("data"), label=label))


Formula = Callable[..., Value]
Definition = Callable[[Mapping[str, Any]], Callback]
"""(arguments) → the formula, as a process over bands."""


def _name_of(error: BandError, arguments: Mapping[str, Any], meta: Meta) -> str:
    """What openEO calls it that a band of a formula is not there."""
    if meta.bands is None:
        return "DimensionAmbiguous"
    names = {"nir": "NirBandAmbiguous", "red": "RedBandAmbiguous"}
    return next((n for role, n in names.items() if arguments.get(role) == error.details.get("band")), error.openeo)


def declare_formula(id: str, apply: Callable[..., Cube], definition: Definition, **declared: Any) -> None:
    """Declares a function of a cube, with the argument `target_band`, that does what a formula of bands says."""

    def shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
        meta, target = metas["data"], arguments["target_band"]
        try:
            wanted_labels(definition(arguments), meta)
        except BandError as error:
            raise BandError(error.message, _name_of(error, arguments, meta), **error.details) from None
        if target is not None and target in (meta.bands or ()):
            raise BandError(
                f"there is a band {target!r} already; give target_band another name", openeo="BandExists", band=target
            )
        return Meta(meta.time, (*(meta.bands or ()), target), meta.common) if target else Meta(meta.time, None)

    def needs(
        arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: tuple[str, ...] | None
    ) -> dict[str, tuple[str, ...] | None]:
        bands = metas["data"].bands or ()
        used = set(wanted_labels(definition(arguments), metas["data"]) or ())
        if arguments["target_band"]:
            used |= set(bands if wanted is None else wanted)
        return {"data": tuple(band for band in bands if band in used)}

    def images(
        compiling: Compiling, arguments: Mapping[str, Any], inputs: Mapping[str, Images], bands: tuple[str, ...] | None
    ) -> Images:
        value = compiling.call(definition(arguments), data=dict(inputs["data"]))
        return {None: value} if bands is None else {**inputs["data"], arguments["target_band"]: value}

    operator(
        id, shape=shape, needs=needs, images=images, expands=lambda arguments: definition(arguments).root, **declared
    )(apply)


def applied(data: Cube, meta: Meta | None, definition: Callback, target: str | None) -> Cube:
    """The values of a formula; with a target those of the bands and of it."""
    value = run(definition, data=Series(data, "bands", meta or Meta(bands=tuple(data.bands.values))))
    return xr.concat([data, value.expand_dims(bands=[target])], "bands") if target else value


def index(id: str, *, version: str = "1", method: MethodOf = "") -> Callable[[Formula], Formula]:
    """Declares a formula of bands as the operator `id`.

    ```python
    @index("ndvi")
    def ndvi(nir, red):
        \"\"\"Normalised difference vegetation index, Rouse et al. 1974.\"\"\"
        return normalized_difference(nir, red)
    ```

    The formula's parameters are common names of bands; the operator takes other names for them (`nir="B8A"`). Its
    result has no bands; with `target_band` it is added to the bands that are there. Values are missing where a band is.
    """

    def declare(formula: Formula) -> Formula:
        roles = tuple(signature(formula).parameters)

        @lru_cache(64)  # each image of a map's dates is a chain of its own, with the same formula
        def of_bands(*names: str) -> Callback:
            made = formula(**{role: band(name) for role, name in zip(roles, names, strict=True)}).node
            assert isinstance(made, Node)
            return Callback(made)

        def definition(arguments: Mapping[str, Any]) -> Callback:
            return of_bands(*(arguments[role] for role in roles))

        def apply(data: Cube, meta: Meta | None = None, **arguments: Any) -> Cube:
            given = {**{role: role for role in roles}, "target_band": None, **arguments}
            return applied(data, meta, definition(given), given["target_band"])

        apply.__name__, apply.__doc__ = id.rpartition(":")[2], formula.__doc__
        apply.__signature__ = Signature(  # type: ignore[attr-defined]
            [
                Argument("data", Argument.POSITIONAL_OR_KEYWORD, annotation=Cube),
                *(Argument(r, Argument.POSITIONAL_OR_KEYWORD, default=r, annotation=str) for r in roles),
                Argument("target_band", Argument.POSITIONAL_OR_KEYWORD, default=None, annotation=str | None),
                Argument("meta", Argument.POSITIONAL_OR_KEYWORD, default=None, annotation=Meta | None),
            ],
            return_annotation=Cube,
        )
        apply.__annotations__ = {
            "data": Cube, **dict.fromkeys(roles, str), "target_band": str | None, "meta": Meta | None, "return": Cube,
        }  # fmt: skip
        declare_formula(id, apply, definition, version=version, method=method)
        return formula

    return declare


@index("ndvi")
def ndvi(nir: Value, red: Value) -> Value:
    """Normalised difference vegetation index (nir - red) / (nir + red), Rouse et al. 1974.

    ```python
    s2.ndvi()
    s2.ndvi(nir="B08", red="B04")
    ```

    The result has no bands; with `target_band` it is added to the bands that are there.
    """
    return normalized_difference(nir, red)


@index("muses:ndwi")
def ndwi(green: Value, nir: Value) -> Value:
    """Normalised difference water index (green - nir) / (green + nir): open water, McFeeters 1996.

    ```python
    s2.ndwi() > 0
    ```

    The result has no bands; with `target_band` it is added to the bands that are there.
    """
    return normalized_difference(green, nir)


@index("muses:mndwi")
def mndwi(green: Value, swir16: Value) -> Value:
    """Modified normalised difference water index (green - swir16) / (green + swir16), Xu 2006.

    ```python
    s2.mndwi() > 0
    ```

    The result has no bands; with `target_band` it is added to the bands that are there.
    """
    return normalized_difference(green, swir16)


@index("muses:nbr")
def nbr(nir: Value, swir22: Value) -> Value:
    """Normalised burn ratio (nir - swir22) / (nir + swir22), García & Caselles 1991.

    ```python
    s2.nbr()
    ```

    The result has no bands; with `target_band` it is added to the bands that are there.
    """
    return normalized_difference(nir, swir22)

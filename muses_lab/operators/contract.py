"""What operators are declared with: the types of their arguments, what is known of cubes, supports, costs.

How a declaration is made of it is in `declare`.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import xarray as xr

from muses_lab.document.graph import Callback, Node
from muses_lab.errors import BandError, DocumentError

Cube = xr.DataArray
"""A data cube: dims `t, bands, y, x` (those it has, in this order), floating point, NaN where missing."""

Scalar = typing.NewType("Scalar", object)
"""A number or an array of numbers, elementwise: what `x` is inside a callback."""

Date = typing.NewType("Date", object)
"""A date or time as ISO 8601 text: a constant, a label, or what a process of dates gives."""

Array = typing.NewType("Array", object)
"""What `data` is inside a reducer: a series of values along one dimension, or a list of scalars."""

Reducer = typing.NewType("Reducer", object)
"""A callback with the parameter `data` that gives one value."""

Transform = typing.NewType("Transform", object)
"""A callback with the parameter `data` that gives an array."""

CubeProcess = typing.NewType("CubeProcess", object)
"""A callback with the parameter `data`, a part of a cube, that gives one of the same size.

It is made of processes of cubes, or is one of arrays where the parts have one dimension.
"""

Unary = typing.NewType("Unary", object)
"""A callback with the parameter `x`."""

Binary = typing.NewType("Binary", object)
"""A callback with the parameters `x` and `y`."""

Element = typing.NewType("Element", object)
"""A callback with the parameters `x`, `index` and `label`: an element of an array, its place, its name."""

Model = typing.NewType("Model", object)
"""A callback with the parameters `x` and `parameters`, an array: a function that is fitted to values."""

Conditions = typing.NewType("Conditions", object)
"""Callbacks by the name of a property; each has the parameter `value`."""

Condition = typing.NewType("Condition", object)
"""A callback with the parameter `value`, a label: a text or a number."""


Dates = tuple[np.datetime64, ...]


class Computed:
    """In the annotation of a parameter that may also be a value of each pixel: `Annotated[int, Computed()]`."""


_ALSO = {
    "nir": ("nir08",),  # the one near infrared of Landsat 8 and 9
    "rededge1": ("rededge071",), "rededge2": ("rededge075",), "rededge3": ("rededge078",),  # of STAC 1.1
    "lwir": ("lwir11",), "VV": ("vv",), "VH": ("vh",), "HH": ("hh",), "HV": ("hv",),
}  # fmt: skip
"""What bands are called otherwise, by common name."""

_NUMBERED = re.compile(r"B0?([1-9]A?)")
"""A band by its number, which some write with a zero: `B4` is `B04`."""

_RED_EDGES = {"rededge1": ("B05", "B5"), "rededge2": ("B06", "B6"), "rededge3": ("B07", "B7")}
"""Of Sentinel-2, whose items often call all three `rededge`."""


@dataclass(frozen=True)
class Meta:
    """What is known of a cube without computing it."""

    time: bool = True
    """Whether it has the dimension `t`."""
    bands: tuple[str, ...] | None = None
    """Labels of `bands`; None when it has no such dimension."""
    common: Mapping[str, str] = field(default_factory=dict)
    """Common name (`red`) → band name (`B04`)."""
    dates: Dates | None = field(default=None, compare=False)
    """Those of `t`, where they are known: of the cubes of a chain with pinned scenes. Said by an operator whose result
    has dates and none of whose cubes has."""

    def find(self, label: str) -> str:
        """Band name for a band or common name; `BandError` lists what there is."""
        have = self.bands or ()
        for name in (label, *self._also(label)):
            if name in have:
                return name
            if self.common.get(name) in have:
                return self.common[name]
        named = {v: k for k, v in self.common.items()}
        listed = ", ".join(f"{b} ({named[b]})" if b in named else b for b in have) or "no bands at all"
        raise BandError(f"there is no band {label!r}; the data have {listed}", band=label)

    def _also(self, label: str) -> tuple[str, ...]:
        """What else a band may be called."""
        sentinel2 = not {"B8A", "B08A"}.isdisjoint((*self.common.values(), *(self.bands or ())))
        numbered = _NUMBERED.fullmatch(label)
        return (
            _ALSO.get(label, ())
            + (_RED_EDGES.get(label, ()) if sentinel2 else ())
            + ((f"B{numbered[1]:0>2}", f"B{numbered[1]}") if numbered else ())
        )

    def select(self, labels: tuple[str, ...]) -> Meta:
        return Meta(self.time, tuple(dict.fromkeys(self.find(label) for label in labels)), self.common)


@dataclass(frozen=True)
class Support:
    """What an output pixel depends on, and so how the engine evaluates a step."""

    elsewhere: ClassVar[bool] = False
    """Whether its inputs are evaluated on another grid, level or extent than its result."""
    keeps: ClassVar[bool] = False
    """Whether blocks of its images are worth a place in the cache."""

    def radius(self, arguments: Mapping[str, Any], pixel_size: float) -> int:
        """Pixels around a pixel that it depends on; `pixel_size` is in metres."""
        return 0


@dataclass(frozen=True)
class Pixel(Support):
    """An output pixel depends on the same pixel only (any band or date)."""


@dataclass(frozen=True)
class Focal(Support):
    """An output pixel depends on a neighbourhood: the engine reads a halo and clips."""

    keeps: ClassVar[bool] = True
    around: Callable[[Mapping[str, Any], float], int]
    """(arguments, pixel size in metres) → radius in pixels."""

    def radius(self, arguments: Mapping[str, Any], pixel_size: float) -> int:
        return self.around(arguments, pixel_size)


@dataclass(frozen=True)
class Region(Support):
    """Depends on connected regions: evaluated whole on its pinned `extent` and `resolution`, then cut."""

    elsewhere: ClassVar[bool] = True
    depends_on: ClassVar[str] = "connected regions"
    """In messages."""


@dataclass(frozen=True)
class Fit(Support):
    """Depends on statistics of its pinned `extent` and `resolution`: `fit` runs once, the function applies it."""

    depends_on: ClassVar[str] = "statistics of an area"
    """In messages."""

    fit: Callable[..., dict[str, Any]]
    """(data on the pinned extent, **other arguments) → JSON values, given to the function as `fitted`."""


@dataclass(frozen=True)
class Structural(Support):
    """No computation of its own: the engine carries it out, or nobody does (a collection that is not pinned)."""

    elsewhere: ClassVar[bool] = True


@dataclass(frozen=True)
class Tabular(Structural):
    """Gives a table of features, which has no pixels: no engine evaluates it."""


@dataclass(frozen=True)
class Referring(Structural):
    """Stands for the artefact that it refers to: documents hold the digest in its place."""


@dataclass(frozen=True)
class Reading(Structural):
    """Reads the scenes of a pinned list."""

    list: str
    """The argument that names the list by its digest."""
    bands: str
    """The argument that chooses bands."""
    thinning: str
    """The argument that states how many dates a reduction uses at coarse levels."""


@dataclass(frozen=True)
class Regrid(Structural):
    """Its first cube on other grids, by nearest neighbour or a method that an argument names."""

    grids: Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
    """(arguments, grids of each cube by argument) → grids by id, as `raster.grid.Grid`."""
    method: str = field(default="", kw_only=True)
    """The argument that names one of `raster.warping.METHODS`, or `near`; empty: nearest neighbour."""

    def method_of(self, arguments: Mapping[str, Any]) -> str:
        return arguments[self.method] if self.method else "near"


@dataclass(frozen=True)
class Windows(Regrid):
    """Its first cube in windows of whole pixels, of each of which its function makes one pixel of a coarser grid."""

    size: Callable[[Mapping[str, Any]], tuple[int, int]]
    """Arguments → rows and columns of pixels of a window."""
    corner: Callable[[Mapping[str, Any], Any], tuple[int, int]]
    """(arguments, grid of the cube) → the native pixel, by row and column, with which the windows begin."""


@dataclass(frozen=True)
class AtResolution(Structural):
    """Its first cube at one level, whatever level is shown."""

    metres: str
    """The argument that says which: metres per pixel."""


PIXEL = Pixel()


class Refused(ValueError):
    """Raised by a `rule`: arguments that do not go together, with openEO's name for it (`MinMaxSwapped`)."""

    def __init__(self, openeo: str, message: str) -> None:
        super().__init__(message)
        self.openeo = openeo


class Cost(NamedTuple):
    """What an operator takes for one image, of one band and date."""

    seconds: float
    """Of one thread of the machine on which it was measured; `resources.rates` knows how fast this one is."""
    bytes: int = 0
    """Working memory beside its inputs and its result."""


CostOf = Callable[[Mapping[str, Any], float, int, int], Cost]
"""(arguments, pixel size in metres, rows, columns of the result) → cost; of a Fit: of the fitting."""

VALUE = 2e-9
"""Seconds for a value of an operator that declares nothing: between those of NumPy (4) and of compiled code (0.5)."""


class Length(NamedTuple):
    """How many elements an array in a callback has, as far as that is known before anything is computed."""

    times: int = 1
    """Of the length of `data`."""
    plus: int = 0
    labels: tuple[str, ...] | None = None
    """Names of the elements; only of bands."""
    varies: bool = False
    """Whether it is another one from pixel to pixel: this is the most."""

    def __add__(self, other: Any) -> Length:
        return Length(self.times + other.times, self.plus + other.plus, None, self.varies or other.varies)


LengthOf = Callable[[Mapping[str, Any], Mapping[str, Length]], Length]
"""(arguments, lengths of those that are arrays) → length of the array that a process gives."""

Shape = Callable[[Mapping[str, Any], Mapping[str, Meta]], Meta]

Rule = Callable[[Mapping[str, Any]], None]

Images = Mapping[str | None, Any]
"""Band → value, while a step is compiled: of an image without bands under None."""


class Compiling(Protocol):
    """What a step's `images` may ask of the compiler."""

    def call(self, callback: Callback, **parameters: Any) -> Any:
        """The value of a callback with its parameters bound to values; `data` to a mapping of them."""

    def mask(self, value: Any, selector: Any, replacement: float) -> Any:
        """The value, or the replacement (NaN: missing) where the selector is true."""

    def refuse(self, reason: str) -> Exception:
        """To be raised where no code fits: the step is evaluated by its function."""


ImagesOf = Callable[[Compiling, Mapping[str, Any], Mapping[str, Images], tuple[str, ...] | None], Images]
"""(compiler, arguments, values of each cube by argument, bands of the result) → values of the result."""

DimensionOf = str | Callable[[Mapping[str, Any]], str | None] | None
"""A dimension (`t` or `bands`), the argument that names it, or what tells it from all arguments."""

MethodOf = str | Callable[..., Node] | None
"""How chains have an operator as a method; see `operator`."""

Groups = Mapping[np.datetime64, Dates]
"""The dates of a result, each with the dates that it is made of."""

GroupsOf = Callable[[Mapping[str, Any], Mapping[str, Dates]], Groups | None]

LabelsOf = Callable[[Mapping[str, Any], Groups], list[str]]

Needs = Callable[[Mapping[str, Any], Mapping[str, Meta], tuple[str, ...] | None], dict[str, tuple[str, ...] | None]]

Narrowed = Callable[[Mapping[str, Any], Mapping[str, Meta], tuple[str, ...] | None], dict[str, Any]]


def same_shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    """The shape of a result that has the dimensions and bands of the first cube."""
    return next(iter(metas.values()), Meta(time=False))


def reduced_shape(dimension: str) -> Shape:
    """The shape of a result that has one value instead of the first cube's dimension `t` or `bands`."""

    def shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
        meta = next(iter(metas.values()))
        if not (meta.time if dimension == "t" else meta.bands is not None):
            raise DocumentError(f"the dimension {dimension!r} has been reduced already: there is nothing to reduce")
        return Meta(False, meta.bands, meta.common) if dimension == "t" else Meta(meta.time)

    return shape


def reduced_bands(dimension: str) -> Needs:
    """The needs of such an operator: the bands that are wanted, or all of them where they are reduced."""
    return same_bands if dimension == "t" else lambda arguments, metas, wanted: {n: m.bands for n, m in metas.items()}


def same_bands(
    arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: tuple[str, ...] | None
) -> dict[str, tuple[str, ...] | None]:
    """The needs of an operator that makes each band of its result of the same band of its cubes.

    Raises
    ------
    TypeError
        A band is wanted that none of the cubes has: the operator makes it of others, and its needs have to say which.
    """
    have = [band for meta in metas.values() for band in meta.bands or ()]
    if metas and (made := [band for band in wanted or () if band not in have]):
        raise TypeError(
            f"an operator gives the band {made[0]!r}, which its cubes do not have ({', '.join(have) or 'no bands'}), "
            "and is declared with needs=same_bands: its needs have to say which bands it is made of"
        )
    out: dict[str, tuple[str, ...] | None] = {}
    for name, meta in metas.items():
        if meta.bands is None or wanted is None:
            out[name] = meta.bands
        else:
            out[name] = tuple(b for b in meta.bands if b in wanted)
    return out

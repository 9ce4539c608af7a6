"""How an operator is declared: an ordinary function, its openEO or muses id, and its support.

The declaration is a contract. From the annotations come validation, the JSON schema, the widget form and the
documentation; from the support comes everything that makes lazy evaluation correct; from the cost come plans, admission
and the cutting of images into strips.

```python
@operator(
    "muses:focal_mean",
    support=Focal(lambda args, pixel: args["radius"]),
    cost=lambda args, pixel, rows, columns: Cost(rows * columns * args["radius"] * 1e-9, bytes=16 * rows * columns),
)
def focal_mean(data: Cube, radius: Annotated[int, Field(ge=1, le=64)] = 1) -> Cube: ...
```
"""

from __future__ import annotations

import inspect
import keyword
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import xarray as xr
from pydantic import TypeAdapter, ValidationError

from muses_lab.document.artefacts import Artefact, OfKind, kinds
from muses_lab.document.graph import Callback, Node, Parameter, make, walk
from muses_lab.errors import BandError, DocumentError

Cube = xr.DataArray
"""A data cube: dims `t, bands, y, x` (those it has, in this order), floating point, NaN where missing."""

Scalar = typing.NewType("Scalar", object)
"""A number or an array of numbers, elementwise: what `x` is inside a callback."""

Array = typing.NewType("Array", object)
"""What `data` is inside a reducer: a series of values along one dimension, or a list of scalars."""

Reducer = typing.NewType("Reducer", object)
"""A callback with the parameter `data`."""

Unary = typing.NewType("Unary", object)
"""A callback with the parameter `x`."""

Binary = typing.NewType("Binary", object)
"""A callback with the parameters `x` and `y`."""

Conditions = typing.NewType("Conditions", object)
"""Callbacks by the name of a property; each has the parameter `value`."""

DIGEST = "^[0-9a-f]{64}$"
"""How a document refers to an artefact: by its SHA-256."""

SERIES = "data"
"""The one parameter of callbacks that is a series; all others are single values."""

_CALLBACKS = {Reducer: (SERIES,), Unary: ("x",), Binary: ("x", "y"), Conditions: ("value",)}
Kind = Literal["cube", "scalar", "array", "callback", "conditions", "artefact", "value"]

_OF_TEXTS = frozenset({
    "eq", "neq", "lt", "lte", "gt", "gte", "array_contains", "text_begins", "text_contains", "text_ends",
})  # fmt: skip
"""Processes that also compare texts."""

_INJECTED = ("meta", "pixel_size", "fitted", "places", "geobox", "halo")
# What the engine gives to a function that asks for it by name: `meta`, the Meta of its first cube; `pixel_size` in
# metres; `fitted`, what `Fit.fit` returned; `places(crs)`, the coordinates (x, y) of all pixel centres; `geobox`, the
# window of what it is given; `halo`, the pixels on each side of that which are not to be in its result.


@dataclass(frozen=True)
class Meta:
    """What is known of a cube without computing it."""

    time: bool = True
    """Whether it has the dimension `t`."""
    bands: tuple[str, ...] | None = None
    """Labels of `bands`; None when it has no such dimension."""
    common: Mapping[str, str] = field(default_factory=dict)
    """Common name (`red`) → band name (`B04`)."""

    def find(self, label: str) -> str:
        """Band name for a band or common name; `BandError` lists what there is."""
        have = self.bands or ()
        if label in have:
            return label
        if self.common.get(label) in have:
            return self.common[label]
        if label == "nir" and (self.common.get("nir08") in have or "nir08" in have):
            return self.find("nir08")  # the one near infrared of Landsat 8 and 9
        named = {v: k for k, v in self.common.items()}
        listed = ", ".join(f"{b} ({named[b]})" if b in named else b for b in have) or "no bands at all"
        raise BandError(f"there is no band {label!r}; the data have {listed}", band=label)

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
    method: str = ""
    """The argument that names one of `raster.warping.METHODS`, or `near`; empty: nearest neighbour."""

    def method_of(self, arguments: Mapping[str, Any]) -> str:
        return arguments[self.method] if self.method else "near"


@dataclass(frozen=True)
class AtResolution(Structural):
    """Its first cube at one level, whatever level is shown."""

    metres: str
    """The argument that says which: metres per pixel."""


PIXEL = Pixel()


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

MethodOf = str | Callable[..., Node] | None
"""How chains have an operator as a method; see `operator`."""

Dates = tuple[np.datetime64, ...]
Needs = Callable[[Mapping[str, Any], Mapping[str, Meta], tuple[str, ...] | None], dict[str, tuple[str, ...] | None]]


def same_shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    """The shape of a result that has the dimensions and bands of the first cube."""
    return next(iter(metas.values()), Meta(time=False))


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


@dataclass(frozen=True)
class Argument:
    """One declared parameter of an operator."""

    name: str
    kind: Kind
    annotation: Any
    required: bool
    default: Any = None
    artefact: str = ""
    """The kind of artefact that it refers to."""

    def schema(self) -> dict[str, Any]:
        """JSON schema of the values it takes."""
        if self.kind == "cube":
            return {"type": "object", "subtype": "datacube"}
        if self.kind == "callback":
            return {"type": "object", "subtype": "process-graph"}
        if self.kind == "conditions":
            return {"type": ["object", "null"], "additionalProperties": {"subtype": "process-graph"}}
        if self.kind == "scalar":
            return {"type": ["number", "boolean", "null"]}
        if self.kind == "array":
            return {"type": "array"}
        if self.kind == "artefact":
            return {"type": "string", "subtype": "digest", "pattern": DIGEST, "muses:artefact": self.artefact}
        return TypeAdapter(self.annotation).json_schema()


@dataclass(frozen=True)
class Traits:
    """What else an operator declares of itself; see `operator`."""

    strict: bool | Callable[[Mapping[str, Any]], bool] = True
    rule: Rule | None = None
    cost: CostOf | None = None
    reduces: str | None = None
    dates: Callable[[Mapping[str, Any], Dates], Dates] | None = None
    masks: str | None = None
    selects: bool = False
    code: str | None = None
    images: ImagesOf | None = None
    expands: Callable[..., Node] | None = None
    method: MethodOf = ""


class Operator:
    """A declared operator; also the `graph.Signature` of its process."""

    def __init__(
        self, fn: Callable[..., Any], id: str, version: str, support: Support, shape: Shape | None = None,
        needs: Needs | None = None,
        traits: Traits = Traits(),
    ) -> None:  # fmt: skip
        cost, rule = traits.cost, traits.rule
        if cost is None and isinstance(support, Focal | Region | Fit):
            raise TypeError(
                f"operator {id!r} looks at more than a pixel and does not say what that takes: declare it with cost="
            )
        self.fn = fn
        self.id = id
        self.version = version
        self.support = support
        self.shape = shape or same_shape
        self.needs = needs or same_bands
        self.rule = rule
        self.dates = traits.dates
        """(arguments, dates) → the dates that it keeps; None: all of them."""
        self.masks = traits.masks
        """The cube argument that removes values of the first cube where it is true."""
        self.selects = traits.selects
        """Whether it does nothing to a cube that has just its bands."""
        self.code = traits.code
        """Name of the instruction, or of the reduction, that compiled code has for it."""
        self.images = traits.images
        """How compiled code does it; None: it does not."""
        self.expands = traits.expands
        """How it is defined by other processes."""
        self._reduces = traits.reduces
        self._strict = traits.strict
        self.declared_cost = cost
        hints = typing.get_type_hints(fn, include_extras=True)
        parameters = inspect.signature(fn).parameters
        self.injected = tuple(n for n in parameters if n in _INJECTED)
        self.arguments: dict[str, Argument] = {
            name: _argument(name, hints[name], p.default) for name, p in parameters.items() if name not in _INJECTED
        }
        self.cubes = tuple(a.name for a in self.arguments.values() if a.kind == "cube")
        self.is_cube_process = bool(self.cubes) or hints.get("return") is Cube
        self.artefacts = tuple(a.name for a in self.arguments.values() if a.kind == "artefact")
        if self.artefacts and not self.is_cube_process:
            raise TypeError(f"operator {id!r} refers to an artefact, which only operators on cubes may")
        if self.cubes and shape is not None and needs is None:
            raise TypeError(
                f"operator {id!r} says what shape its result has and not which bands it reads for it: declare it with "
                "needs=, which is same_bands where each band of the result is made of the same band of its cubes"
            )
        if traits.reduces not in (None, "t", "bands", *self.arguments):
            raise TypeError(f"operator {id!r}: reduces={traits.reduces!r} is neither a dimension nor an argument of it")
        self.gives_series = hints.get("return") is Array
        self.build = traits.method if callable(traits.method) else None
        """(node of a chain, what is given to the method) → node; None: as `operators.methods` makes it."""
        self.method = self._method_name(traits.method)
        """Name of the method that chains have for it; None: they have none."""
        self.takes_text = id in _OF_TEXTS
        """Whether its values may be texts; only in conditions on properties, cubes hold numbers."""
        self._adapters = {a.name: TypeAdapter(a.annotation) for a in self.arguments.values() if a.kind == "value"}

    def __repr__(self) -> str:
        return f"<Operator {self.id} {self.version}>"

    def _method_name(self, method: MethodOf) -> str | None:
        if method is None:
            return None
        name = method if isinstance(method, str) else getattr(method, "__name__", "").strip("_")
        name = name or self.id.rpartition(":")[2]
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise TypeError(f"operator {self.id!r}: no method can be called {name!r}; declare it with method=, or None")
        if self.build is None and not (self.arguments and self._takes_a_chain()):
            raise TypeError(
                f"operator {self.id!r} has no cube, value or series of values as its first argument, so there is no "
                "method that chains could have for it: declare it with method=None"
            )
        return name

    def _takes_a_chain(self) -> bool:
        first = next(iter(self.arguments.values()))
        return first.kind in ("cube", "scalar") or (first.kind == "array" and not self.gives_series)

    def reduces(self, arguments: Mapping[str, Any]) -> str | None:
        """The dimension that it reduces to one value: `t`, `bands`, or None."""
        return arguments[self._reduces] if self._reduces in self.arguments else self._reduces

    def is_strict(self, arguments: Mapping[str, Any]) -> bool:
        """Missing in, missing out: a date that is missing altogether may be left out before it."""
        return self._strict(arguments) if callable(self._strict) else self._strict

    def referred(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """Argument → digest of the artefact that it refers to."""
        return {name: arguments[name] for name in self.artefacts if arguments.get(name) is not None}

    @property
    def needs_extent(self) -> bool:
        return isinstance(self.support, Region | Fit)

    @property
    def depends_on(self) -> str:
        """What of its pinned extent its result depends on, for messages."""
        assert isinstance(self.support, Region | Fit)
        return self.support.depends_on

    def cost(self, arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
        """What it takes for an image of so many rows and columns: as declared, else by its values and callbacks.

        Of a Fit: what the fitting takes.
        """
        if self.declared_cost is not None:
            return self.declared_cost(arguments, pixel_size, rows, columns)
        processes = [n for a in arguments.values() if isinstance(a, Callback) for n in walk(a.root)]
        inside = (registry[n.process].cost(n.arguments, pixel_size, rows, columns).seconds for n in processes)
        return Cost(VALUE * rows * columns + sum(inside))

    def cost_of_blocks(self, arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
        """What it takes where blocks are evaluated: nothing for what is evaluated elsewhere, little after fitting."""
        if isinstance(self.support, Structural | Region):
            return Cost(0.0)
        if isinstance(self.support, Fit):
            return Cost(VALUE * rows * columns)
        return self.cost(arguments, pixel_size, rows, columns)

    def takes(self, argument: str) -> bool:
        """Whether it has an argument of this name."""
        return argument in self.arguments

    def offers(self, argument: str) -> tuple[str, ...]:
        """The parameters that a callback given as the argument has."""
        declared = self.arguments.get(argument)
        return _CALLBACKS.get(declared.annotation, ()) if declared is not None else ()

    def check(self, arguments: dict[str, Any], node: str, inside_callback: bool) -> dict[str, Any]:
        """Checked, normalised arguments without those that equal their defaults."""
        if self.is_cube_process == inside_callback:
            place = "inside a callback" if self.is_cube_process else "outside of callbacks (apply, reduce_dimension, …)"
            raise DocumentError(f"node {node!r}: process {self.id!r} cannot be used {place}", node=node)
        unknown = sorted(set(arguments) - set(self.arguments) - {"context"})
        if unknown:
            known = ", ".join(self.arguments)
            raise DocumentError(
                f"node {node!r}: {self.id!r} has no argument {unknown[0]!r}; it has {known}",
                openeo="ProcessParameterUnsupported",
                node=node,
                argument=unknown[0],
            )
        if arguments.get("context") is not None:
            raise DocumentError(f"node {node!r}: `context` is not supported", node=node, argument="context")
        checked: dict[str, Any] = {}
        for argument in self.arguments.values():
            if argument.name not in arguments:
                if argument.required:
                    raise DocumentError(
                        f"node {node!r}: {self.id!r} needs the argument {argument.name!r}",
                        openeo="ProcessParameterMissing",
                        node=node,
                        argument=argument.name,
                    )
                continue
            if arguments[argument.name] is None and self._left_out(argument):
                continue
            value = self._check_one(argument, arguments[argument.name], node)
            if argument.required or not _equal(value, argument.default):
                checked[argument.name] = value
        if self.rule is not None:
            try:
                self.rule({a.name: checked.get(a.name, a.default) for a in self.arguments.values()})
            except ValueError as error:
                raise DocumentError(f"node {node!r}: {self.id!r}: {error}", node=node) from None
        return checked

    def _left_out(self, argument: Argument) -> bool:
        """Whether null means the default: of what may be left out, unless null is a value of its own."""
        if argument.required or argument.kind != "value":
            return False
        try:
            self._adapters[argument.name].validate_python(None, strict=True)
        except ValidationError:
            return True
        return False

    def _check_one(self, argument: Argument, value: Any, node: str) -> Any:
        def wrong(expected: str) -> DocumentError:
            text = repr(value)[:60]
            return DocumentError(
                f"node {node!r}: argument {argument.name!r} of {self.id!r} must be {expected}, not {text}",
                openeo="ProcessParameterInvalid",
                node=node,
                argument=argument.name,
            )

        match argument.kind:
            case "cube":
                if not isinstance(value, Node):
                    raise wrong("a data cube (the result of another node)")
            case "callback" if value is None and not argument.required:
                return None
            case "callback":
                self._check_callback(argument, value, node, wrong)
            case "conditions":
                if value is not None and not isinstance(value, dict):
                    raise wrong("an object of process graphs by property")
                for condition in (value or {}).values():
                    self._check_callback(argument, condition, node, wrong)
            case "scalar":
                if isinstance(value, str) and self.takes_text:
                    return value
                return self._check_scalar(value, lambda: wrong("a number, a truth value, null or another node"))
            case "array" if isinstance(value, list | tuple):
                return [self._check_scalar(item, lambda: wrong("an array of numbers")) for item in value]
            case "array":
                if not (_is_series(value) or (isinstance(value, Parameter) and value.name == SERIES)):
                    raise wrong(f"an array: a list, or the parameter {SERIES!r} of a reducer")
            case "artefact" if value is None and not argument.required:
                return None
            case "artefact":
                return self._check_artefact(argument.artefact, value, wrong)
            case "value":
                adapter = self._adapters[argument.name]
                try:
                    return adapter.dump_python(adapter.validate_python(_plain(value), strict=True), mode="json")
                except ValidationError as error:
                    first = error.errors()[0]
                    raise wrong(_expected(first)) from None
                except TypeError:
                    raise wrong("a value, not another node or process graph") from None
        return value

    @staticmethod
    def _check_artefact(name: str, value: Any, wrong: Callable[[str], DocumentError]) -> Any:
        """A digest, an artefact, or what documents may hold in its place; a path of this machine never."""
        if isinstance(value, str) and re.fullmatch(DIGEST, value):
            return value
        if isinstance(value, Artefact) and value.kind.name == name:
            return value
        if not isinstance(value, dict) or (kind := kinds[name]).inline is None:
            raise wrong(f"the SHA-256 of an artefact of the kind {name!r} (64 hexadecimal digits)")
        try:
            return Artefact.of(kind, kind.inline(value))
        except ValueError as error:
            raise wrong(f"a {kind.noun} ({error})") from None

    @staticmethod
    def _check_scalar(value: Any, wrong: Callable[[], DocumentError]) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, Node):
            op = registry[value.process]
            if op.is_cube_process or op.gives_series:
                raise wrong()
        elif isinstance(value, Parameter):
            if value.name == SERIES:
                raise wrong()
        elif not isinstance(value, int | float | bool | None):
            raise wrong()
        return value

    def _check_callback(self, argument: Argument, value: Any, node: str, wrong: Callable[[str], DocumentError]) -> None:
        if not isinstance(value, Callback):
            raise wrong("a process graph")
        if registry[value.root.process].is_cube_process or _is_series(value.root):
            raise wrong(f"a process graph that gives one value ({value.root.process!r} does not)")
        if argument.annotation is not Conditions and _compares_text(value.root):
            raise wrong("a process graph of numbers; only properties of scenes may be compared with texts")
        offered = _CALLBACKS[argument.annotation]
        for name in sorted(parameters_of(value.root) - set(offered)):
            raise DocumentError(
                f"node {node!r}: the callback {argument.name!r} uses the parameter {name!r}; "
                f"{self.id!r} offers {', '.join(offered)}",
                node=node,
                argument=argument.name,
            )


def _is_series(value: Any) -> bool:
    return isinstance(value, Node) and registry[value.process].gives_series


def _compares_text(root: Node) -> bool:
    return any(
        isinstance(value, str)
        for node in walk(root)
        if registry[node.process].takes_text
        for value in node.arguments.values()
    )


def _plain(value: Any) -> Any:
    """JSON values only, written in one way: lists, Python's numbers, whole numbers without a decimal point."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str | int | float | bool | None):
        raise TypeError(f"{value!r} is no JSON value")
    return value


def _expected(error: Any) -> str:
    text = error["msg"]
    place = ".".join(str(p) for p in error["loc"] if not str(p).startswith(("function-", "constrained")))
    text = text.removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    return f"valid ({place + ': ' if place else ''}{text})"


def _equal(a: Any, b: Any) -> bool:
    return type(a) is not Node and (a is b or (a == b and isinstance(a, bool) == isinstance(b, bool)))


def _argument(name: str, annotation: Any, default: Any) -> Argument:
    required = default is inspect.Parameter.empty
    members = [t for t in typing.get_args(annotation) if t is not type(None)]
    if len(members) == 1 and (members[0] in _CALLBACKS or _kind_of(members[0])):  # that may be left out
        annotation = members[0]
    kind: Kind = "value"
    if annotation is Cube:
        kind = "cube"
    elif annotation is Scalar:
        kind = "scalar"
    elif annotation is Array:
        kind = "array"
    elif annotation is Conditions:
        kind = "conditions"
    elif annotation in _CALLBACKS:
        kind = "callback"
    elif _kind_of(annotation):
        kind = "artefact"
    if isinstance(default, tuple):  # as documents have it
        default = list(default)
    return Argument(name, kind, annotation, required, None if required else default, _kind_of(annotation))


def _kind_of(annotation: Any) -> str:
    """The kind of artefact that a parameter refers to; empty: none."""
    about = getattr(annotation, "__metadata__", ())
    return next((one.kind for one in about if isinstance(one, OfKind)), "")


def parameters_of(root: Node) -> set[str]:
    """Names of the parameters that a callback graph uses."""
    names: set[str] = set()
    for node in walk(root):
        stack: list[Any] = list(node.arguments.values())
        while stack:
            item = stack.pop()
            if isinstance(item, Parameter):
                names.add(item.name)
            elif isinstance(item, list):
                stack.extend(item)
    return names


def references(root: Node) -> dict[str, str]:
    """What a chain refers to: digest → kind of artefact, in order."""
    found: dict[str, str] = {}
    for node in walk(root):
        op = registry[node.process]
        for name, digest in op.referred(node.arguments).items():
            kind = op.arguments[name].artefact
            if found.setdefault(digest, kind) != kind:
                raise DocumentError(f"the artefact {digest[:12]}… is taken for {found[digest]!r} and for {kind!r}")
    return found


class OperatorRegistry:
    """All operators by id: the profile of openEO processes that this release supports."""

    def __init__(self) -> None:
        self._operators: dict[str, Operator] = {}
        self._methods: dict[str, str] = {}
        self._uses: list[Callable[[Operator], None]] = []
        self.broken: dict[str, str] = {}
        """Entry points of other packages that could not be loaded, with the reason: their operators are missing."""

    def add(self, op: Operator) -> None:
        if op.id in self._operators:
            raise ValueError(f"operator {op.id!r} is declared twice")
        if op.method is not None and (other := self._methods.get(op.method)) is not None:
            raise ValueError(
                f"operator {op.id!r} would have the method .{op.method}(), which {other!r} has: declare it with "
                "method='…', another name"
            )
        for use in self._uses:
            use(op)
        self._operators[op.id] = op
        if op.method is not None:
            self._methods[op.method] = op.id

    def each(self, use: Callable[[Operator], None]) -> None:
        """Calls `use` with every operator: those there are, and those that are declared later, before they count."""
        for op in self._operators.values():
            use(op)
        self._uses.append(use)

    def of_method(self, name: str) -> Operator | None:
        """The operator that chains have as the method of this name."""
        return self._operators.get(self._methods.get(name, ""))

    def __getitem__(self, id: str) -> Operator:
        return self._operators[id]

    def __iter__(self):
        return iter(self._operators.values())

    def signature(self, process: str, node: str) -> Operator:
        try:
            return self._operators[process]
        except KeyError:
            import difflib

            close = difflib.get_close_matches(process, self._operators, n=3)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            hint += "".join(
                f"; the entry point {name} could not be loaded ({why})" for name, why in self.broken.items()
            )
            raise DocumentError(
                f"node {node!r}: there is no process {process!r} here{hint}",
                openeo="ProcessUnsupported",
                node=node,
                process=process,
            ) from None

    def node(self, process: str, /, inside_callback: bool = False, **arguments: Any) -> Node:
        """A checked node of `process`."""
        return make(self, process, arguments, inside_callback=inside_callback)


registry = OperatorRegistry()


def operator(
    id: str,
    *,
    version: str = "1",
    support: Support = PIXEL,
    shape: Shape | None = None,
    needs: Needs | None = None,
    strict: bool | Callable[[Mapping[str, Any]], bool] = True,
    rule: Rule | None = None,
    cost: CostOf | None = None,
    reduces: str | None = None,
    dates: Callable[[Mapping[str, Any], Dates], Dates] | None = None,
    masks: str | None = None,
    selects: bool = False,
    code: str | None = None,
    images: ImagesOf | None = None,
    expands: Callable[..., Node] | None = None,
    method: MethodOf = "",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares a function as the operator `id` and leaves it an ordinary function.

    Parameters
    ----------
    version
        Recorded in documents; another one where the same arguments give other values.
    support
        What an output pixel depends on.
    shape
        (arguments, metas of its cubes) → meta of its result; the first cube's by default.
    needs
        (arguments, metas of its cubes, bands wanted of it) → bands needed of each cube; the same ones by default. Who
        declares a shape declares the needs, too (`same_bands` are those of the default): TypeError.
    strict
        Whether the result is missing wherever its input is: dates without data may then be left out. May be told from
        the arguments.
    rule
        Gets all arguments and raises ValueError where they do not go together.
    cost
        What an image takes; without it a value takes two nanoseconds, and so does each process of a callback. Operators
        that look at more than a pixel (Focal, Region, Fit) must declare it: TypeError.
    reduces
        The dimension (`t` or `bands`) which it reduces, or the argument that names it.
    dates
        (arguments, dates) → the dates that it keeps.
    masks
        The cube argument that removes values of the first cube where it is true.
    selects
        Whether it only chooses bands.
    code
        The instruction of compiled code for a process of values (`ADD`), or the reduction for one of series (`MEDIAN`).
    images
        How compiled code does a process of cubes, image by image.
    expands
        (arguments by name; values as parameters) → the process as a graph of other processes, for compiled code.
    method
        What chains have it as: a method of its id's name, with its arguments, its docstring and the examples (blocks of
        Python) in it. Another name; or a function (node of the chain, what is given to the method) → node, whose name,
        signature and docstring are the method's; None for no method.
    """

    def declare(fn: Callable[..., Any]) -> Callable[..., Any]:
        traits = Traits(strict, rule, cost, reduces, dates, masks, selects, code, images, expands, method)
        registry.add(Operator(fn, id, version, support, shape, needs, traits))
        return fn

    return declare

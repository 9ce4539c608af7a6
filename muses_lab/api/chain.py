"""Chains and layers: what users hold. Building costs nothing; a window is evaluated when somebody looks at it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from muses_lab import compute, series, settings
from muses_lab.api.arguments import box, handed_over, period, points
from muses_lab.api.written import Written, called, infix, prefix, recorded, text
from muses_lab.cached import cached_property
from muses_lab.compute.windows import Pixels, request_window
from muses_lab.crs import crs_name, known_crs
from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.engine import Published
from muses_lab.engine.cost import Plan, plan
from muses_lab.engine.coverage import nowhere
from muses_lab.errors import ArgumentError, DocumentError, NotAnImage, TooLarge
from muses_lab.export import Job, export, materialize
from muses_lab.operators import references, registry
from muses_lab.operators.cubes import THINNING
from muses_lab.plain import number, plain, shown, users_line
from muses_lab.products import SkippedItems
from muses_lab.publish import artefacts, bundle, documents, sharing
from muses_lab.publish.pinning import LOADS, Found, Searches
from muses_lab.raster.window import Window, checked
from muses_lab.render import render
from muses_lab.scenes.lists import as_artefact
from muses_lab.scenes.source import source_of
from muses_lab.store import Store, default_store
from muses_lab.style import Style

Number = int | float
Date = Any
"""Text, `date`, `datetime`, `Timestamp`, `datetime64`; None: open."""
Side = float | None

_SIGNS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "mod": "%", "power": "**", "gt": ">", "gte": ">=",
    "lt": "<", "lte": "<=", "eq": "==", "neq": "!=", "and": "&", "or": "|", "xor": "^",
}  # fmt: skip

_NEVER_COMBINED = (str, bytes, list, tuple, dict, set, complex)
"""What says nothing of chains, and chains nothing of it."""

_INSIDE = frozenset({"pixels", "published", "with_artefacts_of"})
"""What other rooms use and users do not: left out where names are completed."""

_PROBLEMS = 5
"""So many items that were left out are told by a warning."""

Dimension = Literal["t", "bands"]


@recorded
class Chain:
    """A deferred processing chain: a pure function from a window to pixels.

    ```python
    ndvi = ml.collection("sentinel-2-l2a").mask_clouds().ndvi().median("t")
    ndvi.compute(ml.Window.from_bounds((1.40, 43.55, 1.50, 43.65), crs="EPSG:32631", resolution=20))
    ```

    Immutable. Arithmetic and comparison build new chains, pixel by pixel, so a chain is not a truth value. Only where
    Python asks whether two chains are equal (`if a == b`, `in`, `.index`, a dictionary, the options of a widget) the
    answer is whether they are the same chain, as `.identical(other)` says. Missing values are NaN; true is 1 and
    false 0. Chains can be pickled and copied, before and after their first use.
    """

    def __init__(
        self,
        node: Node,
        artefacts: Mapping[str, Artefact] | None = None,
        problems: Mapping[str, tuple[str, ...]] | None = None,
        searches: Mapping[str, Searches] | None = None,
    ) -> None:
        if not isinstance(node, Node):
            raise ArgumentError(f"{shown(node)} is no chain: ml.collection(id) begins one, Chain.from_json reads one")
        self._root = node
        self._artefacts: dict[str, Artefact] = dict(artefacts or {})  # by digest: lists of scenes, models, vectors
        self._problems: dict[str, tuple[str, ...]] = dict(problems or {})  # by the digest of a list of scenes
        self._searches: dict[str, Searches] = dict(searches or {})  # by the hash of a loading node

    @property
    def problems(self) -> tuple[str, ...]:
        """Items (or assets of them) that were left out of the chain's scenes, with the reason.

        Asks the catalogue, as `compute` does, where that has not been done.
        """
        return tuple(self.published.left_out)

    # ------------------------------------------------------------------------------------------- document

    @property
    def _node(self) -> Node:
        return self._root

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical document. Publishing pins the scenes, which gives another hash."""
        return hashlib.sha256(graph.to_bytes(self._node)).hexdigest()

    def to_json(self, artefacts: bool = False) -> dict[str, Any]:
        """The openEO document: `process_graph`, and the versions of the operators.

        ```python
        text = json.dumps(ndvi.to_json(artefacts=True))   # for another home, with the scenes as they are now
        ml.Chain.from_json(text).compute(window)
        ```

        `artefacts`: with all that the document refers to by digest: models, vectors, and the lists of scenes that the
        chain stands for now, so that it gives the same pixels wherever its catalogue is registered, whatever has been
        added to it since.
        """
        if not artefacts:
            return graph.to_document(self._node)
        return bundle.to_document(self.published)

    @classmethod
    def from_json(cls, document: Any) -> Chain:
        """A chain from an openEO document (text, or parsed JSON), with the artefacts that it brings.

        Raises
        ------
        DocumentError
            Naming the node and the argument that is wrong (see `graph.parse`), or the artefact: one whose content is
            not what its digest names, or that is not of the kind that the document takes it for.
        """
        root, found = bundle.parse(document)
        return Chain(root, found, searches=_searches_of(root))

    def identical(self, other: Any) -> bool:
        """Whether both chains have the same document."""
        return isinstance(other, Chain) and self._node.hash == other._node.hash

    def __bool__(self) -> bool:
        same = _comparison(self._node)
        if same is None:
            raise TypeError(
                "a chain has no truth value: nothing has been computed. Combine conditions with & | ~, compare chains "
                "with .identical(other), test a value with .at(lon, lat)"
            )
        return same

    def __hash__(self) -> int:
        return hash(self._node.hash)

    __array_ufunc__ = None  # NumPy's numbers leave arithmetic to the chain

    def __reduce__(self) -> tuple[Any, ...]:
        """As a document, which is flat however deep the chain is; what has been worked out of it stays behind."""
        about = self._artefacts, self._problems, self._searches
        return _restored, (graph.to_bytes(self._node), *about, str(self._written))

    def __copy__(self) -> Chain:
        return self

    def __deepcopy__(self, memo: Any) -> Chain:
        return self

    def __dask_tokenize__(self) -> str:
        return self._node.hash

    @cached_property
    def _written(self) -> Written:
        """As it was written; of a document, its processes."""
        return text(" → ".join(_step(node) for node in graph.walk(self._node)[-8:]))

    def __repr__(self) -> str:
        try:
            name = self.hash[:8]
        except DocumentError:  # too large for a document, and told when one is asked for
            name = "of many nodes"
        return f"<Chain {name}: {self._written}>"

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in _INSIDE]

    # ------------------------------------------------------------------------------------------- building

    def _with(self, process: str, /, *others: Chain, **arguments: Any) -> Chain:
        return self._made(registry.node(process, **handed_over(process, arguments)), *others)

    def _made(self, node: Node, *others: Chain) -> Chain:
        """A chain of this one and others, with what is known of their scenes, and the artefacts that they refer to."""
        made = Chain(node, self._artefacts, self._problems, self._searches)
        made._artefacts |= {artefact.digest: artefact for artefact in node.artefacts}
        for other in others:
            made._artefacts |= other._artefacts
            made._problems |= other._problems
            made._searches |= other._searches
        return made

    def _apply(self, process: str, argument: str = "x", /, **arguments: Any) -> Chain:
        callback = registry.node(process, inside_callback=True, **{argument: Parameter("x")}, **plain(arguments))
        return self._with("apply", data=self._node, process=Callback(callback))

    def _combine(self, other: Chain | Number, process: str, a: str = "x", b: str = "y", swap: bool = False) -> Chain:
        made = self._combined(other, process, a, b, swap)
        if isinstance(made, Chain):
            shown = other if isinstance(other, Chain) else plain(other)
            made._written = infix(_SIGNS[process], *((shown, self) if swap else (self, shown)))
        return made

    def _combined(self, other: Chain | Number, process: str, a: str, b: str, swap: bool) -> Chain:
        if isinstance(other, Chain):
            first, second = (other, self) if swap else (self, other)
            resolver = registry.node(process, inside_callback=True, **{a: Parameter("x"), b: Parameter("y")})
            return self._with(
                "merge_cubes", other, cube1=first._node, cube2=second._node, overlap_resolver=Callback(resolver)
            )
        value = plain(other)
        if isinstance(value, list) and hasattr(other, "shape"):
            raise TypeError(
                f"an array of {' × '.join(map(str, other.shape))} values cannot be combined with a chain, which has "
                "pixels of its own: use a number, another chain, or the array of .compute(window)"
            )
        if not isinstance(value, int | float):
            if process not in ("eq", "neq") and (other is None or isinstance(other, _NEVER_COMBINED)):
                raise TypeError(f"{shown(other)} cannot be combined with a chain; numbers and other chains can")
            return NotImplemented
        mine, its = (b, a) if swap else (a, b)
        return self._apply(process, mine, **{its: value})

    def __add__(self, other: Chain | Number) -> Chain:
        return self._combine(other, "add")

    def __sub__(self, other: Chain | Number) -> Chain:
        return self._combine(other, "subtract")

    def __mul__(self, other: Chain | Number) -> Chain:
        return self._combine(other, "multiply")

    def __truediv__(self, other: Chain | Number) -> Chain:
        return self._combine(other, "divide")

    def __mod__(self, other: Chain | Number) -> Chain:
        return self._combine(other, "mod")

    def __pow__(self, other: Chain | Number) -> Chain:
        return self._combine(other, "power", "base", "p")

    def __radd__(self, other: Number) -> Chain:
        return self._combine(other, "add", swap=True)

    def __rsub__(self, other: Number) -> Chain:
        return self._combine(other, "subtract", swap=True)

    def __rmul__(self, other: Number) -> Chain:
        return self._combine(other, "multiply", swap=True)

    def __rtruediv__(self, other: Number) -> Chain:
        return self._combine(other, "divide", swap=True)

    def __rmod__(self, other: Number) -> Chain:
        return self._combine(other, "mod", swap=True)

    def __rpow__(self, other: Number) -> Chain:
        return self._combine(other, "power", "base", "p", swap=True)

    def __neg__(self) -> Chain:
        made = self * -1
        made._written = prefix("-", self._written)
        return made

    def __abs__(self) -> Chain:
        made = self._apply("absolute")
        made._written = Written(("abs(", self._written, ")"))
        return made

    def __gt__(self, other: Chain | Number) -> Chain:
        return self._combine(other, "gt")

    def __ge__(self, other: Chain | Number) -> Chain:
        return self._combine(other, "gte")

    def __lt__(self, other: Chain | Number) -> Chain:
        return self._combine(other, "lt")

    def __le__(self, other: Chain | Number) -> Chain:
        return self._combine(other, "lte")

    def __eq__(self, other: Chain | Number) -> Chain:  # type: ignore[override]
        return self._combine(other, "eq")

    def __ne__(self, other: Chain | Number) -> Chain:  # type: ignore[override]
        return self._combine(other, "neq")

    def __and__(self, other: Chain) -> Chain:
        return self._combine(other, "and")

    def __or__(self, other: Chain) -> Chain:
        return self._combine(other, "or")

    def __xor__(self, other: Chain) -> Chain:
        return self._combine(other, "xor")

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Chain:
        made = self._apply("not")
        made._written = prefix("~", self._written)
        return made

    def sqrt(self) -> Chain:
        """Square root; missing for negative values."""
        return self._apply("sqrt")

    def ln(self) -> Chain:
        """Natural logarithm."""
        return self._apply("ln")

    def log(self, base: float) -> Chain:
        """Logarithm to a base."""
        base = number("base", base)
        if base <= 0 or base == 1:
            raise ArgumentError(f"base={base:g} is no base of a logarithm: it is above 0 and not 1", argument="base")
        return self._apply("log", base=base)

    def exp(self) -> Chain:
        """e to the power of the values."""
        return self._apply("exp", "p")

    def clip(self, min: float, max: float) -> Chain:
        """Values limited to a range."""
        return self._apply("clip", min=min, max=max)

    def between(self, min: float, max: float) -> Chain:
        """1 where min ≤ value ≤ max, else 0."""
        if number("min", min) > number("max", max):
            raise ArgumentError(f"between({min}, {max}) is true nowhere: the first is above the second", argument="min")
        return self._apply("between", min=min, max=max)

    def isin(self, values: Iterable[float]) -> Chain:
        """1 where the value is one of `values` (classes), else 0."""
        classes = sorted(values) if isinstance(values, set | frozenset) else values
        return self._apply("array_contains", "value", data=classes)

    def has_bits(self, bits: int) -> Chain:
        """1 where any bit of `bits` is set (bit fields such as QA_PIXEL), else 0."""
        return self._apply("muses:any_bit", bits=bits)

    def scale(self, input_min: float, input_max: float, output_min: float = 0.0, output_max: float = 1.0) -> Chain:
        """Linear scaling of an input range (clipped) to an output range."""
        return self._apply(
            "linear_scale_range", inputMin=input_min, inputMax=input_max, outputMin=output_min, outputMax=output_max
        )

    # ------------------------------------------------------------------------------- bands, dates, masks

    def bands(self, *names: Any) -> Chain:
        """The bands named, by band name or common name; their names one by one or as one list."""
        return self._with("filter_bands", data=self._node, bands=list(self._checked_bands(*names)))

    @staticmethod
    def _checked_bands(*names: Any) -> tuple[str, ...]:
        if len(names) == 1 and isinstance(names[0], list | tuple):
            names = tuple(names[0])
        if not names:
            raise ArgumentError("bands() takes the names of bands, for example bands('red', 'nir')")
        return tuple(_band_name(name) for name in names)

    def band(self, name: str) -> Chain:
        """One band as an image without the dimension `bands`."""
        return self._over_bands("array_element", data=Parameter("data"), label=_band_name(name))

    def _over_bands(self, process: str, **arguments: Any) -> Chain:
        root = registry.node(process, inside_callback=True, **arguments)
        return self._with("reduce_dimension", data=self._node, reducer=Callback(root), dimension="bands")

    def normalized_difference(self, a: str, b: str) -> Chain:
        """(a - b) / (a + b) of two bands."""
        x, y = (
            registry.node("array_element", inside_callback=True, data=Parameter("data"), label=_band_name(name))
            for name in (a, b)
        )
        return self._over_bands("normalized_difference", x=x, y=y)

    def ndvi(self, nir: str = "nir", red: str = "red") -> Chain:
        """Vegetation: (nir - red) / (nir + red), Rouse et al. 1974."""
        return self._with("ndvi", data=self._node, nir=nir, red=red)

    def ndwi(self) -> Chain:
        """Open water: (green - nir) / (green + nir), McFeeters 1996."""
        return self.normalized_difference("green", "nir")

    def mndwi(self) -> Chain:
        """Open water, modified: (green - swir16) / (green + swir16), Xu 2006."""
        return self.normalized_difference("green", "swir16")

    def nbr(self) -> Chain:
        """Normalised burn ratio: (nir - swir22) / (nir + swir22), García & Caselles 1991."""
        return self.normalized_difference("nir", "swir22")

    def dates(self, start: Date, end: Date = ...) -> Chain:
        """Observations from `start` to before `end` (half-open); None leaves a side open.

        ```python
        ndvi.dates("2018-03-01", "2018-06-01")
        ndvi.dates(date(2018, 3, 1), date(2018, 6, 1))
        ndvi.dates("2018-03")                           # all of March
        ```

        Texts (ISO; a month or year is its first day), `date`, `datetime`, pandas' `Timestamp`; without a zone in UTC.
        """
        return self._with("filter_temporal", data=self._node, extent=period(start, end))

    def crop(
        self, west: Any, south: float | None = None, east: float | None = None, north: float | None = None
    ) -> Chain:
        """Missing outside a box of longitudes and latitudes: west, south, east, north, or one sequence of them."""
        extent = dict(zip(("west", "south", "east", "north"), box("crop", west, south, east, north), strict=True))
        return self._with("filter_bbox", data=self._node, extent=extent)

    def mask(self, cond: Chain) -> Chain:
        """Without the values where the condition is true (openEO `mask`)."""
        _check_chain("mask", cond)
        return self._with("mask", cond, data=self._node, mask=cond._node)

    def where(self, cond: Chain) -> Chain:
        """Only the values where the condition is true (xarray `where`); where it is unknown they are removed too."""
        _check_chain("where", cond)
        keep = registry.node("if", inside_callback=True, value=Parameter("y"), accept=Parameter("x"))
        return self._with("merge_cubes", cond, cube1=self._node, cube2=cond._node, overlap_resolver=Callback(keep))

    # ------------------------------------------------------------------------------------------- reducers

    def _reduce(self, process: str, dim: Dimension, **arguments: Any) -> Chain:
        root = registry.node(process, inside_callback=True, data=Parameter("data"), **arguments)
        return self._with("reduce_dimension", data=self._node, reducer=Callback(root), dimension=dim)

    def mean(self, dim: Dimension = "t") -> Chain:
        """Mean of the valid values."""
        return self._reduce("mean", dim)

    def median(self, dim: Dimension = "t") -> Chain:
        """Median of the valid values."""
        return self._reduce("median", dim)

    def min(self, dim: Dimension = "t") -> Chain:
        """Smallest valid value."""
        return self._reduce("min", dim)

    def max(self, dim: Dimension = "t") -> Chain:
        """Largest valid value."""
        return self._reduce("max", dim)

    def std(self, dim: Dimension = "t") -> Chain:
        """Sample standard deviation of the valid values (divided by n - 1)."""
        return self._reduce("sd", dim)

    def sum(self, dim: Dimension = "t") -> Chain:
        """Sum of the valid values."""
        return self._reduce("sum", dim)

    def count(self, dim: Dimension = "t") -> Chain:
        """Number of valid values."""
        return self._reduce("count", dim)

    def quantile(self, q: float, dim: Dimension = "t") -> Chain:
        """Quantile of the valid values, interpolated linearly."""
        series = registry.node("quantiles", inside_callback=True, data=Parameter("data"), probabilities=[q])
        root = registry.node("array_element", inside_callback=True, data=series, index=0)
        return self._with("reduce_dimension", data=self._node, reducer=Callback(root), dimension=dim)

    def first(self, dim: Dimension = "t") -> Chain:
        """First valid value."""
        return self._reduce("first", dim)

    def last(self, dim: Dimension = "t") -> Chain:
        """Last valid value."""
        return self._reduce("last", dim)

    # ------------------------------------------------------------------------- neighbourhoods and regions

    def apply_kernel(self, kernel: Any, factor: float = 1.0) -> Chain:
        """Convolution with a kernel of an odd number of rows and columns; missing values count as 0."""
        try:
            rows = np.asarray(kernel, dtype=float).tolist()
        except (TypeError, ValueError):
            raise ArgumentError(
                f"kernel={shown(kernel)} is no table of numbers: give rows of equal length, for example "
                "[[0, 1, 0], [1, 1, 1], [0, 1, 0]]"
            ) from None
        return self._with("apply_kernel", data=self._node, kernel=rows, factor=factor)

    def focal_mean(self, radius: float = 1, unit: Literal["px", "m"] = "px") -> Chain:
        """Mean of the valid neighbours in a square; a radius in pixels means pixels of the level shown."""
        return self._with("muses:focal_mean", data=self._node, radius=radius, unit=unit)

    def focal_median(self, radius: float = 1, unit: Literal["px", "m"] = "px") -> Chain:
        """Median of the valid neighbours in a square."""
        return self._with("muses:focal_median", data=self._node, radius=radius, unit=unit)

    def erode(self, radius: float = 1, unit: Literal["px", "m"] = "px") -> Chain:
        """Erosion with a square: the smallest valid value around."""
        return self._with("muses:erode", data=self._node, radius=radius, unit=unit)

    def dilate(self, radius: float = 1, unit: Literal["px", "m"] = "px") -> Chain:
        """Dilation with a square: the largest valid value around."""
        return self._with("muses:dilate", data=self._node, radius=radius, unit=unit)

    def opening(self, radius: float = 1, unit: Literal["px", "m"] = "px") -> Chain:
        """Erosion, then dilation: removes what is narrower than the square."""
        return self._with("muses:opening", data=self._node, radius=radius, unit=unit)

    def closing(self, radius: float = 1, unit: Literal["px", "m"] = "px") -> Chain:
        """Dilation, then erosion: fills what is narrower than the square."""
        return self._with("muses:closing", data=self._node, radius=radius, unit=unit)

    def connected_components(
        self,
        min_area: float = 0.0,
        connectivity: Literal[4, 8] = 8,
        extent: Any = None,
        resolution: float | None = None,
    ) -> Chain:
        """Labels of connected regions of at least `min_area` m²; needs `extent` and `resolution` (or `.pin`)."""
        return self._with(
            "muses:connected_components", data=self._node, min_area=min_area, connectivity=connectivity,
            extent=_extent(extent), resolution=resolution,
        )  # fmt: skip

    def otsu(self, bins: int = 256, extent: Any = None, resolution: float | None = None) -> Chain:
        """1 above Otsu's threshold of the extent, else 0; needs `extent` and `resolution` (or `.pin`)."""
        return self._with("muses:otsu", data=self._node, bins=bins, extent=_extent(extent), resolution=resolution)

    # ---------------------------------------------------------------------------------- grids and levels

    def at_resolution(self, metres: float) -> Chain:
        """Evaluated at the level of this pixel size, whatever level is shown."""
        return self._with("muses:at_resolution", data=self._node, resolution=metres)

    def on_grid(self, grid: Chain | str | int, resolution: float | None = None) -> Chain:
        """On the grids of another chain, or on that of a CRS and resolution; by nearest neighbour."""
        if isinstance(grid, Chain):
            return self._with("resample_cube_spatial", grid, data=self._node, target=grid._node)
        if resolution is None:
            raise ArgumentError(f"on_grid({shown(grid)}) needs a resolution in units of that CRS")
        if isinstance(grid, str | int):
            _check_unit(grid, number("resolution", resolution))
        return self._with("resample_spatial", data=self._node, projection=grid, resolution=resolution)

    @property
    def is_pinned(self) -> bool:
        """Whether all operators that need an explicit extent and resolution have them."""
        return not any(True for _ in self._unpinned())

    def _unpinned(self):
        for node in graph.walk(self._node):
            if registry[node.process].needs_extent and not documents.has_extent(node):
                yield node

    def pin(self, bounds: tuple[float, float, float, float], resolution: float, crs: str | int = 4326) -> Chain:
        """The chain with the extent (west, south, east, north) and resolution (metres) given to all that lack them."""
        extent = _extent(bounds)
        if crs not in (4326, "EPSG:4326"):
            extent["crs"] = crs
        resolution = number("resolution", resolution)

        def pinned(node: Node, arguments: dict[str, Any]) -> Node:
            if registry[node.process].needs_extent and not documents.has_extent(node):
                arguments = {**arguments, "extent": extent, "resolution": resolution}
            return registry.node(node.process, **arguments)

        return self._made(graph.rebuild(self._node, pinned))

    # ------------------------------------------------------------------------------- resolving, publishing

    @cached_property
    def _published_chain(self) -> Chain:
        return self._pinned(Searches.load)

    def resolve(self) -> Chain:
        """The chain with every collection replaced by the list of scenes that it stands for now.

        ```python
        pinned = ndvi.resolve()         # asks the catalogue, whatever was found before
        pinned.problems                 # items that were left out, with the reason
        ```

        `compute` and all others search a query once for a collection object and the chains made of it, and again where
        a catalogue's files have changed; of a STAC API, `ml.collection(…)` made anew or `resolve` asks for what is new.
        """
        return self._pinned(Searches.anew)

    def _pinned(self, find: Callable[[Searches, Node], Found]) -> Chain:
        made = self._made(self._node)

        def pinned(node: Node, arguments: dict[str, Any]) -> Node:
            if node.process not in LOADS:
                return registry.node(node.process, **arguments)
            found = find(self._searches.get(node.hash) or Searches(), node)
            digest = found.scenes.digest
            made._artefacts[digest], made._problems[digest] = as_artefact(found.scenes), found.problems
            bands = arguments.get("bands")
            if bands:
                bands = list(source_of(found.scenes).meta.select(tuple(bands)).bands or ())
            thinning = settings.counts("MUSES_THINNING", THINNING)
            loaded = registry.node("muses:load_items", digest=digest, bands=bands, thinning=thinning)
            return registry.node("filter_bbox", data=loaded, extent=dict(found.crop)) if found.crop else loaded

        made._root = graph.rebuild(self._node, pinned)
        return made

    @cached_property
    def published(self) -> Published:
        """What the engine evaluates: the document with pinned scenes."""
        chain = self._published_chain
        used = references(chain._node)
        if used.keys() - chain._artefacts.keys():
            chain = chain.with_artefacts_of(default_store())
        return Published(chain._node, {digest: chain._artefacts[digest] for digest in used}, problems=chain._problems)

    def publish(self, store: Store | None = None) -> str:
        """Pins the scenes, checks the chain, keeps it in the store; returns the hash that names it.

        Publishing the same thing twice gives the same hash.
        """
        store = store or default_store()
        if not hasattr(store, "put_document"):
            raise ArgumentError(f"{shown(store)} is no store; without one, publish() keeps the chain in the user's own")
        return documents.keep(self.published, store)

    def share(
        self,
        user: sharing.Names = None,
        group: sharing.Names = None,
        *,
        title: str | None = None,
        days: float | None = None,
        view: Mapping[str, Any] | None = None,
    ) -> sharing.Link:
        """Lets other users of the hub open this, on servers and clusters of their own; returns the link.

        ```python
        link = ndvi.share(user="bob", days=30)
        link.revoke()
        ```

        `user` and `group` are names, or lists of them. Until it is revoked, or for so many `days`. `view` is where a
        map shall show it: `{"center": (lat, lon), "zoom": z}`. The link opens nothing for anybody else.
        """
        return sharing.share(self.published, None, title or self._title(), user, group, days, view)

    def with_artefacts_of(self, store: Store) -> Chain:
        """The chain with what it lacks of its lists of scenes, models and vectors, as a store has it."""
        made = self._made(self._node)
        for digest, kind in references(self._node).items():
            if digest not in made._artefacts:
                made._artefacts[digest] = artefacts.stored(store, kind, digest)
                made._problems[digest] = artefacts.stored_problems(store, digest)
        return made

    def _title(self) -> str:
        steps = [n.process.rpartition(":")[2] for n in graph.walk(self._node)]
        return " → ".join(steps[-4:])

    # ------------------------------------------------------------------------------------------- windows

    def _tell_problems(self) -> None:
        """Warns of items that were left out; Python shows a warning once for each line that leads to it."""
        if found := self.problems:
            more = f"; and {len(found) - _PROBLEMS} more, see .problems" if len(found) > _PROBLEMS else ""
            told = "; ".join(found[:_PROBLEMS])
            warnings.warn(f"choosing the scenes of the chain: {told}{more}", SkippedItems, stacklevel=users_line())

    def plan(self, window: GeoBox) -> Plan:
        """What the chain would cost on a window; nothing is read."""
        self._tell_problems()
        return plan(self.published.prepared, checked(window))

    def pixels(self, window: GeoBox, priority: float = 0.0) -> Pixels:
        """Values on a window with the report of what was met (scenes used, scenes that failed)."""
        checked(window)
        documents.check_extents(self._node)
        series.check_known(self.published)
        _check_size(self.published, window)
        ticket = request_window(compute.executor(), self.published, window, priority)
        try:
            return ticket.result(settings.number("MUSES_TASK_SECONDS"))
        finally:
            ticket.release()

    def compute(self, window: GeoBox) -> xr.DataArray:
        """Values on a window: a georeferenced array, dims of (t, bands, y, x) that the chain has.

        ```python
        chain.compute(ml.Window.from_bounds((1.40, 43.55, 1.50, 43.65), crs="EPSG:32631", resolution=10))
        ```

        float32 (float64 for sources that need it), NaN where missing. `attrs` hold the chain's hash, the number of
        scenes used and found, the scenes that could not be read with the reason, `problems` (items that were left out
        of the collection, see there), and whether a long series was thinned.
        """
        self._tell_problems()
        found = self.pixels(window)
        if not found.report.scenes_found:
            warnings.warn(
                f"{nowhere(self.published.prepared, window)}: all values are missing", stacklevel=users_line()
            )
        coords = {name: xr.DataArray(c) for name, c in xr_coords(window).items()}
        dims = list(coords)[:2]
        array = found.array.rename(dict(zip(("y", "x"), dims, strict=True))).assign_coords(coords)
        array.attrs = series.attributes(self.published, found.report)
        array.name = "values"
        return array

    def at(self, lon: Any = None, lat: Any = None, resolution: float | None = None) -> xr.DataArray:
        """Values at places, of the native pixels (or those of the level of `resolution` metres) that hold them.

        ```python
        ndvi.at(lon=1.44, lat=43.60)
        ndvi.at(m.clicked)                                # where the map was clicked
        ndvi.at([1.44, 1.46], [43.60, 43.62])             # many at once, or [(1.44, 43.60), (1.46, 43.62)]
        ```

        Longitude comes first, in degrees. The dims are those of (t, bands) that the chain has, and `point` for many
        places; `lon` and `lat` are coordinates. NaN where missing. The scenes that lie there are named: where the
        chain has dates, each date's in `attrs["scenes"]` ("time id"), for many places in the coordinate `scene`; else
        in the list `attrs["scenes"]`.

        Raises
        ------
        ArgumentError
            What is given is no place in degrees, or no scene is there while there are some at the place with longitude
            and latitude exchanged. Where none are at either, `OutsideScenes` warns.
        """
        self._tell_problems()
        places, single = points(lon, lat)
        return series.at(self.published, places, single, resolution)

    def style(self, cmap: Any = "viridis", **style: Any) -> Layer:
        """The chain with a style: `cmap`, `vmin`, `vmax`, `gamma`, `bands`, `classes`, `opacity`, `label`, `unit`.

        See `Style` for what they mean.
        """
        return Layer(self, Style.of(cmap=cmap, **style))

    def export(self, path: Any, window: Any = None, **options: Any) -> Job:
        """Writes the chain on a window to a file, block by block; see `muses_lab.export.export`."""
        self._tell_problems()
        return export(self.published, path, window, **options)

    def materialize(self, window_or_aoi: Any = None, levels: Any = None, **options: Any) -> Job:
        """Computes the chain's blocks once and keeps them on disk; see `muses_lab.export.materialize`.

        ```python
        median = s2.mask_clouds().ndvi().median("t")
        median.materialize().wait()
        (median > 0.4).compute(window)              # reads no scene
        ```

        Whatever contains this chain then reads the kept blocks instead of scenes, with the same values and reports.
        """
        self._tell_problems()
        return materialize(self.published, window_or_aoi, levels, **options)


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """A chain with a style: what a map shows.

    ```python
    layer = ndvi.style(cmap="RdYlGn", vmin=0, vmax=1)
    layer.compute(window)
    ```

    Equal where chain and style are. Values do not depend on the style: `compute`, `at`, `plan` and `export` are those
    of the chain.
    """

    chain: Chain
    look: Style

    def __post_init__(self) -> None:
        if not isinstance(self.chain, Chain) or not isinstance(self.look, Style):
            raise ArgumentError(
                f"Layer({shown(self.chain)}, {shown(self.look)}) takes a chain and a style: chain.style(cmap=…)"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layer) and self.chain.identical(other.chain) and self.look == other.look

    def __hash__(self) -> int:
        return hash((self.chain, self.look))

    def __getstate__(self) -> dict[str, Any]:
        return {"chain": self.chain, "look": self.look}

    def __repr__(self) -> str:
        return f"<Layer {self.look.written()} of {self.chain!r}>"

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name != "drawn"]

    @cached_property
    def hash(self) -> str:
        """Names chain and style."""
        return hashlib.sha256(f"{self.chain.hash}/{self.look.hash}".encode()).hexdigest()

    def style(self, cmap: Any = "viridis", **style: Any) -> Layer:
        """The same chain with another style; see `Chain.style`."""
        return Layer(self.chain, Style.of(cmap=cmap, **style))

    def plan(self, window: GeoBox) -> Plan:
        """What the chain would cost on a window; see `Chain.plan`."""
        return self.chain.plan(window)

    def compute(self, window: GeoBox) -> xr.DataArray:
        """The chain's values on a window; see `Chain.compute`."""
        return self.chain.compute(window)

    def at(self, lon: Any = None, lat: Any = None, resolution: float | None = None) -> xr.DataArray:
        """The chain's values at places; see `Chain.at`."""
        return self.chain.at(lon, lat, resolution)

    def export(self, path: Any, window: Any = None, **options: Any) -> Job:
        """Writes the chain's values on a window to a file, with this style for a GIS; see `Chain.export`."""
        return self.chain.export(path, window, **{"style": self.look, **options})

    @cached_property
    def drawn(self) -> Style:
        """The style with what the chain adds: three bands are red, green and blue unless it says otherwise."""
        output = self.chain.published.prepared.output
        if output.meta.time:
            dates = len(output.times)
            raise NotAnImage(f"the chain has {dates} dates; reduce them, for example with .median('t')")
        bands = output.meta.bands
        if bands is not None and len(bands) == 3 and self.look.bands is None and self.look.classes is None:
            return replace(self.look, bands=bands)
        return self.look

    def tile(self, z: int, x: int, y: int) -> bytes:
        """A tile of the web-Mercator pyramid as PNG."""
        look = self.drawn
        found = self.chain.pixels(Window.tile(z, x, y))
        return render(found.values, look, found.bands)

    def publish(self, store: Store | None = None) -> tuple[str, str]:
        """Keeps chain and style in the store; returns their hashes."""
        store = store or default_store()
        chain_hash = self.chain.publish(store)
        look = self.drawn
        store.put_style(look.hash, look.to_text())
        return chain_hash, look.hash

    def share(
        self,
        user: sharing.Names = None,
        group: sharing.Names = None,
        *,
        title: str | None = None,
        days: float | None = None,
        view: Mapping[str, Any] | None = None,
    ) -> sharing.Link:
        """Lets other users of the hub open this layer; see `Chain.share`."""
        return sharing.share(self.chain.published, self.drawn, title or self.chain._title(), user, group, days, view)


def rgb(red: Chain, green: Chain, blue: Chain) -> Chain:
    """Three chains (images without bands) as the bands `red`, `green`, `blue` of one.

    ```python
    median = s2.mask_clouds().median("t")
    ml.rgb(median.band("red"), median.band("green"), median.band("blue")).style(vmax=0.3)
    ```
    """
    for chain in (red, green, blue):
        _check_chain("rgb", chain)
    layers = [
        chain._with("add_dimension", data=chain._node, name="bands", label=label)
        for chain, label in ((red, "red"), (green, "green"), (blue, "blue"))
    ]
    merged = layers[0]
    for layer in layers[1:]:
        merged = merged._with("merge_cubes", layer, cube1=merged._node, cube2=layer._node)
    merged._written = called("rgb", red, green, blue)
    return merged


def _extent(extent: Any) -> Any:
    """Bounds in longitude and latitude, a GeoBox, or an openEO box, as an openEO box."""
    if extent is None or isinstance(extent, dict):
        return extent
    if isinstance(extent, GeoBox):
        w, s, e, n = extent.boundingbox.bbox
        crs = extent.crs.to_epsg() if extent.crs is not None else None
        return {"west": w, "south": s, "east": e, "north": n, "crs": crs or crs_name(extent.crs)}
    bounds = plain(extent)
    if not isinstance(bounds, list) or len(bounds) != 4:
        raise ArgumentError(f"{shown(extent)} are no bounds: give (west, south, east, north), or a window")
    return dict(zip(("west", "south", "east", "north"), (number("bounds", b) for b in bounds), strict=True))


def _band_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"{shown(name)} is no name of a band; they are texts such as 'red' or 'B04'")
    return name


def _check_chain(call: str, value: Any) -> None:
    if not isinstance(value, Chain):
        raise ArgumentError(f"{call}({shown(value)}) takes a chain, for example a condition such as chain > 0.5")


def _check_unit(crs: str | int, resolution: float) -> None:
    """Metres given to a system of degrees, or degrees to one of metres."""
    geographic = known_crs(crs).is_geographic
    if geographic and resolution >= _WIDEST_DEGREES:
        raise ArgumentError(
            f"resolution={resolution:g}: the unit of {crs} is the degree, so these would be pixels of about "
            f"{resolution * 111:.0f} km; 10 m are about 0.0001",
            argument="resolution",
        )
    if not geographic and 0 < resolution <= _NARROWEST_METRES:
        raise ArgumentError(
            f"resolution={resolution:g}: the unit of {crs} is no degree, so these would be pixels of about "
            f"{resolution * 1000:g} mm; 0.0001 degrees are about 10 m",
            argument="resolution",
        )


_WIDEST_DEGREES, _NARROWEST_METRES = 5.0, 0.005
"""No image has pixels beyond these, and what is meant by another unit is."""


def _check_size(published: Published, window: GeoBox) -> None:
    step = published.prepared.output
    layers = max(len(step.times), 1) * max(len(step.meta.bands or ()), 1)
    size = window.shape.y * window.shape.x * layers * 4
    limit = int(settings.number("MUSES_MAX_COMPUTE_BYTES"))
    if size > limit:
        raise TooLarge(
            f"the result would have {size / 1e9:.1f} GB ({layers} layers of {window.shape.y} × {window.shape.x}); the "
            f"limit is {limit / 1e9:.1f} GB: choose a smaller window or coarser resolution, or .export it"
        )


def _searches_of(root: Node) -> dict[str, Searches]:
    """For the chains that are made of a document's: they share what its collections are found to be."""
    searches = Searches()
    return {node.hash: searches for node in graph.walk(root) if node.process in LOADS}


def _restored(
    document: bytes,
    artefacts: dict[str, Artefact],
    problems: dict[str, tuple[str, ...]],
    searches: dict[str, Searches],
    written: str,
) -> Chain:
    chain = Chain(graph.parse(document, registry), artefacts, problems, searches)
    chain._written = text(written)
    return chain


def _comparison(node: Node) -> bool | None:
    """Whether what a comparison says of two chains as such is true: `a == b` where they are the same chain.

    None: the node is no comparison of two chains.
    """
    resolver = node.arguments.get("overlap_resolver")
    if (
        node.process != "merge_cubes"
        or not isinstance(resolver, Callback)
        or resolver.root.process not in ("eq", "neq")
    ):
        return None
    if not all(isinstance(resolver.root.arguments.get(name), Parameter) for name in ("x", "y")):
        return None
    same = node.arguments["cube1"].hash == node.arguments["cube2"].hash
    return same == (resolver.root.process == "eq")


def _step(node: Node) -> str:
    """A process in a repr, with what it does to each value or series."""
    inside = [value.root.process for value in node.arguments.values() if isinstance(value, Callback)]
    return node.process.rpartition(":")[2] + (f"({inside[0]})" if inside else "")

"""Chains and layers: the face that users see. Building costs nothing; a window is asked for when it is looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from muses_lab import compute, graph, loading, products, sharing
from muses_lab.catalog import Catalog, Query, find_catalog, open_catalog, place
from muses_lab.compute.evaluate import Pixels, request_window
from muses_lab.engine import Resolved
from muses_lab.engine.packed import VERSION, unpack
from muses_lab.engine.plan import Plan, plan
from muses_lab.engine.sources import known_source, source_of
from muses_lab.engine.thinning import sentence
from muses_lab.errors import BandError, ExtentRequired, MusesError, NotAnImage, TooLarge
from muses_lab.graph import Callback, Node, Parameter
from muses_lab.operators import registry
from muses_lab.render import render
from muses_lab.scenes import Scenes
from muses_lab.settings import number
from muses_lab.store import Store, default_store
from muses_lab.style import Style
from muses_lab.window import Window

if TYPE_CHECKING:
    from muses_lab.export import Job

__all__ = ["Chain", "Collection", "Layer", "Window", "collection", "load_resolved", "open_catalog", "rgb"]

Number = int | float
Dimension = Literal["t", "bands"]


class Chain:
    """A deferred processing chain: a pure function from a window to pixels.

    ```python
    ndvi = ml.collection("sentinel-2-l2a").mask_clouds().ndvi().median("t")
    ndvi.compute(ml.Window.from_bounds((1.40, 43.55, 1.50, 43.65), crs="EPSG:32631", resolution=20))
    ```

    Immutable. Arithmetic and comparison build new chains, so a chain is not a truth value: sameness is
    `.identical(other)` or `.hash`. Missing values are NaN; true is 1 and false 0.
    """

    def __init__(self, node: Node, scenes: Mapping[str, Scenes] | None = None) -> None:
        self._root = node
        self._scenes: dict[str, Scenes] = dict(scenes or {})

    # ------------------------------------------------------------------------------------------- document

    @property
    def _node(self) -> Node:
        return self._root

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical document. Publishing pins the scenes, which gives another hash."""
        return hashlib.sha256(graph.to_bytes(self._node)).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The openEO document: `process_graph`, and the versions of the operators."""
        return graph.to_document(self._node)

    @classmethod
    def from_json(cls, document: Any) -> Chain:
        """A chain from an openEO document (text, or parsed JSON); see `graph.parse` for the errors."""
        return cls(graph.parse(document, registry))

    def identical(self, other: Chain) -> bool:
        """Whether both chains have the same document."""
        return isinstance(other, Chain) and self.hash == other.hash

    def __bool__(self) -> bool:
        raise TypeError(
            "a chain has no truth value: nothing has been computed. Combine conditions with & | ~, compare chains "
            "with .identical(other), test a value with .at(lon, lat)"
        )

    __hash__ = object.__hash__
    __array_ufunc__ = None  # NumPy's numbers leave arithmetic to the chain

    def __repr__(self) -> str:
        steps = [n.process.rpartition(":")[2] for n in graph.walk(self._node)]
        shown = " → ".join(steps[-6:])
        return f"<Chain {self.hash[:8]} {'… → ' if len(steps) > 6 else ''}{shown}>"

    # ------------------------------------------------------------------------------------------- building

    def _with(self, process: str, /, *others: Chain, **arguments: Any) -> Chain:
        scenes = dict(self._scenes)
        for other in others:
            scenes.update(other._scenes)
        return Chain(registry.node(process, **arguments), scenes)

    def _apply(self, process: str, argument: str = "x", /, **arguments: Any) -> Chain:
        callback = registry.node(process, inside_callback=True, **{argument: Parameter("x")}, **arguments)
        return self._with("apply", data=self._node, process=Callback(callback))

    def _combine(self, other: Chain | Number, process: str, a: str = "x", b: str = "y", swap: bool = False) -> Chain:
        if isinstance(other, Chain):
            first, second = (other, self) if swap else (self, other)
            resolver = registry.node(process, inside_callback=True, **{a: Parameter("x"), b: Parameter("y")})
            return self._with(
                "merge_cubes", other, cube1=first._node, cube2=second._node, overlap_resolver=Callback(resolver)
            )
        if not isinstance(other, int | float | np.number | np.bool_):
            return NotImplemented
        value = other.item() if isinstance(other, np.generic) else other
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
        return self * -1

    def __abs__(self) -> Chain:
        return self._apply("absolute")

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
        return self._apply("not")

    def sqrt(self) -> Chain:
        """Square root; missing for negative values."""
        return self._apply("sqrt")

    def ln(self) -> Chain:
        """Natural logarithm."""
        return self._apply("ln")

    def log(self, base: float) -> Chain:
        """Logarithm to a base."""
        return self._apply("log", base=base)

    def exp(self) -> Chain:
        """e to the power of the values."""
        return self._apply("exp", "p")

    def clip(self, min: float, max: float) -> Chain:
        """Values limited to a range."""
        return self._apply("clip", min=min, max=max)

    def between(self, min: float, max: float) -> Chain:
        """1 where min ≤ value ≤ max, else 0."""
        return self._apply("between", min=min, max=max)

    def isin(self, values: list[float] | tuple[float, ...]) -> Chain:
        """1 where the value is one of `values` (classes), else 0."""
        return self._apply("array_contains", "value", data=list(values))

    def has_bits(self, bits: int) -> Chain:
        """1 where any bit of `bits` is set (bit fields such as QA_PIXEL), else 0."""
        return self._apply("muses:any_bit", bits=bits)

    def scale(self, input_min: float, input_max: float, output_min: float = 0.0, output_max: float = 1.0) -> Chain:
        """Linear scaling of an input range (clipped) to an output range."""
        return self._apply(
            "linear_scale_range", inputMin=input_min, inputMax=input_max, outputMin=output_min, outputMax=output_max
        )

    # ------------------------------------------------------------------------------- bands, dates, masks

    def bands(self, *names: str) -> Chain:
        """The bands named, by band name or common name."""
        return self._with("filter_bands", data=self._node, bands=list(names))

    def band(self, name: str) -> Chain:
        """One band as an image without the dimension `bands`."""
        return self._over_bands("array_element", data=Parameter("data"), label=name)

    def _over_bands(self, process: str, **arguments: Any) -> Chain:
        root = registry.node(process, inside_callback=True, **arguments)
        return self._with("reduce_dimension", data=self._node, reducer=Callback(root), dimension="bands")

    def normalized_difference(self, a: str, b: str) -> Chain:
        """(a - b) / (a + b) of two bands."""
        x, y = (registry.node("array_element", inside_callback=True, data=Parameter("data"), label=n) for n in (a, b))
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

    def dates(self, start: str | None, end: str | None) -> Chain:
        """Observations from `start` to before `end` (ISO dates; half-open)."""
        return self._with("filter_temporal", data=self._node, extent=[start, end])

    def crop(self, west: float, south: float, east: float, north: float) -> Chain:
        """Missing outside a box of longitudes and latitudes."""
        extent = {"west": west, "south": south, "east": east, "north": north}
        return self._with("filter_bbox", data=self._node, extent=extent)

    def mask(self, cond: Chain) -> Chain:
        """Without the values where the condition is true (openEO `mask`)."""
        return self._with("mask", cond, data=self._node, mask=cond._node)

    def where(self, cond: Chain) -> Chain:
        """Only the values where the condition is true (xarray `where`); where it is unknown they are removed too."""
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
        rows = np.asarray(kernel, dtype=float).tolist()
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
            raise ValueError(f"on_grid({grid!r}) needs a resolution in units of that CRS")
        return self._with("resample_spatial", data=self._node, projection=grid, resolution=resolution)

    @property
    def is_pinned(self) -> bool:
        """Whether all operators that need an explicit extent and resolution have them."""
        return not any(True for _ in self._unpinned())

    def _unpinned(self):
        for node in graph.walk(self._node):
            if registry[node.process].needs_extent and not _has_extent(node):
                yield node

    def pin(self, bounds: tuple[float, float, float, float], resolution: float, crs: str | int = 4326) -> Chain:
        """The chain with the extent (west, south, east, north) and resolution (metres) given to all that lack them."""
        extent = dict(zip(("west", "south", "east", "north"), bounds, strict=True))
        if crs not in (4326, "EPSG:4326"):
            extent["crs"] = crs  # type: ignore[assignment]

        def pinned(node: Node, arguments: dict[str, Any]) -> Node:
            if registry[node.process].needs_extent and not _has_extent(node):
                arguments = {**arguments, "extent": extent, "resolution": resolution}
            return registry.node(node.process, **arguments)

        return Chain(graph.rebuild(self._node, pinned), self._scenes)

    # ------------------------------------------------------------------------------- resolving, publishing

    @cached_property
    def _resolved_chain(self) -> Chain:
        return self.resolve()

    def resolve(self) -> Chain:
        """The chain with every collection replaced by the list of scenes that it stands for now."""
        scenes = dict(self._scenes)
        problems: list[str] = []

        def pinned(node: Node, arguments: dict[str, Any]) -> Node:
            if node.process not in loading.LOADS:
                return registry.node(node.process, **arguments)
            found, odd, crop = loading.load(node)
            problems.extend(odd)
            scenes[found.digest] = found
            bands = arguments.get("bands")
            source = source_of(found)
            if bands:
                bands = list(source.meta.select(tuple(bands)).bands or ())
            loaded = registry.node("muses:load_items", digest=found.digest, bands=bands)
            return registry.node("filter_bbox", data=loaded, extent=dict(crop)) if crop else loaded

        chain = Chain(graph.rebuild(self._node, pinned), scenes)
        chain.problems = tuple(problems)
        return chain

    problems: tuple[str, ...] = ()
    """Items that resolving left out, with the reason."""

    @cached_property
    def resolved(self) -> Resolved:
        """What the engine evaluates: the document with pinned scenes."""
        chain = self._resolved_chain
        used = {n.arguments["digest"] for n in graph.walk(chain._node) if n.process == "muses:load_items"}
        store: Store | None = None
        for digest in used - set(chain._scenes):
            store = store or default_store()
            chain._scenes[digest] = _stored_scenes(store, digest)
        return Resolved(chain._node, {digest: chain._scenes[digest] for digest in used})

    def publish(self, store: Store | None = None) -> str:
        """Pins the scenes, checks the chain, keeps it in the store; returns the hash that names it.

        Publishing the same thing twice gives the same hash.
        """
        self._check_pinned()
        resolved = self.resolved
        _ = resolved.program  # unknown bands, different grids and the like are errors now, not in a tile
        store = store or default_store()
        for digest, scenes in resolved.scenes.items():
            _keep_scenes(store, digest, scenes)
        store.put_document(resolved.chain_hash, resolved.document.decode())
        return resolved.chain_hash

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
        return sharing.share(self, None, title or self._title(), user, group, days, view)

    def with_scenes_of(self, store: Store) -> Chain:
        """The chain with its lists of scenes as a store has them."""
        digests = {n.arguments["digest"] for n in graph.walk(self._node) if n.process == "muses:load_items"}
        return Chain(self._node, {**self._scenes, **{digest: _stored_scenes(store, digest) for digest in digests}})

    def _title(self) -> str:
        steps = [n.process.rpartition(":")[2] for n in graph.walk(self._node)]
        return " → ".join(steps[-4:])

    def _check_pinned(self) -> None:
        for node in self._unpinned():
            raise ExtentRequired(
                f"{node.process!r} depends on connected regions or statistics of an area: give it extent= and "
                "resolution=, or pin the chain with .pin(bounds, resolution)",
                process=node.process,
            )

    # ------------------------------------------------------------------------------------------- windows

    def plan(self, window: GeoBox) -> Plan:
        """What the chain would cost on a window; nothing is read."""
        return plan(self.resolved.program, window)

    def pixels(self, window: GeoBox, priority: float = 0.0) -> Pixels:
        """Values on a window with the report of what was met (scenes used, scenes that failed)."""
        self._check_pinned()
        _check_size(self.resolved, window)
        ticket = request_window(compute.executor(), self.resolved, window, priority)
        try:
            return ticket.result(number("MUSES_TASK_SECONDS", 900))
        finally:
            ticket.release()

    def compute(self, window: GeoBox) -> xr.DataArray:
        """Values on a window: a georeferenced array, dims of (t, bands, y, x) that the chain has.

        ```python
        chain.compute(ml.Window.from_bounds((1.40, 43.55, 1.50, 43.65), crs="EPSG:32631", resolution=10))
        ```

        float32 (float64 for sources that need it), NaN where missing. `attrs` hold the chain's hash, the number of
        scenes used and found, the scenes that could not be read with the reason, and whether a long series was thinned.
        """
        found = self.pixels(window)
        report = found.report
        coords = {name: xr.DataArray(c) for name, c in xr_coords(window).items()}
        dims = list(coords)[:2]
        array = found.array.rename(dict(zip(("y", "x"), dims, strict=True))).assign_coords(coords)
        array.attrs = {
            "muses_chain": self.resolved.chain_hash,
            "scenes_used": report.scenes_used,
            "scenes_found": report.scenes_found,
            **({"thinned": sentence(*report.thinned)} if report.thinned else {}),
            **({"scenes_failed": [f"{id}: {reason}" for id, reason in report.failed]} if report.failed else {}),
        }
        array.name = "values"
        return array

    def at(self, lon: float, lat: float, resolution: float | None = None) -> xr.DataArray:
        """Values at a place, of the native pixel (or that of the level of `resolution` metres) that holds it."""
        degrees = (resolution or 1e-3) / 111_320
        window = GeoBox((1, 1), _centred(lon, lat, degrees), "EPSG:4326")
        return self.pixels(window).array.isel(y=0, x=0)

    def style(self, **style: Any) -> Layer:
        """The chain with a style: `cmap`, `vmin`, `vmax`, `gamma`, `bands`, `classes`, `opacity`, `label`, `unit`."""
        return Layer(self, Style(**style))

    def export(self, path: Any, window: Any = None, **options: Any) -> Job:
        """Writes the chain on a window to a file, block by block; see `muses_lab.export.export`."""
        from muses_lab.export import export

        return export(self, path, window, **options)

    def materialize(self, window_or_aoi: Any = None, levels: Any = None, **options: Any) -> Job:
        """Computes the chain's blocks once and keeps them on disk; see `muses_lab.export.materialize`.

        ```python
        median = s2.mask_clouds().ndvi().median("t")
        median.materialize().wait()
        (median > 0.4).compute(window)              # reads no scene
        ```

        Whatever contains this chain then reads the kept blocks instead of scenes, with the same values and reports.
        """
        from muses_lab.export import materialize

        return materialize(self, window_or_aoi, levels, **options)


class Collection(Chain):
    """The scenes of a collection that fit a query: the beginning of chains. Made by `ml.collection`.

    ```python
    s2 = ml.collection("sentinel-2-l2a").near("Toulouse").dates("2018-01-01", "2019-01-01")
    s2.filter("eo:cloud_cover < 60").table()
    ```

    Places choose scenes, they do not crop them (`.crop` does).
    """

    def __init__(self, catalog: Catalog, query: Query, bands: tuple[str, ...] | None = None) -> None:
        self.catalog = catalog
        self.query = query
        self._bands = bands
        super().__init__(loading.to_node(catalog.id, query, bands))

    def __repr__(self) -> str:
        return f"<Collection {self.query.collection!r} in {self.catalog.id!r}, {len(self)} scenes>"

    def _but(self, **changes: Any) -> Collection:
        return Collection(self.catalog, replace(self.query, **changes), self._bands)

    def bbox(self, west: float, south: float, east: float, north: float) -> Collection:
        """Scenes that touch a box of longitudes and latitudes."""
        return self._but(bbox=(west, south, east, north), geometry=None)

    def near(self, name: str, radius: float = 10_000) -> Collection:
        """Scenes that touch the surroundings (`radius` in metres) of a town, found by name in the offline gazetteer.

        `"Toulouse"`, or `"Visso,IT"` with the country.
        """
        town = place(name)
        dy = radius / 111_320
        dx = dy / max(np.cos(np.radians(town.lat)), 0.01)
        return self.bbox(town.lon - dx, town.lat - dy, town.lon + dx, town.lat + dy)

    def intersects(self, geometry: dict[str, Any]) -> Collection:
        """Scenes that touch a GeoJSON geometry."""
        return self._but(geometry=geometry.get("geometry", geometry), bbox=None)

    def dates(self, start: str | None, end: str | None) -> Collection:
        """Scenes from `start` to before `end` (ISO dates; half-open)."""
        return self._but(start=start, end=end)

    def filter(self, cql2: str) -> Collection:
        """Scenes whose metadata fit a CQL2 text, for example `eo:cloud_cover < 60`; several filters all hold."""
        before = self.query.filter
        return self._but(filter=f"({before}) AND ({cql2})" if before else cql2)

    def sort(self, *properties: str) -> Collection:
        """In the order of properties (`-` before a name: descending); matters before `.limit`."""
        return self._but(sortby=properties)

    def limit(self, number: int) -> Collection:
        """At most so many scenes."""
        return self._but(limit=number)

    @cached_property
    def items(self) -> list[dict[str, Any]]:
        """The STAC Items, as the catalogue has them now."""
        return self.catalog.search(self.query)

    def __len__(self) -> int:
        return len(self.items)

    def table(self):
        """The scenes as a pandas table: id, date, platform, cloud cover, grid."""
        import pandas as pd

        rows = [
            {
                "id": item["id"],
                "datetime": item["properties"].get("datetime"),
                "platform": item["properties"].get("platform"),
                "cloud_cover": item["properties"].get("eo:cloud_cover"),
                "grid": item["properties"].get("grid:code"),
            }
            for item in self.items
        ]
        table = pd.DataFrame(rows, columns=["id", "datetime", "platform", "cloud_cover", "grid"])
        return table.assign(datetime=pd.to_datetime(table["datetime"], utc=True)).set_index("id")

    @cached_property
    def product(self) -> products.Product:
        """Bands and cloud mask of the collection."""
        return products.product(self.catalog.collection(self.query.collection))

    def mask_clouds(self, keep: list[int] | tuple[int, ...] | None = None) -> Chain:
        """Without clouds, shadows and missing pixels, by the product's own mask (SCL, QA_PIXEL, …).

        `keep` chooses the classes that stay (class masks only); by default those that are clear.
        """
        rule = self.product.cloud_mask
        if rule is None:
            have = ", ".join(b.name for b in self.product.bands)
            raise BandError(
                f"collection {self.query.collection!r} has no cloud mask that is known here (bands: {have}); "
                "mask with .mask(condition)"
            )
        flag = registry.node("array_element", inside_callback=True, data=Parameter("data"), label=rule.band)
        if rule.bits is not None:
            if keep is not None:
                raise ValueError(f"{rule.band} is a bit field: it has no classes to keep; use .mask(…has_bits(…))")
            flagged = registry.node("muses:any_bit", inside_callback=True, x=flag, bits=rule.bits)
            absent = registry.node("is_nodata", inside_callback=True, x=flag)
            cloudy = registry.node("or", inside_callback=True, x=flagged, y=absent)
        else:
            classes = sorted(keep if keep is not None else rule.keep or ())
            clear = registry.node("array_contains", inside_callback=True, data=list(classes), value=flag)
            cloudy = registry.node("not", inside_callback=True, x=clear)
        clouds = self._with("reduce_dimension", data=self._node, reducer=Callback(cloudy), dimension="bands")
        return self.mask(clouds)


@dataclass(frozen=True)
class Layer:
    """A chain with a style: what a map shows."""

    chain: Chain
    look: Style

    @cached_property
    def hash(self) -> str:
        """Names chain and style."""
        return hashlib.sha256(f"{self.chain.hash}/{self.look.hash}".encode()).hexdigest()

    def style(self, **style: Any) -> Layer:
        """The same chain with another style."""
        return Layer(self.chain, Style(**style))

    @cached_property
    def drawn(self) -> Style:
        """The style with what the chain adds: three bands are red, green and blue unless it says otherwise."""
        output = self.chain.resolved.program.output
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
        return sharing.share(self.chain, self, title or self.chain._title(), user, group, days, view)


def collection(id: str, catalog: str | Catalog | None = None) -> Collection:
    """The collection `id`, of a catalogue (id, path, URL or `ml.open_catalog(…)`) or of whichever has it.

    >>> ml.collection("sentinel-2-l2a").dates("2018-06-01", "2018-07-01")     # doctest: +SKIP
    """
    if isinstance(catalog, str):
        from muses_lab.settings import registered_catalogs

        catalog = find_catalog(catalog) if catalog in registered_catalogs() else open_catalog(catalog)
    found = catalog if catalog is not None else find_catalog(None, id)
    found.collection(id)
    return Collection(found, Query(id))


def rgb(red: Chain, green: Chain, blue: Chain) -> Chain:
    """Three chains (images without bands) as the bands `red`, `green`, `blue` of one."""
    layers = [
        chain._with("add_dimension", data=chain._node, name="bands", label=label)
        for chain, label in ((red, "red"), (green, "green"), (blue, "blue"))
    ]
    merged = layers[0]
    for layer in layers[1:]:
        merged = merged._with("merge_cubes", layer, cube1=merged._node, cube2=layer._node)
    return merged


def load_resolved(chain_hash: str, store: Store) -> Resolved:
    """A published chain from the store, ready for evaluation."""
    root = graph.parse(store.document(chain_hash), registry)
    digests = {n.arguments["digest"] for n in graph.walk(root) if n.process == "muses:load_items"}
    resolved = Resolved(root, {digest: _stored_scenes(store, digest) for digest in digests})
    _ = resolved.program
    return resolved


_LONG = 256
"""Scenes from which on a list is kept in the store as it travels, too: its document takes long to read."""


def _keep_scenes(store: Store, digest: str, scenes: Scenes) -> None:
    if store.has_artefact(digest):
        return
    if len(scenes) > _LONG:
        packed = source_of(scenes).packed
        name = hashlib.sha256(packed).hexdigest()
        store.put_artefact(name, "muses:packed-items", packed)
        store.put_result(_packed_name(digest), name)
    store.put_artefact(digest, "muses:items", scenes.to_bytes())


def _stored_scenes(store: Store, digest: str) -> Scenes:
    known = known_source(digest)
    if known is not None:
        return known.scenes
    name = store.result(_packed_name(digest))
    if name is not None and store.has_artefact(name):
        scenes = unpack(_whole(store, name))
        if scenes.digest == digest:
            return scenes
    return Scenes.from_json(json.loads(_whole(store, digest)))


def _whole(store: Store, digest: str) -> bytes:
    body = store.artefact(digest)
    if hashlib.sha256(body).hexdigest() != digest:
        raise MusesError(f"the stored list of scenes {digest[:12]}… is damaged")
    return body


def _packed_name(digest: str) -> str:
    """Where the store remembers the packed form of a list; of another version of it, elsewhere."""
    return hashlib.sha256(f"muses:packed-items {VERSION} {digest}".encode()).hexdigest()


def _has_extent(node: Node) -> bool:
    return node.arguments.get("extent") is not None and node.arguments.get("resolution") is not None


def _extent(extent: Any) -> dict[str, Any] | None:
    """Bounds in longitude and latitude, a GeoBox, or an openEO box, as an openEO box."""
    if extent is None or isinstance(extent, dict):
        return extent
    if isinstance(extent, GeoBox):
        w, s, e, n = extent.boundingbox.bbox
        crs = extent.crs.to_epsg() if extent.crs is not None else None
        return {"west": w, "south": s, "east": e, "north": n, "crs": crs or str(extent.crs)}
    return dict(zip(("west", "south", "east", "north"), map(float, extent), strict=True))


def _centred(lon: float, lat: float, degrees: float):
    from affine import Affine

    return Affine(degrees, 0, lon - degrees / 2, 0, -degrees, lat + degrees / 2)


def _check_size(resolved: Resolved, window: GeoBox) -> None:
    step = resolved.program.output
    layers = max(len(step.times), 1) * max(len(step.meta.bands or ()), 1)
    size = window.shape.y * window.shape.x * layers * 4
    limit = int(number("MUSES_MAX_COMPUTE_BYTES", 4 << 30))
    if size > limit:
        raise TooLarge(
            f"the result would have {size / 1e9:.1f} GB ({layers} layers of {window.shape.y} × {window.shape.x}); the "
            f"limit is {limit / 1e9:.1f} GB: choose a smaller window or coarser resolution, or .export it"
        )

"""Layers: a chain with a style, what a map shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab.api.controlled import Controlled
from muses_lab.api.evaluation import Evaluable
from muses_lab.api.parameters import Parameter, Parameters, unknown
from muses_lab.api.tabled import is_table
from muses_lab.cached import cached_property
from muses_lab.engine.cost import Plan
from muses_lab.errors import ArgumentError, NotAnImage
from muses_lab.export import Job
from muses_lab.plain import Status, shown
from muses_lab.progress import Told
from muses_lab.publish import sharing
from muses_lab.raster.window import Window
from muses_lab.render import render
from muses_lab.store import Store, default_store
from muses_lab.style import PALETTES, Style
from muses_lab.tables.points import PointSeries
from muses_lab.tables.zones import ZonalSeries

_STYLE = "style."
"""How the names of a style's parameters begin."""
_TITLES = {
    "cmap": "Palette", "vmin": "Colours from", "vmax": "Colours to", "gamma": "Gamma", "opacity": "Opacity",
}  # fmt: skip


class SealedLayer(NamedTuple):
    """A private chain and its style for the service of its author's own maps."""

    chain: str
    """Its hash."""
    style: str
    """The hash of the style, which the store has."""
    body: bytes
    """The chain, see `engine.sealed`."""


@dataclass(frozen=True, eq=False, repr=False)
class Layer(Controlled):
    """A chain with a style: what a map shows.

    ```python
    layer = ndvi.style(cmap="RdYlGn", vmin=0, vmax=1)
    layer.compute(window)
    ```

    Equal where chain and style are. Values do not depend on the style: `compute`, `at`, `plan` and `export` are those
    of the chain.
    """

    chain: Evaluable
    look: Style

    def __post_init__(self) -> None:
        if not isinstance(self.chain, Evaluable) or not isinstance(self.look, Style):
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
        return [name for name in super().__dir__() if name not in ("drawn", "sealed")]

    @cached_property
    def hash(self) -> str:
        """Names chain and style."""
        return hashlib.sha256(f"{self.chain.hash}/{self.look.hash}".encode()).hexdigest()

    def style(self, cmap: Any = "viridis", **style: Any) -> Layer:
        """The same chain with another style; see `Chain.style`."""
        return Layer(self.chain, Style.of(cmap=cmap, **style))

    @property
    def parameters(self) -> Parameters:
        """Those of the chain, and `style.cmap`, `style.vmin`, `style.vmax`, `style.gamma`, `style.opacity`."""
        known = self.chain.parameters
        named = {name: known[name] for name in known.named}
        return Parameters(named, {name: known[name] for name in known if name not in named} | _of_style(self.look))

    def with_parameters(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> Layer:
        """The layer with other values for parameters of its chain or its style; see `Chain.with_parameters`.

        ```python
        layer.with_parameters({"style.cmap": "magma", "style.vmax": 0.8}, threshold=0.5)
        ```
        """
        values = {**(values or {}), **named}
        of_style = {name: value for name, value in values.items() if name.startswith(_STYLE)}
        known = _of_style(self.look)
        for name in of_style:
            if name not in known and name != f"{_STYLE}hidden":
                raise unknown(name, list(known))
        chain = self.chain.with_parameters({name: value for name, value in values.items() if name not in of_style})
        return Layer(chain, replace(self.look, **{name.removeprefix(_STYLE): v for name, v in of_style.items()}))

    def plan(self, area: Any = None, **options: Any) -> Plan:
        """What the chain would cost on a window, or its export; see `Chain.plan`."""
        return self.chain.plan(area, **options)

    def compute(self, area: Any = None, **options: Any) -> xr.DataArray:
        """The chain's values on a window; see `Chain.compute`."""
        return self.chain.compute(area, **options)

    def at(
        self, lon: Any = None, lat: Any = None, resolution: float | None = None, progress: Told = None
    ) -> xr.DataArray:
        """The chain's values at places; see `Chain.at`."""
        return self.chain.at(lon, lat, resolution, progress)

    def series(
        self, lon: Any = None, lat: Any = None, resolution: float | None = None, progress: Told = None
    ) -> PointSeries:
        """The series from which the chain's values at places are made, in the style's unit; see `Chain.series`."""
        found = self.chain.series(lon, lat, resolution, progress)
        return replace(found, unit=self.look.unit or "", label=self.look.label or "")

    def over(
        self, polygons: Any, stats: Any = ("mean", "median", "q10", "q90"), resolution: float | None = None,
        progress: Told = None,
    ) -> ZonalSeries:  # fmt: skip
        """Statistics over polygons of every date, in the style's unit; see `Chain.over`."""
        found = self.chain.over(polygons, stats, resolution, progress)
        return replace(found, unit=self.look.unit or "", label=self.look.label or "")

    def export(self, path: Any, area: Any = None, **options: Any) -> Job:
        """Writes the chain's values on a window to a file, with this style for a GIS; or a picture, `.png`.

        ```python
        layer.export("ndvi.tif", window)
        layer.export("ndvi.png", window, title="NDVI 2018")                 # with legend, scale bar, credits
        layer.export("ndvi.png", window, decoration=False)                  # the pixels alone, with their georeference
        ```

        See `Chain.export`, and `muses_lab.export.export` for what stands around a picture.
        """
        styled = {} if is_table(path) else {"style": self._named}
        return self.chain.export(path, area, **{**styled, **options})

    @cached_property
    def _named(self) -> Style:
        """The style with common names of bands (`red`) as the chain's own (`B04`)."""
        if self.look.bands is None:
            return self.look
        meta = self.chain.published.prepared.output.meta
        return replace(self.look, bands=tuple(meta.find(name) for name in self.look.bands))

    def status(self, ask: bool = False) -> Status:
        """That of the chain, and the style; see `Chain.status`."""
        return Status(self.chain.status(ask), kind="layer", hash=self.hash, style=self.look.to_json())

    @cached_property
    def drawn(self) -> Style:
        """The style with what the chain adds: three bands are red, green and blue unless it says otherwise."""
        output = self.chain.published.prepared.output
        if output.meta.time:
            dates = len(output.times)
            raise NotAnImage(
                f"the chain has {dates} dates; reduce them, for example with .median('t'), or show "
                "them one after the other: chain.over_time().style(…)"
            )
        bands = output.meta.bands
        if bands is not None and len(bands) == 3 and self.look.bands is None and self.look.classes is None:
            return replace(self.look, bands=bands)
        return self._named

    def tile(self, z: int, x: int, y: int) -> bytes:
        """A tile of the web-Mercator pyramid as PNG."""
        look = self.drawn
        found = self.chain.pixels(Window.tile(z, x, y))
        return render(found.values, look, found.bands)

    def plot(self, window: GeoBox, title: str | None = None, ax: Any = None) -> Any:
        """The layer on a window as a picture with its legend and a scale, for a notebook without a map or a report.

        ```python
        window = ml.Window.from_bounds((1.40, 43.55, 1.50, 43.65), resolution=20)
        ndvi.style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI").plot(window, title="NDVI 2018")
        ```

        Its pixels are those of `compute`, drawn as a tile is; missing ones are transparent. Axes have the coordinates
        of the window's reference system, the scale is the distance on the ground. Returned are matplotlib's axes:
        `.figure.savefig("ndvi.png")`. `ax` are axes to draw into, by default new ones.

        Raises
        ------
        NotAnImage
            The chain has dates: show one, `chain.over_time().style(…).layer("2018-07-03").plot(window)`.
        """
        from muses_lab.api.figure import figure  # matplotlib's pyplot takes long to import

        look = self.drawn
        self.chain._tell_problems()
        return figure(self.chain.pixels(window), look, window, title, ax)

    def publish(self, store: Store | None = None) -> tuple[str, str]:
        """Keeps chain and style in the store; returns their hashes."""
        store = store or default_store()
        chain_hash = self.chain.publish(store)
        return chain_hash, self._kept_style(store)

    def sealed(self) -> SealedLayer:
        """What the service of its author's own maps is given of a layer whose chain is private."""
        body = self.chain.sealed()
        return SealedLayer(self.chain.published.chain_hash, self._kept_style(default_store()), body)

    def _kept_style(self, store: Store) -> str:
        look = self.drawn
        store.put_style(look.hash, look.to_text())
        return look.hash

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


def _of_style(look: Style) -> dict[str, Parameter]:
    low, high = look.range
    number = {"type": "number"}
    palettes = list(dict.fromkeys([*PALETTES, *([look.cmap] if isinstance(look.cmap, str) else [])]))
    told: dict[str, tuple[Any, dict[str, Any]]] = {
        "vmin": (low, number),
        "vmax": (high, number),
        "gamma": (look.gamma, {**number, "minimum": 0.05, "maximum": 20}),
        "opacity": (look.opacity, {**number, "minimum": 0, "maximum": 1}),
    }
    if look.kind == "continuous":
        told = {"cmap": (look.cmap, {"type": "string", "enum": palettes, "format": "palette"}), **told}
    return {
        _STYLE + name: Parameter(_STYLE + name, value, schema, _TITLES[name]) for name, (value, schema) in told.items()
    }

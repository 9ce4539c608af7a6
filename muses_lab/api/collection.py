"""Collections: the scenes that fit a query, the beginning of every chain."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import shapely.geometry
from odc.geo.geobox import GeoBox

from muses_lab import products
from muses_lab.api.chain import Chain
from muses_lab.api.layer import Layer
from muses_lab.api.masks import Chosen, is_dropped, mask_of, numbers, removed
from muses_lab.api.written import Written, recorded, text
from muses_lab.cached import cached_property
from muses_lab.catalog import (
    Catalog,
    Query,
    find_catalog,
    find_collection,
    is_own,
    open_catalog,
    place,
    remember_object,
)
from muses_lab.document.graph import Callback
from muses_lab.errors import ArgumentError, BandError
from muses_lab.operators.given import band_names, box, period
from muses_lab.plain import number, plain, shown
from muses_lab.publish.pinning import Searches, to_node
from muses_lab.settings import known_catalogs
from muses_lab.times import parse_time

Side = float | None

_FARTHEST = 20_100_000.0
"""Metres to the other side of the Earth."""


@recorded
class Collection(Chain):
    """The scenes of a collection that fit a query: the beginning of chains. Made by `ml.collection`.

    ```python
    s2 = ml.collection("sentinel-2-l2a").near("Toulouse").dates("2018-01-01", "2019-01-01")
    s2.filter("eo:cloud_cover < 60").table()
    ```

    Places choose scenes, they do not crop them (`.crop` does).
    """

    def __init__(
        self, catalog: Catalog, query: Query, bands: tuple[str, ...] | None = None, searches: Searches | None = None
    ) -> None:
        self.catalog = catalog
        self.query = query
        self._bands = bands
        self._search = searches or Searches(catalog)
        node = to_node(catalog.id, query, bands)
        super().__init__(node, searches={node.hash: self._search})

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.catalog, self.query, self._bands, str(self._written))

    @cached_property
    def _written(self) -> Written:
        return text(f"collection({self.query.collection!r})")

    def __repr__(self) -> str:
        return f"<Collection {self._written} in catalogue {self.catalog.id!r}>"  # nothing is searched to be looked at

    def _but(self, **changes: Any) -> Collection:
        return Collection(self.catalog, replace(self.query, **changes), self._bands, self._search)

    def bbox(self, west: Any, south: Side = None, east: Side = None, north: Side = None) -> Collection:
        """Scenes that touch a box of longitudes and latitudes; across 180° where `west` is more than `east`.

        ```python
        s2.bbox(1.3, 43.5, 1.5, 43.7)
        s2.bbox(fields.total_bounds)                    # or one sequence of the four
        ```
        """
        return self._but(bbox=box("bbox", west, south, east, north), geometry=None)

    def near(self, name: str, radius: float = 10_000) -> Collection:
        """Scenes that touch the surroundings (`radius` in metres) of a town, found by name in the offline gazetteer.

        `"Toulouse"`, or `"Visso,IT"` with the country.
        """
        if not isinstance(name, str):
            raise ArgumentError(f"near({shown(name)}) takes the name of a town, for example near('Toulouse'); "
                                "scenes at coordinates: .bbox(west, south, east, north)")  # fmt: skip
        radius = number("radius", radius)
        if not 0 < radius <= _FARTHEST:
            raise ArgumentError(f"radius={radius:g} is not between 0 and {_FARTHEST:.0f} metres", argument="radius")
        town = place(name)
        dy = radius / 111_320
        dx = min(dy / max(float(np.cos(np.radians(town.lat))), 0.01), 180.0)
        return self.bbox(town.lon - dx, max(town.lat - dy, -90.0), town.lon + dx, min(town.lat + dy, 90.0))

    def intersects(self, geometry: Any) -> Collection:
        """Scenes that touch a geometry in longitude and latitude: GeoJSON, a feature of it, or one of shapely."""
        shape = getattr(geometry, "__geo_interface__", geometry)
        if not isinstance(shape, Mapping):
            raise ArgumentError(f"intersects({shown(geometry)}) takes a GeoJSON geometry, or one of shapely")
        shape = json.loads(json.dumps(shape.get("geometry", shape), default=plain))
        chosen = self._but(geometry=shape, bbox=None)
        west, south, east, north = shapely.geometry.shape(shape).bounds
        if max(abs(west), abs(east)) > 360 or max(abs(south), abs(north)) > 90:
            raise ArgumentError(
                f"intersects(…) takes longitudes and latitudes; this geometry runs from {west:g}, {south:g} to "
                f"{east:g}, {north:g}, which are none: bring it to EPSG:4326 first"
            )
        return chosen

    def dates(self, start: Any, end: Any = ...) -> Collection:
        """Of the scenes those from `start` to before `end` (half-open); None leaves a side as it is.

        ```python
        s2.dates("2018-03-01", "2018-06-01")
        s2.dates(date(2018, 3, 1), date(2018, 6, 1))
        s2.dates("2018-03")                             # all of March
        ```

        Texts (ISO; a month or year is its first day), `date`, `datetime`, pandas' `Timestamp`; without a zone in UTC.
        """
        first, after = period(start, end)
        query = replace(self.query, start=first, end=after)  # complains where they are in another order
        first, after = _inner(self.query.start, first, max), _inner(self.query.end, after, min)
        if first and after and parse_time(first) >= parse_time(after):
            now, before = (f"{q.start or '…'} to {q.end or '…'}" for q in (query, self.query))
            raise ArgumentError(
                f"the dates {now} lie outside of those that were chosen before, {before}: begin with the collection as "
                "it was before its .dates(…)"
            )
        return self._but(start=first, end=after)

    def bands(self, *names: Any) -> Collection:
        """The bands named, by asset key, band name or common name; their names one by one or as one list.

        ```python
        s2.bands("red", "nir").mask_clouds().median("t")     # the mask's own band is read beside them
        ```
        """
        chosen = band_names(*names)
        if self._bands is not None:
            for name in chosen:
                if self._band(name) not in map(self._band, self._bands):
                    raise BandError(
                        f"there is no band {name!r} among those that were chosen before: {', '.join(self._bands)}",
                        band=name,
                    )
        return Collection(self.catalog, self.query, chosen, self._search)

    def _band(self, name: str) -> str:
        """The name of a band that is given by its name or common name."""
        known = {band.common_name: band.name for band in self.product.bands if band.common_name}
        return name if any(band.name == name for band in self.product.bands) else known.get(name, name)

    def filter(self, cql2: str) -> Collection:
        """Scenes whose metadata fit a CQL2 text, for example `eo:cloud_cover < 60`; several filters all hold."""
        if not isinstance(cql2, str):
            raise ArgumentError(
                f"filter({shown(cql2)}) takes a CQL2 text on the scenes' metadata, for example "
                "filter('eo:cloud_cover < 60'); pixels are chosen with .where(condition)"
            )
        before = self.query.filter
        return self._but(filter=f"({before}) AND ({cql2})" if before else cql2)

    def sort(self, *properties: str) -> Collection:
        """In the order of properties (`-` before a name: descending); matters before `.limit`."""
        for name in properties:
            if not isinstance(name, str):
                raise ArgumentError(f"sort({shown(name)}) takes names of properties, for example '-eo:cloud_cover'")
        return self._but(sortby=properties)

    def limit(self, number: int) -> Collection:
        """At most so many scenes."""
        count = plain(number)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ArgumentError(f"limit({shown(number)}) takes how many scenes, a whole number from 0")
        return self._but(limit=count)

    @cached_property
    def items(self) -> list[dict[str, Any]]:
        """The STAC Items, as the catalogue has them now."""
        return self.catalog.search(self.query)

    def __len__(self) -> int:
        """How many scenes fit; counted by the catalogue where it can, without fetching them."""
        found = self.__dict__.get("items")
        return self.catalog.count(self.query) if found is None else len(found)

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

    @property
    def masks(self):
        """The masks of the product, as a pandas table: what classes and bits mean, and which are dropped by default.

        ```python
        s2.masks
        ```
        """
        import pandas as pd

        rows = [
            (mask.name, mask.band, numbers(mask, value), name, is_dropped(mask, value))
            for mask in self.product.masks
            for name, value in mask.meanings
        ]
        return pd.DataFrame(rows, columns=["mask", "band", "number", "meaning", "dropped"]).set_index("mask")

    def clouds(self, mask: str | None = None, keep: Chosen | None = None, drop: Chosen | None = None) -> Chain:
        """The condition by which a mask of the product removes pixels: 1 for clouds, shadows, what is missing.

        ```python
        s2.mask(s2.clouds().grow(60))               # and 60 m around them
        s2.clouds("SCL", drop=["cirrus"]).frequency()
        ```

        Parameters are those of `mask_clouds`.
        """
        if mask is not None and not isinstance(mask, str):
            raise ArgumentError(f"clouds({shown(mask)}) takes the name of a mask, for example clouds('SCL')",
                                argument="mask")  # fmt: skip
        root = removed(mask_of(self.product, self.query.collection, mask), keep, drop)
        every = Collection(self.catalog, self.query, None, self._search)
        return every._with("reduce_dimension", data=every._node, reducer=Callback(root), dimension="bands")

    def mask_clouds(
        self,
        mask: str | Chain | None = None,
        keep: Chosen | None = None,
        drop: Chosen | None = None,
        grow: float = 0,
    ) -> Chain:
        """Without clouds, shadows and missing pixels, by a mask of the product (SCL, QA_PIXEL, …) or one of one's own.

        ```python
        s2.mask_clouds()                                # by the product's own, what is clear by default
        s2.mask_clouds(keep=[4, 5])                     # vegetation and bare ground
        s2.mask_clouds("SCL", drop=["cloud_high", "cloud_shadow"], grow=60)
        s2.mask_clouds(s2.band("blue") > 0.2)           # by any condition
        ```

        Parameters
        ----------
        mask
            Name of a mask (`.masks` is a table of those there are, with what their classes and bits mean), or a
            condition that is true where a pixel is removed. By default the first mask of the product.
        keep
            Classes that stay, by number or name (class masks only).
        drop
            Classes or bits that go, by number or name, in place of those that go by default.
        grow
            Metres around what is removed that are removed as well.
        """
        metres = number("grow", grow)
        if metres < 0:
            raise ArgumentError(f"grow={metres:g} is below 0; a mask is made smaller with .clouds().shrink(metres)",
                                argument="grow")  # fmt: skip
        if isinstance(mask, Chain) and (keep is not None or drop is not None):
            raise ArgumentError("keep and drop choose classes or bits of a named mask; a condition has none")
        if mask is not None and not isinstance(mask, str | Chain):
            raise ArgumentError(
                f"mask_clouds({shown(mask)}) takes the name of a mask or a condition; classes are chosen with keep=[…]",
                argument="mask",
            )
        clouds = mask if isinstance(mask, Chain) else self.clouds(mask, keep, drop)
        return self.mask(clouds.grow(metres) if metres else clouds)

    def compare_masks(self, window: GeoBox, masks: Any = None, band: str | None = None):
        """The share of its pixels that each mask keeps on a window, as a pandas table.

        ```python
        s2.compare_masks(window)
        s2.compare_masks(window, {"SCL": "SCL", "grown": s2.clouds().grow(100), "blue": s2.band("blue") > 0.2})
        ```

        Counted are the pixels of all dates at which a band of the data is valid: `pixels`; `kept` are those that are
        valid after masking, `share` is kept / pixels (missing where there are none).

        Parameters
        ----------
        masks
            Name → mask, or a list of names, of what `mask_clouds` takes: by default all masks of the product.
        band
            The band whose pixels are counted; by default the first that is not of classes.
        """
        import pandas as pd

        data, every = self._compared(masks, band)
        pixels = int(data.count("t").compute(window).sum())
        kept = {name: int(data.mask(mask).count("t").compute(window).sum()) for name, mask in every.items()}
        table = pd.DataFrame({"kept": kept, "pixels": pixels}, index=pd.Index(list(every), name="mask"))
        return table.assign(share=table["kept"] / table["pixels"].where(table["pixels"] > 0))

    def mask_layers(self, masks: Any = None, band: str | None = None) -> dict[str, Layer]:
        """Layers for a map, one for each mask: the share of the dates of each pixel that it keeps.

        ```python
        for name, layer in s2.mask_layers().items():
            m.add(layer, name=name)
        ```

        Parameters are those of `compare_masks`.
        """
        data, every = self._compared(masks, band)
        shares = {name: data.mask(mask).count("t") / data.count("t") for name, mask in every.items()}
        return {name: share.style(vmin=0, vmax=1, label=f"kept by {name}") for name, share in shares.items()}

    def _compared(self, named: Any, band: str | None) -> tuple[Chain, dict[str, Chain]]:
        """The data whose pixels are counted, and the conditions by which masks remove them, by name."""
        if band is None:
            data = next((b.name for b in self.product.bands if not b.categorical), None)
            if data is None:
                raise BandError(f"collection {self.query.collection!r} has no band but those of classes; give band=…")
            band = data
        if named is None:
            mask_of(self.product, self.query.collection, None)  # complains where there is none
            named = [mask.name for mask in self.product.masks]
        given = dict(named) if isinstance(named, Mapping) else {name: name for name in _names_of_masks(named)}
        every = {str(name): mask if isinstance(mask, Chain) else self.clouds(mask) for name, mask in given.items()}
        return Collection(self.catalog, self.query, None, self._search).band(band), every


def _names_of_masks(named: Any) -> list[str]:
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise ArgumentError(
            f"masks={shown(named)} is no list of names of masks; those of one's own have a name too: "
            "{'SCL': 'SCL', 'mine': condition}",
            argument="masks",
        )
    return list(named)


def collection(id: str, catalog: str | Catalog | None = None) -> Collection:
    """The collection `id`, of a catalogue (id, path, URL, `ml.open_catalog(…)`) or of whichever registered one has it.

    >>> ml.collection("sentinel-2-l2a").dates("2018-06-01", "2018-07-01")     # doctest: +SKIP

    `"catalogue:collection"` names both; where several catalogues have the collection, `AmbiguousCollection` lists the
    names to choose from.
    """
    if not isinstance(id, str):
        raise ArgumentError(f"collection({shown(id)}) takes the id of a collection, for example 'sentinel-2-l2a'")
    written = f"collection({id!r})"
    if catalog is None:
        found, id = find_collection(id)
    elif isinstance(catalog, str):
        found = find_catalog(catalog) if catalog in known_catalogs() else open_catalog(catalog)
    elif hasattr(catalog, "collection"):
        found = catalog
    else:
        raise ArgumentError(
            f"catalog={shown(catalog)} is no catalogue: give its id, its path or URL, or ml.open_catalog(…)",
            argument="catalog",
        )
    found.collection(id)
    if is_own(found):
        remember_object(found)
    chosen = Collection(found, Query(id))
    chosen._written = text(written if catalog is None else f"collection({id!r}, catalog={found.id!r})")
    return chosen


def _inner(before: str | None, now: str | None, choose: Callable[..., str]) -> str | None:
    """Of two times, of which one may be open, the one that leaves less."""
    return choose(before, now, key=parse_time) if before and now else before or now


def _restored(catalog: Catalog, query: Query, bands: tuple[str, ...] | None, written: str) -> Collection:
    made = Collection(catalog, query, bands)
    made._written = text(written)
    return made

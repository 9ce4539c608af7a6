"""Tables: a chain's values reduced over features, computed when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab import zonal
from muses_lab.api.chain import Chain
from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact
from muses_lab.document.graph import Node
from muses_lab.errors import ArgumentError, DocumentError
from muses_lab.operators import Meta, Pixel, registry
from muses_lab.operators.vectors import Features
from muses_lab.operators.zonal import reduces_over_features
from muses_lab.plain import shown
from muses_lab.publish import artefacts
from muses_lab.publish.pinning import Searches
from muses_lab.store import default_store

if TYPE_CHECKING:
    import geopandas


class Table(Chain):
    """A deferred table, which is a chain without pixels: the values of a chain over polygons, lines or points.

    ```python
    fields = ml.vectors("fields.gpkg")
    table = ndvi.aggregate_spatial(fields, "median")
    table.table()                           # a GeoDataFrame: a row for each feature and date, a column for each band
    table.compute()                         # an array of dims geometry, t, bands
    ```

    Arithmetic, comparison and processes of a document that work value by value, or over `t` and `bands`, may follow.
    """

    def _new(
        self,
        node: Node,
        artefacts: Mapping[str, Artefact],
        problems: Mapping[str, tuple[str, ...]],
        searches: Mapping[str, Searches],
    ) -> Any:
        return Table(node, artefacts, problems, searches)

    @property
    def features(self) -> Features:
        """The features of its rows."""
        first = next(node for node in graph.walk(self._node) if reduces_over_features(node))
        return self._features(first)

    def _features(self, node: Node) -> Features:
        """Those of a node: of the chain's own artefacts, else of the user's store."""
        (digest,) = registry[node.process].referred(node.arguments).values()
        kind = registry[node.process].arguments["geometries"].artefact
        found = self._artefacts.get(digest) or artefacts.stored(default_store(), kind, digest)
        return found.value

    def compute(self, resolution: float | None = None) -> xr.DataArray:  # type: ignore[override]
        """The values: dims of (geometry, t, bands) that it has; `geometry` holds the features, `feature` their ids.

        Of the native pixels, or of those of the level of `resolution` metres. What has no pixels is missing, and
        `OutsideData` warns of it. With the package xvec, `.xvec.set_geom_indexes("geometry", crs=…)` makes it a vector
        cube with an index.
        """
        if isinstance(resolution, GeoBox):
            raise ArgumentError(f"compute({shown(resolution)}): a table has no window; its features are its places")
        values: dict[str, xr.DataArray] = {}
        metas: dict[str, Meta] = {}
        for node in graph.walk(self._node):
            op = registry[node.process]
            cubes = {name: node.arguments[name] for name in op.cubes if name in node.arguments}
            if reduces_over_features(node):
                values[node.hash], metas[node.hash] = self._over_features(node, resolution)
            elif any(child.hash in values for child in cubes.values()):
                if not all(child.hash in values for child in cubes.values()):
                    raise DocumentError(f"{node.process!r} combines a table of features with a chain that has pixels")
                values[node.hash], metas[node.hash] = _applied(node, values, metas)
        return values[self._node.hash]

    def table(self, resolution: float | None = None) -> geopandas.GeoDataFrame:
        """The values as a GeoDataFrame: the attributes of the features, and a column for each band (or `value`).

        A row for each feature, and for each date where it has dates (column `t`).
        """
        import pandas

        values = self.compute(resolution)
        frame = self.features.table()
        columns = [d for d in values.dims if d not in ("geometry", "t")]
        plain = values.drop_vars(["geometry", "feature"]).transpose("geometry", *(["t"] * ("t" in values.dims)), ...)
        rows = plain.sizes["geometry"] * plain.sizes.get("t", 1)
        flat = plain.values.reshape(rows, -1)
        names = _names(plain, columns)
        times = plain.sizes.get("t", 1)
        frame = frame.iloc[np.repeat(np.arange(len(frame)), times)]
        if "t" in values.dims:
            frame = frame.assign(t=np.tile(plain.t.values, len(frame) // times))
        return frame.assign(**{name: pandas.Series(flat[:, n], frame.index).values for n, name in enumerate(names)})

    def _over_features(self, node: Node, resolution: float | None) -> tuple[xr.DataArray, Meta]:
        chain = Chain(node.arguments["data"], self._artefacts, self._problems, self._searches)
        chain._tell_problems()
        reducer, target = node.arguments["reducer"], node.arguments.get("target_dimension")
        found = zonal.aggregate(chain.published, self._features(node), reducer, target, resolution)
        return found, chain.published.prepared.output.meta


def _applied(node: Node, values: Mapping[str, xr.DataArray], metas: Mapping[str, Meta]) -> tuple[xr.DataArray, Meta]:
    """A process of tables: those that need no place work on features as on pixels."""
    op = registry[node.process]
    if not isinstance(op.support, Pixel) or set(op.injected) - {"meta"} or op.artefacts:
        raise DocumentError(f"{node.process!r} needs pixels; a table of features has none", process=node.process)
    arguments = {a.name: node.arguments.get(a.name, a.default) for a in op.arguments.values()}
    below = {name: metas[arguments[name].hash] for name in op.cubes}
    meta = op.shape(arguments, below)
    cubes = {name: values[arguments[name].hash] for name in op.cubes}
    given = {"meta": next(iter(below.values()))} if "meta" in op.injected else {}
    made = op.fn(**{**arguments, **cubes, **given})
    first = next(iter(cubes.values()))
    return made.assign_coords({n: first.coords[n] for n in ("geometry", "feature") if n not in made.coords}), meta


def _names(array: xr.DataArray, dims: list[str]) -> list[str]:
    """Names of columns: bands, labels of a target dimension, or both."""
    names = [""]
    for dim in dims:
        names = [f"{name}_{label}".strip("_") for name in names for label in array[dim].values]
    return ["value"] if names == [""] else names



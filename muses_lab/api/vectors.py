"""Vectors as users hold them: points, lines and polygons with attributes, to mask with, to burn, to reduce over."""

from __future__ import annotations

from typing import Any, Self

from muses_lab.api.chain import Chain
from muses_lab.api.features import RepairedVectors, noted, read, told
from muses_lab.api.written import called
from muses_lab.catalog.condition import Condition
from muses_lab.document.artefacts import Artefact
from muses_lab.errors import ArgumentError
from muses_lab.operators import registry
from muses_lab.operators.vectors import RELATIONS, VECTORS, Features, filter_vector
from muses_lab.plain import number, shown


class Vectors(Features):
    """Points, lines or polygons of one reference system with attributes; immutable.

    ```python
    fields = ml.vectors("fields.gpkg")
    len(fields), fields.crs, fields.columns
    fields.filter("crop = 'wheat'").buffer(-10)
    ndvi.mask_polygon(fields)
    ndvi.aggregate_spatial(fields, "median").table()
    fields.burn("crop").where(ndvi > 0.5)
    ```

    Made by `ml.vectors`. A document holds them by digest: what they are, not where they came from.
    """

    def filter(self, condition: str | None = None, **equal: Any) -> Self:
        """Those for which a CQL2 condition on their attributes is true, or whose attributes have these values.

        ```python
        fields.filter("crop = 'wheat' AND area > 2")
        fields.filter(crop=["wheat", "barley"])
        ```

        A feature that lacks an attribute that the condition needs is left out.
        """
        if condition is None and not equal:
            raise ArgumentError("filter() takes a condition such as \"crop = 'wheat'\", or crop='wheat'")
        keep = [True] * len(self)
        if condition is not None:
            if not isinstance(condition, str):
                raise ArgumentError(f"filter({shown(condition)}) takes a text, for example \"crop = 'wheat'\"")
            asked = Condition(condition)
            asked.check_known(self.columns)
            keep = [asked.matches({"id": id, "properties": row}) for id, row in self._rows()]
        for name, wanted in equal.items():
            values = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
            keep = [k and v in values for k, v in zip(keep, told(self.column, name), strict=True)]
        if not any(keep):
            raise ArgumentError(f"none of the {len(self)} features fits filter({shown(condition or equal)})")
        return self.chosen(keep)

    def related(self, other: Any, relation: str = "intersects") -> Self:
        """Those that have a relation to at least one feature of others: `intersects`, `within`, `contains`, …

        ```python
        fields.related(commune, "within")
        ```
        """
        if relation not in RELATIONS:
            raise ArgumentError(f"relation={shown(relation)} is none; there are {', '.join(RELATIONS)}")
        others = other if isinstance(other, Features) else vectors(other)
        return told(filter_vector, self, others, relation)

    def buffer(self, metres: float) -> Self:
        """Grown by so many metres on the ground; shrunk where they are negative, what shrinks to nothing is left out.

        Features in degrees are grown in the metres of their UTM zone.
        """
        return noted(told(super().buffer, number("metres", metres)))

    def reproject(self, crs: Any) -> Self:
        """Their corners in another reference system."""
        return told(super().reproject, crs)

    def burn(self, attribute: str | None = None, all_touched: bool = False) -> Chain:
        """An image of them on the grid of whatever it is combined with: 1, or the attribute's number; else missing.

        ```python
        fields.burn("class").where(ndvi > 0.5)
        ndvi.where(fields.burn(all_touched=True) == 1)
        ```

        A pixel is a polygon's where its centre is inside, with `all_touched` where the polygon touches it. Of several
        features that have a pixel the last one counts. `classes(attribute)` says what the numbers of texts stand for.
        """
        if attribute is not None:
            told(self.numbers, attribute)
        features = self.with_columns(*([] if attribute is None else [attribute]))
        artefact = Artefact.of(VECTORS, features)
        node = registry.node("muses:burn", vectors=artefact, attribute=attribute, all_touched=all_touched)
        chain = Chain(node, {artefact.digest: artefact})
        chain._written = called(f"{self!r}.burn", *([] if attribute is None else [attribute]))
        return chain

    def classes(self, attribute: str) -> dict[int, str]:
        """What the numbers of an attribute that is text stand for, in an image that is burnt of it."""
        return told(self.numbers, attribute).classes

    def _rows(self) -> list[tuple[Any, dict[str, Any]]]:
        columns = list(self.properties)
        rows = zip(*self.properties.values(), strict=True) if columns else ((),) * len(self)
        return [(id, dict(zip(columns, row, strict=True))) for id, row in zip(self.ids, rows, strict=True)]


def vectors(source: Any, layer: str | None = None, crs: Any = None) -> Vectors:
    """Vectors of a file, a GeoDataFrame, GeoJSON, or a shapely geometry in degrees.

    ```python
    ml.vectors("fields.gpkg", layer="fields")
    ml.vectors("fields.shp")                     # with its .shx, .dbf, .prj and .cpg, or a zip of them
    ml.vectors("fields.parquet")
    ml.vectors("samples.csv")                    # points: columns lon and lat, or x and y with crs=; or outlines as wkt
    ml.vectors({"type": "Point", "coordinates": [1.44, 43.6]})
    ```

    `crs` says in which reference system the coordinates are where the source does not. What is not valid (a polygon
    that crosses itself) is repaired, what has no geometry is left out; `RepairedVectors` warns of both by id.

    Raises
    ------
    ArgumentError
        The source is none of these, says another reference system or none, has coordinates that are not of it, or has
        a feature that cannot be repaired.
    """
    found = read("vectors", source, layer, crs)
    made = Vectors(found.crs, found.ids, found.shapes, found.properties, found.notes)
    return noted(made)


__all__ = ["RepairedVectors", "Vectors", "vectors"]

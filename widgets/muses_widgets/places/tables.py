"""What was read of places: a table for each place and quantity, so that nothing is asked for twice."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from muses_lab.series import OutsideScenes, UnreadScenes, nearest_dated
from muses_widgets.places.kept import Place, Places
from muses_widgets.series.expressions import Quantity, with_dates

_MOST = 128
"""Tables that are remembered of places that are not kept."""
STATISTICS = ("mean", "median", "q10", "q90")
"""Of polygons."""


class PlaceTables:
    """Tables of series by place and by what was asked; those of kept places are in the places themselves."""

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[bytes, str], pd.DataFrame] = OrderedDict()
        self._failed: dict[tuple[bytes, str], list[str]] = {}

    def get(self, geometry: BaseGeometry, quantity: Quantity) -> pd.DataFrame | None:
        """What was read of a place, if its chain is still the same."""
        table = self._tables.get((geometry.wkb, quantity.text))
        return table if _is_of(table, geometry, quantity) else None

    def kept(self, place: Place, quantity: Quantity) -> pd.DataFrame | None:
        """Likewise of a kept place."""
        table = place.series.get(quantity.text)
        return table if _is_of(table, place.geometry, quantity) else None

    def of(self, geometry: BaseGeometry) -> dict[str, pd.DataFrame]:
        """All that was read of a place, by what was asked."""
        return {text: table for (key, text), table in self._tables.items() if key == geometry.wkb}

    def any(self, geometry: BaseGeometry, places: Places) -> pd.DataFrame | None:
        """A table of a place, whatever was asked."""
        kept = [table for place in places if place.geometry.equals(geometry) for table in place.series.values()]
        return next((table for table in (*self.of(geometry).values(), *kept) if len(table)), None)

    def failed(self, geometries: Iterable[BaseGeometry], texts: Iterable[str]) -> list[str]:
        """Scenes that could not be read when these were, each with its reason."""
        keys = [(geometry.wkb, text) for geometry in geometries for text in texts]
        return list(dict.fromkeys(line for key in keys for line in self._failed.get(key, ())))

    def read(self, geometry: BaseGeometry, quantity: Quantity) -> pd.DataFrame:
        """The table of a quantity at a place: as `chain.series` gives it of a point, `chain.over` of a polygon."""
        with warnings.catch_warnings():
            for told in (OutsideScenes, UnreadScenes):  # the panel says it
                warnings.simplefilter("ignore", told)
            if isinstance(geometry, shapely.Point):
                found = quantity.chain.series(geometry.x, geometry.y)
            else:
                found = with_dates(quantity.chain).over(geometry, stats=STATISTICS)
        rows = pd.DataFrame(found.table.drop(columns="geometry", errors="ignore"))
        rows["unit"] = quantity.unit
        self._failed[geometry.wkb, quantity.text] = list(found.array.attrs.get("scenes_failed", ()))
        self._tables[geometry.wkb, quantity.text] = rows
        while len(self._tables) > _MOST:
            self._tables.popitem(last=False)
        return rows


def _is_of(table: pd.DataFrame | None, geometry: BaseGeometry, quantity: Quantity) -> bool:
    return table is not None and len(table) > 0 and table["chain"].iloc[0] == _hash(quantity, geometry)


def _hash(quantity: Quantity, geometry: BaseGeometry) -> str:
    """That of the chain whose values are plotted."""
    if geometry.geom_type == "Point":
        return nearest_dated(quantity.chain.published)[0].chain_hash
    chain: Any = with_dates(quantity.chain)
    return chain.published.chain_hash

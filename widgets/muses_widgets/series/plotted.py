"""What a panel of series plots: the expressions of a map's layers, at which places, and what was read of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from shapely.geometry.base import BaseGeometry

from muses_lab.errors import MusesError
from muses_widgets.places.kept import Place, Places
from muses_widgets.places.tables import PlaceTables
from muses_widgets.series import words
from muses_widgets.series.expressions import Expressions, Item, Quantity, chain_and_look, with_dates

Part = tuple[str, str, str, pd.DataFrame]
"""Of what is plotted: the id and the name of the place, the quantity, the table."""
Take = Callable[[Quantity], pd.DataFrame | None]
"""What was read of a place, if it is there."""

CANDIDATE = ""
"""Names, in the place of a kept place's id, the place that was clicked last."""


class Plotted:
    """The tables of a panel: read once for each place and expression, and again where a layer's chain is another.

    Parameters
    ----------
    layers
        Gives the map's layers that can be plotted, by their names, the top one first.
    named
        Chains of the notebook's author, by name.
    """

    def __init__(self, layers: Callable[[], Mapping[str, Item]], named: Mapping[str, Item]) -> None:
        self.candidate: BaseGeometry | None = None
        self._layers, self._named = layers, dict(named)
        self.tables = PlaceTables()
        self._known: Expressions | None = None
        self._followed: tuple[tuple[str, str], ...] | None = None
        self._lock = threading.RLock()
        self._noting = threading.local()

    # ---- expressions

    def follow(self) -> bool:
        """Takes over the map's layers as they are now; returns whether they are others than before."""
        with self._lock:  # a thread that is making them of the layers of before shall not put them there afterwards
            now = tuple((name, chain_and_look(item)[0].hash) for name, item in self._layers().items())
            if now == self._followed:
                return False
            self._followed, self._known = now, None
            return True

    def expressions(self) -> Expressions:
        with self._lock:
            if self._known is None:
                self._known = Expressions(self._layers(), self._named)
            return self._known

    def quantities(self, texts: Sequence[str]) -> list[Quantity]:
        return [self.expressions().quantity(text) for text in texts]

    # ---- places and their tables

    def wanted(self, places: Sequence[Place]) -> list[tuple[BaseGeometry, Take]]:
        """The places that are plotted, each with what gives the table of a quantity."""
        found: list[tuple[BaseGeometry, Take]] = []
        if self.candidate is not None:
            found.append((self.candidate, partial(self.tables.get, self.candidate)))
        return found + [(place.geometry, partial(self.tables.kept, place)) for place in places]

    def parts(self, texts: Sequence[str], places: Sequence[Place]) -> list[Part]:
        """Id, name, quantity and table of everything that is plotted: what was read of the chains as they are now.

        Kept places keep what was read of a layer that is gone.
        """
        known: dict[str, Quantity | None] = {}
        for text in texts:
            known[text] = None
            with suppress(MusesError):
                known[text] = self.expressions().quantity(text)
        candidate = self.candidate
        found = []
        if candidate is not None:
            read = {text: self.tables.get(candidate, quantity) for text, quantity in known.items() if quantity}
            found += [(CANDIDATE, "", text, table) for text, table in read.items() if table is not None]
        for place in places:
            for text, quantity in known.items():
                table = self.tables.kept(place, quantity) if quantity else place.series.get(text)
                if table is not None:
                    found.append((place.id, place.name, text, table))
        return found

    def read(self, geometry: BaseGeometry, quantity: Quantity, places: Places) -> None:
        """Reads the table of a place; kept places at its geometry keep it."""
        table = self.tables.read(geometry, quantity)
        with self._notes(), places.together():
            for place in places:
                if place.geometry.equals(geometry):
                    places.note(place.id, quantity.text, table)

    @contextmanager
    def _notes(self) -> Iterator[None]:
        self._noting.now = True
        try:
            yield
        finally:
            self._noting.now = False

    @property
    def is_noting(self) -> bool:
        """Whether places change in this thread because of `read`: who asked for it draws them."""
        return getattr(self._noting, "now", False)

    def newest(self, geometry: BaseGeometry, quantity: Quantity) -> list[Part]:
        """Of a long series the newest dates; what is read for them is not read again. Empty where it is short."""
        chain: Any = with_dates(quantity.chain)
        times = chain.published.prepared.output.times
        if len(times) <= words.LONG or geometry.geom_type != "Point":
            return []
        first, end = words.iso(times[-words.FIRST]), words.iso(np.datetime64(times[-1], "us") + 1)
        table = self.tables.read(geometry, replace(quantity, chain=chain.dates(first, end)))
        return [(CANDIDATE, "", quantity.text, table)] if table["value"].notna().any() else []

    def failures(self, places: Sequence[Place], texts: Sequence[str]) -> list[str]:
        """Scenes that could not be read, each with its reason."""
        return self.tables.failed([geometry for geometry, _ in self.wanted(places)], texts)

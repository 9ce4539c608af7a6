"""The layers of a map as its panel lists them: one list for both, whoever changes it, a cell or the page."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import ipyleaflet
from traitlets import validate

import muses_lab as ml
from muses_lab.errors import NotFound
from muses_widgets import basemaps, groups
from muses_widgets.arranging import Listed
from muses_widgets.inputs import NotShown
from muses_widgets.tiles import ChainTiles

if TYPE_CHECKING:
    from muses_widgets.panel import Panel

_TOLD = ["name", "legend", "note"]
"""Traits of layers that their rows say."""


class Listing(ipyleaflet.Map):
    """The part of a `Map` that keeps its trait `layers` and the rows of its panel alike."""

    panel: Panel
    _base: ipyleaflet.TileLayer
    """The base map; it stays known while the map has none."""
    _corner: ipyleaflet.WidgetControl
    """Where the panel is."""
    _removed: dict[str, tuple[int, int, groups.Group | None]]
    """Of layers that were removed: their places among `layers` and in the panel, and their groups."""

    def _keep_alike(self) -> None:
        """To be called once, when there is a panel."""
        self._removed = {}
        self._list_base()
        self.observe(self._follow, "layers")
        # A page may not know yet what was removed; members of a group stand together.
        self.panel.observe(lambda change: self._list_layers(), ["layers", "groups"])
        self.observe(self._exchange_base, "basemap")

    def listed(self) -> list[Listed]:
        """The layers that have a row in the panel, chains and features, as they lie above one another, the lowest
        first."""
        order = [e["id"] for e in reversed(self.panel.layers)]
        return sorted(self._listed(), key=lambda one: order.index(one.model_id))

    def stack(self) -> list[ChainTiles]:
        """The chains' layers among them."""
        return [one for one in self.listed() if isinstance(one, ChainTiles)]

    @property
    def has_base(self) -> bool:
        """Whether there is a base map."""
        return self._base in self.layers and self.panel.basemap != "None"

    @property
    def others(self) -> list[ipyleaflet.Layer]:
        """The layers that are no chains."""
        return [t for t in self.layers if not isinstance(t, ChainTiles) and t is not self._base]

    @validate("layers")
    def _validate_layers(self, proposal: Any) -> Any:
        for item in proposal.value:
            if not isinstance(item, ipyleaflet.Layer):
                raise NotShown(f"m.layers holds ipyleaflet's layers; m.add(…) takes a {type(item).__name__}")
        self._layer_ids = [layer.model_id for layer in proposal.value]
        if len(set(self._layer_ids)) != len(self._layer_ids):
            raise ipyleaflet.LayerException("duplicate layer detected, only use each layer once")
        return proposal.value

    def _follow(self, change: Any) -> None:
        """Brings the panel in line with `layers`."""
        if self._listed() and self._corner not in self.controls:
            super().add(self._corner)  # after clear(): without the panel's code no page knows how to ask for tiles
        for layer in change["old"]:
            if isinstance(layer, Listed):
                layer.unobserve(self._relist, _TOLD)
        for layer in self._listed():
            layer.observe(self._relist, _TOLD)
        self._list_layers(change["old"])
        self._list_base()

    def _list_layers(self, before: Iterable[ipyleaflet.Layer] | None = None) -> None:
        """Rows of what is in `layers`, in the order that the panel has (where it can be changed), the top one first."""
        shown = {t.model_id: t for t in self._listed()}
        old = list(shown) if before is None else [t.model_id for t in before if isinstance(t, Listed)]
        back = self._remembered([] if before is None else list(before), shown)
        told = groups.without(self.panel.groups, {t for g in self.panel.groups for t in g["members"]} - shown.keys())
        for id, (_, group) in back.items():
            told = groups.rejoined(told, id, group)
        order = _order([e["id"] for e in self.panel.layers], old, list(shown))
        for id, (row, _) in back.items():
            order.remove(id)
            order.insert(row, id)
        self.panel.groups = told
        self.panel.layers = [shown[id].entry for id in groups.arranged(order, told)]

    def _remembered(
        self, before: list[ipyleaflet.Layer], shown: Mapping[str, Listed]
    ) -> dict[str, tuple[int, groups.Group | None]]:
        """Row and group of layers that are put back where they were: the page's Undo does so.

        The page says the same itself, but each of the two has to come to it alone: which of them is heard last depends
        on how busy they are.
        """
        rows = [e["id"] for e in self.panel.layers]
        for place, layer in enumerate(before):
            if layer.model_id in rows and layer.model_id not in shown:
                group = groups.of(self.panel.groups, layer.model_id)
                self._removed[layer.model_id] = (place, rows.index(layer.model_id), group)
        ids = [layer.model_id for layer in self.layers]
        came = [id for id in shown if id in self._removed and id not in rows]
        known = {id: self._removed.pop(id) for id in came}
        return {id: (row, group) for id, (place, row, group) in known.items() if ids.index(id) == place}

    def _list_base(self) -> None:
        base = next((layer for layer in self.layers if type(layer) is ipyleaflet.TileLayer and layer.base), None)
        told = basemaps.NONE if base is None else basemaps.of_tiles(base)
        if told["name"] not in [b["name"] for b in self.panel.basemaps]:
            self.panel.basemaps = [*self.panel.basemaps, told]
        self._base = base or self._base
        self.panel.base = self._base.model_id
        self.panel.basemap = told["name"]

    def _exchange_base(self, change: Any) -> None:
        new = basemaps.tiles(change["new"])
        if new is self._base:
            return
        if self._base in self.layers:
            super().substitute(self._base, new)
        else:
            self.set_trait("layers", (new, *self.layers))

    def _relist(self, change: Any) -> None:
        self._list_layers()

    def _take_place(self, old: Listed, new: Listed) -> None:
        """Puts a layer in the place of another one: among `layers`, in the panel's list and in its group."""
        if new is old:
            return
        group = groups.of(self.panel.groups, old.model_id)
        new.visible, new.opacity = old.visible, old.opacity
        self.set_trait("layers", tuple(new if layer is old else layer for layer in self.layers))
        self.panel.groups = groups.rejoined(self.panel.groups, new.model_id, group)

    def _listed(self) -> list[Listed]:
        """Those of the layers that have a row, the lowest of `layers` first."""
        return [layer for layer in self.layers if isinstance(layer, Listed)]

    def _chains(self) -> list[ChainTiles]:
        """Those of the layers that show chains, the lowest first."""
        return [layer for layer in self.layers if isinstance(layer, ChainTiles)]

    def _found(self, item: Any) -> Any:
        """The ipyleaflet layer (or control) that is meant by a name, a layer or a chain."""
        if isinstance(item, ipyleaflet.Layer | ipyleaflet.Control):
            return item
        if isinstance(item, str):
            found = [t for t in self._listed() if t.name == item] or [t for t in self.layers if t.name == item]
        elif isinstance(item, ml.Layer | ml.TimeLayer | ml.Chain):
            found = [t for t in self._chains() if t.shown is item] or [t for t in self._chains() if t.shows(item)]
        else:
            raise NotShown(
                f"{item!r} is no layer of a map: give what m.add(…) returned, a name, or one of ipyleaflet's layers"
            )
        if not found:
            raise self._nothing(f"no layer {item!r}")
        if len(found) > 1:
            names = " and ".join(repr(t.name) for t in found)
            raise NotShown(f"the map shows that as {names}: say which by its name, m.remove({found[0].name!r})")
        return found[0]

    def _nothing(self, what: str) -> NotFound:
        there = ", ".join(repr(t.name) for t in self._listed()) or "none"
        return NotFound(f"the map has {what}; it has {there}")

    def _free_layer(self) -> str:
        """`Layer 1`, or the next number that is free."""
        return self._free_name("Layer 1", "Layer {}")

    def _free_name(self, wanted: str, numbered: str = "") -> str:
        """A name that no layer has: `Features`, `Features 2`, …"""
        taken = {layer.name for layer in self._listed()}
        names = itertools.chain([wanted], ((numbered or f"{wanted} {{}}").format(n) for n in itertools.count(2)))
        return next(name for name in names if name not in taken)


def _order(rows: list[str], before: list[str], now: list[str]) -> list[str]:
    """The panel's rows (top first) after the map's layers (lowest first) have changed.

    Rows stay in the order that the panel gave them, unless that of the layers has changed; what is new takes the row
    of what it replaces, or that above its lower neighbour.
    """
    stay = [id for id in before if id in now]
    if stay != [id for id in now if id in before]:
        return now[::-1]
    replaced = dict(zip(before, now, strict=True)) if len(before) == len(now) else {}
    found = [replaced.get(id, id) if id not in now else id for id in rows]
    found = [id for id in found if id in now]
    for place, id in enumerate(now):
        if id not in found:
            top = place == len(now) - 1
            found.insert(0 if top else found.index(now[place - 1]) if place else len(found), id)
    return found

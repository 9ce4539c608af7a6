"""What is done with the rows of a map's panel, from Python: their order, names and groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from muses_lab.errors import NotFound
from muses_widgets import groups as grouping
from muses_widgets.inputs import NotShown
from muses_widgets.tiles import ChainTiles
from muses_widgets.vectors.layer import VectorLayer

if TYPE_CHECKING:
    from muses_widgets.panel import Panel

_ENDS = ("top", "bottom")

Listed = ChainTiles | VectorLayer
"""Layers that have a row in the panel."""


class Arranging:
    """The part of a `Map` that orders, names and groups its layers."""

    if TYPE_CHECKING:
        panel: Panel

        def listed(self) -> list[Listed]: ...
        def fit_bounds(self, bounds: Any) -> None: ...
        def _found(self, item: Any) -> Any: ...

    def move(self, item: Any, to: str | None = None, *, above: Any = None, below: Any = None) -> None:
        """Moves a layer in the order in which layers lie above one another; the panel's list has the same.

        >>> m.move("NDVI", "top")                       # or "bottom"
        >>> m.move("NDVI", below="Water")
        >>> m.move("Summer", above="NDVI")              # a group, all of it

        `item`, `above` and `below` are names, or what else `m.remove` takes. A layer that is moved beside a member of
        a group is in that group from then on; "top" and "bottom" are those of the whole list.
        """
        given = [one for one in (to, above, below) if one is not None]
        if len(given) != 1 or (to is not None and to not in _ENDS):
            raise NotShown(
                f"m.move({item!r}, {to!r}, above={above!r}, below={below!r}) takes one of 'top', 'bottom', above=… "
                "or below=…"
            )
        order = [entry["id"] for entry in self.panel.layers]
        group = self._group(item) if isinstance(item, str) else None
        ids = [self._own(item).model_id] if group is None else [id for id in order if id in group["members"]]
        rest = [id for id in order if id not in ids]
        told = self.panel.groups
        if to is None:
            beside, members = self._beside(above if above is not None else below, order)
            if set(members) & set(ids):
                raise NotShown(f"m.move({item!r}, …): a layer or group is moved beside another one, not itself")
            place = rest.index(members[0]) if above is not None else rest.index(members[-1]) + 1
            if group is None:
                told = _joined(told, ids, beside)
        else:
            place = 0 if to == "top" else len(rest)
            if group is None:
                told = grouping.without(told, ids)
        rows = {entry["id"]: entry for entry in self.panel.layers}
        with self.panel.hold_sync():
            self.panel.groups = told
            self.panel.layers = [rows[id] for id in grouping.arranged([*rest[:place], *ids, *rest[place:]], told)]

    def rename(self, item: Any, name: str) -> None:
        """Gives a layer or a group another name.

        >>> m.rename("Layer 1", "NDVI 2018")
        """
        if not isinstance(name, str) or not name.strip():
            raise NotShown(f"m.rename({item!r}, {name!r}): give the new name as a text")
        group = self._group(item) if isinstance(item, str) else None
        if group is not None:
            self._check_free(name, group["name"], [one["name"] for one in self.panel.groups], "group")
            self._change(group, name=name)
            return
        layer = self._own(item)
        self._check_free(name, layer.name, [one.name for one in self.listed()], "layer")
        layer.name = name

    def group(
        self, name: str, layers: Any = None, *, visible: bool | None = None, opacity: float | None = None
    ) -> None:
        """Puts layers into a group, or changes one.

        >>> m.group("Summer", ["NDVI", "Water"])
        >>> m.group("Summer", visible=False)             # hides both; shown again, each is as it was
        >>> m.group("Summer", opacity=0.5)

        The group has the place of the topmost of its layers. A layer is in one group at most. Its opacity is
        multiplied by that of its group. `layers` are names, or what else `m.remove` takes; `m.ungroup` is the opposite.
        """
        if not isinstance(name, str) or not name.strip():
            raise NotShown(f"m.group({name!r}): give the group's name as a text")
        if opacity is not None and (isinstance(opacity, bool) or not 0 <= opacity <= 1):
            raise NotShown(f"opacity={opacity!r} is none: 0 is invisible, 1 opaque")
        told = self.panel.groups
        if layers is not None:
            items = [layers] if isinstance(layers, str) or not isinstance(layers, Iterable) else list(layers)
            ids = [self._own(item).model_id for item in items]
            if not ids:
                raise NotShown(f"m.group({name!r}, []): give at least one layer; m.ungroup({name!r}) dissolves it")
            there = next((one for one in told if one["name"] == name), None)
            kept = {**(there or grouping.made(name, ())), "members": list(dict.fromkeys(ids))}
            told = [*grouping.without([one for one in told if one["name"] != name], ids), kept]
        elif all(one["name"] != name for one in told):
            raise self._no_group(name)
        changes = {key: value for key, value in (("visible", visible), ("opacity", opacity)) if value is not None}
        self.panel.groups = [{**one, **changes} if one["name"] == name else one for one in told]

    def ungroup(self, item: Any) -> None:
        """Dissolves a group, whose layers stay where they are; of a layer: takes it out of its group.

        >>> m.ungroup("Summer")
        """
        group = self._group(item) if isinstance(item, str) else None
        gone = [self._own(item).model_id] if group is None else group["members"]
        self.panel.groups = grouping.without(self.panel.groups, gone)

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """The groups by name, each {layers (names, the top one first), visible, opacity}.

        >>> m.groups
        {'Summer': {'layers': ['NDVI', 'Water'], 'visible': True, 'opacity': 1.0}}
        """
        rows = self.panel.layers
        return {
            one["name"]: {
                "layers": [entry["name"] for entry in rows if entry["id"] in one["members"]],
                "visible": one["visible"], "opacity": one["opacity"],
            }
            for one in self.panel.groups
        }  # fmt: skip

    def zoom_to(self, item: Any) -> None:
        """Moves the map so that it shows all of a layer, or of the layers of a group.

        >>> m.zoom_to("NDVI")
        """
        group = self._group(item) if isinstance(item, str) else None
        ids = [self._own(item).model_id] if group is None else group["members"]
        found = [entry["bounds"] for entry in self.panel.layers if entry["id"] in ids and entry.get("bounds")]
        if not found:
            raise NotShown(f"{item!r} shows nothing that has a place on the map")
        wests, souths, easts, norths = zip(*found, strict=True)
        self.fit_bounds((min(wests), min(souths), max(easts), max(norths)))

    # Inside

    def _group(self, name: str) -> grouping.Group | None:
        """The group of a name, where no layer is called so."""
        if any(entry["name"] == name for entry in self.panel.layers):
            return None
        return next((one for one in self.panel.groups if one["name"] == name), None)

    def _own(self, item: Any) -> Listed:
        found = self._found(item)
        if found not in self.listed():
            raise NotShown(f"{item!r} is neither a chain nor features on this map, so it has no row to arrange")
        return found

    def _sort(self, names: list[str]) -> None:
        """Rows in the order of these names; those that are not named come first."""
        place = {name: n for n, name in enumerate(names)}
        self.panel.layers = sorted(self.panel.layers, key=lambda entry: place.get(entry["name"], -1))

    def _beside(self, item: Any, order: list[str]) -> tuple[grouping.Group | None, list[str]]:
        """The group that is joined beside a layer, and the rows beside which it is; beside a group none is joined."""
        group = self._group(item) if isinstance(item, str) else None
        if group is not None:
            return None, [id for id in order if id in group["members"]]
        id = self._own(item).model_id
        return grouping.of(self.panel.groups, id), [id]

    def _change(self, group: grouping.Group, **changes: Any) -> None:
        self.panel.groups = [{**one, **changes} if one is group else one for one in self.panel.groups]

    def _check_free(self, name: str, own: str, names: list[str], noun: str) -> None:
        if name != own and name in names:
            raise NotShown(f"there is a {noun} {name!r} already; give each its own name")

    def _no_group(self, name: str) -> NotFound:
        there = ", ".join(repr(one["name"]) for one in self.panel.groups) or "none"
        return NotFound(f"the map has no group {name!r}; it has {there}: m.group({name!r}, ['a layer', …]) makes one")


def _joined(told: list[grouping.Group], ids: list[str], group: grouping.Group | None) -> list[grouping.Group]:
    """The groups when these layers are in one of them, or in none."""
    if group is not None and set(ids) <= set(group["members"]):
        return told
    added = [{**one, "members": [*one["members"], *ids]} if one is group else one for one in told]
    others = [one for one in added if group is None or one["name"] != group["name"]]
    kept = grouping.without(others, ids)
    return kept if group is None else [*kept, *(one for one in added if one["name"] == group["name"])]

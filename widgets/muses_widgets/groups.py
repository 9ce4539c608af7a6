"""Groups of a map's layers: what they hold, and the order of the rows that follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Group = dict[str, Any]
"""{name, members (ids of layers), visible, opacity, open (whether the panel lists its members)}."""


def made(name: str, members: Iterable[str]) -> Group:
    """A new group, shown as its members are."""
    return {"name": name, "members": list(members), "visible": True, "opacity": 1.0, "open": True}


def of(groups: Iterable[Group], id: str) -> Group | None:
    """The group in which a layer is."""
    return next((group for group in groups if id in group["members"]), None)


def arranged(order: Iterable[str], groups: Sequence[Group]) -> list[str]:
    """Ids in an order in which the members of a group follow one another, from where its first one is."""
    there = list(order)
    found: dict[str, None] = {}
    for id in there:
        group = of(groups, id)
        members = [id] if group is None else [one for one in there if one in group["members"]]
        found.update(dict.fromkeys(members))
    return list(found)


def without(groups: Iterable[Group], ids: Iterable[str]) -> list[Group]:
    """The groups when these layers are in none of them; a group without layers is none."""
    gone = set(ids)
    left = [{**group, "members": [id for id in group["members"] if id not in gone]} for group in groups]
    return [group for group in left if group["members"]]


def rejoined(groups: list[Group], id: str, group: Group | None) -> list[Group]:
    """The groups when a layer is again in the one that it was in, which may be gone meanwhile."""
    if group is None or of(groups, id) is not None:
        return groups
    if all(one["name"] != group["name"] for one in groups):
        return [*groups, {**group, "members": [id]}]
    return [{**one, "members": [*one["members"], id]} if one["name"] == group["name"] else one for one in groups]


def opacity(groups: Iterable[Group], id: str, own: float) -> float:
    """How opaque a layer is drawn."""
    group = of(groups, id)
    return own if group is None else own * float(group["opacity"])


def hides(groups: Iterable[Group], id: str) -> bool:
    """Whether a layer's group keeps it from being shown."""
    group: Mapping[str, Any] | None = of(groups, id)
    return group is not None and not group["visible"]

"""The products of which more is known than their metadata say: a module each, which states its `PROFILES`.

A package adds one by an entry point of the group `muses_lab.products` that names such a module. A profile is chosen by
the collection's own word (`muses:product`), by its id, or by what its items say of themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from muses_lab import plugins
from muses_lab.products.profile import Profile


@cache
def profiles() -> Mapping[str, Profile]:
    """Every known product by its name, those of this package first."""
    stated = plugins.found(__name__, "muses_lab.products", "PROFILES", _check)
    known: dict[str, Profile] = {}
    for profile in (profile for some in stated for profile in some):
        known.setdefault(profile.name, profile)
    return known


def profile_of(collection: dict[str, Any], items: Iterable[dict[str, Any]] = ()) -> Profile | None:
    """The profile of a STAC Collection, or None for a product of which nothing more is known than its metadata say."""
    said = collection.get("muses:product")
    if said is not None:
        return profiles().get(said)
    for profile in profiles().values():
        if re.fullmatch(profile.ids, collection.get("id", ""), re.IGNORECASE):
            return profile
    for item in items:
        return profile_of_item(item)
    return None


def profile_of_item(item: dict[str, Any]) -> Profile | None:
    """The profile of an item by what it says of itself."""
    return next((profile for profile in profiles().values() if profile.is_of(item)), None)


def _check(stated: Any) -> None:
    if not all(isinstance(profile, Profile) for profile in stated):
        raise TypeError(f"PROFILES holds something else than Profile: {stated!r}")

"""Masks of products by name: which there are, what of them is chosen, and what it removes, as a process over bands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from muses_lab.document.graph import Node
from muses_lab.errors import ArgumentError, BandError
from muses_lab.operators import registry
from muses_lab.operators.methods import band_value
from muses_lab.plain import plain, shown
from muses_lab.products import CloudMask, Product

Chosen = Sequence[int | str]
"""Classes or bits, by number or by name."""


def mask_of(product: Product, collection: str, name: str | None) -> CloudMask:
    """A mask of a product by its name or the name of its band; by default its first."""
    if not product.masks:
        have = ", ".join(b.name for b in product.bands)
        raise BandError(
            f"collection {collection!r} has no cloud mask that is known here (bands: {have}); "
            "mask with .mask(condition)"
        )
    if name is None:
        return product.masks[0]
    for mask in product.masks:
        if name.lower() in (mask.name.lower(), mask.band.lower()):
            return mask
    have = ", ".join(repr(mask.name) for mask in product.masks)
    raise BandError(f"collection {collection!r} has no mask {name!r}; it has {have}", band=name)


def removed(mask: CloudMask, keep: Chosen | None = None, drop: Chosen | None = None) -> Node:
    """1 where a mask removes a pixel, also where it says nothing; else 0."""
    if keep is not None and drop is not None:
        raise ArgumentError("give keep=… or drop=…, not both: what is not kept is dropped", argument="drop")
    flag = band_value(mask.band)
    if mask.bits is None:
        clear = registry.node("array_contains", inside_callback=True, data=_kept(mask, keep, drop), value=flag)
        found = registry.node("not", inside_callback=True, x=clear)
    else:
        if keep is not None:
            raise ValueError(
                f"{mask.band} is a bit field: it has no classes to keep; give drop=[…] with names or numbers of its "
                f"bits ({_listed(mask)}), or use .mask(…has_bits(…))"
            )
        bits = mask.bits if drop is None else _bits(mask, drop)
        flagged = registry.node("muses:any_bit", inside_callback=True, x=flag, bits=bits)
        absent = registry.node("is_nodata", inside_callback=True, x=flag)
        found = registry.node("or", inside_callback=True, x=flagged, y=absent)
    for other in mask.also:
        hidden = registry.node("neq", inside_callback=True, x=band_value(other), y=0)
        found = registry.node("or", inside_callback=True, x=found, y=hidden)
    return found


def _kept(mask: CloudMask, keep: Chosen | None, drop: Chosen | None) -> list[int]:
    if drop is not None:
        gone = {_value(mask, one, "drop") for one in _list("drop", drop)}
        left = sorted({value for _, value in mask.meanings} - gone)
        if not left:
            raise ArgumentError(f"drop={shown(drop)} drops all classes of {mask.band}", argument="drop")
        return left
    if keep is None:
        return sorted(mask.keep or ())
    return sorted({_value(mask, one, "keep") for one in _list("keep", keep)})


def _bits(mask: CloudMask, drop: Chosen) -> int:
    bits = 0
    for one in _list("drop", drop):
        bits |= _value(mask, one, "drop")
    if not bits:
        raise ArgumentError(f"drop={shown(drop)} names no bit of {mask.band}: {_listed(mask)}", argument="drop")
    return bits


def _list(argument: str, given: Any) -> list[Any]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        what, example = ("classes", "[4, 5, 6]") if argument == "keep" else ("classes or bits", "['cloud']")
        raise ArgumentError(f"{argument}={shown(given)} is no list of {what}; for example {argument}={example}",
                            argument=argument)  # fmt: skip
    return plain(list(given))


def _value(mask: CloudMask, one: Any, argument: str) -> int:
    """The class, or the bits that are meant, of a number or name."""
    number = int(one) if isinstance(one, int | float) and not isinstance(one, bool) and one == one // 1 else None
    for name, value in mask.meanings:
        if one == name or (number is not None and (value >> number & 1 if mask.bits else number == value)):
            return value
    what = "class" if mask.bits is None else "bit"
    raise ArgumentError(
        f"{argument}: there is no {what} {shown(one)} in {mask.band}; it has {_listed(mask)}", argument=argument
    )


def _listed(mask: CloudMask) -> str:
    """What classes or bits mean, for messages: `3 cloud, 4 cloud_shadow`."""
    return ", ".join(f"{numbers(mask, value)} {name}" for name, value in mask.meanings)


def numbers(mask: CloudMask, value: int) -> str:
    """The number of a class, or those of bits, as users give them: `3`, `4/5`."""
    if mask.bits is None:
        return str(value)
    return "/".join(str(bit) for bit in range(32) if value >> bit & 1)


def is_dropped(mask: CloudMask, value: int) -> bool:
    """Whether a class or flag is dropped where nothing is chosen."""
    return value not in (mask.keep or ()) if mask.bits is None else bool(mask.bits & value)

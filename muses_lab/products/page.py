"""The products that are known, as a part of `docs/products.md`."""

from __future__ import annotations

from muses_lab.products.known import profiles
from muses_lab.products.profile import KnownBand, KnownMask, Profile


def markdown() -> str:
    """A section for each product: under which ids it is known, what hides the ground, its bands."""
    return "\n".join(_product(profile) for profile in profiles().values())


def _product(profile: Profile) -> str:
    lines = [
        f"### `{profile.name}`",
        "",
        f"{profile.title}. Ids of collections: `{profile.ids}`.",
        "",
        _masks(profile),
        "",
        "| band | common name | metres | type | nodata | scale | offset |",
        "|---|---|---|---|---|---|---|",
        *(_band(band) for band in profile.bands),
        "",
    ]
    return "\n".join(lines)


def _masks(profile: Profile) -> str:
    if not profile.masks:
        return "No cloud mask is known: `mask_clouds()` says so."
    return "\n".join(_mask(mask, "" if n == 0 else f'"{mask.name}"') for n, mask in enumerate(profile.masks))


def _mask(mask: KnownMask, named: str) -> str:
    call, band = f"`mask_clouds({named})`", f"`{mask.keys[0]}`"
    if mask.keep is not None:
        does = f"keeps the classes {', '.join(map(str, mask.keep))} of {band}"
    else:
        bits = [str(bit) for bit in range(32) if (mask.bits or 0) >> bit & 1]
        does = f"drops pixels with one of the bits {', '.join(bits)} of {band}"
    also = f", and those where {' or '.join(f'`{keys[0]}`' for keys in mask.also)} is not 0" if mask.also else ""
    known = ", ".join(f"{_value(value, mask)} `{name}`" for name, value in mask.meanings)
    return f"{call} {does}{also}. By name: {known}."


def _value(value: int, mask: KnownMask) -> str:
    """The class, or the numbers of the bits."""
    if mask.keep is not None:
        return str(value)
    return " or ".join(str(bit) for bit in range(32) if value >> bit & 1)


def _band(band: KnownBand) -> str:
    names = ", ".join(f"`{key}`" for key in band.keys)
    kind = f"{band.dtype}, classes or bits" if band.categorical else band.dtype
    nodata = "" if band.nodata is None else f"{band.nodata:g}"
    common = f"`{band.common_name}`" if band.common_name else ""
    scale, offset = ("", "") if band.categorical else (f"{band.scale:g}", f"{band.offset:g}")
    return f"| {names} | {common} | {band.resolution:g} | {kind} | {nodata} | {scale} | {offset} |"

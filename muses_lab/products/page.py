"""The products that are known, as a part of `docs/products.md`."""

from __future__ import annotations

from muses_lab.products.known import profiles
from muses_lab.products.profile import KnownBand, Profile


def markdown() -> str:
    """A section for each product: under which ids it is known, what hides the ground, its bands."""
    return "\n".join(_product(profile) for profile in profiles().values())


def _product(profile: Profile) -> str:
    lines = [
        f"### `{profile.name}`",
        "",
        f"{profile.title}. Ids of collections: `{profile.ids}`.",
        "",
        _mask(profile),
        "",
        "| band | common name | metres | type | nodata | scale | offset |",
        "|---|---|---|---|---|---|---|",
        *(_band(band) for band in profile.bands),
        "",
    ]
    return "\n".join(lines)


def _mask(profile: Profile) -> str:
    band = next((b.name for b in profile.bands if b.name.lower() in profile.mask_keys), None)
    if band is None:
        return "No cloud mask is known: `mask_clouds()` says so."
    if profile.mask_keep is not None:
        return f"`mask_clouds()` keeps the classes {', '.join(map(str, profile.mask_keep))} of `{band}`."
    bits = [str(bit) for bit in range(32) if (profile.mask_bits or 0) >> bit & 1]
    return f"`mask_clouds()` drops pixels with one of the bits {', '.join(bits)} of `{band}`."


def _band(band: KnownBand) -> str:
    names = ", ".join(f"`{key}`" for key in band.keys)
    kind = f"{band.dtype}, classes or bits" if band.categorical else band.dtype
    nodata = "" if band.nodata is None else f"{band.nodata:g}"
    common = f"`{band.common_name}`" if band.common_name else ""
    scale, offset = ("", "") if band.categorical else (f"{band.scale:g}", f"{band.offset:g}")
    return f"| {names} | {common} | {band.resolution:g} | {kind} | {nodata} | {scale} | {offset} |"

"""What is known of a product that its metadata do not (always) say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class CloudMask:
    """How a product marks pixels that are not clear ground.

    Exactly one of `keep` and `bits` is set.
    """

    band: str
    """The categorical band that holds the classes or bits."""
    keep: tuple[int, ...] | None = None
    """Classes of clear pixels; every other value is dropped."""
    bits: int | None = None
    """A pixel is dropped where `(value & bits) != 0`."""
    name: str = field(default="", compare=False, repr=False)
    """What users call it."""
    meanings: tuple[tuple[str, int], ...] = field(default=(), compare=False, repr=False)
    """What classes or flags are called, with the class, or the bits that are set (some of them) where the flag is."""
    also: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Other bands of masks: a pixel is dropped where one of them is not 0."""


OffsetOf = Callable[[dict[str, Any], float | None, float], float]
"""(properties of the item, offset that its metadata state, scale) → the offset that counts."""


@dataclass(frozen=True)
class KnownBand:
    """One band of a product, under all names that catalogues give to it."""

    keys: tuple[str, ...]
    """Asset keys, the provider's own name first; compared without regard to case."""
    common_name: str | None = None
    resolution: float = 10.0
    dtype: str = "uint16"
    nodata: float | None = 0
    scale: float = 1.0
    offset: float = 0.0
    categorical: bool = False
    offset_of: OffsetOf | None = None
    """The offset of one item's band, where its metadata do not always say it rightly."""

    @property
    def name(self) -> str:
        return self.keys[0]


@dataclass(frozen=True)
class KnownMask:
    """One mask of a product; see `CloudMask` for what it is where the bands are known."""

    name: str
    keys: tuple[str, ...]
    """Names of the band that it reads."""
    meanings: tuple[tuple[str, int], ...]
    keep: tuple[int, ...] | None = None
    bits: int | None = None
    also: tuple[tuple[str, ...], ...] = ()
    """Names of each of the bands that it reads as well, where they are there."""

    def over(self, bands: dict[str, str]) -> CloudMask | None:
        """The mask over bands by their known name; None where its band is not among them."""
        band = next((bands[key] for key in self.keys if key in bands), None)
        if band is None:
            return None
        also = (next((bands[key] for key in keys if key in bands), None) for keys in self.also)
        others = tuple(other for other in also if other is not None)
        return CloudMask(band, self.keep, self.bits, self.name, self.meanings, others)


@dataclass(frozen=True)
class Profile:
    """One product: its bands in order, and its masks."""

    name: str
    title: str
    ids: str
    """Regular expression of the collection ids it is found under."""
    bands: tuple[KnownBand, ...]
    masks: tuple[KnownMask, ...] = ()
    """That which is meant where none is named comes first."""
    is_of: Callable[[dict[str, Any]], bool] = lambda item: False
    """Whether a STAC Item says of itself that it is of this product, whatever its collection is called."""

    @cached_property
    def _by_key(self) -> dict[str, KnownBand]:
        return {key.lower(): band for band in self.bands for key in band.keys}

    def band(self, key: str) -> KnownBand | None:
        """The band that an asset key means: `B04`, `red`, `B04_10m`."""
        known = self._by_key.get(key.lower())
        if known is None and (match := _RESAMPLED.fullmatch(key)):
            stem = self._by_key.get(match["stem"].lower())
            known = stem if stem and float(match["metres"]) == stem.resolution else None
        return known

    def is_variant(self, key: str) -> bool:
        """True for copies of a band that add nothing: other resolutions, other formats (`blue_60m`, `red-jp2`)."""
        match = _RESAMPLED.fullmatch(key) or _REFORMATTED.fullmatch(key)
        return match is not None and match["stem"].lower() in self._by_key and self.band(key) is None

    def cloud_masks(self, names: Iterable[str]) -> tuple[CloudMask, ...]:
        """Its masks over the bands that there are."""
        bands: dict[str, str] = {}
        for name in names:
            if (known := self.band(name)) is not None:
                bands.setdefault(known.name, name)
        return tuple(mask for known in self.masks if (mask := known.over(bands)) is not None)


_RESAMPLED = re.compile(r"(?P<stem>.+)_(?P<metres>\d+)m")
_REFORMATTED = re.compile(r"(?P<stem>.+)-jp2")


def platform_of(item: dict[str, Any]) -> str:
    """The platform that an item names, in STAC's spelling; empty where it names none."""
    properties = item.get("properties", {})
    return str(properties.get("platform") or properties.get("eo:platform") or "").lower().replace("_", "-")


def processing_baseline(properties: dict[str, Any]) -> Any:
    """The version of the provider's processing that an item's properties name; None where they name none."""
    fields = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
    return next((properties[field] for field in fields if properties.get(field) is not None), None)

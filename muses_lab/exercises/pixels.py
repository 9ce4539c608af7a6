"""Values of two chains on one small window, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab.api.part import part
from muses_lab.crs import known_crs
from muses_lab.exercises.noise import noise
from muses_lab.times import short_dates

Bounds = tuple[float, float, float, float]

MOST = 256
"""Pixels along a window's longer side, unless an exercise states its resolution: hundreds of times a class looks."""

_NOISE = 1e-5
"""Relative difference that is none: the same values, computed as float32 in another order."""

_METRES = 111_320
"""Of a degree."""


def window(chain: Any, bounds: Bounds, resolution: float | None = None) -> GeoBox:
    """Where values are compared: bounds in degrees, on the chain's own grid or at so many metres per pixel."""
    own = part(chain, bounds).window
    degrees = known_crs(str(own.crs)).is_geographic
    if resolution is None:
        times = -(-max(own.shape) // MOST)
        if times == 1:
            return own
        asked = own.resolution.x * times
    else:
        asked = resolution / _METRES if degrees else resolution
    return part(chain, bounds, crs=str(own.crs), resolution=asked).window


@dataclass(frozen=True)
class Compared:
    """How the values of an answer differ from the expected ones."""

    pixels: int
    """Values that were compared: those that one of both has."""
    within: int = 0
    """Of them within the tolerance."""
    more_nodata: int = 0
    """Missing in the answer alone."""
    less_nodata: int = 0
    """Missing in the expected values alone."""
    too_high: int = 0
    too_low: int = 0
    difference: float = 0.0
    """Median of the answer less the expected values, where they differ."""
    form: str = ""
    """Why nothing can be compared: other dates, other bands."""
    bands: bool = False
    """Whether it is the bands."""
    where: dict[str, int] = field(default_factory=dict)
    """Differing values by band or date."""

    @property
    def share(self) -> float:
        return self.within / self.pixels if self.pixels else 0.0

    @property
    def reason(self) -> str:
        """What differs most: `bands`, `more_nodata`, `less_nodata`, `too_high`, `too_low` or `values`."""
        if self.form:
            return "bands" if self.bands else "values"
        differing = self.pixels - self.within
        for name in ("more_nodata", "less_nodata"):
            if getattr(self, name) >= 0.5 * differing:
                return name
        for name in ("too_high", "too_low"):
            if getattr(self, name) >= 0.8 * (self.too_high + self.too_low):
                return name
        return "values"

    def __str__(self) -> str:
        """What differs, in words and figures."""
        if self.form:
            return self.form
        if not self.pixels:
            return "No pixel of the area has a value, neither yours nor the expected"
        told = []
        if self.more_nodata:
            told.append((self.more_nodata, "missing where values are expected"))
        if self.less_nodata:
            told.append((self.less_nodata, "there where nothing is expected"))
        if other := self.too_high + self.too_low:
            size = f", by {abs(self.difference):.3g} in the middle (median)"
            high, low = (side >= 0.8 * other for side in (self.too_high, self.too_low))
            told.append((other, f"too high{size}" if high else f"too low{size}" if low else "others than expected"))
        texts = [
            f"{_percent(count / self.pixels)} {'are ' if n else 'of the values are '}{text}"
            for n, (count, text) in enumerate(told)
        ]
        if self.where:
            name, count = max(self.where.items(), key=lambda one: one[1])
            if texts and len(self.where) > 1 and count >= 0.9 * sum(self.where.values()):
                texts.append(f"nearly all of them in {name}")
        return "; ".join(texts)


def compared(answer: xr.DataArray, expected: xr.DataArray, tolerance: float) -> Compared:
    """Two arrays of one window, value by value. A band's dimension of length one is none."""
    if "bands" in answer.dims and "bands" not in expected.dims and answer.sizes["bands"] == 1:
        answer = answer.isel(bands=0, drop=True)
    if "bands" in expected.dims and "bands" not in answer.dims and expected.sizes["bands"] == 1:
        expected = expected.isel(bands=0, drop=True)
    form = _dates(answer, expected)
    if form:
        return Compared(0, form=form)
    form = _bands(answer, expected)
    if form:
        return Compared(0, form=form, bands=True)
    mine, its = answer.transpose(*expected.dims).values, expected.values
    there, wanted = ~np.isnan(mine), ~np.isnan(its)
    both = there & wanted
    unlike = both & (mine != its)  # also where both are infinite, whose difference is no number
    difference = np.subtract(mine, its, out=np.zeros(its.shape), where=unlike, dtype=float)
    differs = unlike & (np.abs(difference) > tolerance + noise(mine, its, _NOISE))
    wrong = differs | (there != wanted)
    return Compared(
        pixels=int((there | wanted).sum()),
        within=int((both & ~differs).sum()),
        more_nodata=int((wanted & ~there).sum()),
        less_nodata=int((there & ~wanted).sum()),
        too_high=int((differs & (difference > 0)).sum()),
        too_low=int((differs & (difference < 0)).sum()),
        difference=float(np.median(difference[differs])) if differs.any() else 0.0,
        where=_where(wrong, expected),
    )


def _where(wrong: Any, like: xr.DataArray) -> dict[str, int]:
    for dim in ("bands", "t"):
        if dim in like.dims:
            counts = wrong.sum(axis=tuple(i for i, d in enumerate(like.dims) if d != dim))
            names = short_dates(like.t.values) if dim == "t" else [str(name) for name in like[dim].values]
            return {name: int(count) for name, count in zip(names, counts, strict=True)}
    return {}


def _dates(answer: xr.DataArray, expected: xr.DataArray) -> str:
    has, wants = ("t" in one.dims for one in (answer, expected))
    if has and not wants:
        dates = answer.sizes["t"]
        return f'The answer has {dates} dates, and one image is asked: reduce them, for example by `.median("t")`'
    if wants and not has:
        return f"The answer has no dates any more, and {expected.sizes['t']} are asked: leave out what reduces them"
    if not has:
        return ""
    mine, its = (set(short_dates(one.t.values)) for one in (answer, expected))
    if mine == its and answer.sizes["t"] == expected.sizes["t"]:
        return ""
    texts = [f"The answer has {answer.sizes['t']} dates, {expected.sizes['t']} are expected"]
    if more := sorted(mine - its):
        texts.append(f"not asked: {more[0]}" + (f" and {len(more) - 1} more" if len(more) > 1 else ""))
    if less := sorted(its - mine):
        texts.append(f"missing: {less[0]}" + (f" and {len(less) - 1} more" if len(less) > 1 else ""))
    return "; ".join(texts)


def _bands(answer: xr.DataArray, expected: xr.DataArray) -> str:
    has, wants = ([str(b) for b in one.bands.values] if "bands" in one.dims else None for one in (answer, expected))
    if has == wants:
        return ""
    if has is not None and wants is not None and len(has) == len(wants):
        return (
            ""
            if len(has) == 1
            else f"The answer has the bands {_listed(has)}; {_listed(wants)} are expected, in this order"
        )
    if wants is None:
        assert has is not None
        return (
            f"The answer has {len(has)} bands ({_listed(has)}), and one value a pixel is asked: an index, or `.band(…)`"
        )
    if has is None:
        return f"The answer has one value a pixel, and {len(wants)} bands are asked ({_listed(wants)})"
    return f"The answer has {len(has)} bands ({_listed(has)}), {len(wants)} are asked ({_listed(wants)})"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")


def _percent(share: float) -> str:
    """A share that is not 0 % or 100 % unless it is."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    if 0.999 < share < 1:
        return "nearly all"
    return f"{100 * share:.3g} %"

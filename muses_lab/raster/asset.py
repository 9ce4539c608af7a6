"""What reading needs to know of a file's band: where its pixels are, and what its stored numbers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OverviewMethod = Literal["average", "nearest", "mode"]


@dataclass(frozen=True, slots=True)
class Band:
    """One band of a collection: what its stored numbers mean."""

    name: str
    """Asset key, for example `B04`; for stack files the name given in the mapping."""
    common_name: str | None = None
    """STAC `eo:common_name`, for example `red`."""
    resolution: float = 1.0
    """Native pixel size in units of the scene's CRS (metres for UTM)."""
    dtype: str = "uint16"
    nodata: float | None = None
    """Stored value that means missing (tested before scale and offset)."""
    scale: float = 1.0
    """physical = stored × scale + offset."""
    offset: float = 0.0
    categorical: bool = False
    """True for classes and bit fields, which are never averaged."""
    overviews: OverviewMethod | None = None
    """How the stored overviews were made; None when unknown (of classes a look tells, see `raster.overviews`)."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One band of one scene: where its pixels are."""

    href: str
    """Relative to the catalogue's root, or absolute path, or https URL; unsigned."""
    transform: tuple[float, float, float, float, float, float]
    """Affine a, b, c, d, e, f from (column, row) to the scene's CRS; not rotated (b = d = 0)."""
    shape: tuple[int, int]
    """Rows, columns at full resolution."""
    band: int = 1
    """1-based band inside the file."""
    size: int | None = None
    """Bytes of the file; one of another size is not what was published."""
    modified: int | None = None
    """Microseconds since 1970 of the file's last change; another time needs the right checksum."""
    checksum: str | None = None
    """STAC `file:checksum`: a multihash in hexadecimal digits."""
    mask: tuple[int, int] | None = None
    """Size and last change (as `size` and `modified`) of the mask beside the file, its name with `.msk`; None: none."""
    opaque: bool | None = None
    """True where a band that the file calls opacity (alpha) is data, and masks nothing."""
    scale: float | None = None
    """Overrides the band's, where one item differs (processing baselines)."""
    offset: float | None = None
    nodata: float | None = None

    @property
    def steps(self) -> tuple[float, float]:
        """Width and height of a pixel in units of the CRS."""
        return abs(self.transform[0]), abs(self.transform[4])

    @property
    def mirrored(self) -> tuple[bool, bool]:
        """Whether rows run from south to north, and columns from east to west."""
        return self.transform[4] > 0, self.transform[0] < 0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in the scene's CRS."""
        a, _, x, _, e, y = self.transform
        xs, ys = (x, x + a * self.shape[1]), (y, y + e * self.shape[0])
        return min(xs), min(ys), max(xs), max(ys)

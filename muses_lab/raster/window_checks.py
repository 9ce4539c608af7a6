"""Whether bounds, resolutions and windows make sense, before anything is computed.

Most that do not are in another order, unit or reference system than they are said to be. So the errors name the value,
and what it would be right to give.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any

from odc.geo.geom import box
from pyproj.exceptions import ProjError

from muses_lab.crs import known_crs, transformer
from muses_lab.errors import CrsError, WindowError
from muses_lab.plain import shown

DEGREES = "EPSG:4326"
WEB_MERCATOR = "EPSG:3857"
RADIUS = 6378137.0
"""Metres: the earth's in web Mercator."""

MOST_PIXELS = 10**11
"""Of a window: a continent at 10 m. Who asks for more has a resolution in another unit than he thinks."""
_LONGEST = 1 << 30
"""Rows or columns: those of a grid are counted so far."""
_SMALLEST, _LARGEST = 0.99e-3, 5e7
"""Metres that the side of a pixel may have: from a millimetre to once round the world."""
_BESIDE = 9.0
"""Degrees of longitude beside the area of a reference system in which it is taken to be meant."""

_FARTHEST = 1e8
"""Metres that a window may be across in any reference system."""
_COARSE = 0.1
"""Degrees from which on a single pixel for all of the bounds is taken for metres."""

Bounds = tuple[float, float, float, float]
"""West, south, east, north."""


def bounds(value: Any, source: str, target: str) -> Bounds:
    """Bounds that somebody hands over, said to be in `source`, for a window in `target`; `WindowError` says why not."""
    found = _four(value)
    if is_degrees(source) and not _may_be_degrees(found):
        raise WindowError(
            f"bounds {text(found)} are no degrees, as bounds_crs={source!r} says (longitudes run from -180 to 180, "
            f"latitudes from -90 to 90){_no_degrees(found, target)}"
        )
    if _is_empty(found):
        raise WindowError(
            f"bounds are (west, south, east, north) with west below east and south below north; {text(found)} "
            f"is empty{_not_empty(found, source, target)}"
        )
    _check_area(found, source, target)
    return found


def box_in(asked: Bounds, source: str, target: str) -> Bounds:
    """The box in `target` around bounds in `source`."""
    west, south, east, north = asked
    b = box(west, south, east, north, source).to_crs(target, resolution=(east - west) / 64).boundingbox
    left, bottom, right, top = b.left, b.bottom, b.right, b.top
    if target == WEB_MERCATOR and is_degrees(source) and (west < -180 < east or west < 180 < east):
        left, right = (math.radians(lon) * RADIUS for lon in (west, east))  # PROJ goes on at the other side
    inside = all(map(math.isfinite, (left, bottom, right, top)))
    if not inside or max(right - left, top - bottom) * metres(target) > _FARTHEST:
        raise WindowError(
            f"bounds {text(asked)} reach beyond what {system(target)} can show{_said_of_area(target)}: choose smaller "
            "bounds, or another crs"
        )
    return left, bottom, right, top


def resolution(value: Any, size: tuple[float, float], asked: Bounds, source: str, target: str) -> float:
    """The size of a pixel in units of `target`, for a box of that width and height around the bounds `asked`."""
    unit_name = known_crs(target).axis_info[0].unit_name
    found = _number(value)
    if not 0 < found < math.inf:
        raise WindowError(f"resolution={shown(value)} must be a positive number in units of {target} ({unit_name}s)")
    if found > max(size):
        across = f"{size[0]:.3g} × {size[1]:.3g} {unit(target)}"
        if is_degrees(target) and found >= _COARSE:
            raise WindowError(
                f"resolution={found:g} is in degrees, the unit of {target}: one pixel would be larger than the bounds "
                f"({across}). {found:g} m are about {found / 111_320:.2g} degrees: give these, or a crs in metres. One "
                "pixel for all is shape=(1, 1)"
            )
        if not is_degrees(source) and _may_be_degrees(asked):
            raise WindowError(
                f"bounds {text(asked)} are {across} in {source}, as bounds_crs says, less than a pixel of "
                f"resolution={found:g}: if they are degrees, leave bounds_crs out"
            )
    rows, columns = (math.ceil(n / found) for n in reversed(size))
    pixels(rows, columns, (found, found), target)
    return found


def rows_and_columns(shape: Any) -> tuple[int, int]:
    """A shape that somebody hands over."""
    try:
        rows, columns = (0 if isinstance(n, bool) else operator.index(n) for n in shape)
    except (TypeError, ValueError):
        rows = columns = 0
    if min(rows, columns) < 1:
        raise WindowError(f"shape={shown(shape)} is not (rows, columns), two positive whole numbers")
    return rows, columns


def pixels(rows: int, columns: int, size: tuple[float, float], crs: str) -> None:
    """Refuses pixels of a size (width and height in units of `crs`) that none have, or far too many of them."""
    low, high = (side * metres(crs) for side in (min(size), max(size)))
    what = f"pixels of {size[0]:.3g} × {size[1]:.3g} {unit(crs)}"
    if low < _SMALLEST or high > _LARGEST:
        why = "smaller than a millimetre" if low < _SMALLEST else "larger than the earth"
        raise WindowError(f"{what} in {crs} are {why}{_other_unit(min(size), crs)}")
    if rows * columns > MOST_PIXELS or max(rows, columns) > _LONGEST:
        raise WindowError(
            f"the window would have {columns} × {rows} {what} in {crs}, more than the {MOST_PIXELS:.0e} that are "
            f"allowed: choose a coarser resolution or a smaller area{_other_unit(min(size), crs)}"
        )


def system(name: str) -> str:
    """What a reference system is called: code and name."""
    return f"{name} ({known_crs(name).name})" if len(name) < 32 else known_crs(name).name


def unit(name: str) -> str:
    """The unit of a reference system, short."""
    found = str(known_crs(name).axis_info[0].unit_name)
    return {"metre": "m", "degree": "degrees"}.get(found, found)


def metres(name: str) -> float:
    """Metres per unit of a reference system, at the equator."""
    crs = known_crs(name)
    return float(crs.axis_info[0].unit_conversion_factor or 1.0) * (RADIUS if crs.is_geographic else 1.0)


def is_degrees(name: str) -> bool:
    return bool(known_crs(name).is_geographic)


def text(value: Bounds) -> str:
    return f"({', '.join(f'{v:.9g}' for v in value)})"


# ------------------------------------------------------------------------------------------------ what would be right


def _number(value: Any) -> float:
    """A number, NumPy's and arrays of one included; NaN: it is none."""
    try:
        return math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError):
        return math.nan


def _four(value: Any) -> Bounds:
    try:
        west, south, east, north = map(_number, value)
    except (TypeError, ValueError):
        raise WindowError(f"bounds are four numbers (west, south, east, north), not {shown(value)}") from None
    if not all(map(math.isfinite, (west, south, east, north))):
        raise WindowError(f"bounds are four finite numbers (west, south, east, north), not {shown(value)}")
    return west, south, east, north


def _is_empty(b: Bounds) -> bool:
    return not (b[0] < b[2] and b[1] < b[3])


def _may_be_degrees(b: Bounds) -> bool:
    west, south, east, north = b
    return west >= -540 and east <= 540 and east - west <= 720 and south >= -90 and north <= 90


def _orders(b: Bounds) -> Iterator[Bounds]:
    """The bounds, if they stand in one of the other orders that people use."""
    yield min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])  # other corners first
    yield b[1], b[0], b[3], b[2]  # south, west, north, east
    yield b[0], b[2], b[1], b[3]  # west, east, south, north
    yield b[1], b[2], b[3], b[0]  # north, west, south, east


def _in_order(b: Bounds, source: str, target: str | None = None) -> str:
    """`; is (west, south, east, north) meant?` in another order that would do; nothing where there is none."""
    for other in _orders(b):
        may_be = other != b and not _is_empty(other) and (not is_degrees(source) or _may_be_degrees(other))
        if may_be and (target is None or _is_used(target, other, source, whole=True)):
            return f"; is {text(other)} meant?"
    return ""


def _no_degrees(b: Bounds, target: str) -> str:
    within = max(map(abs, b)) <= 360
    if within and (other := _in_order(b, DEGREES)):
        return other
    metric = "EPSG:32631" if is_degrees(target) or target == WEB_MERCATOR else target
    return f"; in which reference system are they? Say so: bounds_crs={metric!r}, for example"


def _not_empty(b: Bounds, source: str, target: str) -> str:
    west, south, east, north = b
    if west == east or south == north:
        return ""
    if is_degrees(source) and west > 0 > east and south < north and _may_be_degrees((west, south, east + 360, north)):
        return f"; a window across 180° goes on beyond it: {text((west, south, east + 360, north))}"
    return _in_order(b, source, target) or _in_order(b, source)


def _check_area(b: Bounds, source: str, target: str) -> None:
    """Refuses bounds that are nowhere near where the window's reference system is used: there its places are wrong."""
    is_near = _is_used(target, b, source)
    if is_near and (_is_used(target, b, source, whole=True) or not _in_order(b, source, target)):
        return
    cure = _in_order(b, source, target)
    if not cure and not is_degrees(source) and _may_be_degrees(b):
        cure = "; if they are degrees, leave bounds_crs out"
    else:
        cure += _zone(b, source)
    raise WindowError(f"bounds {text(b)} are not where {system(target)} is used{_said_of_area(target)}{cure}")


def _is_used(target: str, b: Bounds, source: str, whole: bool = False) -> bool:
    """Whether a part of bounds, or the whole, is not far from where a system is used: half of that, 9° at least.

    A country of several zones is often computed in one of them.
    """
    area = known_crs(target).area_of_use
    degrees = _to_degrees(b, source)
    if area is None or degrees is None:
        return True
    if not all(map(math.isfinite, degrees)):
        return False
    (left, bottom, right, top), (west, south, east, north) = area.bounds, degrees
    right += 360 if right < left else 0
    across, down = max((right - left) / 2, _BESIDE), (top - bottom) / 2
    turn = 360 * round((left + right - west - east) / 720)
    pairs = [(south, north, bottom - down, top + down)]
    if across < 90:  # others go round the world
        pairs.append((west + turn, east + turn, left - across, right + across))
    if whole:
        return all(low <= first and last <= high for first, last, low, high in pairs)
    return all(first <= high and last >= low for first, last, low, high in pairs)


def _to_degrees(b: Bounds, source: str) -> Bounds | None:
    """The bounds in longitude and latitude; None for another planet, or a plan without a place."""
    if is_degrees(source):
        return b
    try:
        west, south, east, north = transformer(source, DEGREES).transform_bounds(*b)
    except CrsError:
        return None
    except ProjError:
        return math.inf, math.inf, math.inf, math.inf
    return west, south, east + (360 if east < west else 0), north


def _said_of_area(name: str) -> str:
    area = known_crs(name).area_of_use
    if area is None:
        return ""
    return f" (longitudes {area.west:g} to {area.east:g}, latitudes {area.south:g} to {area.north:g})"


def _zone(b: Bounds, source: str) -> str:
    """A reference system for the place: that of its UTM zone."""
    degrees = _to_degrees(b, source)
    if degrees is None or not all(map(math.isfinite, degrees)):
        return ""
    lon, lat = ((degrees[0] + degrees[2]) / 2 + 180) % 360 - 180, (degrees[1] + degrees[3]) / 2
    return f"; a crs for this place is EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1}"


def _other_unit(size: float, crs: str) -> str:
    """What a pixel's size would be in units of a reference system of metres, if it was meant in degrees."""
    if is_degrees(crs) or size >= 1:
        return ""
    there = f"{size * 111_320 / metres(crs):.3g} {unit(crs)}"
    name = known_crs(crs).axis_info[0].unit_name
    return f"; the unit of {crs} is {name}: if {size:g} degrees are meant, these are about {there}"

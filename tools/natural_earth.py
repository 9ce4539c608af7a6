"""Makes what the offline base map draws (`muses_lab/service/natural_earth`): `python tools/natural_earth.py FOLDER`.

Natural Earth (naturalearthdata.com) is in the public domain. FOLDER holds `110m`, `50m` and `10m` with the shapefiles
`ne_*_land` (its lakes cut out), `ne_*_admin_0_boundary_lines_land` and `ne_*_rivers_lake_centerlines`, as the Debian
package `libmagics++-data` has them in /usr/share/magics; version 4.13.0-1 was used. Needs `pip install pyogrio`, which
is no part of the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from shapely.geometry.base import BaseGeometry

TARGET = Path(__file__).resolve().parent.parent / "muses_lab" / "service" / "natural_earth"

# By scale: degrees that a line may be moved by, parts of a degree that coordinates are kept in, degrees of the squares
# that land is cut into, so that a tile need not draw a continent.
SCALES = {"110m": (0.0, 100, 60.0), "50m": (0.01, 500, 15.0), "10m": (0.003, 2000, 5.0)}
FIRM = ("international boundary (verify)", "overlay limit", "lease limit")
"""How Natural Earth calls borders that nobody disputes."""


def main(folder: Path) -> None:
    TARGET.mkdir(exist_ok=True)
    for scale, (tolerance, unit, square) in SCALES.items():
        land = [(part, 0) for shape, _ in _shapes(folder, scale, "land") for part in _squares(shape, square)]
        borders = [
            (line, int(str(record["featurecla"]).lower() not in FIRM))
            for shape, record in _shapes(folder, scale, "admin_0_boundary_lines_land")
            for line in _lines(shape)
        ]
        rivers = [
            (line, int(record["scalerank"]))
            for shape, record in _shapes(folder, scale, "rivers_lake_centerlines")
            for line in _lines(shape)
            if record["featurecla"] != "Lake Centerline"
        ]
        for kind, shapes in (("land", land), ("borders", borders), ("rivers", rivers)):
            simple = [(shapely.segmentize(shape.simplify(tolerance), 10.0), rank) for shape, rank in shapes]
            file = TARGET / f"{scale}-{kind}.npz"
            np.savez_compressed(file, unit=unit, **_packed(simple, unit))
            print(file, file.stat().st_size)


def _shapes(folder: Path, scale: str, name: str) -> Iterator[tuple[BaseGeometry, dict]]:
    meta, _, shapes, columns = pyogrio.raw.read(folder / scale / f"ne_{scale}_{name}.shp")
    names = [field.lower() for field in meta["fields"]]
    for shape, *values in zip(shapely.from_wkb(shapes), *columns, strict=True):
        if shape is not None:
            yield shapely.make_valid(shape), dict(zip(names, values, strict=True))


def _squares(shape: BaseGeometry, side: float) -> Iterator[BaseGeometry]:
    """The polygons of a shape, cut along the lines of a grid."""
    west, south, east, north = shape.bounds
    for x in np.arange(np.floor(west / side), np.ceil(east / side)) * side:
        for y in np.arange(np.floor(south / side), np.ceil(north / side)) * side:
            cut = shapely.intersection(shape, shapely.box(x, y, x + side, y + side))
            for part in shapely.get_parts(cut):
                if part.geom_type == "Polygon" and part.area:
                    yield part


def _lines(shape: BaseGeometry) -> Iterator[BaseGeometry]:
    for part in shapely.get_parts(shapely.line_merge(shape) if shape.geom_type == "MultiLineString" else shape):
        if part.geom_type == "LineString":
            yield part


def _packed(shapes: Iterable[tuple[BaseGeometry, int]], unit: int) -> dict[str, np.ndarray]:
    """Rings or lines, one after the other: where each begins (`starts`), how many points it has (`points`), the steps
    between them (`steps`, their low bytes before their high ones), its `rank`, and whether it is a `hole` in the ring
    before."""
    starts, steps, points, ranks, holes = [], [], [], [], []
    for shape, rank in shapes:
        rings = [shape.exterior, *shape.interiors] if shape.geom_type == "Polygon" else [shape]
        for n, ring in enumerate(rings):
            spots = np.rint(shapely.get_coordinates(ring) * unit).astype(np.int32)
            spots = spots[np.r_[True, (np.diff(spots, axis=0) != 0).any(axis=1)]]
            if len(spots) < (4 if shape.geom_type == "Polygon" else 2):
                if n == 0:
                    break
                continue
            between = np.diff(spots, axis=0)
            assert np.abs(between).max() < 1 << 15
            starts.append(spots[0])
            steps.append(between.astype("<i2"))
            points.append(len(spots))
            ranks.append(rank)
            holes.append(n > 0)
    return {
        "starts": np.array(starts, np.int32),
        "steps": np.concatenate(steps).T.copy().view(np.uint8).reshape(2, -1, 2).transpose(0, 2, 1).copy(),
        "points": np.array(points, np.int32),
        "rank": np.array(ranks, np.int8),
        "hole": np.array(holes, np.bool_),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))

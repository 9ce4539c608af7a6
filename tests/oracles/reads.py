"""The blocks of files that a view needs, without the engine: scenes, the files' structure and pyproj."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from odc.geo.geobox import GeoBox

from muses_lab.scenes.scene import Scenes

Read = tuple[str, int, int, int]
"""A file's path, the overview, row and column of a block."""


def expected_reads(scenes: Scenes, root: Path, tile: GeoBox, bands: tuple[str, ...]) -> tuple[set[Read], set[str]]:
    """File blocks under a tile, from the list of scenes, the files' structure and pyproj; and the scenes."""
    a, n = tile.affine, tile.shape.x
    cc, rr = np.meshgrid(np.arange(n) + 0.5, np.arange(n) + 0.5)
    crs_of = {s.grid: s.crs for s in scenes.scenes}
    places, boxes, depths = {}, {}, {}
    for grid, crs in sorted(crs_of.items()):
        members = [s for s in scenes.scenes if s.grid == grid]
        t, (rows, cols) = members[0].assets["B04"].transform, members[0].assets["B04"].shape
        boxes[grid] = (t[2], t[5] - 10 * rows, t[2] + 10 * cols, t[5])
        x, y = pyproj.Transformer.from_crs(3857, crs, always_xy=True).transform(a.c + cc * a.a, a.f + rr * a.e)
        places[grid] = x, y
        w, s, e, north = boxes[grid]  # the footprints of the sample's tiles together fill them
        depths[grid] = np.minimum(np.minimum(x - w, e - x), np.minimum(y - s, north - y))
    deepest = np.stack([depths[g] for g in sorted(crs_of)])
    owner = np.where((deepest < 0).all(0), -1, deepest.argmax(0))
    latitude = pyproj.Transformer.from_crs(32631, 4326, always_xy=True).transform(372_000, 4_828_000)[1]
    level = max(0, math.floor(math.log2(a.a * math.cos(math.radians(latitude)) / 10)))
    side = 512 * 10 * 2**level
    found: set[Read] = set()
    used: set[str] = set()
    for number, grid in enumerate(sorted(crs_of)):
        w, _, _, north = boxes[grid]
        x, y = (v[owner == number] for v in places[grid])
        for col, row in set(zip((x - w) // side, (north - y) // side, strict=True)):
            for scene in (s for s in scenes.scenes if s.grid == grid):
                used.add(scene.id)
                for band in bands:
                    asset = scene.assets[band]
                    overview = max(0, level - round(math.log2(asset.transform[0] / 10)))
                    path = (root / asset.href).resolve()
                    with rasterio.open(path, **({"overview_level": overview - 1} if overview else {})) as file:
                        size = file.block_shapes[0][0] * asset.transform[0] * 2**overview
                        height = file.height
                    assert size >= side, "the sample's blocks are no smaller than the engine's"
                    if row * side < height * asset.transform[0] * 2**overview:
                        found.add((str(path), overview, int(row * side // size), int(col * side // size)))
    return found, used

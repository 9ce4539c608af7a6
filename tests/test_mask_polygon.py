"""Masks by polygons: against rasterio's masks and points in polygons, in two zones, at levels, and through a worker."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from odc.geo.geobox import GeoBox
from rasterio.features import geometry_mask

import muses_lab as ml
from muses_lab.errors import ArgumentError, DocumentError
from muses_lab.operators.polygons import POLYGONS, Polygons
from muses_lab.raster.asset import Band
from tests.helpers.made_scenes import UTM31, Made, values, window, write_tif

SIZE = 700
CORNERS = {"EPSG:32631": (735_000.0, 4_800_000.0), "EPSG:32632": (249_000.0, 4_800_000.0)}
"""Of a tile in each of two zones: they overlap at 6° E."""


def masked(chain: ml.Chain, polygons: Any, **arguments: Any) -> ml.Chain:
    return chain.mask_polygon(polygons, **arguments)


def stars(count: int, west: float, south: float, east: float, north: float) -> list[shapely.Polygon]:
    """Polygons with thirty corners, some with a hole, that overlap."""
    rng, found = np.random.default_rng(7), []
    size = min(east - west, north - south) / 5
    while len(found) < count:
        x, y = rng.uniform(west, east), rng.uniform(south, north)
        angles, far = np.sort(rng.uniform(0, 2 * np.pi, 30)), size * rng.uniform(0.4, 1, 30)
        star = shapely.Polygon(np.c_[x + far * np.cos(angles), y + far * np.sin(angles)])
        if len(found) % 3 == 0:
            star = star.difference(shapely.Point(x, y).buffer(size / 5, 4))
        if star.is_valid and isinstance(star, shapely.Polygon):
            found.append(star)
    return found


@pytest.fixture(scope="module")
def tiles(made_once: Made) -> ml.Chain:
    """Ones, and a missing row, of two tiles in two zones."""
    ones = np.ones((SIZE, SIZE), np.uint8)
    ones[10] = 0
    scenes = []
    for crs, corner in CORNERS.items():
        path = write_tif(made_once.folder / f"{crs[-5:]}.tif", ones, corner=corner, crs=crs, overviews=(2, 4))
        scenes.append(made_once.scene(crs[-5:], "2020-01-01", {"B": made_once.asset(path)}, crs, grid=f"T-{crs[-2:]}"))
    return made_once.chain([Band("B", nodata=0.0)], scenes).band("B").first("t")


@pytest.fixture(scope="module")
def fields() -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame({"name": range(9)}, geometry=stars(9, 5.93, 43.27, 5.99, 43.32), crs=4326)


def drawn(polygons: geopandas.GeoDataFrame, box: GeoBox) -> np.ndarray:
    """Inside by rasterio, of polygons whose edges got corners every few metres before they were brought there."""
    dense = polygons.geometry.segmentize(1e-4) if polygons.crs != str(box.crs) else polygons.geometry
    return geometry_mask(dense.to_crs(str(box.crs)), box.shape, box.affine, invert=True)


@pytest.mark.parametrize("crs", CORNERS)
def test_a_pixel_is_inside_where_rasterio_says_so(tiles: ml.Chain, fields: geopandas.GeoDataFrame, crs: str) -> None:
    box = window(SIZE, SIZE, corner=CORNERS[crs], crs=crs)
    for polygons, few in ((fields, 3), (fields.to_crs(crs), 0)):
        of = Polygons.of(polygons.crs, polygons.geometry)
        expected = drawn(polygons, box)
        assert 0.05 < expected.mean() < 0.95
        assert (of.inside(box) != expected).sum() <= few, "centres within a centimetre of an edge"


def test_values_stay_inside_or_outside_and_what_is_missing_stays_so(
    made_once: Made, fields: geopandas.GeoDataFrame
) -> None:
    numbers = np.random.default_rng(1).integers(0, 200, (SIZE, SIZE), dtype=np.uint8)
    path = write_tif(made_once.folder / "numbers.tif", numbers, corner=CORNERS[UTM31])
    scene = made_once.scene("numbers", "2020-01-01", {"B": made_once.asset(path)})
    chain = made_once.chain([Band("B", nodata=0.0)], [scene]).band("B").first("t")
    box = window(SIZE, SIZE, corner=CORNERS[UTM31])
    utm = fields.to_crs(UTM31)
    here, there = drawn(utm, box), np.where(numbers, numbers.astype(np.float32), np.nan)
    np.testing.assert_array_equal(values(masked(chain, utm), box), np.where(here, there, np.nan))
    np.testing.assert_array_equal(values(masked(chain, utm, inside=True), box), np.where(here, np.nan, there))
    filled = np.where(here | np.isnan(there), there, 250.5)
    np.testing.assert_array_equal(values(masked(chain, utm, replacement=250.5), box), filled)


def test_a_window_of_two_zones_has_no_seam(tiles: ml.Chain, fields: geopandas.GeoDataFrame) -> None:
    box = ml.Window.from_bounds((5.93, 43.27, 5.99, 43.32), crs="EPSG:3857", resolution=15)
    every, kept = values(tiles, box), values(masked(tiles, fields), box)
    assert np.isnan(every).mean() < 0.2
    west, north = box.affine @ (0, 0)
    xs, ys = west + 15 * (np.arange(box.shape.x) + 0.5), north - 15 * (np.arange(box.shape.y) + 0.5)
    x, y = np.meshgrid(xs, ys)
    mercator = fields.geometry.segmentize(1e-4).to_crs(3857).union_all()
    inside = shapely.contains_xy(mercator, x, y)
    near = shapely.distance(mercator.boundary, shapely.points(x, y)) < 40  # of the pixel shown the centre is elsewhere
    sure = ~near & ~np.isnan(every)
    assert sure.sum() > 50_000
    np.testing.assert_array_equal(~np.isnan(kept[sure]), inside[sure])


def test_a_pixel_is_the_same_in_every_window_and_level(made_once: Made, fields: geopandas.GeoDataFrame) -> None:
    made = made_once
    path = write_tif(made.folder / "ones.tif", np.ones((SIZE, SIZE), np.uint8), corner=CORNERS[UTM31], overviews=(2, 4))
    tile = made.chain([Band("B")], [made.scene("ones", "2020-01-01", {"B": made.asset(path)})]).band("B").first("t")
    # Corners and edges on centres of pixels: whoever counts from the window decides them by its rounding errors.
    x, y = CORNERS[UTM31]
    ties = [shapely.box(x + 1005.0, y - 3005.0, x + 2995.0, y - 2005.0)]
    ties.append(shapely.Polygon([(x + 3005, y - 3005), (x + 6005, y - 6005), (x + 3005, y - 6005)]))
    utm = geopandas.GeoDataFrame(geometry=ties, crs=UTM31)
    for polygons in (fields, utm):
        chain = masked(tile, polygons)
        for pixel in (10.0, 40.0):
            size = int(SIZE * 10 / pixel)
            box = window(size, size, pixel, corner=CORNERS[UTM31])
            whole = values(chain, box)
            expected = Polygons.of(polygons.crs, polygons.geometry).inside(box)
            np.testing.assert_array_equal(np.isfinite(whole), expected)
            for rows, cols in ((slice(3, 60), slice(7, 101)), (slice(95, 141), slice(1, 160))):
                np.testing.assert_array_equal(values(chain, box[rows, cols]), whole[rows, cols])
    ten = window(SIZE, SIZE, corner=CORNERS[UTM31])
    turned = [tie.reverse() for tie in ties]
    np.testing.assert_array_equal(Polygons.of(UTM31, ties).inside(ten), Polygons.of(UTM31, turned).inside(ten))


def test_longitudes_go_round() -> None:
    for west in (-179.995, 179.985, 180.005):
        box = ml.Window.from_bounds((-179.999, -17.01, -179.981, -16.99), crs="EPSG:32701", resolution=20)
        polygon = shapely.box(west, -17.0, west + 0.01, -16.5)
        inside = Polygons.of(4326, [polygon]).inside(box)
        x, y = (np.array(c) for c in _degrees(box))
        here = [shapely.contains_xy(polygon, x + turn, y) for turn in (0, 360, -360)]
        assert (inside != np.any(here, axis=0)).mean() < 1e-3


WORLD = shapely.box(-180, -90, 180, 90)
CONTINENT = shapely.Polygon([(-75, -35), (60, -40), (120, -5), (95, 10), (110, 70), (-20, 80), (-100, 55)])
"""Of corners that are far from the zone, with the place (93° E on the equator) inside that zone 31 cannot show."""


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:32622", "EPSG:3857", "EPSG:3413"])
@pytest.mark.parametrize("pixel", [81_920.0, 40_960.0, 20_480.0, 10_240.0, 2_560.0])
def test_no_part_is_left_out_where_the_grid_is_coarse(crs: str, pixel: float) -> None:
    """Of blocks up to half of the Earth wide, around the place for which the grid is meant and off it."""
    for corner in ((500_000.0, 5_000_000.0), (4_500_000.0, 9_500_000.0)):
        box = window(90, 120, pixel, corner=(corner[0] - 60 * pixel, corner[1] + 45 * pixel), crs=crs)
        x, y = _degrees(box)
        somewhere = np.isfinite(x) & np.isfinite(y)
        inside = Polygons.of(4326, [WORLD]).inside(box)
        np.testing.assert_array_equal(inside, somewhere)
        inside = Polygons.of(4326, [CONTINENT, shapely.box(-170, -60, -160, -50)]).inside(box)
        expected = shapely.contains_xy(CONTINENT, x, y) | shapely.contains_xy(shapely.box(-170, -60, -160, -50), x, y)
        assert (inside != expected).mean() < 1e-3, "centres next to an edge"


def _degrees(box: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    from muses_lab.crs import transformer

    columns, rows = np.meshgrid(np.arange(box.shape.x) + 0.5, np.arange(box.shape.y) + 0.5)
    return transformer(str(box.crs), 4326).transform(*(box.affine @ (columns, rows)))


# ------------------------------------------------------------------------------------------------- the artefact


def test_content_names_it_not_the_file(tiles: ml.Chain, fields: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    package, text = tmp_path / "fields.gpkg", tmp_path / "fields.geojson"
    fields.to_file(package, layer="fields")
    fields.iloc[::-1].to_file(text, COORDINATE_PRECISION=17)
    shuffled = fields.sample(frac=1, random_state=1)
    given = [package, str(package), text, fields, shuffled, fields.geometry, json.loads(text.read_text())]
    assert len({masked(tiles, polygons).hash for polygons in given}) == 1
    artefact = masked(tiles, package).published.artefacts
    (body,) = (a.body for a in artefact.values() if a.kind is POLYGONS)
    assert hashlib.sha256(body).hexdigest() in artefact and json.loads(body)["crs"]["properties"]["name"] == "EPSG:4326"
    again = POLYGONS.parse(body)
    assert again == Polygons.of(4326, fields.geometry) and POLYGONS.write(again) == body


def test_documents_of_others_hold_geojson(tiles: ml.Chain, fields: geopandas.GeoDataFrame) -> None:
    chain = masked(tiles, fields, inside=True)
    document = chain.to_json(artefacts=True)
    assert ml.Chain.from_json(document).identical(chain)
    text = json.dumps(document)
    (digest,) = (d for d, a in chain.published.artefacts.items() if a.kind is POLYGONS)
    geojson = fields.geometry.to_json()
    assert ml.Chain.from_json(text.replace(f'"mask": "{digest}"', f'"mask": {geojson}')).hash == chain.hash
    for wrong, told in (
        ('{"type": "Point", "coordinates": [1, 2]}', "feature 0 is a point; only polygons have an inside"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]}', "not valid .Self-intersect"),
        ('{"type": "Polygon", "coordinates": 7}', "it is no Polygon"),
        ('{"type": "FeatureCollection", "features": []}', "there is no feature with a geometry"),
        ('{"type": "FeatureCollection", "features": 7}', "a FeatureCollection is a list"),
        (
            '{"type": "Polygon", "coordinates": [], "crs": {"properties": {"name": "/etc/passwd"}}}',
            "CRS|code",
        ),
        ('"fields.gpkg"', "must be the SHA-256"),
    ):
        with pytest.raises(DocumentError, match=told):
            ml.Chain.from_json(text.replace(f'"mask": "{digest}"', f'"mask": {wrong}'))


def test_what_is_no_polygons_is_refused(tiles: ml.Chain, fields: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    (tmp_path / "raster.gpkg").write_text(
        "<OGRVRTDataSource><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTDataSource>"
    )
    (tmp_path / "damaged.gpkg").write_bytes(b"SQLite format 3\0" + bytes(1000))
    fields.to_file(tmp_path / "two.gpkg", layer="a")
    fields.to_file(tmp_path / "two.gpkg", layer="b")
    lines = fields.set_geometry(fields.boundary)
    for given, told in (
        (tmp_path / "none.gpkg", "there is no such file"),
        (tmp_path / "raster.gpkg", "no GeoPackage, no GeoJSON"),
        (tmp_path / "damaged.gpkg", "cannot be read"),
        (tmp_path / "two.gpkg", r"of its layers \('a', 'b'\) one is needed"),
        (lines, "feature 0 is a line; only polygons"),
        (fields.set_crs(None, allow_override=True), "no reference system"),
        (shapely.box(364_000, 4_800_000, 365_000, 4_801_000), "is in degrees"),
        (fields.set_geometry(fields.translate(np.inf)), "no finite numbers"),
        (7, "give the path"),
    ):
        with pytest.raises(ArgumentError, match=told):
            masked(tiles, given)


def test_a_worker_gets_the_polygons(tiles: ml.Chain, fields: geopandas.GeoDataFrame) -> None:
    box = window(200, 300, corner=CORNERS[UTM31])
    chain = masked(tiles, fields)
    np.testing.assert_array_equal(chain.compute(box), values(chain, box))
    np.testing.assert_array_equal((chain * 2).compute(box), 2 * values(chain, box))

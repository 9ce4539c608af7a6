from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from muses_lab.service import basemap
from muses_lab.service.tile import SIZE, Tile, TilePixel


def image(tile: Tile) -> np.ndarray:
    """Darkness, 0 to 255."""
    return planes(tile)[1]


def planes(tile: Tile, theme: str = "light") -> tuple[np.ndarray, np.ndarray]:
    """How much of a pixel is water, and how dark it is, 0 to 255."""
    decoded = Image.open(io.BytesIO(basemap.base_tile(tile, theme)))
    assert decoded.mode == "P" and decoded.size == (SIZE, SIZE)
    water, darkness = np.divmod(np.asarray(decoded), basemap.SHADES)
    return water * (255 / (basemap.WATERS - 1)), darkness * (255 / (basemap.SHADES - 1))


def wetness(lon: float, lat: float, zoom: int) -> float:
    place = TilePixel.at(lon, lat, zoom)
    return planes(place.tile)[0][place.row, place.col]


PLACES = {
    "Bay of Biscay": (-4.0, 45.0, True),
    "Mediterranean": (5.0, 42.0, True),
    "Massif Central": (3.0, 45.0, False),
    "Sahara": (10.0, 25.0, False),
    "Lake Victoria": (33.0, -1.0, True),
    "Caspian Sea": (51.0, 42.0, True),
    "Lake Balaton": (17.75, 46.83, True),
    "Lake Toba": (98.7, 2.75, True),
    "Samosir, an island in it": (98.8, 2.62, False),
    "Chukotka, beyond the 180th meridian": (-178.0, 66.5, False),
    "Chukotka, before it": (178.5, 67.5, False),
    "Bering Sea at the 180th meridian": (180.0, 58.0, True),
    "Antelope Island in the Great Salt Lake": (-112.21, 40.95, False),
    "Antarctica": (90.0, -80.0, False),
    "Arctic Ocean": (0.0, 84.5, True),
}


@pytest.mark.parametrize("zoom", [6, 9])
@pytest.mark.parametrize("name", PLACES)
def test_land_is_land_and_water_is_water(name: str, zoom: int) -> None:
    lon, lat, wet = PLACES[name]
    assert (wetness(lon, lat, zoom) > 128) == wet


def test_the_far_world_has_its_oceans() -> None:
    water, _ = planes(Tile(0, 0, 0))
    assert 0.5 < (water > 128).mean() < 0.75


def test_the_180th_meridian_is_no_coast() -> None:
    """Land that goes on in the map's other end has no line there."""
    water, dark = planes(Tile(8, 255, 66))
    inland = np.flatnonzero(water[:, -1] == 0)
    assert len(inland) > 30  # Chukotka
    assert np.median(dark[inland, -1]) == 0


def test_rivers_borders_and_coasts_are_drawn() -> None:
    garonne = TilePixel.at(0.15, 44.42, 8).tile  # between Agen and Bordeaux
    assert (planes(garonne)[0] > 100).sum() > 100
    _, dark = planes(TilePixel.at(1.0, 42.75, 7).tile)
    assert (dark > basemap.LINE + 30).sum() > 200  # France, Spain, Andorra
    water, dark = planes(TilePixel.at(-1.25, 44.5, 8).tile)
    assert ((water < 255) & (dark > basemap.LINE)).sum() > 200  # the Atlantic's coast


def test_near_the_ground_nothing_is_drawn_that_is_only_roughly_known() -> None:
    sea = TilePixel.at(-4.0, 45.0, basemap.WORLD_UNTIL + 1).tile
    assert planes(sea)[0].max() == 0
    assert basemap.world(0) is not basemap.world(12)


def test_the_dark_map_is_the_same_map_on_dark_ground() -> None:
    tile = TilePixel.at(1.44, 43.6, 9).tile
    light, dark = planes(tile, "light"), planes(tile, "dark")
    assert (light[0] == dark[0]).all() and (light[1] == dark[1]).all()

    def grey(theme: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(basemap.base_tile(tile, theme))).convert("L"))

    assert np.median(grey("light")) > 220 and np.median(grey("dark")) < 60
    assert grey("dark").max() > 150  # names can be read


def test_toulouse_has_its_name_on_the_map() -> None:
    place = TilePixel.at(1.44367, 43.60426, 9)
    names = {label.text for label in basemap._names_near(place.tile)}
    assert "Toulouse" in names
    dark = image(place.tile)[max(place.row - 3, 0) : place.row + 4, max(place.col - 3, 0) : place.col + 4]
    assert dark.max() > 100


def area(zoom: int) -> dict[tuple[int, int], list[basemap.Label]]:
    """The names of 5 × 5 tiles of western Europe, by tile."""
    _, cx, cy = TilePixel.at(4, 49, zoom).tile
    tiles = [(cx + i, cy + j) for i in range(-2, 3) for j in range(-2, 3)]
    return {
        (x, y): basemap._names_near(Tile(zoom, x, y)) for x, y in tiles if 0 <= x < 1 << zoom and 0 <= y < 1 << zoom
    }


@pytest.mark.parametrize("zoom", [2, 5, 7, 9, 12])
def test_names_do_not_overlap_and_all_tiles_agree_on_them(zoom: int) -> None:
    by_tile = area(zoom)
    everything = {label for labels in by_tile.values() for label in labels}
    assert everything
    for label in everything:
        assert not any(label.overlaps(other.box) for other in everything if other is not label and other != label)
    for (x, y), labels in by_tile.items():
        here = (x * SIZE, y * SIZE, (x + 1) * SIZE, (y + 1) * SIZE)
        assert set(labels) == {label for label in everything if label.overlaps(here)}


@pytest.mark.parametrize("zoom", [5, 7, 8])
def test_names_run_on_across_tile_borders(zoom: int) -> None:
    letters_beyond = [
        (Tile(zoom, x + 1, y), label)
        for (x, y), labels in area(zoom).items()
        for label in labels
        if label.x // SIZE == x and label.y // SIZE == y and label.box[2] - 16 > (x + 1) * SIZE
    ]
    for right, label in letters_beyond:
        top = max(label.y - right.y * SIZE - 4, 0)
        letters = image(right)[top : top + 8, : label.box[2] - 10 - right.x * SIZE]
        assert letters.max() > 90, label


def test_no_name_is_longer_than_the_reach() -> None:
    longest = max(basemap._cities()[3], key=len)
    assert basemap._width(longest, 12) < basemap.REACH - 30


@pytest.mark.parametrize(("zoom", "x", "y"), [(0, 0, 0), (3, 0, 0), (3, 7, 7), (24, 2**24 - 1, 0), (15, 16384, 16384)])
def test_edges_of_the_world_can_be_drawn(zoom: int, x: int, y: int) -> None:
    assert image(Tile(zoom, x, y)).shape == (SIZE, SIZE)


def test_graticule_is_where_it_says() -> None:
    place = TilePixel.at(2.0, 44.0, 8)
    column = image(place.tile)[:, place.col]
    assert np.median(column) >= basemap.LINE - 255 / basemap.SHADES
    texts = {label.text for label in basemap._graticule(place.tile)[1]}
    assert {"2°E", "44°N"} <= texts


def test_graticule_labels_are_the_same_in_neighbouring_tiles() -> None:
    left, right = (basemap._graticule(Tile(8, x, 93))[1] for x in (128, 129))
    border = 129 * SIZE
    assert {t for t in left if t.box[2] > border} == {t for t in right if t.box[0] < border}


def test_tiles_are_small() -> None:
    assert len(basemap.base_tile(Tile(9, 258, 187))) < 10_000

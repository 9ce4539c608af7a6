from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from muses_lab.service import basemap
from muses_lab.service.tile import SIZE, Place, Tile


def image(tile: Tile) -> np.ndarray:
    """Darkness, 0 to 255."""
    decoded = Image.open(io.BytesIO(basemap.base_tile(tile)))
    assert decoded.mode == "P" and decoded.size == (SIZE, SIZE)
    return np.asarray(decoded)


def test_toulouse_has_its_name_on_the_map() -> None:
    place = Place.at(1.44367, 43.60426, 9)
    names = {label.text for label in basemap._names_near(place.tile)}
    assert "Toulouse" in names
    dark = image(place.tile)[max(place.row - 3, 0) : place.row + 4, max(place.col - 3, 0) : place.col + 4]
    assert dark.max() > 100


def area(zoom: int) -> dict[tuple[int, int], list[basemap.Label]]:
    """The names of 5 × 5 tiles of western Europe, by tile."""
    _, cx, cy = Place.at(4, 49, zoom).tile
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
    place = Place.at(2.0, 44.0, 8)
    column = image(place.tile)[:, place.col]
    assert np.median(column) >= basemap.LINE
    texts = {label.text for label in basemap._graticule(place.tile)[1]}
    assert {"2°E", "44°N"} <= texts


def test_graticule_labels_are_the_same_in_neighbouring_tiles() -> None:
    left, right = (basemap._graticule(Tile(8, x, 93))[1] for x in (128, 129))
    border = 129 * SIZE
    assert {t for t in left if t.box[2] > border} == {t for t in right if t.box[0] < border}


def test_tiles_are_small() -> None:
    assert len(basemap.base_tile(Tile(9, 258, 187))) < 10_000

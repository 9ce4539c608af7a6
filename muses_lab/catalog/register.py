"""`muses-lab catalog add`: files of this machine become a catalogue, and stay where they are.

What can be added: STAC Items (and ItemCollections) as JSON, GeoTIFFs of one date, and stacks of many dates in one file.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rustac
from filelock import FileLock

from muses_lab import settings
from muses_lab.catalog.bands import together
from muses_lab.catalog.describe import describe_collection, item_assets, space_extent, time_extent
from muses_lab.catalog.inputs import given
from muses_lab.catalog.local import read_json
from muses_lab.catalog.sources import Options, items_of
from muses_lab.catalog.stack import Stack
from muses_lab.errors import MusesError, ReadError
from muses_lab.plain import slug
from muses_lab.products import profiles

Progress = Callable[[int, int, str], None]


class RegisterError(MusesError):
    """Files that cannot be made a catalogue: a bad collection id, a folder that is something else."""

    code = "register-failed"


@dataclass(frozen=True)
class Failure:
    """A file, or one asset of it, that was not registered."""

    path: str
    reason: str


@dataclass
class Registered:
    """What became of the files."""

    catalog: str
    """Id of the catalogue."""
    folder: Path
    collection: str
    added: list[str] = field(default_factory=list)
    """Ids of new items."""
    replaced: list[str] = field(default_factory=list)
    """Ids of items that were there before."""
    failed: list[Failure] = field(default_factory=list)
    """Files that were skipped."""
    notes: list[Failure] = field(default_factory=list)
    """Assets and properties that are missing from items which were registered."""

    def __str__(self) -> str:
        done = f"{len(self.added)} added, {len(self.replaced)} replaced in {self.collection} of {self.folder}"
        lines = [
            done if self.added or self.replaced else "nothing was added",
            *(f"skipped {f.path}: {f.reason}" for f in self.failed),
            *(f"incomplete {f.path}: {f.reason}" for f in self.notes),
        ]
        return "\n".join(lines)


def add(
    files: Iterable[str | Path],
    *,
    catalog: str | Path,
    collection: str | None = None,
    stack: str | Path | dict[str, Any] | None = None,
    date: str | None = None,
    pattern: str | None = None,
    progress: Progress | None = None,
) -> Registered:
    """Registers files in the catalogue folder `catalog`, which is made if need be.

    >>> add(["S2A_31TCJ_20180412.json"], catalog="scenes", collection="sentinel-2-l2a")   # doctest: +SKIP
    >>> add(["bouconne.tif"], catalog="scenes", stack="bouconne.json")                    # doctest: +SKIP

    Parameters
    ----------
    files
        STAC Item or ItemCollection JSONs, GeoTIFFs, and folders of such: of a folder with STAC items these. Assets of
        items that lie beside the JSON, by the base name of their href, are preferred to the remote ones.
    catalog
        The catalogue's folder.
    collection
        Id of the collection. By default the one that the stack's mapping or the items name.
    stack
        Mapping (or its JSON or YAML file) of files whose bands are dates × bands: see `Stack`.
    date
        ISO date of the GeoTIFFs, where neither their names nor their tags have it.
    pattern
        Regular expression with a group `date`, to find the date in the GeoTIFFs' names. A group `band` names the
        band of files that have one each; files whose names differ in nothing else are one scene.
    progress
        Called with (files done, files in all, path).

    Returns
    -------
    Report
        Broken files are in `.failed` with their reason; they do not stop the others.
    """
    folder = Path(catalog).expanduser().resolve()
    options = Options(Stack.read(stack) if stack is not None else None, date, _compiled(pattern))
    found_files = given(files)
    paths = found_files.files
    report = Registered("", folder, "")
    report.failed += [Failure(path, reason) for path, reason in found_files.failed]
    report.notes += [Failure(path, reason) for path, reason in found_files.notes]
    items: dict[str, dict[str, Any]] = {}
    named: set[str] = set()
    plain: list[dict[str, Any]] = []
    for done, path in enumerate(paths):
        if progress:
            progress(done, len(paths), str(path))
        try:
            found = items_of(path, options)
        except MusesError as error:
            report.failed.append(Failure(str(path), str(error)))
            continue
        except Exception as error:  # the libraries that read files have errors of their own: one file, not all
            report.failed.append(Failure(str(path), f"it cannot be read: {type(error).__name__}: {error}"))
            continue
        report.failed += [Failure(str(path), reason) for reason in found.failed]
        report.notes += [Failure(str(path), reason) for reason in found.missing]
        if found.plain:
            plain += found.items
            continue
        for item in found.items:
            named |= {item["collection"]} if item.get("collection") else set()
            items[item["id"]] = _merged(items.get(item["id"]), item)
    grouped, questions = together(plain)
    report.failed += [Failure(path, question) for path, question in questions]
    for item in grouped:
        items[item["id"]] = _merged(items.get(item["id"]), item)
    if progress:
        progress(len(paths), len(paths), "")
    if not items and not collection:
        return report  # which collection nothing belongs to is no question
    report.collection = _collection_id(collection, options, named)
    _write(folder, items, options, report)
    return report


def _merged(before: dict[str, Any] | None, item: dict[str, Any]) -> dict[str, Any]:
    """Two files of one call with the same id describe one scene (Landsat's reflectance and temperature)."""
    return item if before is None else {**item, "assets": before["assets"] | item["assets"]}


def _collection_id(given: str | None, options: Options, named: set[str]) -> str:
    wanted = given or (options.stack and options.stack.collection)
    if not wanted and len(named) > 1:
        raise RegisterError(
            f"the items are of several collections ({', '.join(sorted(named))}); name one: --collection"
        )
    id = wanted or next(iter(named), None)
    if not id:
        raise RegisterError(
            "say which collection the files belong to, for example --collection my-scenes; one of a known product "
            f"({', '.join(profiles())}) by its name"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", id):
        raise RegisterError(f"{id!r} cannot be the id of a collection: use letters, digits, '.', '_' and '-'")
    return id


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise RegisterError(f"the pattern {pattern!r} is not a regular expression: {error}") from None
    if "date" not in compiled.groupindex:
        raise RegisterError(f"the pattern {pattern!r} has no group named date, as in r'(?P<date>\\d{{8}})'")
    return compiled


# Writing


def _write(folder: Path, items: dict[str, dict[str, Any]], options: Options, report: Registered) -> None:
    # Hidden files are another writer's, who is about to make this folder a catalogue; catalog.json comes before all
    # else, so it is looked for after whatever else may be there.
    occupied = folder.exists() and any(not p.name.startswith(".") for p in folder.iterdir())
    known = (folder / "catalog.json").exists()
    if occupied and not known:
        raise RegisterError(f"{folder} is not empty and not a catalogue (no catalog.json); name a new folder")
    if not items and not known:
        return  # nothing could be read: no empty catalogue is left behind
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        document = _catalog_document(folder, report.collection)
        report.catalog = document["id"]
        write_json(folder / "catalog.json", document)
        if items:
            _write_collection(folder, items, options, report)
    settings.register_catalog(report.catalog, str(folder), sorted(_outside(folder, items)))


def _write_collection(folder: Path, items: dict[str, dict[str, Any]], options: Options, report: Registered) -> None:
    place = folder / report.collection
    place.mkdir(exist_ok=True)
    before = {item["id"]: item for item in _read_items(place / "items.parquet")}
    for item in items.values():
        item["collection"] = report.collection
        item["assets"] = {key: _relative(asset, folder) for key, asset in item["assets"].items()}
    _leave_out_unfit(before.values(), items.values(), report)
    with _replacing(place / "items.parquet") as part:
        kept = _write_items(part, before, items, report)
    if not before and not kept:
        return
    for id in kept:
        (report.replaced if id in before else report.added).append(id)
    merged = list((before | kept).values())
    try:
        collection = read_json(place / "collection.json")
        collection["item_assets"] = item_assets(kept.values(), collection)
        collection["extent"] = {
            "spatial": {"bbox": [space_extent(merged)]},
            "temporal": {"interval": [time_extent(merged)]},
        }
    except ReadError:
        fields = options.stack.collection_fields() if options.stack else {}
        collection = describe_collection(report.collection, merged, **fields)
    write_json(place / "collection.json", collection)


def _leave_out_unfit(before: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]], report: Registered) -> None:
    """Takes out of new items what a column cannot hold: empty objects, values of other types than elsewhere."""
    known: dict[str, str] = {}
    for item in before:
        for name, value in item["properties"].items():
            known |= dict(_types(name, value))
    for item in new:
        for name, value in list(item["properties"].items()):
            types = list(_types(name, value))
            own = dict(types)
            mixed = next(
                (p for p, kind in types if kind != own[p] or known.get(p, kind) != kind or kind == "nothing"), None
            )
            if mixed is None:
                known |= own
                continue
            del item["properties"][name]
            other = f", in other items {known[mixed]}" if known.get(mixed, own[mixed]) != own[mixed] else ""
            reason = f"property {name!r} of {item['id']} is left out: {mixed} holds {own[mixed]}{other}"
            report.notes.append(Failure(item["id"], reason))


def _types(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Paths into a value, and the kind of what stands there; one path several times in a list."""
    if isinstance(value, dict):
        yield path, "an object" if value else "nothing"
        for name, inner in value.items():
            yield from _types(f"{path}.{name}", inner)
    elif isinstance(value, list | tuple):
        yield path, "a list"
        for inner in value:
            yield from _types(f"{path}[]", inner)
    elif value is not None:
        kind = {bool: "a truth value", int: "a number", float: "a number"}.get(type(value), "a text")
        yield path, kind


def _write_items(
    file: Path, before: dict[str, Any], new: dict[str, dict[str, Any]], report: Registered
) -> dict[str, dict[str, Any]]:
    """Writes old and new items; gives back the new ones that fit.

    A column has one type: an item whose property is a text where all others have a number cannot be kept. It is found
    by halving, so that one bad file among a thousand costs ten writes.
    """
    merged = [item for _, item in sorted((before | new).items())]
    try:
        rustac.write_sync(str(file), merged)
        return new
    except rustac.RustacError as error:
        if len(new) == 1:
            report.failed.append(Failure(next(iter(new)), f"it does not fit the collection's other items: {error}"))
            if before:
                rustac.write_sync(str(file), [item for _, item in sorted(before.items())])
            return {}
    ids = list(new)
    half = len(ids) // 2
    left = _write_items(file, before, {id: new[id] for id in ids[:half]}, report)
    right = _write_items(file, before | left, {id: new[id] for id in ids[half:]}, report)
    return left | right


def _read_items(file: Path) -> list[dict[str, Any]]:
    return rustac.read_sync(str(file))["features"] if file.exists() else []


def _catalog_document(folder: Path, collection: str) -> dict[str, Any]:
    try:
        document = read_json(folder / "catalog.json")
    except ReadError:
        if (folder / "catalog.json").exists():
            raise
        document = {
            "type": "Catalog",
            "stac_version": "1.1.0",
            "id": f"{slug(folder.name, 'catalog')}-{uuid.uuid4().hex[:8]}",
            "description": f"Files registered with MUSES Lab in {folder.name}",
            "links": [],
        }
    child = {"rel": "child", "href": f"./{collection}/collection.json", "type": "application/json"}
    if child["href"] not in [link.get("href") for link in document.setdefault("links", [])]:
        document["links"].append(child)
    return document


def _relative(asset: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = Path(asset["href"])
    if "://" not in asset["href"] and path.is_relative_to(folder):
        return {**asset, "href": path.relative_to(folder).as_posix()}
    return asset


def _outside(folder: Path, items: dict[str, dict[str, Any]]) -> set[str]:
    """Folders of files that lie outside the catalogue: they are allowed to be read from now on."""
    hrefs = {asset["href"] for item in items.values() for asset in item["assets"].values()}
    return {str(Path(href).parent) for href in hrefs if "://" not in href and Path(href).is_absolute()}


def write_json(file: Path, document: dict[str, Any]) -> None:
    with _replacing(file) as part:
        part.write_text(json.dumps(document, indent=2, ensure_ascii=False), "utf-8")


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """A file beside `file` that takes its place when it is complete: readers see the old or the new one, whole."""
    part = file.with_name(f".{file.stem}.{uuid.uuid4().hex[:8]}{file.suffix}")
    try:
        yield part
        if part.exists():
            part.replace(file)
    finally:
        part.unlink(missing_ok=True)

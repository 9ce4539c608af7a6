"""Saved views: what a map shows, as one file that comes back in another kernel, home or house.

A view holds the documents of its layers with all that they refer to by digest (lists of scenes, models, vectors), their
styles, and how the map was arranged. It holds no pixels, no code and no key; `faults` says what somebody who opens it
will not be able to see, and why.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from muses_lab import settings
from muses_lab.api.chain import Chain
from muses_lab.api.frames import OverTime, TimeLayer
from muses_lab.api.layer import Layer
from muses_lab.document import strict_json
from muses_lab.errors import DocumentError, MusesError
from muses_lab.operators.own import modules_of
from muses_lab.plain import shown
from muses_lab.publish import bundle
from muses_lab.scenes.scene import Scenes
from muses_lab.settings import catalog_entries
from muses_lab.style import Style

TYPE, VERSION = "muses:view", 1
MAX_BYTES = 256 << 20

_NAMED = 5
"""So many files are named."""

Text = Annotated[str, Field(min_length=1, max_length=1000)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LayerPart(_Part):
    """A chain with its style."""

    name: Text
    chain: dict[str, Any] | None
    """Its document with what it refers to; None of one that is private, which stays with its author."""
    style: dict[str, Any]
    dates: bool = False
    """Whether its dates are shown one after the other."""
    visible: bool = True
    opacity: Share = 1
    folded: bool = False


class GroupPart(_Part):
    name: Text
    layers: list[Text]
    visible: bool = True
    opacity: Share = 1
    open: bool = True


class VectorPart(_Part):
    name: Text
    features: dict[str, Any]
    style: dict[str, Any]
    visible: bool = True
    opacity: Share = 1
    folded: bool = False


class BackgroundPart(_Part):
    name: Text
    source: dict[str, Any]
    """What `Map.add_background` is told."""
    visible: bool = True
    opacity: Share = 1


class BaseMapPart(_Part):
    name: Text
    url: str
    attribution: str = ""


class SwipePart(_Part):
    left: Text
    right: Text
    at: Share


class ViewDocument(_Part):
    """A saved view as it is written."""

    type: Literal["muses:view"]
    version: Literal[1]
    made_with: str = ""
    """The release of MUSES Lab that wrote it."""
    center: tuple[Annotated[float, Field(ge=-90, le=90)], Annotated[float, Field(ge=-540, le=540)]]
    """Latitude, longitude."""
    zoom: Annotated[float, Field(ge=0, le=25)]
    basemap: BaseMapPart | None = None
    """None: there is none."""
    layers: list[LayerPart] = []
    """The top one first."""
    groups: list[GroupPart] = []
    vectors: list[VectorPart] = []
    order: list[Text] = []
    """Names of layers and vectors, the top one first; those that are not named lie above."""
    backgrounds: list[BackgroundPart] = []
    areas: dict[str, Any] | None = None
    """GeoJSON of `Places`."""
    date: str = ""
    filter: dict[str, Any] = {}
    swipe: SwipePart | None = None
    left_out: list[str] = []
    """What the map had and a file cannot hold."""


@dataclass(frozen=True)
class ViewFault:
    """Something that somebody who opens a view will not see, or only under a condition."""

    what: str
    """`layer 'NDVI'`."""
    why: str
    lost: bool = True
    """Whether they cannot see it at all; else: unless the condition holds."""

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True)
class View:
    """A saved view; `Map.open_view` shows it, `muses-lab view` checks it.

    ```python
    view = View.read("view.json")
    for fault in view.faults():
        print(fault)
    view.layer("NDVI").compute(window)
    ```
    """

    document: ViewDocument

    @classmethod
    def read(cls, source: str | os.PathLike[str] | Mapping[str, Any]) -> View:
        """The view of a file, or of parsed JSON; `DocumentError` says what in it is not right."""
        if isinstance(source, Mapping):
            return cls.of(source)
        path = Path(source).expanduser()
        try:
            if path.stat().st_size > MAX_BYTES:
                raise DocumentError(f"{path.name} has more than {MAX_BYTES >> 20} MiB, so it is no saved view")
            return cls.of(strict_json.loads(path.read_bytes()))
        except OSError as error:
            raise DocumentError(f"{path} cannot be read: {error.strerror or error}") from None
        except (UnicodeDecodeError, RecursionError, ValueError) as error:
            raise DocumentError(f"{path.name} is no saved view: it is no JSON ({error})") from None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> View:
        if not isinstance(document, Mapping) or document.get("type") != TYPE:
            raise DocumentError(f'{shown(document)} is no saved view: its "type" is not "{TYPE}"')
        if document.get("version") != VERSION:
            raise DocumentError(f"the view has version {document.get('version')!r}; this release reads {VERSION}")
        try:
            found = ViewDocument.model_validate(dict(document))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DocumentError(f"the view is not valid: {place}: {first['msg']}", argument=place) from None
        names = [layer.name for layer in found.layers] + [features.name for features in found.vectors]
        for name in {name for name in names if names.count(name) > 1}:
            raise DocumentError(f"the view has {names.count(name)} layers {name!r}", argument="layers")
        return cls(found)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file; one that is there is replaced when all is written."""
        target = Path(path).expanduser()
        if target.suffix.lower() != ".json":
            raise DocumentError(f"{target.name!r}: a view is written as JSON, for example view.json")
        part = target.with_name(f".{target.name}.part")
        try:
            part.write_text(self.text(), "utf-8")
            os.replace(part, target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise DocumentError(f"{target} cannot be written: {error.strerror or error}") from None
        return target

    def text(self) -> str:
        return json.dumps(self.document.model_dump(mode="json"), allow_nan=False, ensure_ascii=False)

    def layer(self, name: str) -> Layer | TimeLayer:
        """A layer of the view, to be computed here."""
        part = next((one for one in self.document.layers if one.name == name), None)
        if part is None:
            there = ", ".join(repr(one.name) for one in self.document.layers) or "none"
            raise DocumentError(f"the view has no layer {name!r}; it has {there}")
        return layer_of(part)

    def faults(self) -> list[ViewFault]:
        """What somebody who opens it on another machine, or as another user, will not see: seen from this home."""
        told = self.document
        found = [fault for part in told.layers for fault in _of_layer(part)]
        found += [fault for part in told.backgrounds for fault in _of_background(part)]
        if told.basemap is not None and "://" in told.basemap.url:
            found.append(ViewFault(f"base map {told.basemap.name!r}", "it comes from the internet", lost=False))
        found += [ViewFault(text, "only a notebook can hold it, not a file") for text in told.left_out]
        return found


def layer_of(part: LayerPart) -> Layer | TimeLayer:
    """The layer of its part of a view; no code of others is run."""
    if part.chain is None:
        raise DocumentError(f"layer {part.name!r} is private: its author's notebook alone can show it")
    chain = Chain.from_json(part.chain)
    style = Style.from_json(part.style)
    return TimeLayer(OverTime(chain), style) if part.dates else Layer(chain, style)


def part_of(name: str, shown: Layer | TimeLayer, **look: Any) -> LayerPart:
    """How a layer is written."""
    chain: Any = shown.over.cube if isinstance(shown, TimeLayer) else shown.chain
    document = None if chain.is_private else chain.to_json(artefacts=True)
    return LayerPart(name=name, chain=document, style=shown.look.to_json(), dates=isinstance(shown, TimeLayer), **look)


# What others will not see


def _of_layer(part: LayerPart) -> Iterator[ViewFault]:
    what = f"layer {part.name!r}"
    if part.chain is None:
        yield ViewFault(what, "it runs code of its author's notebook, so it is not in the file; put the operator into "
                        "a package that others install")  # fmt: skip
        return
    try:
        root, brought = bundle.parse(part.chain)
        Style.from_json(part.style)
    except MusesError as error:
        yield ViewFault(what, f"its document cannot be read here: {error}")
        return
    for module, operator in modules_of(root).items():
        yield ViewFault(what, f"its operator {operator!r} is of the module {module!r}, which must be installed where "
                        "it is opened, and on the workers", lost=False)  # fmt: skip
    for artefact in brought.values():
        value = artefact.value
        if isinstance(value, Scenes):
            yield from _of_scenes(what, value)


def _of_scenes(what: str, scenes: Scenes) -> Iterator[ViewFault]:
    """Where the files of a list lie, and who can read them there."""
    relative = [
        asset.href for scene in scenes.scenes for asset in scene.assets.values() if "://" not in asset.href
    ]  # fmt: skip
    if not relative:
        return
    entry = catalog_entries().get(scenes.catalog)
    if entry is None:
        yield ViewFault(what, f"the catalogue {scenes.catalog!r} of its {len(scenes)} scene(s) is not registered here")
        return
    root = entry["root"]
    if "://" in root:
        host = urlsplit(root).netloc
        yield ViewFault(what, f"the catalogue {scenes.catalog!r} on {host} must be registered where it is opened, with "
                        "a login where that asks for one", lost=False)  # fmt: skip
        return
    folder = Path(os.path.commonpath([str(Path(root, href).parent) for href in relative]))
    names = sorted({Path(href).name for href in relative})
    listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    if Path(root).resolve().is_relative_to(settings.home().resolve()):
        yield ViewFault(what, f"it is made of files of yours ({listed}) that are in no shared catalogue: register "
                        "their folder as one, or send an export")  # fmt: skip
    elif not _readable_by_all(folder):
        yield ViewFault(what, f"its files ({listed}) lie in a folder of yours that nobody else can read: put them into "
                        "a shared catalogue, or send an export")  # fmt: skip
    else:
        yield ViewFault(what, f"its files are on this machine's disk: others see it on this machine, or where the "
                        f"catalogue {scenes.catalog!r} is registered, too", lost=False)  # fmt: skip


def _readable_by_all(folder: Path) -> bool:
    """Whether every user of this machine may enter a folder and read what is in it."""
    try:
        if folder.stat().st_mode & stat.S_IROTH == 0:
            return False
        return all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents))
    except OSError:
        return False


def _of_background(part: BackgroundPart) -> Iterator[ViewFault]:
    url = str(part.source.get("url", ""))
    yield ViewFault(f"background {part.name!r}", f"it comes from {urlsplit(url).netloc or url}", lost=False)

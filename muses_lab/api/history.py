"""How a file was made, and the same file made again: exports say both themselves, see `export.provenance`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from muses_lab import plain
from muses_lab.api.chain import Chain
from muses_lab.api.jobs import ChainJob
from muses_lab.api.tabled import Tabled
from muses_lab.document import strict_json
from muses_lab.engine.mosaic import reasons
from muses_lab.errors import DocumentError, MusesError
from muses_lab.export import files
from muses_lab.export.formats import texts_of
from muses_lab.export.pieces import scratch
from muses_lab.export.provenance import PREFIX
from muses_lab.plain import shown
from muses_lab.publish.bundle import KEY
from muses_lab.raster import window as windows
from muses_lab.scenes.scene import canonical
from muses_lab.store import default_store
from muses_lab.style import Style

_SCENES = 12
"""So many scenes are named in a text; all are in `History.used`."""

_TEXTS = {"RELEASE", "VERSIONS", "FAILED_SCENES", "PROBLEMS", "CRC32", "USED"}
"""Those of which it is said in words what differs."""


@dataclass(frozen=True)
class History:
    """How an export was made; `print` tells it.

    ```python
    found = ml.history("ndvi.tif")
    print(found)
    found.chain.compute(found.window)       # the same values, of the same scenes
    ```
    """

    path: Path
    texts: Mapping[str, str]
    """As the file has them, by names that begin with `MUSES_`."""

    def _json(self, name: str, otherwise: Any) -> Any:
        text = self.texts.get(PREFIX + name)
        if text is None:
            return otherwise
        try:
            return strict_json.loads(text.encode())
        except ValueError as error:
            raise DocumentError(f"{self.path.name}: {PREFIX}{name} is damaged: {error}") from None

    @property
    def options(self) -> dict[str, Any]:
        """Those of the export: format, title, style, …"""
        return dict(self._json("OPTIONS", {}))

    @property
    def is_table(self) -> bool:
        """Whether it is a table of places or polygons, which has no window."""
        return f"{PREFIX}WINDOW" not in self.texts

    @property
    def window(self) -> GeoBox:
        """Its window; `DocumentError` of a table."""
        try:
            return windows.from_json(self._json("WINDOW", None))
        except ValueError as error:
            raise DocumentError(f"{self.path.name}: {PREFIX}WINDOW is damaged: {error}") from None

    @property
    def used(self) -> tuple[str, ...]:
        """Ids of the scenes that touch the window, on the chain's dates."""
        return tuple(self._json("USED", []))

    @property
    def failed(self) -> dict[str, str]:
        """Scenes that could not be read and were left out: id → reason."""
        return dict(self._json("FAILED_SCENES", {}))

    @property
    def problems(self) -> tuple[str, ...]:
        """Items that were left out while the scenes were chosen, with the reason."""
        return tuple(self._json("PROBLEMS", []))

    @property
    def versions(self) -> dict[str, str]:
        """What it was made with: releases of packages, and the kind of processor."""
        return dict(self._json("VERSIONS", {"muses-lab": self.texts.get(f"{PREFIX}RELEASE", "?")}))

    @cached_property
    def chain(self) -> Chain:
        """The chain with the scenes of then.

        What the file does not bring of its models and vectors is taken from the store. `DocumentError` where its
        process is not known here, or not in this version; `PrivateChain` where it has code of a notebook.
        """
        document = self._json("DOCUMENT", None)
        if not isinstance(document, dict):
            raise DocumentError(f"{self.path.name} has no {PREFIX}DOCUMENT, so its chain is not known")
        lists = {
            digest: {"kind": "muses:items", "type": "application/json", "text": canonical(one)}
            for digest, one in self._json("SCENES", {}).items()
        }
        return Chain.from_json({**document, KEY: {**lists, **self._json("ARTEFACTS", {})}}).with_artefacts_of(
            default_store()
        )

    def to_python(self) -> str:
        """Python code of the chain as it was written, before its scenes were chosen."""
        asked = self.options.get("asked")
        return (Chain.from_json(asked) if asked else self.chain).to_python("chain")

    def __str__(self) -> str:
        try:
            code = self.to_python().strip()
        except MusesError as error:
            code = f"# {error}"
        more = f" and {len(self.used) - _SCENES} more" if len(self.used) > _SCENES else ""
        scenes = ", ".join(self.used[:_SCENES]) + more
        left = [*reasons(self.failed), *self.problems]
        thinned = self.texts.get(f"{PREFIX}THINNED")
        return "\n".join(
            [
                f"{self.path.name}: {self.options.get('title') or 'no title'}",
                f"chain     {self.texts[f'{PREFIX}CHAIN']}",
                *(f"          {line}" for line in code.splitlines() if line and not line.startswith("import ")),
                *self._where(),
                *([] if self.is_table else [f"scenes    {len(self.used)}: {scenes}"]),
                *([f"          {thinned}"] if thinned else []),
                f"left out  {len(left)}",
                *(f"          {line}" for line in left),
                f"made with {', '.join(f'{name} {version}' for name, version in self.versions.items())}",
                f"again     muses-lab remake {shlex.quote(self.path.name)} NEW",
            ]
        )

    def _where(self) -> list[str]:
        if self.is_table:
            places = self.options.get("places") or self.options.get("features", {}).get("features", [])
            return [f"table of  {len(places)} {'places' if 'places' in self.options else 'polygons'}"]
        shape = self.window.shape
        return [f"window    {windows.written(self.window)}", f"          {shape[0]} rows × {shape[1]} columns"]

    def __repr__(self) -> str:
        return f"<History of {self.path.name}: chain {self.texts[f'{PREFIX}CHAIN'][:12]}, {len(self.used)} scenes>"


def history(path: Any) -> History:
    """How an export was made: its chain, window, scenes, what was left out, versions.

    ```python
    print(ml.history("ndvi.tif"))
    ```

    Raises
    ------
    NotFound
        There is no such file, or it does not say how it was made.
    """
    file = plain.path("path", path, "ndvi.tif").absolute()
    return History(file, texts_of(file))


@dataclass(frozen=True)
class Remade:
    """What became of making a file again; true where it has the same bytes.

    ```python
    again = ml.remake("ndvi.tif", "again.tif")
    again.same, again.differences
    ```
    """

    path: Path
    """The file that was to be made again."""
    new: Path | None
    """The file that was made; None: it was compared and removed."""
    same: bool
    """Whether both have the same bytes."""
    differences: tuple[str, ...] = ()
    """What differs, and by what it may be explained; empty where they are the same."""

    def __bool__(self) -> bool:
        return self.same

    def __str__(self) -> str:
        what = f"{self.path.name} made again" + (f" as {self.new.name}" if self.new else "")
        if self.same:
            return f"{what}: the same bytes"
        return "\n".join([f"{what}: not the same", *(f"  {line}" for line in self.differences)])

    def __repr__(self) -> str:
        return f"<Remade {self}>"


def remake(path: Any, new: Any = None, *, overwrite: bool = False, progress: bool = True) -> Remade:
    """Makes an export again by what it says of itself, and tells whether it is the same to the last byte.

    ```python
    ml.remake("ndvi.tif")                           # compared, and removed
    ml.remake("ndvi.tif", "again.tif")
    print(ml.remake("old.tif", "again.tif"))        # says what differs
    ```

    The catalogue of its scenes must be registered here. The file is left as it is. Bytes are the same with the same
    releases on the same kind of processor; where they are not, `differences` name what is not as it was: releases, the
    processor, scenes that are gone or could not be read, values, or the file itself, which somebody has changed.

    Raises
    ------
    NotFound
        There is no such file, or it does not say how it was made.
    FileExistsError
        `new` is there, and `overwrite` is false.
    DocumentError, PrivateChain
        The chain has processes that there are not here, or code of a notebook.
    """
    before = history(path)
    if new is not None:
        target = plain.path("new", new, "again.tif").absolute()
        return _remade(before, target, target, overwrite, progress)
    with scratch(before.path) as folder:
        return _remade(before, folder / before.path.name, None, False, progress)


def _remade(before: History, target: Path, new: Path | None, overwrite: bool, progress: bool) -> Remade:
    if target == before.path:
        raise FileExistsError(f"{target} is the file itself; give the new one another name")
    options = before.options
    if before.is_table:
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} is there already; give overwrite=True to replace it")
        Tabled.of_history(before.chain, options).start(target, overwrite, progress, kind=ChainJob).wait()
        return _compared(before, target, new)
    style = None if options.get("style") is None else Style.from_json(options["style"])
    job = files.start(
        before.chain.published, target, before.window, format=options.get("format"), style=style,
        title=options.get("title"), asked=options.get("asked"), overwrite=overwrite, progress=progress,
        options=options.get("options"), kind=ChainJob,
    )  # fmt: skip
    job.wait()
    return _compared(before, target, new)


def _compared(before: History, target: Path, new: Path | None) -> Remade:
    if _bytes_equal(before.path, target):
        return Remade(before.path, new, True)
    return Remade(before.path, new, False, tuple(_differences(before, history(target))))


def _differences(before: History, after: History) -> Iterator[str]:
    """What is not as it was; causes first, then what came of them."""
    then, now = before.versions, after.versions
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            yield f"{name}: {then.get(name, 'unknown')} then, {now.get(name, 'unknown')} now"
    for id, why in after.failed.items():
        if id not in before.failed:
            yield f"scene {id} could be read then, and cannot now: {why}"
    for id, why in before.failed.items():
        if id not in after.failed:
            yield f"scene {id} could not be read then ({why}), and is used now"
    if before.used != after.used:
        gone, new = set(before.used) - set(after.used), set(after.used) - set(before.used)
        yield f"scenes on the window: {len(gone)} less, {len(new)} more"
    for name in sorted(before.texts.keys() | after.texts.keys()):
        short = name.removeprefix(PREFIX)
        if short not in _TEXTS and before.texts.get(name) != after.texts.get(name):
            yield f"{name}: {shown(before.texts.get(name))} then, {shown(after.texts.get(name))} now"
    if before.is_table:
        yield "the tables differ, or somebody has changed one"
    elif before.texts.get(f"{PREFIX}CRC32") != after.texts.get(f"{PREFIX}CRC32"):
        yield "the values differ"
    elif before.texts == after.texts:
        yield f"{before.path.name} itself: it is not as it was written, somebody has changed or damaged it"
    else:
        yield "the values are the same; only what the file says of itself differs, or how it is packed"


def _bytes_equal(one: Path, other: Path) -> bool:
    """Of files, or of folders with all that is in them."""
    if one.is_dir() and other.is_dir():
        names = [sorted(p.relative_to(root) for p in root.rglob("*")) for root in (one, other)]
        return names[0] == names[1] and all(
            _bytes_equal(one / name, other / name) for name in names[0] if (one / name).is_file()
        )
    if one.is_dir() or other.is_dir() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while piece := a.read(1 << 20):
            if piece != b.read(1 << 20):
                return False
    return True

"""Copies of notebooks, and of what lies beside them, for their users: as `make lab` and the hub give them.

    python -m muses_lab.notebooks SOURCE FOLDER      # the tutorials of this release, from a clone's `notebooks/`

A user runs and changes copies, in a folder of the user's own; the originals stay as they came. What was changed is
never written over: a newer original is put beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

TUTORIALS = (
    "01-first-map.ipynb",
    "02-operators.ipynb",
    "04-time-series.ipynb",
    "05-comparing-and-change.ipynb",
    "06-exports-and-animations.ipynb",
    "app-history-of-fields.ipynb",
)
"""What this release has for all its users. Whatever else lies in a clone's `notebooks/` is somebody's own."""

FILE_BYTES = 100 << 20
ALL_BYTES = 1 << 30
FILES = 10_000
"""More is not copied into every user's folder: such data are registered as a catalogue, or read where they lie."""

RECORD = ".given.json"
"""In the user's folder: of every original by name, what it was when it was given, and where its copy was put."""

NOTED = ("language_info", "kernelspec", "widgets")
"""Metadata that JupyterLab writes of its own accord. (Widgets' state belongs to outputs, which count.)"""


@dataclass
class Given:
    """What a call of `give` did, by name: the path below the folder, with `/`."""

    new: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    """Newer originals of copies that their user had left as they were."""
    beside: dict[str, str] = field(default_factory=dict)
    """Newer originals of copies that their user had changed: the name that the original got."""
    left: dict[str, str] = field(default_factory=dict)
    """What was not given, and why."""

    def __str__(self) -> str:
        told = [f"new: {name}" for name in self.new]
        told += [f"renewed: {name}" for name in self.renewed]
        told += [f"you have changed {mine}; what is new in it is in {name}" for mine, name in self.beside.items()]
        told += [f"not given: {name}: {why}" for name, why in self.left.items()]
        return "\n".join(told)


class Original(NamedTuple):
    """A file to give, as it is on the disk."""

    file: Path
    size: int
    time: int


class Entry(NamedTuple):
    """An original as it was when it was given, and the name that its copy has."""

    digest: str
    size: int
    time: int
    place: str


def originals(source: Path, only: Collection[str] | None = None) -> tuple[dict[str, Original], dict[str, str]]:
    """The files of a folder that can be given, by name, and those that cannot, with the reason; of all or `only` some.

    Folders are looked through, the upper ones first, in order of names. Hidden files are nobody's business; links are
    not followed, for they may lead anywhere; size and number are bounded.
    """
    found: dict[str, Original] = {}
    left: dict[str, str] = {}
    total = 0
    for file, status in _files(source, left):
        name = file.relative_to(source).as_posix()
        if only is not None and name not in only:
            continue
        if stat.S_ISLNK(status.st_mode):
            left[name] = "it is a link"
        elif not stat.S_ISREG(status.st_mode):
            left[name] = "it is no file"
        elif status.st_size > FILE_BYTES:
            left[name] = f"it has {status.st_size >> 20} MB, and {FILE_BYTES >> 20} MB at most are copied for everybody"
        elif total + status.st_size > ALL_BYTES:
            left[name] = f"with it there were more than {ALL_BYTES >> 20} MB to copy for everybody"
        elif len(found) == FILES:
            left[name] = f"there are more than {FILES} files"
            break
        else:
            total += status.st_size
            found[name] = Original(file, status.st_size, status.st_mtime_ns)
    return found, left


def _files(source: Path, left: dict[str, str]) -> Iterator[tuple[Path, os.stat_result]]:
    def closed(error: OSError) -> None:
        name = Path(error.filename).relative_to(source).as_posix()
        left[name] = f"the folder cannot be read: {error.strerror}"

    for folder, folders, files in os.walk(source, onerror=closed):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        links = [name for name in folders if Path(folder, name).is_symlink()]  # of which `walk` looks through none
        for name in sorted([*files, *links]):
            if not _is_hidden(name):
                file = Path(folder, name)
                try:
                    yield file, file.lstat()
                except FileNotFoundError:  # removed this moment
                    continue


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def give(source: Path, target: Path, only: Collection[str] | None = None, running: bool = False) -> Given:
    """Copies the files of a folder that the user does not have yet, and newer ones; returns which.

    Examples
    --------
    >>> give(Path("notebooks"), Path.home() / "muses-lab").new                     # doctest: +SKIP
    ['01-first-map.ipynb', '02-operators.ipynb']

    What the user changed stays as it is, and what was deleted stays away until there is a newer original. Every copy is
    there whole or not at all. What cannot be given, because the user's folder is full or closed say, is told of in
    `left` and tried again by the next call.

    `only` names the files to give, all others are passed over. With `running` the user may have copies open in
    JupyterLab: one that was opened once counts as changed, so that no file changes under an editor.
    """
    found, left = originals(source, only)
    if only is not None:
        found = {name: found[name] for name in only if name in found}
    given = Given(left=left)
    target.mkdir(parents=True, exist_ok=True)
    before = _known(target)
    known = dict(before)
    try:
        for name, original in found.items():
            last = before.get(name)
            if last and (last.size, last.time) == (original.size, original.time):
                continue
            try:
                known[name] = _give(original, target, name, last, running, given)
            except OSError as error:
                given.left[name] = error.strerror or str(error)
    finally:
        if known != before:
            _remember(target, known)
    return given


def latest(target: Path, name: str) -> str | None:
    """The name of the newest original of `name` in a user's folder: beside the user's own copy, or that itself."""
    last = _known(target).get(name)
    places = [last.place, name] if last else [name]
    return next((place for place in places if (target / place).is_file()), None)


def restore(source: Path, target: Path, name: str) -> Path | None:
    """Gives the original of a file once more; the user's own is kept beside it, its place is returned.

    None where the user's is what the original is, or is not there. `OSError` where it cannot be done; then the user's
    own is where it was.
    """
    found = originals(source, (name,))[0].get(name)
    if found is None:
        raise FileNotFoundError(f"{source} has no {name} to give")
    mine = target / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    part = mine.with_name(f".given-{os.getpid()}.part")
    try:
        digest = _copy(found, part)
        kept = None
        if os.path.lexists(mine) and _digest(mine, mine.suffix) != digest:
            kept = _free(mine, "mine")
            mine.rename(kept)
        try:
            part.replace(mine)
        except OSError:
            if kept is not None:
                kept.rename(mine)
            raise
    finally:
        part.unlink(missing_ok=True)
    _remember(target, {**_known(target), name: Entry(digest, found.size, found.time, name)})
    return kept


def _give(original: Original, target: Path, name: str, last: Entry | None, running: bool, given: Given) -> Entry:
    """Gives one file, or finds that the user has it already."""
    mine = target / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    part = mine.with_name(f".given-{os.getpid()}.part")
    try:
        digest = _copy(original, part)
        if last and digest == last.digest:  # only its time is another
            return last._replace(size=original.size, time=original.time)
        place = target / last.place if last else mine
        if not os.path.lexists(place):  # deleted, or never there
            place = mine
        there = _digest(place, mine.suffix)
        if not os.path.lexists(place):
            part.replace(place)
            (given.renewed if last else given.new).append(name)
        elif last and there == last.digest and not (running and _was_opened(place)):
            part.replace(place)
            given.renewed.append(name)
        elif there != digest:
            place = _free(mine)
            part.replace(place)
            given.beside[name] = place.relative_to(target).as_posix()
        return Entry(digest, original.size, original.time, place.relative_to(target).as_posix())
    finally:
        part.unlink(missing_ok=True)


def _copy(original: Original, part: Path) -> str:
    """Copies a file, without its permissions: the user's copy can be written; its digest."""
    shutil.copyfile(original.file, part)
    now = original.file.stat()
    if (now.st_size, now.st_mtime_ns) != (original.size, original.time):
        raise OSError("it was changed while it was copied")
    return _digest(part, original.file.suffix)


def _digest(file: Path, suffix: str) -> str:
    """Of what somebody wrote into a file; of none, where there is a folder or a link in its place.

    What JupyterLab notes in each notebook that it opens and saves is no change of the user's.
    """
    if file.is_symlink() or not file.is_file():
        return ""
    content = file.read_bytes()
    if suffix == ".ipynb":
        try:
            book = json.loads(content)
            cells = [{key: value for key, value in cell.items() if key != "id"} for cell in book["cells"]]
            told = {key: value for key, value in book["metadata"].items() if key not in NOTED}
            content = json.dumps([cells, told], sort_keys=True).encode()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass  # no notebook: its bytes count
    return hashlib.sha256(content).hexdigest()


def _was_opened(copy: Path) -> bool:
    """JupyterLab keeps a checkpoint of every file that was opened in it once."""
    return (copy.parent / ".ipynb_checkpoints" / f"{copy.stem}-checkpoint{copy.suffix}").exists()


def _free(copy: Path, ending: str = "new") -> Path:
    """`name-new.ipynb`, or `name-new-2.ipynb` where the user kept that one."""
    for n in range(1, 1000):
        place = copy.with_name(f"{copy.stem}-{ending}{f'-{n}' if n > 1 else ''}{copy.suffix}")
        if not os.path.lexists(place):
            return place
    raise FileExistsError(f"{copy.parent} has a thousand other versions of {copy.name}; delete some")


def _known(target: Path) -> dict[str, Entry]:
    """What was given; nothing where the record is not there or damaged: then no copy is written over."""
    try:
        read = json.loads((target / RECORD).read_text("utf-8"))
        return {name: Entry(str(d), int(s), int(t), str(place)) for name, (d, s, t, place) in read.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(target: Path, known: dict[str, Entry]) -> None:
    part = target / f"{RECORD}.{os.getpid()}.part"
    part.write_text(json.dumps(known, indent=1), "utf-8")
    part.replace(target / RECORD)


if __name__ == "__main__":
    folder = Path(sys.argv[2]).expanduser()
    told = str(give(Path(sys.argv[1]), folder, only=TUTORIALS))
    print("\n".join([f"Your notebooks are in {folder}", *(f"  {line}" for line in told.splitlines())]))

"""The published folder: its files are what users get copies of, and only the administrator can change them.

By default it is in the hub's state, and has the tutorials of the release; the administrator adds to them, corrects and
deletes. A folder that `MUSES_HUB_PUBLISHED` names is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable
from pathlib import Path

from muses_lab.deployment.config import HubSettings, SettingsError
from muses_lab.notebooks import TUTORIALS, originals


def prepare(hub: HubSettings, release: Path, separate: bool) -> list[str]:
    """Makes the folder at the first start, with the tutorials in `release`; says what users get, and what they do not.

    Later releases' tutorials come into it where the administrator has left the former ones as they were.
    """
    folder = hub.published
    told = []
    if "PUBLISHED" not in hub.environment:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        if separate:  # whatever the umask: users pass through the state to this folder
            hub.state.chmod(0o711)
        told += fill(folder, release, hub.state / "published.json")
    files, left = originals(folder)
    if separate:
        _refuse_what_users_can_change(folder)
        closed = _closed_to_others(folder, [original.file for original in files.values()])
        left |= {_name(folder, path): "users cannot read it: chmod o+rX" for path in closed}
        files = {name: o for name, o in files.items() if not any(o.file.is_relative_to(path) for path in closed)}
    notebooks = [name for name in files if name.endswith(".ipynb")]
    if hub.start and hub.start not in files:
        told.append(f"MUSES_HUB_START={hub.start} is not among them yet: users land on the launcher")
    start = hub.start or next(iter(notebooks), "")
    lands = f", and land on {start}" if start in files else ""
    files_told = f"{len(files)} file{'s' if len(files) != 1 else ''}"
    told.insert(0, f"Users get copies of the {files_told} in {folder}{lands}.")
    told += [f"Not given: {name}: {why}" for name, why in left.items()]
    return told


def fill(folder: Path, release: Path, record: Path) -> list[str]:
    """Puts the tutorials into the folder that it never had, and newer ones for those that nobody changed."""
    known = _known(record)
    told = []
    for name in TUTORIALS:
        content = (release / name).read_bytes()
        digest, place, before = hashlib.sha256(content).hexdigest(), folder / name, known.get(name)
        if digest == before:
            continue
        there = hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else None
        if there is None and before is None or there is not None and there == before:
            _put(content, place)
        elif there not in (None, digest):
            told.append(f"The release has another {name}; yours stays: {release / name}")
        known[name] = digest
    part = record.with_suffix(".part")
    part.write_text(json.dumps(known, indent=1), "utf-8")
    part.replace(record)
    return told


def _known(record: Path) -> dict[str, str]:
    """Digests of the tutorials as they were put there, by name."""
    try:
        return dict(json.loads(record.read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):  # not yet, or damaged: what is there stays as it is
        return {}


def _put(content: bytes, place: Path) -> None:
    part = place.with_name(f".{place.name}.part")
    part.write_bytes(content)
    part.chmod(0o644)
    part.replace(place)


def _refuse_what_users_can_change(folder: Path) -> None:
    """What one user could write there, all others would run."""
    for path in [folder, *folder.rglob("*")]:
        mode = path.lstat().st_mode
        if mode & stat.S_IWOTH and not stat.S_ISLNK(mode):
            raise SettingsError(
                f"everybody can write to {path}, and every user of the hub gets what lies there: chmod -R o-w {folder}"
            )


def _closed_to_others(folder: Path, files: Iterable[Path]) -> list[Path]:
    """What users, who are others to the files' owner, cannot reach: of a closed folder the folder alone."""
    above = [path for path in (folder, *folder.parents) if not path.stat().st_mode & stat.S_IXOTH]
    if above:
        return above[-1:]
    below = (path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())
    closed = [path for path in (folder, *below) if path.stat().st_mode & 0o005 != 0o005]
    closed += [path for path in files if not path.stat().st_mode & stat.S_IROTH]
    return [path for path in closed if not any(path != other and path.is_relative_to(other) for other in closed)]


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path != folder and path.is_relative_to(folder) else str(path)

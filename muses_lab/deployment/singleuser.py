"""A user's server: first what a new user finds (notebooks, the hub's catalogues), then JupyterHub's own program.

Runs as the user: what it writes in the home, only the user could have placed there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

from muses_lab import settings


def give_notebooks(source: Path, target: Path) -> list[str]:
    """Copies the notebooks that are not there yet; what a user changed or deleted inside the folder stays so."""
    if target.exists():
        known = set((target / ".given").read_text().splitlines()) if (target / ".given").exists() else set()
    else:
        known = set()
        target.mkdir()
    given = [file for file in sorted(source.glob("*.ipynb")) if file.name not in known]
    for file in given:
        if not (target / file.name).exists():
            shutil.copyfile(file, target / file.name)
    if given:
        (target / ".given").write_text("\n".join(sorted({*known, *(file.name for file in given)})) + "\n")
    return [file.name for file in given]


def give_catalogs(source: Path) -> None:
    """Registers the hub's catalogues for this user; one of the user's own of the same name comes first."""
    if not source.is_file():
        return
    offered = json.loads(source.read_text("utf-8"))
    known = settings.registered_catalogs()
    for name in offered.keys() - known.keys():
        settings.register_catalog(name, offered[name]["root"], offered[name]["roots"], offered[name].get("source"))


def give_kernels(package: Path, cache: Path) -> None:
    """Links to the kernels that were compiled at the installation; else the first view waits a minute for a compiler.

    Numba uses a cache only where it could write to it, so the user's own it is, in folders named as Numba does.
    """
    for compiled in package.rglob("*.nb[ic]"):
        folder = compiled.parent.parent
        place = cache / f"{folder.name}_{hashlib.sha1(str(folder).encode()).hexdigest()}"
        place.mkdir(parents=True, exist_ok=True)
        link = place / compiled.name
        if link.is_symlink() and not link.exists():
            link.unlink()
        if not link.exists():
            link.symlink_to(compiled)


def main() -> None:
    notebooks, catalogs = os.environ.get("MUSES_HUB_NOTEBOOKS"), os.environ.get("MUSES_HUB_CATALOGS")
    kernels = os.environ.get("NUMBA_CACHE_DIR")
    try:
        if kernels:
            give_kernels(Path(settings.__file__).parent, Path(kernels))
        if notebooks and Path(notebooks).is_dir():
            give_notebooks(Path(notebooks), Path.home() / "notebooks")
        if catalogs:
            give_catalogs(Path(catalogs))
    except OSError as error:  # a full or read-only home: the user needs the server all the more
        print(f"the hub's notebooks or catalogues could not be given: {error}", file=sys.stderr)
    from jupyterhub.singleuser import main as serve

    serve()


if __name__ == "__main__":
    main()

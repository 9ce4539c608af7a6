"""A user's server: first what the user finds (notebooks, the hub's catalogues), then JupyterHub's own program.

Runs as the user: what it writes in the home, only the user could have placed there.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shlex
import shutil
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

from muses_lab import settings
from muses_lab.notebooks import give, latest, originals

FOLDER = "notebooks"
"""Of the user's home: where the copies of what is published are."""

SECONDS = 20
"""How often a server that runs looks for what was published since."""


def give_published(source: Path, home: Path, running: bool = False) -> str:
    """Copies what the administrator published into the home; says what, and what could not be.

    Whatever fails, a full or closed home or a folder that is not there, the user needs the server all the more.
    """
    try:
        return str(give(source, home / FOLDER, running=running))
    except OSError as error:
        return f"not given: {error}"


def keep_giving(source: Path, home: Path) -> None:
    """Gives what is published while the server runs, too; tells the log when there is something to tell."""

    def again() -> None:
        said = ""
        while True:
            time.sleep(SECONDS)
            told = give_published(source, home, running=True)
            if told != said:
                _tell(told)
            said = told

    threading.Thread(target=again, name="published", daemon=True).start()


def _tell(told: str) -> None:
    for line in told.splitlines():
        print(f"published: {line}", file=sys.stderr, flush=True)


def first_page(source: Path, home: Path, start: str = "") -> str:
    """Where a user lands: on the copy of the notebook `start`, else of the first one; without it on the launcher.

    >>> first_page(Path("/var/lib/muses-lab/published"), Path("/home/alice"))      # doctest: +SKIP
    '/lab/tree/notebooks/01-first-map.ipynb'

    Where the user has changed the copy and a newer original lies beside it, it is that one.
    """
    start = start or next((name for name in originals(source)[0] if name.endswith(".ipynb")), "")
    name = latest(home / FOLDER, start)
    return f"/lab/tree/{FOLDER}/{quote(os.fsencode(name))}" if name else "/lab"


def give_catalogs(source: Path) -> None:
    """Registers the hub's catalogues for this user; one of the user's own of the same name comes first."""
    if not source.is_file():
        return
    offered = json.loads(source.read_text("utf-8"))
    known = settings.known_catalogs()
    for name, entry in offered.items():
        if name not in known or known[name]["root"] == entry["root"]:
            settings.register_catalog(name, entry["root"], entry["roots"], entry.get("source"))


def give_kernels(package: Path, cache: Path) -> None:
    """Copies of the kernels that were compiled at the installation; else the first view waits a minute for a compiler.

    Numba uses a cache only where it could write to it, so the user's own it is, in folders named as Numba does. Copies
    (15 MB), because other processes may compile there at any time and write an index anew, for themselves alone. An
    index goes with the files that it names: those of another index would be other functions.
    """
    for index in package.rglob("*.nbi"):
        folder = index.parent.parent
        place = cache / f"{folder.name}_{hashlib.sha1(str(folder).encode()).hexdigest()}"
        own = place / index.name
        if own.exists() and own.stat().st_mtime >= index.stat().st_mtime:
            continue
        files = _kernel(index)
        if not files:
            continue
        place.mkdir(parents=True, exist_ok=True)
        for former in (own, *place.glob(f"{glob.escape(index.stem)}.*.nbc")):
            former.unlink(missing_ok=True)
        for name, body in files.items():
            part = place / f"{name}.{os.getpid()}"  # who reads it sees all of it
            part.write_bytes(body)
            part.replace(place / name)


def _kernel(index: Path) -> dict[str, bytes]:
    """The files of a compiled kernel, its index last; none where they are for another account alone.

    The index is read first: Numba writes it before the files that it names, and compiles what it does not find.
    """
    try:
        content = index.read_bytes()
        compiled = {file.name: file.read_bytes() for file in index.parent.glob(f"{glob.escape(index.stem)}.*.nbc")}
    except PermissionError:
        return {}
    return {**compiled, index.name: content}


def terminal() -> str:
    """The option of Jupyter's server by which its terminals have the server's PATH, where `muses-lab` is a command.

    Jupyter starts a login shell where it has no terminal itself; `/etc/profile` of Debian sets a PATH without ours.
    """
    shell = os.environ.get("SHELL") or shutil.which("sh") or "sh"
    return f"--ServerApp.terminado_settings=shell_command={shlex.quote(shell)}"


def main() -> None:
    home, published = Path.home(), os.environ.get("MUSES_HUB_PUBLISHED")
    catalogs, kernels = os.environ.get("MUSES_HUB_CATALOGS"), os.environ.get("NUMBA_CACHE_DIR")
    try:
        if kernels:
            give_kernels(Path(settings.__file__).parent, Path(kernels))
        if catalogs:
            give_catalogs(Path(catalogs))
    except OSError as error:  # a full or read-only home
        print(f"the hub's catalogues could not be given: {error}", file=sys.stderr)
    if published:
        _tell(give_published(Path(published), home))
        keep_giving(Path(published), home)
        os.environ["JUPYTERHUB_DEFAULT_URL"] = first_page(Path(published), home, os.environ.get("MUSES_HUB_START", ""))
    from jupyterhub.singleuser import main as serve

    sys.argv.insert(1, terminal())  # the administrator's own, in the hub's arguments, comes later and holds
    serve()


if __name__ == "__main__":
    main()

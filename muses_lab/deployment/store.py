"""The service `muses` on a hub of one machine: under an account that has nothing but the store and published courses.

    python -m muses_lab.deployment.store HOME [UID]

JupyterHub starts it as root where users have accounts of their own. Then it becomes the account UID, which no user has,
before it listens to anybody. HOME has the SQLite store, for no other account to read; the folder of published courses
(`MUSES_COURSES`) is for all to read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from muses_lab.deployment.config import SettingsError
from muses_lab.deployment.service_account import become, hand_over

NAME = "muses.sqlite"


def main(home: Path, uid: int | None) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["MUSES_LAB_HOME"] = str(home)
    file = file_of(os.environ.get("MUSES_HUB_DATABASE", ""))
    if file == home / NAME:
        bring(home.parent, home)
    if uid is not None:
        hand_over(home, uid)
        hand_over(Path(os.environ["MUSES_COURSES"]), uid, 0o755)
        become(uid, home)
        if file is not None:
            check(file, uid)
    os.execv(sys.executable, [sys.executable, "-m", "muses_lab.hub"])


def file_of(database: str) -> Path | None:
    """The file of a SQLite store; None for another database."""
    try:
        url = make_url(database)
    except ArgumentError:  # the service itself says what is wrong with it
        return None
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def bring(former: Path, home: Path) -> None:
    """Moves the store of an earlier release, which lay in the hub's own folder, with the files beside it.

    The store itself comes last: whatever ends this, the next start goes on with it.
    """
    if not (former / NAME).exists():
        return
    if (home / NAME).exists():
        raise SettingsError(
            f"there are two stores, {former / NAME} of an earlier release and {home / NAME}: move the one that is not "
            "wanted to another folder, with the files beside it that begin with its name"
        )
    stem = NAME.partition(".")[0]
    for path in sorted(former.glob(f"{stem}.*"), key=lambda path: path.name == NAME):
        if path.name.startswith((NAME, f"{stem}.artefacts")):
            path.rename(home / path.name)


def check(file: Path, uid: int) -> None:
    """A store that the administrator has put elsewhere must be the account's to write, and so must its folder."""
    for path in (file.parent, file):
        if (path.exists() or path == file.parent) and not os.access(path, os.W_OK | (os.X_OK if path.is_dir() else 0)):
            raise SettingsError(
                f"the service muses runs under the account {uid}, which cannot write {path} (MUSES_HUB_DATABASE): the "
                f"store needs a folder for itself that is this account's (`chown -R {uid}:{uid} FOLDER`), or leave the "
                "setting out"
            )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
    except SettingsError as error:
        sys.exit(f"the service muses cannot start: {error}")

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


def main(home: Path, uid: int | None) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["MUSES_LAB_HOME"] = str(home)
    file = file_of(os.environ.get("MUSES_HUB_DATABASE", ""))
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

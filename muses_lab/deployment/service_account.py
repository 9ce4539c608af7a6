"""A service of the hub that needs no rights: it becomes an account that no user has, and that owns its folders only."""

from __future__ import annotations

import os
from pathlib import Path


def hand_over(folder: Path, uid: int, mode: int = 0o700) -> None:
    """Makes a folder, with what is in it, an account's own.

    Nobody but root can write there while owners are changed, and links are not followed: what an account has put into
    its folder leads nowhere else.
    """
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    if any(path.lstat().st_uid != uid for path in (folder, *folder.iterdir())):
        os.chown(folder, 0, 0)
        folder.chmod(mode)
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(Path(place, name), uid, uid, follow_symlinks=False)
        os.chown(folder, uid, uid)
    folder.chmod(mode)


def become(uid: int, home: Path) -> None:
    """From here on this process is the account's, in no group but its own."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    os.environ["HOME"] = str(home)

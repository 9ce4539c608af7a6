"""Under which Unix account a user's server and cluster run, and where the user's files are."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from muses_lab.deployment.config import HubSettings, SettingsError

NOBODY = 65534
FIRST = 200_000
"""User ids from here on are given to users who have no account on this machine."""


@dataclass(frozen=True)
class Account:
    """Whose processes these are; no `uid`: those of the hub's own account."""

    home: Path
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    shell: str = "/bin/bash"

    def process(self) -> dict[str, Any]:
        """What `subprocess` needs to start a process of this account in its home."""
        if self.uid is None:
            return {"cwd": self.home, "umask": 0o077}
        return {
            "user": self.uid,
            "group": self.gid,
            "extra_groups": list(self.groups),
            "cwd": self.home,
            "umask": 0o077,
        }

    def environment(self, name: str) -> dict[str, str]:
        """Of all processes of the user `name`: server, kernels, scheduler, workers."""
        found = {
            "HOME": str(self.home),
            "USER": name,
            "LOGNAME": name,
            "SHELL": self.shell,
            "MUSES_LAB_HOME": str(self.home / ".local" / "share" / "muses-lab"),
        }
        if self.uid is not None:  # the compiled kernels beside the code are not theirs to renew
            found["NUMBA_CACHE_DIR"] = str(self.home / ".cache" / "numba")
        return found


class Accounts:
    """The account of every user of the hub, by the hub's settings.

    Users whom PAM knows have their own already. All others get a user id that no account of this machine has; it is
    kept in a file, so a user has the same one for ever. No hub name ever means the machine's account of that name:
    an identity provider's "root" is nobody here.
    """

    def __init__(self, settings: HubSettings, separate: bool) -> None:
        self.separate = separate
        self._known_here = settings.authentication == "pam" and separate
        self._homes = settings.state / "home"
        self._file = settings.state / "accounts.json"

    def of(self, name: str) -> Account:
        """The account of a user, whose home is made when it is not there."""
        if self._known_here:
            entry = pwd.getpwnam(name)
            groups = tuple(os.getgrouplist(name, entry.pw_gid))
            return Account(Path(entry.pw_dir), entry.pw_uid, entry.pw_gid, groups, entry.pw_shell or "/bin/sh")
        if name in (".", "..") or "/" in name:
            raise ValueError(f"{name!r} cannot be the name of a user's folder")
        account = Account(self._homes / name)
        if self.separate:
            uid = self._uid(name)
            account = Account(account.home, uid, uid)
        if not account.home.is_dir():
            account.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if account.uid is not None:
                os.chown(account.home, account.uid, account.uid)
        return account

    def of_service(self, name: str) -> int | None:
        """User id of a service of the hub that needs no rights; None: the hub's own."""
        return self._uid(f"~{name}") if self.separate else None  # no user's name begins so

    def _uid(self, name: str) -> int:
        with FileLock(f"{self._file}.lock", mode=0o600):
            known: dict[str, int] = json.loads(self._file.read_text()) if self._file.exists() else {}
            if name not in known:
                taken = {*known.values(), *(entry.pw_uid for entry in pwd.getpwall())}
                known[name] = next(uid for uid in range(FIRST, FIRST + 100_000) if uid not in taken)
                part = self._file.with_suffix(".part")
                part.write_text(json.dumps(known, indent=1))
                part.replace(self._file)
            return known[name]


def separated(settings: HubSettings) -> tuple[bool, str]:
    """Whether users get accounts of their own, and why not. Tried, not guessed: somebody else runs this Python."""
    if settings.separation == "one":
        return False, "MUSES_HUB_ACCOUNTS=one"
    reason = _cannot_separate(settings.state)
    if reason and settings.separation == "separate":
        raise SettingsError(f"MUSES_HUB_ACCOUNTS=separate is not possible: {reason}")
    return not reason, reason


def _cannot_separate(state: Path) -> str:
    if os.geteuid() != 0:
        return "the hub was not started as root"
    try:
        state.mkdir(mode=0o711, parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, "-c", "import os, sys, jupyterhub, distributed, muses_lab.service; os.stat(sys.argv[1])"]
            + [str(state)],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd="/",
            env={"PATH": os.defpath, "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": "/nonexistent"},
            check=True,
            capture_output=True,
            text=True,
        )
    except PermissionError:
        return f"other accounts cannot run {sys.executable} (it, or a folder above it, is closed to them)"
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or ["it failed"]
        return f"other accounts cannot use {sys.executable}: {last[0]}"
    return ""

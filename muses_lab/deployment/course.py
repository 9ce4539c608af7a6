"""The class's evaluator on a hub of one machine: under an account that has nothing but its own folder.

    python -m muses_lab.deployment.course HOME [UID]

JupyterHub starts it as root where users have accounts of their own. Then it becomes the account UID, which no user has,
before anything of users or courses is read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from muses_lab import settings
from muses_lab.deployment.service_account import become, hand_over
from muses_lab.deployment.singleuser import give_catalogs, give_kernels


def main(home: Path, uid: int | None) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["MUSES_LAB_HOME"] = str(home)
    if uid is not None:
        hand_over(home, uid)
        become(uid, home)
        os.environ["NUMBA_CACHE_DIR"] = str(home / "numba")
        give_kernels(Path(settings.__file__).parent, home / "numba")
    catalogs = os.environ.get("MUSES_HUB_CATALOGS")
    if catalogs:
        give_catalogs(Path(catalogs))
    os.execv(sys.executable, [sys.executable, "-m", "muses_lab.evaluator"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)

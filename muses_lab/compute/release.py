"""What "the same release" means between notebook, service and workers."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def release() -> str:
    """Versions that must be equal on both ends of a cluster: "muses-lab 0.1.0, distributed 2026.8.0, Python 3.11"."""
    try:
        ours = version("muses-lab")
    except PackageNotFoundError:  # run from a folder on PYTHONPATH
        ours = "from source"
    return f"muses-lab {ours}, distributed {version('distributed')}, Python {sys.version_info[0]}.{sys.version_info[1]}"

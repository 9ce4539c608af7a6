"""What tests share: catalogues, servers, hubs and browsers made for them, importable by workers too."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON_PATH = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'widgets'}"
"""`PYTHONPATH` of processes that tests start: this checkout, whatever is installed."""

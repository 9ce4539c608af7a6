"""`python -m muses_lab.evaluator`, as JupyterHub starts it."""

from __future__ import annotations

import sys

from muses_lab.errors import MusesError
from muses_lab.evaluator.app import main

try:
    main()
except MusesError as error:
    sys.exit(f"the service course cannot start: {error}")

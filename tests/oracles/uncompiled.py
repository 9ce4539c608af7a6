"""The engine without compiled code: every operator by its NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from muses_lab.engine import execute


@contextmanager
def without_code() -> Iterator[None]:
    """No step has compiled code in here; reducers and masks are evaluated by their operators."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "code_of", lambda prepared, step: None)
        yield

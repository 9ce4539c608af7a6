"""Errors that users meet, by what they say and by openEO's name for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from muses_lab.errors import MusesError


@contextmanager
def refused(said: str) -> Iterator[None]:
    """Whether what is inside is refused so: a pattern of its message, or openEO's name of the error."""
    with pytest.raises(MusesError) as caught:
        yield
    error = caught.value
    assert re.search(said, error.message) or said == error.openeo, (said, error.openeo, error.message)

"""Waiting until something is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def within(seconds: float, condition: Callable[[], Any]) -> bool:
    """Whether it is so before so many seconds have passed; the answer comes as soon as it is."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True

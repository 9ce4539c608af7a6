"""Waiting until something is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def within(seconds: float, condition: Callable[[], Any]) -> bool:
    """Whether it is so before so many seconds have passed; the answer comes as soon as it is, or a tenth later."""
    begin = time.monotonic()
    while not condition():
        waited = time.monotonic() - begin
        if waited > seconds:
            return False
        time.sleep(min(0.01 + waited / 10, 0.25))  # who asks a server all the time slows down what is waited for
    return True

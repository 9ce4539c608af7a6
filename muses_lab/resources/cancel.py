"""The cancel flag of the evaluation that runs an operator: long operators look at it every tenth of a second or so.

```python
for first, last in stripes(image.shape[0], seconds=image.shape[1] * 2e-9):
    fill(image, first, last, out)
```

Operators do not know who evaluates them. Outside of an evaluation nothing is ever cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LONGEST = 0.1
"""Seconds that a stripe is expected to take at most, if it has more than one row."""

_flag: ContextVar[Callable[[], None] | None] = ContextVar("flag", default=None)


@contextmanager
def watching(flag: Callable[[], None]) -> Iterator[None]:
    """Lets `check` call `flag`, which raises Cancelled when nobody waits any more; in this thread."""
    before = _flag.set(flag)
    try:
        yield
    finally:
        _flag.reset(before)


def check() -> None:
    """Raises Cancelled when nobody waits for this evaluation any more."""
    flag = _flag.get()
    if flag is not None:
        flag()


def stripes(rows: int, seconds: float) -> Iterator[tuple[int, int]]:
    """First row and end of stripes that take at most about `LONGEST`, the flag looked at before each.

    Parameters
    ----------
    rows
        Rows there are.
    seconds
        What a row is expected to take.
    """
    step = max(1, int(LONGEST / seconds)) if seconds > 0 else max(rows, 1)
    for first in range(0, rows, step):
        check()
        yield first, min(first + step, rows)

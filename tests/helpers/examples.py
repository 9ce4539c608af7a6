"""How many examples a property is tried on: few in `make test`, many in `make test-thorough`."""

from __future__ import annotations

import hypothesis

MANY = 50
"""How many times as many examples the thorough run tries."""


def examples(few: int, many: int | None = None) -> int:
    """`few`, or in a thorough run `many` (by default `MANY` times as many); for `settings(max_examples=…)`."""
    thorough = hypothesis.settings.get_current_profile_name() == "thorough"
    return (many or few * MANY) if thorough else few

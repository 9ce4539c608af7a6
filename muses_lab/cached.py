"""Properties that are computed once."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

__all__ = ["cached_property"]

if sys.version_info < (3, 12) and not TYPE_CHECKING:

    class cached_property(cached_property):  # noqa: N801
        """That of Python 3.12, whose predecessors hold one lock for the property of *all* instances.

        A chain whose catalogue does not answer would hold up the publishing of all others.
        """

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            value = instance.__dict__[self.attrname] = self.func(instance)
            return value

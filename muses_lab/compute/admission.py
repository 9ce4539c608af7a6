"""What is refused because it would take too long: a view, what a user has waiting, an export; each by a setting."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from muses_lab.errors import MusesError
from muses_lab.plain import duration
from muses_lab.settings import number

LONGEST_RETRY = 60
"""Seconds after which who was refused may ask again, at the latest: others may have gone by then."""


class TooMuchWaiting(MusesError):
    """What this user has asked for will keep the cluster busy for longer than is allowed."""

    code = "too-much-waiting"
    http_status = 429


class TooCostly(MusesError):
    """One view, or one export, would take longer than is allowed: asking again is of no use."""

    code = "too-costly"
    http_status = 413


@dataclass(frozen=True)
class Admission:
    """The limits, in seconds of the cluster at work."""

    view_seconds: float = field(default_factory=lambda: number("MUSES_VIEW_SECONDS"))
    queue_seconds: float = field(default_factory=lambda: number("MUSES_QUEUE_SECONDS"))

    def check(self, view: float, waiting: float) -> None:
        """`view`: what the whole view is expected to take; `waiting`: what is asked for already, this included."""
        if view > self.view_seconds:
            raise TooCostly(
                f"this view would take about {duration(view)}, more than the {duration(self.view_seconds)} that are "
                "allowed: look closer, or use fewer dates or a smaller radius or kernel",
                expected_seconds=round(view),
                limit=self.view_seconds,
            )
        if waiting > self.queue_seconds:
            retry = max(1, min(LONGEST_RETRY, math.ceil(waiting - self.queue_seconds)))
            raise TooMuchWaiting(
                f"what is waiting already takes about {duration(waiting)}, more than the "
                f"{duration(self.queue_seconds)} that are allowed: try again in {retry} s",
                expected_seconds=round(waiting),
                limit=self.queue_seconds,
                retry_after=retry,
            )

    def check_areas(self, seconds: float, waiting: float) -> None:
        """The whole areas that a chain needs before its first tile; `waiting`: what is asked for, without them."""
        if seconds > self.view_seconds:
            raise TooCostly(
                f"the whole areas that this chain needs would take about {seconds:.0f} s, more than the "
                f"{self.view_seconds:g} s that are allowed: choose smaller extents, coarser resolutions, fewer dates",
                expected_seconds=round(seconds),
                limit=self.view_seconds,
            )
        self.check(view=seconds, waiting=waiting + seconds)


def check_export(plan: Any) -> None:
    """Refuses an export whose plan is above `MUSES_EXPORT_SECONDS` (default: a day of this cluster)."""
    limit = number("MUSES_EXPORT_SECONDS")
    if plan.seconds > limit:
        raise TooCostly(
            f"this export would take about {duration(plan.seconds)}, more than the {duration(limit)} that are allowed: "
            "choose a smaller window, a coarser resolution, fewer dates, or a smaller radius or kernel",
            expected_seconds=round(plan.seconds),
            limit=limit,
        )

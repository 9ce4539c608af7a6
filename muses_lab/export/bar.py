"""A job's progress bar: in a terminal, or under the notebook's cell that started the job.

The bar watches the job from a thread of its own; a fault of the bar does not reach the job.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import Any

from tqdm.auto import tqdm

from muses_lab.export.running import RunningJob
from muses_lab.plain import duration

logger = logging.getLogger(__name__)

SECONDS = 0.2
"""How often it is looked whether there is news to be drawn."""

TICK = 1.0
"""How often it is drawn without news: the time goes on."""

_LONGEST = 40
"""Characters of a name that are shown."""


class Bar:
    """Made in the thread, and the cell, under which it shall stand."""

    def __init__(self, job: RunningJob) -> None:
        self.ended = threading.Event()
        """Set when the end is shown, or nothing is shown any more."""
        self._job = job
        self._bar: Any = None
        self._drawn: tuple[str, float] | None = None
        self._when = 0.0
        try:
            # A description that is given here would be taken as HTML in a notebook; later ones are escaped.
            self._bar = tqdm(total=1.0, bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}")
            self._draw()
        except Exception:
            self._give_up()

    def follow(self) -> None:
        threading.Thread(target=self._follow, name=f"bar of {self._job.name}", daemon=True).start()

    def _follow(self) -> None:
        try:
            while self._bar is not None and not self._job.ended.wait(SECONDS):
                self._draw()
            if self._bar is not None:
                self._draw()
                self._bar.close()
        except BaseException:  # nobody waits in this thread
            self._give_up()
        finally:
            self.ended.set()

    def _draw(self) -> None:
        text, progress = _text(self._job), self._job.progress
        news = text, round(progress, 2)
        if news == self._drawn and monotonic() - self._when < TICK:
            return
        self._drawn, self._when = news, monotonic()
        self._bar.n = progress
        self._bar.set_description_str(text, refresh=False)
        left = self._job.remaining
        self._bar.set_postfix_str("" if left is None else f"about {duration(left)} left", refresh=False)
        self._bar.refresh()

    def _give_up(self) -> None:
        logger.debug("the progress of %s can no longer be shown", self._job.name, exc_info=True)
        self._bar = None


def _text(job: RunningJob) -> str:
    name = "".join(c if c.isprintable() else "?" for c in job.name)
    name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 10]}…{name[-9:]}"
    if job.state != "running":
        return f"{name}: {job.state}"
    if job.stopping:
        return f"{name}: stopping"
    return f"{name}: {job.stage}" + (f", {job.done} of {job.total}" if job.stage == "computing" else "")

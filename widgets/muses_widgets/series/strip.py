"""The strip of a panel of series: a small image of the selected place for each of its dates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from shapely.geometry.base import BaseGeometry

from muses_widgets.series import words
from muses_widgets.series.expressions import Quantity, Scenes
from muses_widgets.series.images import DateImages


class Strip:
    """The images of one place and chain at a time, as the page takes them: {of, images: {time: data URL}}.

    An image is empty where there is no data. `of` names the place and the chain: a layer of the same name may be
    another one now.
    """

    def __init__(self) -> None:
        self._made: tuple[str, DateImages] | None = None
        self._lock = threading.RLock()

    @staticmethod
    def key(subject: BaseGeometry | None, quantity: Quantity | None) -> str:
        """Names what images are of; empty where there is nothing to show."""
        return "" if subject is None or quantity is None else f"{subject.wkt} {quantity.chain.hash}"

    def source(self, key: str, quantity: Quantity, scenes: Sequence[Scenes]) -> DateImages:
        """What makes the images of a key."""
        with self._lock:
            if self._made is None or self._made[0] != key:
                self._made = key, DateImages.of(quantity, scenes)
            return self._made[1]

    @staticmethod
    def made(
        images: DateImages, window: Any, times: Sequence[str], have: dict[str, str], is_stale: Callable[[], bool]
    ) -> Iterator[dict[str, str]]:
        """Images by their times, those that there are already and some more each time."""
        wanted = [np.datetime64(time) for time in times if time not in have]
        if not wanted:
            return
        for some in images.chips(window, wanted, is_stale):
            have = have | {words.iso(time): words.data_url(body) for time, body in some.items()}
            yield have

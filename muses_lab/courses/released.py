"""The courses that come with this release: in `notebooks/courses` of a clone, or installed beside the packages."""

from __future__ import annotations

import sys
from pathlib import Path

from muses_lab.courses.description import FILE

_CLONE = Path(__file__).resolve().parents[2] / "notebooks" / "courses"
_INSTALLED = Path(sys.prefix) / "share" / "muses-lab" / "courses"


def released() -> dict[str, Path]:
    """The folders of the release's courses, by name; none where it was installed without them.

    >>> sorted(released())                                                              # doctest: +SKIP
    ['first-steps', 'land-cover', 'time-series-of-fields']
    """
    for place in (_CLONE, _INSTALLED):
        if found := sorted(place.glob(f"*/{FILE}")):
            return {file.parent.name: file.parent for file in found}
    return {}

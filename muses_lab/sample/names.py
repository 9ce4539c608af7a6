"""The samples by name, as `catalog:` of a course has them."""

from __future__ import annotations

import re
from pathlib import Path

from muses_lab.sample.make import generate, of_size
from muses_lab.sample.years import six_years

ANY, YEARS = "sample", "sample-years"


def named(name: str) -> Path | None:
    """The folder of a sample, which is made where it is not there; None where the name is none of a sample.

    >>> named("sample-1056-24")                                     # doctest: +SKIP
    PosixPath('/home/ada/.local/share/muses-lab/sample-1056-24')

    Parameters
    ----------
    name
        `sample`: the year near Toulouse, of whatever size is there. `sample-1056-24`: that year with tiles of 1056
        pixels and 24 dates, whose values are the same on every machine. `sample-years`: the six years of `six_years`.
    """
    if name == ANY:
        return generate()
    if name == YEARS:
        return six_years()
    if found := re.fullmatch(r"sample-(\d{2,5})-(\d{1,2})", name):
        return of_size(int(found[1]), int(found[2]))
    return None

"""The catalogue of spectral indices as a table."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from muses_lab.errors import BandError
from muses_lab.operators import Meta
from muses_lab.operators.spectral import CATALOGUE, NOTES, Index, indices_of

_COLUMNS = (
    "title", "domain", "formula", "bands", "constants", "platforms", "scale_free", "same_as", "note", "reference",
)  # fmt: skip


def indices() -> pd.DataFrame:
    """The catalogue of spectral indices (Awesome Spectral Indices) by name, for `chain.index(name)`.

    ```python
    known = ml.indices()
    known[known.domain == "burn"]
    known.loc["EVI", "formula"]
    ```

    Columns: `title`, `domain` (vegetation, water, burn, snow, soil, urban, radar, kernel, clouds), `formula`, `bands`
    (its letters), `constants` (with their defaults; None: to be given), `platforms`, `scale_free` (the same of
    reflectance and of stored integers), `same_as` (other names of the same formula), `note` (where it differs from the
    paper, or what else the name means), `reference`.
    """
    return _table(CATALOGUE)


def computable(meta: Meta) -> pd.DataFrame:
    """The indices that data have the bands of, with the column `uses`: letter → band."""
    if not meta.bands:
        raise BandError("the chain has no bands to make an index of; take a chain that has some: s2.indices()")
    found = indices_of(meta)
    return _table(found).assign(uses=list(found.values()))


def _table(names: Iterable[str]) -> pd.DataFrame:
    same: dict[str, list[str]] = {}
    for index in CATALOGUE.values():
        same.setdefault(index.canonical, []).append(index.name)
    rows = {name: _row(CATALOGUE[name], same[CATALOGUE[name].canonical]) for name in names}
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=_COLUMNS)
    return table.rename_axis("index")


def _row(index: Index, same: list[str]) -> dict[str, object]:
    return {
        "title": index.title, "domain": index.domain, "formula": index.formula, "bands": index.letters(),
        "constants": index.constants(), "platforms": index.platforms, "scale_free": index.is_scale_free,
        "same_as": tuple(name for name in same if name != index.name), "note": NOTES.get(index.name, ""),
        "reference": index.reference,
    }  # fmt: skip

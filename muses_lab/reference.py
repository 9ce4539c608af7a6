"""How the processes of documents are written in Python, for `docs/operators.md`: the lines of `WRITTEN` are run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import muses_lab as ml
from muses_lab.catalog import Query
from muses_lab.document import graph
from muses_lab.document.graph import Callback, Node
from muses_lab.operators import registry

WRITTEN = """\
s2.bbox(1.3, 43.5, 1.5, 43.7)
s2.near("Toulouse")
s2.intersects(polygon)
s2.dates("2018-01-01", "2019-01-01")
s2.filter("eo:cloud_cover < 60")
s2.sort("eo:cloud_cover")
s2.limit(10)
c.bands("red", "nir")
c.band("red")
c.ndvi()
c.ndwi()
c.mndwi()
c.nbr()
c.normalized_difference("green", "nir")
c.dates("2018-03-01", "2018-06-01")
c.crop(1.3, 43.5, 1.5, 43.7)
c.mask(cond)
a + b
a + 1
a - b
-a
a * b
a / b
a % b
a ** 2
abs(a)
a > b
a >= b
a < b
a <= b
a == b
a != b
cond & other
cond | other
cond ^ other
~cond
a.sqrt()
a.ln()
a.log(10)
a.exp()
a.clip(0, 1)
a.between(0, 1)
a.isin([4, 5])
a.has_bits(8)
a.scale(0, 10000)
c.mean("t")
c.median("t")
c.min("t")
c.max("t")
c.std("t")
c.sum("t")
c.count("t")
c.quantile(0.9, "t")
c.first("t")
c.last("t")
a.apply_kernel([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
a.focal_mean(2)
a.focal_median(2)
a.erode(1)
a.dilate(1)
a.opening(1)
a.closing(1)
cond.connected_components(min_area=1000)
a.otsu()
a.pin((1.3, 43.5, 1.5, 43.7), 10)
a.at_resolution(20)
a.on_grid(b)
a.on_grid("EPSG:2154", 10)
ml.rgb(a, a, a)
c.where(cond)
s2.mask_clouds()
""".splitlines()
"""`s2` is a collection, `c` any chain, `a` and `b` images, `cond` and `other` conditions (true and false)."""


def written() -> dict[str, list[str]]:
    """Process → how it is written in Python; those that nothing writes are missing."""
    found = {"load_collection": ['ml.collection("sentinel-2-l2a")'], "muses:load_items": ["c.resolve()"]}
    # Those two need a catalogue to be run; all others do not.
    for text in WRITTEN:
        for process in _made(text):
            found.setdefault(process, []).append(text)
    return found


def _made(text: str) -> list[str]:
    """The processes that a line adds to what it begins with."""
    chain = eval(text, {"ml": ml, **_names()})
    made = dict.fromkeys(_processes(graph.parse(chain.to_json(), registry)))
    return [p for p in made if p != "load_collection" or isinstance(chain, ml.Collection)]


def _processes(root: Node) -> Iterator[str]:
    """All processes of a document, callbacks' too."""
    for node in graph.walk(root):
        yield node.process
        for value in node.arguments.values():
            if isinstance(value, Callback):
                yield from _processes(value.root)


@lru_cache
def _names() -> dict[str, Any]:
    """What the lines begin with."""
    s2 = ml.Collection(_Described(), Query("sentinel-2-l2a"))  # type: ignore[arg-type]
    other = ml.Chain.from_json(ml.Collection(_Described(), Query("other")).to_json())  # type: ignore[arg-type]
    c = ml.Chain.from_json(s2.to_json())
    corner = [[1.3, 43.5], [1.5, 43.5], [1.5, 43.7], [1.3, 43.5]]
    polygon = {"type": "Polygon", "coordinates": [corner]}
    return {"s2": s2, "c": c, "a": c, "b": other, "cond": c, "other": other, "polygon": polygon}


class _Described:
    """A catalogue of which only is known what its collection is."""

    id = root = "catalogue"

    def collection(self, id: str) -> dict[str, Any]:
        return {"id": id}

"""openEO documents of others, opened: their results as chains."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muses_lab import plain
from muses_lab.api.chain import Chain, chain_of
from muses_lab.document.graph import walk
from muses_lab.errors import ArgumentError, DocumentError, NotFound
from muses_lab.export import Job
from muses_lab.export.formats import writers
from muses_lab.plain import shown
from muses_lab.publish import bundle
from muses_lab.publish.pinning import LOADS

_FORMATS = dict.fromkeys(("gtiff", "tiff", "tif", "cog"), "GeoTIFF") | dict.fromkeys(("nc", "netcdf4"), "NetCDF")
"""How others call formats (in lower case) → how they are called here; other names are the same but for the case."""


@dataclass(frozen=True)
class GraphResult:
    """One result of an openEO document: what a `save_result`, or the node with `result: true`, is given."""

    chain: Chain
    name: str
    """Id of its node in the document."""
    format: str | None = None
    """The format that the document saves it in, as it is called there; None: it states none."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the format, as the document has them; exports do not look at them."""

    @property
    def loads(self) -> tuple[str, ...]:
        """The collections that it is made of, as they are called here."""
        nodes = (node for node in walk(self.chain._node) if node.process in LOADS)
        return tuple(dict.fromkeys(node.arguments.get("id") or node.arguments["url"] for node in nodes))

    def export(self, path: str | os.PathLike[str], window: Any = None, **options: Any) -> Job:
        """Writes the chain on a window as `Chain.export` does; a name without an ending is of the document's format.

        ```python
        ml.read_graph("graph.json")[0].export("ndvi", window)       # ndvi.tif where the document says GTiff
        ```
        """
        target = plain.path("path", path, "ndvi.tif")
        if not target.suffix:
            target = target.with_name(target.name + self._suffix())
        return self.chain.export(target, window, **options)

    def _suffix(self) -> str:
        wanted = (self.format or "GeoTIFF").lower()
        wanted = _FORMATS.get(wanted, wanted).lower()
        for writer in writers():
            if writer.name.lower() == wanted:
                return writer.suffixes[0]
        there_are = "; ".join(f"{writer.name} ({', '.join(writer.suffixes)})" for writer in writers())
        raise ArgumentError(
            f"the document saves {self.name!r} as {self.format!r}, which is none of the formats here: {there_are}. "
            "Give the path one of these endings",
            openeo="FormatUnsupported",
            argument="path",
        )


def read_graph(
    graph: Any,
    parameters: Mapping[str, Any] | None = None,
    processes: Any = None,
    trust_code: bool = False,
    collections: Mapping[str, Any] | None = None,
) -> tuple[GraphResult, ...]:
    """The results of an openEO document, in its order: text, a file, or what `json.loads` made of it.

    ```python
    for result in ml.read_graph("graph.json", parameters={"year": "2020"}):
        m.add(result.chain.style(), name=result.name)
    ml.read_graph("process.json", parameters={"data": s2.dates("2018-06")})
    ml.read_graph("graph.json", collections={"SENTINEL2_L2A": "sentinel-2-l2a"})
    ml.read_graph("graph.json", collections={"S2": {"id": "my-scenes", "bands": {"B04": "red", "B08": "b2"}}})
    ```

    The document is a process graph, a user-defined process, or what holds one under `process`: a job, a service. A
    parameter that is not given has its default; a `spatial_extent` that is a parameter without one means the window; a
    data cube is given as a chain.
    `processes` are definitions of user-defined processes that the document calls and does not bring in its own
    `processes`: a list, or by id. `collections` says which collections here are those that the document loads, and how
    bands are called here that it calls otherwise: all of it then goes by the document's names. `trust_code`: code in
    the document (`run_udf`) is taken, see `Chain.from_json`.

    Raises
    ------
    DocumentError
        Naming the node and the argument, with openEO's name in `openeo`: a process or argument that there is not, a
        parameter without a value, an extent that is none. Nothing is left out.
    """
    given = {name: value for name, value in (parameters or {}).items() if isinstance(value, Chain)}
    values = {**(parameters or {}), **{name: chain._node for name, chain in given.items()}}
    read, found = bundle.read(_document(graph), values, processes, trust_code, collections)
    return tuple(
        GraphResult(_with(chain_of(one.root, found), given), one.name, one.format, one.options) for one in read
    )


def _with(chain: Chain, given: Mapping[str, Chain]) -> Chain:
    """A chain with what the chains that it is made of hold."""
    for other in given.values():
        chain._artefacts |= other._artefacts
        chain._searches |= other._searches
        chain._problems |= other._problems
    return chain


def faults(
    graph: Any,
    parameters: Mapping[str, Any] | None = None,
    processes: Any = None,
    collections: Mapping[str, Any] | None = None,
) -> tuple[DocumentError, ...]:
    """All that keeps `read_graph` from reading a document, where it stops at the first: one fault for each node."""
    return tuple(bundle.faults(_document(graph), parameters, processes, collections))


def _document(graph: Any) -> Any:
    if isinstance(graph, str) and not graph.lstrip().startswith("{"):
        if "://" in graph[:16]:
            raise ArgumentError(f"read_graph({shown(graph)}) takes a text or file: download the document first")
        graph = Path(graph)
    if isinstance(graph, os.PathLike):
        try:
            return Path(graph).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise NotFound(f"there is no document in {shown(str(graph))}: {error}") from None
    return graph

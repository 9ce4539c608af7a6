"""Chains: what users hold. Building costs nothing; a window is evaluated when somebody looks at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from muses_lab.api.evaluation import Evaluable
from muses_lab.api.layer import Layer
from muses_lab.api.methods import add_methods
from muses_lab.api.written import called, text
from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact
from muses_lab.document.graph import Node
from muses_lab.errors import ArgumentError
from muses_lab.operators import registry
from muses_lab.plain import shown
from muses_lab.publish import bundle
from muses_lab.publish.pinning import LOADS, Searches
from muses_lab.style import Style


class Chain(Evaluable):
    """A deferred processing chain: a pure function from a window to pixels.

    ```python
    ndvi = ml.collection("sentinel-2-l2a").mask_clouds().ndvi().median("t")
    ndvi.compute(ml.Window.from_bounds((1.40, 43.55, 1.50, 43.65), crs="EPSG:32631", resolution=20))
    ```

    Immutable. Arithmetic and comparison build new chains, pixel by pixel, so a chain is not a truth value. Only where
    Python asks whether two chains are equal (`if a == b`, `in`, `.index`, a dictionary, the options of a widget) the
    answer is whether they are the same chain, as `.identical(other)` says. Missing values are NaN; true is 1 and
    false 0. Chains can be pickled and copied, before and after their first use.
    """

    def _new(
        self,
        node: Node,
        artefacts: Mapping[str, Artefact],
        problems: Mapping[str, tuple[str, ...]],
        searches: Mapping[str, Searches],
    ) -> Any:
        return Chain(node, artefacts, problems, searches)

    def to_json(self, artefacts: bool = False) -> dict[str, Any]:
        """The openEO document: `process_graph`, and the versions of the operators.

        ```python
        text = json.dumps(ndvi.to_json(artefacts=True))   # for another home, with the scenes as they are now
        ml.Chain.from_json(text).compute(window)
        ```

        `artefacts`: with all that the document refers to by digest: models, vectors, and the lists of scenes that the
        chain stands for now, so that it gives the same pixels wherever its catalogue is registered, whatever has been
        added to it since.
        """
        if not artefacts:
            return graph.to_document(self._node)
        return bundle.to_document(self.published)

    @classmethod
    def from_json(cls, document: Any, trust_code: bool = False) -> Chain:
        """A chain from an openEO document (text, or parsed JSON), with the artefacts that it brings.

        `trust_code`: a document may hold code of whoever wrote it (openEO's `run_udf`), which would run on your cluster
        with all that you may do. It is refused unless you have read it and say that you trust it.

        Raises
        ------
        PrivateChain
            The document holds code, and nobody said that it is trusted.
        DocumentError
            Naming the node and the argument that is wrong (see `graph.parse`), or the artefact: one whose content is
            not what its digest names, or that is not of the kind that the document takes it for.
        """
        root, found = bundle.parse(document, trust_code)
        return Chain(root, found, searches=_searches_of(root))

    def __reduce__(self) -> tuple[Any, ...]:
        """As a document, which is flat however deep the chain is; what has been worked out of it stays behind."""
        about = self._artefacts, self._problems, self._searches
        return _restored, (graph.to_bytes(self._node), *about, str(self._written))

    def style(self, cmap: Any = "viridis", **style: Any) -> Layer:
        """The chain with a style: `cmap`, `vmin`, `vmax`, `gamma`, `bands`, `classes`, `opacity`, `label`, `unit`.

        See `Style` for what they mean.
        """
        return Layer(self, Style.of(cmap=cmap, **style))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Chain]:
            """The methods of operators, which `add_methods` makes of the registry."""


add_methods(Chain)


def rgb(red: Chain, green: Chain, blue: Chain) -> Chain:
    """Three chains (images without bands) as the bands `red`, `green`, `blue` of one.

    ```python
    median = s2.mask_clouds().median("t")
    ml.rgb(median.band("red"), median.band("green"), median.band("blue")).style(vmax=0.3)
    ```
    """
    for chain in (red, green, blue):
        if not isinstance(chain, Chain):
            raise ArgumentError(f"rgb({shown(chain)}) takes a chain, for example median.band('red')")
    layers = [
        chain._with("add_dimension", data=chain._node, name="bands", label=label)
        for chain, label in ((red, "red"), (green, "green"), (blue, "blue"))
    ]
    merged = layers[0]
    for layer in layers[1:]:
        merged = merged._with("merge_cubes", layer, cube1=merged._node, cube2=layer._node)
    merged._written = called("rgb", red, green, blue)
    return merged


def _searches_of(root: Node) -> dict[str, Searches]:
    """For the chains that are made of a document's: they share what its collections are found to be."""
    searches = Searches()
    return {node.hash: searches for node in graph.walk(root) if node.process in LOADS}


def _restored(
    document: bytes,
    artefacts: dict[str, Artefact],
    problems: dict[str, tuple[str, ...]],
    searches: dict[str, Searches],
    written: str,
) -> Chain:
    for artefact in artefacts.values():
        if artefact.kind.private:
            _ = artefact.value  # the operator that the document names
    chain = Chain(graph.parse(document, registry), artefacts, problems, searches)
    chain._written = text(written)
    return chain

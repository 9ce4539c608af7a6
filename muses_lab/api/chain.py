"""Chains: what users hold. Building costs nothing; a window is evaluated when somebody looks at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab import training, zonal
from muses_lab.api.evaluation import Evaluable
from muses_lab.api.frames import OverTime
from muses_lab.api.layer import Layer
from muses_lab.api.methods import add_methods
from muses_lab.api.parameters import declared_by, replayable
from muses_lab.api.python import to_python
from muses_lab.api.written import text
from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact
from muses_lab.document.graph import Node
from muses_lab.errors import ArgumentError
from muses_lab.operators import registry
from muses_lab.operators.vectors import Features
from muses_lab.operators.zonal import is_table, reduces_over_features
from muses_lab.plain import shown
from muses_lab.publish import bundle
from muses_lab.publish.pinning import LOADS, Searches
from muses_lab.store import default_store
from muses_lab.style import Style

if TYPE_CHECKING:
    import geopandas


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
        return (Table if reduces_over_features(node) else Chain)(node, artefacts, problems, searches)

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

    def to_python(self, name: str = "chain") -> str:
        """Python code that builds the chain, its result under a name.

        ```python
        print(ndvi.to_python())
        # import muses_lab as ml
        #
        # chain = ml.collection('sample:sentinel-2-l2a').mask_clouds().ndvi().median('t')
        ```

        It is made of the document, so it does not matter how the chain was made: by hand, by sliders, or read from
        JSON. Run where the collections are registered, it gives a chain of the same hash. What only a document can say
        stands there as JSON (`ml.read_graph`). Models, vectors and lists of scenes stand there by digest: they have to
        be in the store where the chain is computed, or `to_json(artefacts=True)` takes them along.

        Raises
        ------
        ArgumentError
            `name` is none that a variable can have, or `ml`, which the code needs.
        """
        return to_python(self, name)

    @classmethod
    def from_json(cls, document: Any, parameters: Mapping[str, Any] | None = None, trust_code: bool = False) -> Chain:
        """A chain from an openEO document (text, or parsed JSON), with the artefacts that it brings.

        `parameters` are values of the document's parameters; they are the chain's, and `with_parameters` changes them.
        Of a document with several results, `ml.read_graph` gives them all, with the formats that they are saved in. A
        document whose result is a table of features (`aggregate_spatial`) gives a `Table`, one that ends in a model
        (`save_ml_model`) a `Model`.

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

        def made(values: Mapping[str, Any]) -> Chain:
            return chain_of(*bundle.parse(document, values, trust_code))

        return replayable(made)(declared_by(bundle.declared(document), parameters or {}))

    def __reduce__(self) -> tuple[Any, ...]:
        """As a document, which is flat however deep the chain is; what has been worked out of it stays behind."""
        about = self._artefacts, self._problems, self._searches
        return _restored, (graph.to_bytes(self._node), *about, str(self._written))

    def style(self, cmap: Any = "viridis", **style: Any) -> Layer:
        """The chain with a style: `cmap`, `vmin`, `vmax`, `gamma`, `bands`, `classes`, `hidden`, `opacity`, `label`,
        `unit`.

        See `Style` for what they mean.
        """
        return Layer(self, Style.of(cmap=cmap, **style))

    def over_time(self, period: str | None = None, reducer: str = "median", q: float | None = None) -> OverTime:
        """The chain's dates one after the other, as frames that a map moves through.

        ```python
        m.add(ndvi.over_time().style(cmap="RdYlGn", vmin=0, vmax=1), name="NDVI")   # every observation
        m.add(ndvi.over_time("month", "median").style(cmap="RdYlGn"), name="Months")
        ```

        With a `period`, the frames are those of `.by_period(period, reducer, q)`: days, dekads, months, seasons, years.
        """
        return OverTime(self if period is None else self.by_period(period, reducer, q))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Chain]:
            """The methods of operators, which `add_methods` makes of the registry."""


add_methods(Chain)


class Table(Chain):
    """A deferred table, which is a chain without pixels: values over polygons, lines or points.

    ```python
    fields = ml.vectors("fields.gpkg")
    table = ndvi.aggregate_spatial(fields, "median")
    table.table()                           # a GeoDataFrame: a row for each feature and date, a column for each band
    table.compute()                         # an array of dims geometry, t, bands
    ```

    Arithmetic, comparison and processes that work value by value, or over `t` and `bands`, may follow.
    """

    def _new(
        self,
        node: Node,
        artefacts: Mapping[str, Artefact],
        problems: Mapping[str, tuple[str, ...]],
        searches: Mapping[str, Searches],
    ) -> Any:
        return Table(node, artefacts, problems, searches)

    @property
    def features(self) -> Features:
        """The features of its rows."""
        return zonal.features(self.published)

    def compute(self, resolution: float | None = None) -> xr.DataArray:  # type: ignore[override]
        """The values: dims of (geometry, t, bands) that it has; `geometry` holds the features, `feature` their ids.

        Of the native pixels, or of those of the level of `resolution` metres. What has no pixels is missing, and
        `OutsideData` warns of it. With the package xvec, `.xvec.set_geom_indexes("geometry", crs=…)` makes it a vector
        cube with an index.
        """
        self._check(resolution)
        found = zonal.compute(self.published, resolution)
        self._tell_unread(found.attrs.get("scenes_failed", ()))
        return found

    def table(self, resolution: float | None = None) -> geopandas.GeoDataFrame:
        """The values as a GeoDataFrame: the attributes of the features, and a column for each band (or `value`).

        A row for each feature, and for each date where it has dates (column `t`). A column whose name is an attribute's
        begins with `chain_`.
        """
        self._check(resolution)
        return zonal.frame(self.published, resolution)

    def _check(self, resolution: Any) -> None:
        self._tell_problems()
        if isinstance(resolution, GeoBox):
            raise ArgumentError(f"compute({shown(resolution)}): a table has no window; its features are its places")


class Model(Chain):
    """A deferred model, as a document has it that ends in one (`ml_fit_class_random_forest`, `save_ml_model`).

    ```python
    forest = ml.Chain.from_json(document).compute()
    features.random_forest(forest)
    forest.digest                           # what `load_ml_model` takes, wherever this store is
    ```
    """

    def compute(self) -> Any:  # type: ignore[override]
        """The fitted model; it is fitted once, and kept in the user's store."""
        self._tell_problems()
        return training.model_of(self.published, default_store()).value


def _kind(root: Node) -> type[Chain]:
    """What a document becomes: a chain, or one that has no pixels."""
    return Model if registry[root.process].fits else Table if is_table(root) else Chain


def chain_of(root: Node, artefacts: Mapping[str, Artefact]) -> Chain:
    """The chain of a document that was read, with the artefacts that it brought."""
    return _kind(root)(root, artefacts, searches=_searches_of(root))


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
    root = graph.parse(document, registry)
    chain = _kind(root)(root, artefacts, problems, searches)
    chain._written = text(written)
    return chain

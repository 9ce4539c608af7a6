"""openEO's processes of machine learning: models are fitted to tables, are artefacts, and are applied to bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import shapely
import xarray as xr
from pydantic import Field

from muses_lab.document.artefacts import OfKind
from muses_lab.errors import ArgumentError, DocumentError
from muses_lab.operators.contract import Cost, Cube, Meta, Referring, Tabular
from muses_lab.operators.costs import cost_of
from muses_lab.operators.declare import operator
from muses_lab.operators.forest import Forest, fit_random_forest, fit_random_forest_regression, random_forest
from muses_lab.operators.registered import registry
from muses_lab.operators.vectors import VECTORS, Features

_FOREST = "muses:random_forest"
_PREDICTION = "0"
"""openEO's label of a single value."""


Model = Annotated[Forest, OfKind(_FOREST)]

# --------------------------------------------------------------------------------------------------------- fitting

Variables = Annotated[int, Field(ge=1)] | Literal["all", "log2", "onethird", "sqrt"]
Trees = Annotated[int, Field(ge=1, le=1000)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)] | None
Target = Annotated[Features, OfKind(VECTORS.name)] | str
"""Features with the values that are known, or the name of an attribute of the table's own."""

_TARGET = "target"
"""The attribute of the known values, where features have several."""


def _no_pixels(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    raise DocumentError("a document that ends in a model has no pixels: apply it with ml_predict")


def _one_table(arguments: Mapping[str, Any]) -> None:
    if (arguments["predictors"] is None) == (arguments["training_set"] is None):
        raise ValueError(
            "it takes `predictors` (or `training_set`, which is the same): a table, as aggregate_spatial gives"
        )


def _fits(id: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return operator(
        id, support=Tabular(), shape=_no_pixels, needs=lambda arguments, metas, wanted: {}, rule=_one_table, method=None
    )


@_fits("ml_fit_class_random_forest")
def ml_fit_class_random_forest(
    target: Target,
    max_variables: Variables,
    predictors: Cube | None = None,
    training_set: Cube | None = None,
    num_trees: Trees = 100,
    seed: Seed = None,
    features: Features | None = None,
) -> Model:
    """A random forest that tells classes apart, fitted to the values over features whose classes are known.

    ```python
    ml.Chain.from_json(trained("ml_fit_class_random_forest", image))
    ```

    (`trained` makes a document: `aggregate_spatial` of polygons, this process of the table, `ml_predict` of that.)
    `predictors` (in the newest drafts `training_set`) is a table of features and bands without dates. `target` are the
    same features with an attribute that is the class: the one called "target", or the only one; or the name of an
    attribute of the table's features. Classes are whole numbers, or names, which become 1, 2, … in alphabetical order.
    Features with a missing value are left out, and a warning says how many.

    It is Breiman's forest: trees grow until their leaves are of one class, `max_variables` are tried at each split.
    Without a `seed` that is 0, so that the same document gives the same forest. It is fitted once, when a document
    with it is published or computed, and kept in the user's store; what applies it refers to it by its SHA-256.

    Source: openEO, machine learning, `ml_fit_class_random_forest`; Breiman 2001, scikit-learn.
    """
    samples, known = _sampled(predictors, training_set, target, features)
    return fit_random_forest(
        samples, known, num_trees, None, 1, seed or 0, max_features=_tried(max_variables, samples)
    )  # fmt: skip


@_fits("ml_fit_regr_random_forest")
def ml_fit_regr_random_forest(
    target: Target,
    max_variables: Variables,
    predictors: Cube | None = None,
    training_set: Cube | None = None,
    num_trees: Trees = 100,
    seed: Seed = None,
    features: Features | None = None,
) -> Model:
    """A random forest that gives numbers, fitted to the values over features of which the numbers are known.

    ```python
    ml.Chain.from_json(trained("ml_fit_regr_random_forest", image))
    ```

    The attribute of `target` is a number; leaves have five samples or more. All else is as for
    `ml_fit_class_random_forest`.

    Source: openEO, machine learning, `ml_fit_regr_random_forest`; Breiman 2001, scikit-learn.
    """
    samples, known = _sampled(predictors, training_set, target, features)
    return fit_random_forest_regression(
        samples, known, num_trees, None, 5, seed or 0, max_features=_tried(max_variables, samples)
    )  # fmt: skip


def _sampled(
    predictors: Cube | None, training_set: Cube | None, target: Features | str, features: Features | None
) -> tuple[xr.DataArray, tuple[Any, ...]]:
    """The table as samples, and the known value of each."""
    table = predictors if predictors is not None else training_set
    assert table is not None
    assert features is not None
    if set(table.dims) - {"bands"} != {"geometry"}:
        raise DocumentError(
            f"a model is fitted to a table of features and bands; this one has {', '.join(map(str, table.dims))}: "
            "reduce its dates first"
        )
    known = features.column(target) if isinstance(target, str) else _matched(target, features)
    samples = table.transpose(..., "geometry").drop_vars(["geometry", "feature"], errors="ignore")
    return samples.rename(geometry="point"), known


def _matched(target: Features, features: Features) -> tuple[Any, ...]:
    """The known values in the order of a table's features."""
    if _TARGET not in target.columns and len(target.columns) != 1:
        have = ", ".join(target.columns) or "no attribute"
        raise DocumentError(
            f"the features of `target` have {have}; the known values are the attribute {_TARGET!r}, or the only one",
            argument="target",
        )
    column = target.column(_TARGET if _TARGET in target.columns else target.columns[0])
    place = {id: n for n, id in enumerate(target.ids)}
    if odd := [id for id in features.ids if id not in place]:
        raise DocumentError(f"`target` has no feature {odd[0]!r}, which the table has", argument="target")
    at = [place[id] for id in features.ids]
    apart = np.flatnonzero(~shapely.equals(target.shapes[at], features.shapes))
    if target.crs == features.crs and len(apart):
        raise DocumentError(
            f"the feature {features.ids[apart[0]]!r} of `target` is another one in the table", argument="target"
        )
    return tuple(column[n] for n in at)


def _tried(max_variables: int | str, samples: xr.DataArray) -> Any:
    """As scikit-learn has it."""
    bands = samples.sizes.get("bands", 1)
    if isinstance(max_variables, int) and max_variables > bands:
        raise ArgumentError(f"max_variables={max_variables}; the table has {bands} bands", argument="max_variables")
    if max_variables == "onethird":
        return max(1, bands // 3)
    return None if max_variables == "all" else max_variables


# -------------------------------------------------------------------------------------------- loading and applying


@operator("load_ml_model", support=Referring(), method=None)
def load_ml_model(id: Model) -> Model:
    """A fitted model by its SHA-256, for `ml_predict` and the like: documents have the digest in its place.

    ```python
    image.ml_predict(forest, dimensions=["bands"])
    ```

    The model is one that the user's store holds: one that a document has fitted (`ml_fit_class_random_forest`,
    `save_ml_model`), or that a published chain has; `forest.digest` is its id. Those of other homes (addresses of STAC
    items) are not opened.

    Source: openEO, machine learning, `load_ml_model`.
    """
    return id


def _shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    return Meta(metas["data"].time, (_PREDICTION,))


def _needs(
    arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: tuple[str, ...] | None
) -> dict[str, tuple[str, ...] | None]:
    return registry[_FOREST].needs(arguments, metas, wanted)


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    return cost_of(registry[_FOREST], arguments, pixel_size, rows, columns)


def _rule(arguments: Mapping[str, Any]) -> None:
    odd = [dim for dim in arguments["dimensions"] if dim not in ("bands", "band")]
    if odd:
        raise ValueError(f"DimensionNotAvailable: a model reduces the bands, not {odd[0]!r}; give dimensions=['bands']")


@operator("ml_predict", shape=_shape, needs=_needs, cost=_cost, rule=_rule)
def ml_predict(data: Cube, model: Model, dimensions: list[str]) -> Cube:
    """What a fitted model says of the bands of each pixel, as the one band "0": the class, or the number.

    ```python
    image.ml_predict(forest, dimensions=["bands"])
    ```

    `model` is a random forest, as `random_forest` takes it; in documents also the node `load_ml_model`, or one that
    fits it (`ml_fit_class_random_forest`). `dimensions`
    are those that it reduces: the bands. Missing where any band that the model looks at is missing.

    Source: openEO, machine learning, `ml_predict`.
    """
    return random_forest(data, model).expand_dims({"bands": [_PREDICTION]})

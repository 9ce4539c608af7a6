"""openEO's processes of machine learning: models are artefacts of a document, and are applied to bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from muses_lab.document.artefacts import OfKind
from muses_lab.operators.contract import Cost, Cube, Meta, Structural
from muses_lab.operators.declare import operator, registry
from muses_lab.operators.forest import Forest, random_forest

_FOREST = "muses:random_forest"
_PREDICTION = "0"
"""openEO's label of a single value."""


@operator("load_ml_model", support=Structural(), method=None)
def load_ml_model(id: Annotated[Forest, OfKind(_FOREST)]) -> Annotated[Forest, OfKind(_FOREST)]:
    """A fitted model by its SHA-256, for `ml_predict` and the like: documents have the digest in its place.

    ```python
    image.ml_predict(forest, dimensions=["bands"])
    ```

    The model is one that this process holds; those of other homes (addresses of STAC items) are not opened.

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
    return registry[_FOREST].cost(arguments, pixel_size, rows, columns)


def _rule(arguments: Mapping[str, Any]) -> None:
    odd = [dim for dim in arguments["dimensions"] if dim not in ("bands", "band")]
    if odd:
        raise ValueError(f"DimensionNotAvailable: a model reduces the bands, not {odd[0]!r}; give dimensions=['bands']")


@operator("ml_predict", shape=_shape, needs=_needs, cost=_cost, rule=_rule)
def ml_predict(data: Cube, model: Annotated[Forest, OfKind(_FOREST)], dimensions: list[str]) -> Cube:
    """What a fitted model says of the bands of each pixel, as the one band "0": the class, or the number.

    ```python
    image.ml_predict(forest, dimensions=["bands"])
    ```

    `model` is a random forest, as `random_forest` takes it; in documents also the node `load_ml_model`. `dimensions`
    are those that it reduces: the bands. Missing where any band that the model looks at is missing.

    Source: openEO, machine learning, `ml_predict`.
    """
    return random_forest(data, model).expand_dims({"bands": [_PREDICTION]})

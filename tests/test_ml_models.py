"""Documents that train: a forest fitted to a table of features, kept by its content, loaded in any process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

import muses_lab as ml
from muses_lab.document import artefacts, graph
from muses_lab.errors import MusesError
from muses_lab.operators import ml_models
from muses_lab.raster.asset import Band
from muses_lab.training import IncompleteSample
from tests.helpers.made_scenes import CORNER, UTM31, Made, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE, SIDE = 64, 4
BOUNDS = (CORNER[0], CORNER[1] - SIZE * 10, CORNER[0] + SIZE * 10, CORNER[1])
WINDOW = ml.Window.from_bounds(BOUNDS, crs=UTM31, resolution=10, bounds_crs=UTM31)


@pytest.fixture
def values() -> np.ndarray:
    """Three bands, float32."""
    rng = np.random.default_rng(4)
    return (rng.integers(1000, 9000, (3, SIZE, SIZE)) * np.float32(1e-4)).astype(np.float32)


@pytest.fixture
def image(tmp_path: Path, values: np.ndarray) -> ml.Chain:
    made = Made(tmp_path / "scenes")
    names = ["B1", "B2", "B3"]
    stored = np.round(values * 1e4).astype(np.uint16)
    assets = {n: made.asset(write_tif(made.folder / f"{n}.tif", v)) for n, v in zip(names, stored, strict=True)}
    bands = [Band(name, nodata=0.0, scale=1e-4) for name in names]
    return made.chain(bands, [made.scene("one", "2018-06-10", assets, grid="MADE-1")]).max("t")


def squares(known: Any, **more: Any) -> dict[str, Any]:
    """Squares of 4 × 4 pixels with an attribute, in a row of rows from the corner on."""
    features = []
    for n, value in enumerate(known):
        row, column = divmod(n, SIZE // SIDE)
        w, north = CORNER[0] + column * SIDE * 10, CORNER[1] - row * SIDE * 10
        e, s = w + SIDE * 10, north - SIDE * 10
        ring = [[w, north], [w, s], [e, s], [e, north], [w, north]]
        properties = {"target": value, "id": n, **more}
        features.append(
            {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        )
    return {"type": "FeatureCollection", "features": features, "crs": {"type": "name", "properties": {"name": UTM31}}}


def document(image: ml.Chain, process: str, sites: dict[str, Any], **fit: Any) -> dict[str, Any]:
    nodes = image.to_json()["process_graph"]
    (last,) = (name for name, node in nodes.items() if node.pop("result", False))
    mean = {"process_id": "mean", "arguments": {"data": {"from_parameter": "data"}}, "result": True}
    data = {"from_node": last}
    fit = {"predictors": {"from_node": "table"}, "target": sites, "max_variables": "sqrt", "num_trees": 15, **fit}
    fit = {name: value for name, value in fit.items() if value is not None}
    table = {"data": data, "geometries": sites, "reducer": {"process_graph": {"mean": mean}}}
    nodes["table"] = {"process_id": "aggregate_spatial", "arguments": table}
    nodes["fit"] = {"process_id": process, "arguments": fit}
    predict = {"data": data, "model": {"from_node": "fit"}, "dimensions": ["bands"]}
    nodes["predict"] = {"process_id": "ml_predict", "arguments": predict, "result": True}
    return nodes


def read(image: ml.Chain, nodes: dict[str, Any]) -> ml.Chain:
    return ml.Chain.from_json(nodes)


def means(values: np.ndarray, count: int) -> np.ndarray:
    blocks = values.reshape(3, SIZE // SIDE, SIDE, SIZE // SIDE, SIDE).astype(np.float64).mean(axis=(2, 4))
    return blocks.reshape(3, -1)[:, :count].T.astype(np.float32)


CLASSES = np.random.default_rng(8).choice(["maize", "soy", "wheat"], 120)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was fitted."""
    made: list[Any] = []
    for name in ("fit_random_forest", "fit_random_forest_regression"):
        fit = getattr(ml_models, name)

        def counted(*args: Any, fit: Any = fit, **kwargs: Any) -> Any:
            made.append(fit(*args, **kwargs))
            return made[-1]

        monkeypatch.setattr(ml_models, name, counted)
    return made


def test_a_document_that_trains_gives_the_classes_of_scikit_learn(
    image: ml.Chain, values: np.ndarray, fits: list[Any]
) -> None:
    nodes = document(image, "ml_fit_class_random_forest", squares(CLASSES.tolist()), seed=3)
    chain = read(image, nodes)
    assert not fits, "nothing is fitted before it is needed"
    found = chain.compute(WINDOW)
    model = RandomForestClassifier(15, max_features="sqrt", random_state=3).fit(means(values, 120), CLASSES)
    expected = np.searchsorted(model.classes_, model.predict(values.reshape(3, -1).T)) + 1
    assert found.bands.values.tolist() == ["0"]
    np.testing.assert_array_equal(found.values[0], expected.reshape(SIZE, SIZE))
    # What is published has the model by its digest, and no trace of how it was made.
    processes = {node.process for node in graph.walk(chain.published.root)}
    assert "ml_predict" in processes and not processes & {"aggregate_spatial", "ml_fit_class_random_forest"}
    np.testing.assert_array_equal(image.ml_predict(fits[0], ["bands"]).compute(WINDOW).values, found.values)
    # The same document once more, as in a process that begins: the store has the model.
    image.publish()
    artefacts._all.clear()
    again = read(image, nodes)
    assert again.published.chain_hash == chain.published.chain_hash and len(fits) == 1
    assert ml.Chain.from_json(chain.to_json()).identical(chain)
    other = read(image, document(image, "ml_fit_class_random_forest", squares(CLASSES.tolist()), seed=4))
    assert other.published.chain_hash != chain.published.chain_hash and len(fits) == 2


def test_a_column_of_the_tables_own_features_is_a_target(image: ml.Chain, values: np.ndarray) -> None:
    """As the newest drafts have it: `training_set`, and the name of an attribute."""
    numbers = np.random.default_rng(1).normal(size=100)
    nodes = document(
        image, "ml_fit_regr_random_forest", squares(numbers.tolist()), predictors=None,
        training_set={"from_node": "table"}, target="target", max_variables="onethird",
    )  # fmt: skip
    found = read(image, nodes).compute(WINDOW)
    rules = {"max_features": 1, "min_samples_leaf": 5, "random_state": 0}
    model = RandomForestRegressor(15, **rules).fit(means(values, 100), numbers)
    expected = model.predict(values.reshape(3, -1).T).astype(np.float32)
    np.testing.assert_array_equal(found.values[0], expected.reshape(SIZE, SIZE))


PROGRAM = f"""
import json, sys
import muses_lab as ml
document, catalog, folder = json.loads(sys.stdin.read())
from muses_lab import compute, settings
settings.register_catalog(catalog, folder)
compute.use("threads")
window = ml.Window.from_bounds({BOUNDS}, crs="{UTM31}", resolution=10, bounds_crs="{UTM31}")
print(int(ml.Chain.from_json(document).compute(window).sum()))
"""


def test_a_saved_model_is_loaded_in_another_process(image: ml.Chain, tmp_path: Path) -> None:
    nodes = document(image, "ml_fit_class_random_forest", squares(CLASSES.tolist()))
    expected = int(read(image, nodes).compute(WINDOW).sum())
    del nodes["predict"]
    nodes["save"] = {"process_id": "save_ml_model", "arguments": {"data": {"from_node": "fit"}}, "result": True}
    model = read(image, nodes)
    assert type(model).__name__ == "Model"
    digest = model.compute().digest
    with pytest.raises(MusesError, match="has no pixels"):
        _ = model.published.prepared
    load = document(image, "load_ml_model", {})
    del load["table"]
    load["fit"] = {"process_id": "load_ml_model", "arguments": {"id": digest}}
    image.publish()  # its list of scenes is in the store as well
    (catalog,) = {scenes.catalog for scenes in image.published.scenes.values()}
    told = json.dumps([load, catalog, str(tmp_path / "scenes")])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=told, capture_output=True, text=True, env=dict(os.environ), timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == expected
    load["fit"]["arguments"]["id"] = "0" * 64
    with pytest.raises(MusesError, match="random forest 000000000000… is not in the store"):
        _ = read(image, load).published


SITES = squares([1, 2] * 20)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"predictors": {"from_node": "reducedimension1"}}, "to a table of features, .* `predictors` has pixels"),
        ({"predictors": None}, "it takes `predictors`"),
        ({"max_variables": 4}, "max_variables=4; the table has 3 bands"),
        ({"max_variables": "half"}, "'max_variables'"),
        ({"target": squares([1] * 40)}, "all samples are of the class 1"),
        ({"target": squares([1, 2] * 10)}, "has no feature 20"),
        ({"target": squares([1.5] * 40)}, "1.5 is no class"),
        ({"target": "crop"}, "no attribute 'crop'"),
        ({"num_trees": 0}, "'num_trees'"),
    ],
)
def test_what_cannot_be_fitted_is_refused(image: ml.Chain, change: dict[str, Any], told: str) -> None:
    with pytest.raises(MusesError, match=told):
        read(image, document(image, "ml_fit_class_random_forest", SITES, **change)).compute(WINDOW)


def test_a_sample_that_lacks_scenes_is_told_and_its_model_not_taken_for_others(
    tmp_path: Path, values: np.ndarray, fits: list[Any]
) -> None:
    made = Made(tmp_path / "scenes")
    stored = np.round(values[0] * 1e4).astype(np.uint16)
    paths = [write_tif(made.folder / f"{day}.tif", stored) for day in ("2018-06-10", "2018-06-20")]
    scenes = [made.scene(path.stem, path.stem, {"B1": made.asset(path, size=None)}, grid="MADE-1") for path in paths]
    chain = made.chain([Band("B1", nodata=0.0, scale=1e-4)], scenes).max("t")
    whole = paths[1].read_bytes()
    paths[1].write_bytes(b"no image")
    nodes = document(chain, "ml_fit_class_random_forest", SITES)
    with pytest.warns(IncompleteSample, match="1 scenes could not be read"):
        first = read(chain, nodes)
        _ = first.published
    paths[1].write_bytes(whole)
    _ = read(chain, nodes).published
    assert len(fits) == 2, "it is fitted again where all can be read"
    _ = read(chain, nodes).published
    assert len(fits) == 2

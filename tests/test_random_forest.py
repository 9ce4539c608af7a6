"""Random forests: against scikit-learn on the same arrays, kept the same way everywhere, and no code in their files."""

from __future__ import annotations

import copy
import io
import json
import os
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import xarray as xr
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from skops import io as skops

import muses_lab as ml
from muses_lab.crs import transformer
from muses_lab.errors import ArgumentError, BandError, DocumentError
from muses_lab.operators.forest import FORESTS, Forest, _checked, fit_random_forest, fit_random_forest_regression
from muses_lab.operators.trees import PackedTrees
from muses_lab.publish.artefacts import load_published
from muses_lab.store.sql import SqlStore
from tests.helpers.made_scenes import forget_lists
from tests.helpers.made_stacks import CRS, ORIGIN, stack

SIZE = 60
BOUNDS = (ORIGIN[0], ORIGIN[1] - 10 * SIZE, ORIGIN[0] + 10 * SIZE, ORIGIN[1])
WINDOW = ml.Window.from_bounds(BOUNDS, crs=CRS, resolution=10, bounds_crs=CRS)
RULES = {"max_depth": 25, "min_samples_leaf": 5, "random_state": 3}


def classified(chain: ml.Chain, model: Any, **arguments: Any) -> ml.Chain:
    return chain.random_forest(model, **arguments)


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    """One date of three bands with three kinds of places, in disorder, and some missing."""
    rng = np.random.default_rng(5)
    kinds = np.repeat(np.repeat(rng.integers(0, 3, (12, 12)), 5, 0), 5, 1)
    means = np.array([[300, 500, 2500], [1200, 1500, 1700], [900, 600, 100]])
    values = (means[kinds] + rng.normal(0, 400, (SIZE, SIZE, 3))).clip(1, 9000).astype(np.int16)
    values[10, 10:20, 1] = 0
    return np.moveaxis(values, -1, 0)[None]


@pytest.fixture(scope="module")
def features(numbers: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> ml.Chain:
    folder = tmp_path_factory.mktemp("features")
    made = stack(numbers, folder, bands=("B3", "B4", "B8"), dates=["2020-06-01"], nodata=0)
    return made.first("t")


@pytest.fixture(scope="module")
def points(numbers: np.ndarray) -> tuple[list[shapely.Point], np.ndarray, np.ndarray]:
    """Centres of pixels in degrees, their rows and columns, and a class of each."""
    at = np.random.default_rng(8).choice(SIZE * SIZE, 400, replace=False)
    rows, columns = at // SIZE, at % SIZE
    lon, lat = transformer(CRS, 4326).transform(ORIGIN[0] + 10 * columns + 5, ORIGIN[1] - 10 * rows - 5)
    red, nir = (numbers[0, band, rows, columns].astype(int) for band in (1, 2))
    labels = np.where(nir > red + 800, 30, np.where(nir > 1000, 10, 20))
    return [shapely.Point(x, y) for x, y in zip(lon, lat, strict=True)], np.c_[rows, columns], labels


@pytest.fixture(scope="module")
def forest(features: ml.Chain, points: Any) -> Forest:
    with pytest.warns(UserWarning, match="of 400 samples have missing values and are left out"):
        return fit_random_forest(features.at(points[0]), points[2], trees=20, random_state=3)


@pytest.fixture(scope="module")
def expected(numbers: np.ndarray, points: Any) -> tuple[np.ndarray, np.ndarray]:
    """Class and probabilities (class, y, x) by scikit-learn, of the numbers themselves."""
    values = np.where(numbers[0] == 0, np.nan, numbers[0]).astype(np.float32)
    (rows, columns), labels = points[1].T, points[2]
    training = values[:, rows, columns].T
    known = np.isfinite(training).all(axis=1)
    model = RandomForestClassifier(20, **RULES).fit(training[known], labels[known])
    flat = values.reshape(3, -1).T
    valid = np.isfinite(flat).all(axis=1)
    classes, shares = np.full(len(flat), np.nan), np.full((len(flat), 3), np.nan)
    classes[valid], shares[valid] = model.predict(flat[valid]), model.predict_proba(flat[valid])
    assert 0 < (~valid).sum() < 20 and set(np.unique(classes[valid])) == {10, 20, 30}
    return classes.reshape(SIZE, SIZE), shares.T.reshape(3, SIZE, SIZE)


def test_classes_and_probabilities_are_scikit_learns(features: ml.Chain, forest: Forest, expected: Any) -> None:
    assert (forest.bands, forest.classes, forest.numbers) == (("B3", "B4", "B8"), (10, 20, 30), (10, 20, 30))
    np.testing.assert_array_equal(classified(features, forest).compute(WINDOW), expected[0])
    shares = classified(features, forest, output="probability").compute(WINDOW)
    assert list(shares.bands.values) == ["10", "20", "30"]
    np.testing.assert_allclose(shares, expected[1], rtol=1e-6)
    one = classified(features, forest, output="probability").band("20")
    np.testing.assert_array_equal(one.compute(WINDOW), shares.sel(bands="20"))
    corner = WINDOW[7:31, 3:50]
    np.testing.assert_array_equal(classified(features, forest).compute(corner), expected[0][7:31, 3:50])


def test_bands_are_found_by_name_and_others_do_not_matter(
    features: ml.Chain, numbers: np.ndarray, forest: Forest, expected: Any, tmp_path: Path
) -> None:
    more = np.concatenate([numbers[:, [2, 1]], numbers[:, :1] * 0 + 7, numbers[:, :1]], axis=1)
    other = stack(more, tmp_path, bands=("B8", "B4", "B11", "B3"), dates=["2020-06-01"], nodata=0)
    np.testing.assert_array_equal(classified(other.first("t"), forest).compute(WINDOW), expected[0])
    dates = classified(other, forest).compute(WINDOW)
    assert dates.dims[0] == "t"
    np.testing.assert_array_equal(dates[0], expected[0])
    with pytest.raises(BandError, match="no band 'B3'"):
        _ = classified(features.bands("B4", "B8"), forest).published.prepared


def test_names_of_classes_are_numbered_and_an_image_needs_no_bands(features: ml.Chain, points: Any) -> None:
    names = np.array(["maize", "water", "forest"])[points[2] // 10 - 1]
    red = features.band("B8")
    with pytest.warns(UserWarning):
        forest = fit_random_forest(red.where(red > 100).at(points[0]), names.tolist(), trees=5)
    assert forest.classes == ("forest", "maize", "water") and forest.numbers == (1, 2, 3) and forest.bands == ()
    shares = classified(red, forest, output="probability").compute(WINDOW)
    assert list(shares.bands.values) == ["forest", "maize", "water"]
    valid = np.isfinite(shares.values).all(axis=0)
    found = classified(red, forest).compute(WINDOW).values
    np.testing.assert_array_equal(found[valid], shares.values.argmax(axis=0)[valid] + 1)
    with pytest.raises(BandError):
        _ = classified(features, forest).published.prepared


def test_it_is_kept_and_comes_back(features: ml.Chain, forest: Forest, expected: Any, tmp_path: Path) -> None:
    chain = classified(features, forest)
    forest.save(tmp_path / "forest.skops")
    assert classified(features, tmp_path / "forest.skops").hash == chain.hash
    store = SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}")
    name, document = chain.publish(store), json.dumps(chain.to_json(artefacts=True))
    forget_lists()
    again = load_published(name, store)
    for made in (ml.Chain(again.root, again.artefacts), ml.Chain.from_json(document)):
        (kept,) = (a for a in made.published.artefacts.values() if a.kind is FORESTS)
        assert kept.value.classes == forest.classes and kept.value.model.n_jobs == 1
        np.testing.assert_array_equal((made + 1).compute(WINDOW), expected[0] + 1)


PROGRAM = """
import hashlib, sys, numpy as np, xarray as xr
from muses_lab.operators.forest import FORESTS, fit_random_forest
x = np.random.default_rng(2).normal(size=(2, 300))
samples = xr.DataArray(x, dims=("bands", "point"), coords={"bands": ["a", "b"]})
print(hashlib.sha256(FORESTS.write(fit_random_forest(samples, (x[0] > x[1]).astype(int), trees=7))).hexdigest())
"""


def test_the_same_samples_give_the_same_bytes_in_every_process() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate()[0] for process in processes)
    assert first == second and len(first.strip()) == 64


def test_what_was_read_is_written_the_same(forest: Forest) -> None:
    body = FORESTS.write(forest)
    assert FORESTS.write(FORESTS.parse(body)) == body


@settings(max_examples=25, deadline=None)
@drawn(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(2, 6), st.booleans())
def test_packed_trees_give_scikit_learns_numbers_to_the_last_bit(
    seed: int, features: int, classes: int, regression: bool
) -> None:
    """Of values that lie on thresholds as well, of zeros of both signs, of all sizes."""
    rng = np.random.default_rng(seed)
    x = (rng.integers(-4, 5, (60, features)) * 10.0 ** rng.integers(-38, 38)).astype(np.float32)
    y = rng.integers(0, classes, 60)
    y[:classes] = np.arange(classes)
    kind = RandomForestRegressor if regression else RandomForestClassifier
    model = kind(7, min_samples_leaf=int(rng.integers(1, 4)), random_state=1).fit(x, y)
    packed = PackedTrees.of((tree.tree_ for tree in model.estimators_), features)
    with np.errstate(all="ignore"):
        between = np.concatenate([x, -x, (x[1:] + x[:-1]) / 2, np.nextafter(x, np.float32(0)), x * 0])
    found = packed.mean(between)
    expected = model.predict(between)[:, None] if regression else model.predict_proba(between)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(packed.mean(between[5:16]), expected[5:16])  # eight together, or one by one


def test_trees_that_cannot_be_packed_are_told() -> None:
    x = np.random.default_rng(1).normal(size=(300, 1)).astype(np.float32)
    tree = RandomForestRegressor(1, random_state=1).fit(x, x[:, 0]).estimators_[0].tree_
    with pytest.raises(ValueError, match=r"has a tree of \d+ nodes; the limit is 63"):
        PackedTrees.of([tree], 1 << 26)


def test_a_regression_gives_the_numbers_of_scikit_learn(
    features: ml.Chain, numbers: np.ndarray, points: Any, tmp_path: Path
) -> None:
    (rows, columns), biomass = points[1].T, points[2] * 1.5 + 0.25
    values = np.where(numbers[0] == 0, np.nan, numbers[0]).astype(np.float32)
    with pytest.warns(UserWarning, match="have missing values"):
        forest = fit_random_forest_regression(features.at(points[0]), biomass, trees=20, random_state=3)
    training = values[:, rows, columns].T
    known = np.isfinite(training).all(axis=1)
    model = RandomForestRegressor(20, **RULES).fit(training[known], biomass[known])
    flat = values.reshape(3, -1).T
    valid = np.isfinite(flat).all(axis=1)
    expected = np.full(len(flat), np.nan, np.float32)
    expected[valid] = model.predict(flat[valid])
    found = classified(features, forest).compute(WINDOW)
    assert found.dtype == np.float32 and forest.classes == ()
    np.testing.assert_array_equal(found, expected.reshape(SIZE, SIZE))
    forest.save(tmp_path / "biomass.skops")
    assert classified(features, tmp_path / "biomass.skops").identical(classified(features, forest))
    again = FORESTS.parse(FORESTS.write(forest))
    np.testing.assert_array_equal(again.packed.mean(flat[valid][:50]), forest.packed.mean(flat[valid][:50]))
    with pytest.raises(DocumentError, match="gives numbers"):
        _ = classified(features, forest, output="probability").published.prepared
    with pytest.raises(ArgumentError, match="finite numbers"):
        fit_random_forest_regression(features.at(points[0][:5]), ["a"] * 5)


def test_openeos_models_are_artefacts(features: ml.Chain, forest: Forest, expected: Any) -> None:
    chain = features.ml_predict(forest, ["bands"])
    found = chain.compute(WINDOW)
    assert list(found.bands.values) == ["0"]
    np.testing.assert_array_equal(found.sel(bands="0"), expected[0])
    document = chain.to_json(artefacts=True)
    same = ml.Chain.from_json(document)
    (last,) = [node for node in document["process_graph"].values() if node.get("result")]
    load = {"process_id": "load_ml_model", "arguments": {"id": last["arguments"]["model"]}}
    document["process_graph"]["model"] = load
    last["arguments"]["model"] = {"from_node": "model"}
    document.pop("muses:operators")
    assert ml.Chain.from_json(document).identical(same)
    load["arguments"]["id"] = "https://example.org/model.json"
    with pytest.raises(DocumentError, match="must be the SHA-256"):
        ml.Chain.from_json(document)
    with pytest.raises(DocumentError, match="DimensionNotAvailable"):
        features.ml_predict(forest, ["t"])


# ------------------------------------------------------------------------------------------------------ refusals


def rewritten(body: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def trees_changed(field: str, value: int) -> Callable[[dict[str, bytes]], None]:
    """A field of the first node of every tree."""

    def change(files: dict[str, bytes]) -> None:
        for name, content in files.items():
            if name.endswith(".npy"):
                array = np.load(io.BytesIO(content))
                if array.dtype.names:
                    array[field][0] = value
                    out = io.BytesIO()
                    np.save(out, array)
                    files[name] = out.getvalue()

    return change


def said(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        text = files["schema.json"].decode()
        assert old in text
        files["schema.json"] = text.replace(old, new).encode()

    return change


def described(change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def changed(files: dict[str, bytes]) -> None:
        schema = json.loads(files["schema.json"])
        change(schema)
        files["schema.json"] = json.dumps(schema).encode()

    return changed


def tree_of(schema: Any) -> dict[str, Any]:
    """The state of the first tree."""
    first = schema["content"]["model"]["content"]["content"]["estimators_"]["content"][0]
    return first["content"]["content"]["tree_"]["content"]["content"]


def aliased(whole: bool) -> Callable[[dict[str, bytes]], None]:
    """An array of nodes that leads nowhere, first in the description, under the number of a tree's own."""

    def changed(files: dict[str, bytes]) -> None:
        schema = json.loads(files["schema.json"])
        nodes = tree_of(schema)["nodes"]
        array = np.load(io.BytesIO(files[nodes["file"]]))
        array["left_child"][0] = 10**6
        out = io.BytesIO()
        np.save(out, array)
        files["junk.npy"] = out.getvalue()
        content = schema["content"]
        schema["content"] = {"": {**nodes, "file": "junk.npy"}, **content}
        if not whole:  # skops does not look at anything else of it
            for key in set(nodes) - {"__id__", "file"}:
                del nodes[key]
        files["schema.json"] = json.dumps(schema).encode()

    return changed


def deeper(schema: Any) -> None:
    tree_of(schema)["max_depth"]["content"] = "1000000000"


def no_array(schema: Any) -> None:
    tree_of(schema)["nodes"].update(__class__="int64")


def many_times(schema: Any) -> None:
    """The same file, each time another array."""
    nodes = tree_of(schema)["nodes"]
    schema["content"][""] = {
        "__class__": "list", "__id__": -1, "__loader__": "ListNode", "__module__": "builtins",
        "content": [{**nodes, "__id__": -2 - i, "file": "zeros.npy"} for i in range(3)],
    }  # fmt: skip


def large_three_times(files: dict[str, bytes]) -> None:
    out = io.BytesIO()
    np.save(out, np.zeros(100 << 20, np.uint8))
    files["zeros.npy"] = out.getvalue()
    described(many_times)(files)


def head_of_much(files: dict[str, bytes]) -> None:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": (1 << 45,)})
    files["much.npy"] = out.getvalue()


ODD: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "a child beyond the end": (trees_changed("left_child", 10**6), "leads nowhere"),
    "a child that is its parent": (trees_changed("right_child", 0), "leads nowhere"),
    "a feature that is none": (trees_changed("feature", 77), "leads nowhere"),
    "a function": (said('"__loader__":"TupleNode"', '"__loader__":"FunctionNode"'), "of which no forest is made"),
    "a random state": (said('"DecisionTreeClassifier"', '"RandomState"'), "of which no forest is made"),
    "another array": (said('"type":"numpy"', '"type":"json"'), "of which no forest is made"),
    "other bands": (said('\\"B3\\"', '\\"B3"'), "is damaged"),
    "fewer classes": (said('"content":"30"', '"content":"20"'), "no numbers or names in order"),
    "no schema": (lambda files: files.pop("schema.json") and None, "is damaged"),
    "a schema of half a line": (lambda files: files.update({"schema.json": b'{"a":'}), "is damaged"),
    "a number twice": (aliased(whole=True), "twice"),
    "a number and nothing else": (aliased(whole=False), "twice"),
    "a tree that is not as deep": (described(deeper), "levels below its root"),
    "an array that is none": (described(no_array), "has no array where one belongs"),
    "an array that is read three times": (large_three_times, "arrays of more than"),
    "an array with less than it says": (head_of_much, "not as many bytes as it says"),
    "a large schema": (lambda files: files.update({"schema.json": bytes(9 << 20)}), "'schema.json' has more than"),
    "zeros": (lambda files: files.update({"zeros.npy": bytes(300 << 20)}), "more than"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_files_that_are_no_forest_are_refused(forest: Forest, kind: str) -> None:
    change, told = ODD[kind]
    with pytest.raises(ValueError, match=told):
        FORESTS.parse(rewritten(FORESTS.write(forest), change))


def zipped(files: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in files:
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.filterwarnings("error")
def test_archives_are_not_believed(forest: Forest) -> None:
    with zipfile.ZipFile(io.BytesIO(FORESTS.write(forest))) as archive:
        files = [(name, archive.read(name)) for name in archive.namelist()]
    assert FORESTS.parse(zipped(files, zipfile.ZIP_STORED)).classes == forest.classes
    with pytest.raises(ValueError, match="two files of the name 'schema.json'"):
        FORESTS.parse(zipped([*files, ("schema.json", b"{}")]))
    with pytest.raises(ValueError, match="packed in the way 12"):
        FORESTS.parse(zipped(files, zipfile.ZIP_BZIP2))
    # 50 MB that say to be 100 bytes: no more of them is unpacked.
    large = zipped([*files, ("zeros.npy", bytes(50 << 20))])
    at = large.rindex(b"PK\x01\x02")  # the last file's entry in the directory
    assert large[at + 24 : at + 28] == (50 << 20).to_bytes(4, "little")
    crc = zlib.crc32(bytes(100)).to_bytes(4, "little")
    lying = bytearray(large)
    lying[at + 16 : at + 20], lying[at + 24 : at + 28] = crc, (100).to_bytes(4, "little")
    start = large.rindex(b"PK\x03\x04")
    lying[start + 14 : start + 18], lying[start + 22 : start + 26] = crc, (100).to_bytes(4, "little")
    tracemalloc.start()
    with pytest.raises(ValueError, match="is damaged"):
        FORESTS.parse(bytes(lying))
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_trees_are_looked_at_once_more_as_they_were_made(forest: Forest) -> None:
    found = {"bands": list(forest.bands), "classes": list(forest.classes), "model": copy.deepcopy(forest.model)}
    assert _checked(found).classes == forest.classes
    tree = found["model"].estimators_[3].tree_
    tree.children_left[0], before = 10**6, tree.children_left[0]
    with pytest.raises(ValueError, match="leads nowhere"):
        _checked(found)
    tree.children_left[0], tree.feature[0] = before, 3
    with pytest.raises(ValueError, match="leads nowhere"):
        _checked(found)


def test_other_models_and_texts_are_refused(features: ml.Chain, forest: Forest, tmp_path: Path) -> None:
    for value in ({"bands": [], "classes": [1, 2]}, {"bands": ["a"], "classes": [1, 2], "model": 7}, [1]):
        with pytest.raises(ValueError, match="holds no bands|no fitted random forest|twice"):
            FORESTS.parse(skops.dumps(value))
    for body in (b"", b"PK", b"{}"):
        with pytest.raises(ValueError, match="is damaged"):
            FORESTS.parse(body)
    (tmp_path / "text.skops").write_text("no forest")
    for given, told in (
        (tmp_path / "text.skops", "the file is damaged"),
        (tmp_path / "none", "no such file"),
        (7, "fit_"),
    ):
        with pytest.raises(ArgumentError, match=told):
            classified(features, given)
    document = json.dumps(classified(features, forest).to_json())
    (digest,) = (d for d, a in classified(features, forest)._artefacts.items() if a.kind is FORESTS)
    with pytest.raises(DocumentError, match="must be the SHA-256"):
        ml.Chain.from_json(document.replace(f'"{digest}"', f'"{tmp_path}/forest.skops"'))


def test_samples_that_tell_nothing_are_refused() -> None:
    samples = xr.DataArray(np.random.default_rng(2).normal(size=(2, 30)), dims=("bands", "point"))
    labels = [1] * 15 + [2] * 15
    for given, classes, told in (
        (samples, labels[:-1], "30 samples and labels of shape"),
        (samples, [1] * 30, "all samples are of the class 1"),
        (samples * np.nan, labels, "30 of 30 samples have missing values"),
        (samples.rename(point="t"), labels, "chain.at"),
        (samples.values, labels, "chain.at"),
        (samples, [1.5] * 30, "1.5 is no class"),
        (samples, [""] * 30, "is no class"),
    ):
        with pytest.raises(ArgumentError, match=told):
            fit_random_forest(given, classes)

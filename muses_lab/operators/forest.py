"""Land cover and the like by a random forest: fitted to labelled samples by scikit-learn, kept by skops.

It is applied by compiled code (`trees`): treelite's interpreter and ONNX Runtime took ten and three times as long as
scikit-learn for one thread (100 trees of 20 features, blocks of an image), and ours a fifth.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from muses_lab.document import strict_json
from muses_lab.document.artefacts import Kind, OfKind, kinds
from muses_lab.errors import ArgumentError, DocumentError, TooLarge
from muses_lab.operators.contract import Cost, Cube, Meta
from muses_lab.operators.declare import operator
from muses_lab.operators.trees import PackedTrees
from muses_lab.resources import cancel

if TYPE_CHECKING:  # scikit-learn and skops take a second to load, and few chains need them
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

_TOGETHER = 1 << 14
"""Pixels that are classified at a time: many for each tree that is fetched."""

_MAX_TREES, _MAX_CLASSES, _MAX_BANDS = 1_000, 1_000, 10_000
_MAX_LABEL = 1 << 24
"""Whole numbers up to which values of pixels (float32) are exact."""

_LARGEST = 256 << 20
"""Bytes of a forest, packed and unpacked."""

_LARGEST_SCHEMA = 8 << 20
"""Bytes of skops' description of a forest: 6 KB for each tree, 0.2 KB for each band and class."""

Label = int | str


@dataclass(frozen=True, eq=False)
class Forest:
    """A fitted random forest, the bands that it looks at and the classes that it tells apart.

    ```python
    forest = fit_random_forest(features.at(points.geometry), points["class"])
    forest.classes, forest.model.oob_score_
    forest.save("forest.skops")
    ```
    """

    bands: tuple[str, ...]
    """Names of bands, in the order of the model's features; none for an image without bands."""
    classes: tuple[Label, ...]
    """Whole numbers, or names in alphabetical order; none where the forest gives numbers (a regression)."""
    model: RandomForestClassifier | RandomForestRegressor
    """Its own classes are the positions in `classes`."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The value of a pixel of each class: the class where that is a number, else 1, 2, … in the order of names."""
        if self.classes and isinstance(self.classes[0], str):
            return tuple(range(1, len(self.classes) + 1))
        return self.classes  # type: ignore[return-value]

    @cached_property
    def packed(self) -> PackedTrees:
        """Its trees, made ready for compiled code."""
        try:
            return PackedTrees.of((tree.tree_ for tree in self.model.estimators_), max(1, len(self.bands)))
        except ValueError as error:
            raise TooLarge(f"the random forest {error}") from None

    @cached_property
    def digest(self) -> str:
        """Its SHA-256, by which documents refer to it (`load_ml_model`)."""
        return hashlib.sha256(_write(self)).hexdigest()

    def save(self, path: str | PathLike[str]) -> None:
        """Writes a file that `random_forest(path)` takes, here and elsewhere."""
        Path(path).write_bytes(_write(self))


def fit_random_forest(
    samples: xr.DataArray, labels: Sequence[Any], trees: int = 100, max_depth: int | None = 25,
    min_samples_leaf: int = 5, random_state: int = 0, max_features: int | Literal["sqrt", "log2"] | None = "sqrt",
) -> Forest:  # fmt: skip
    """A random forest (Breiman 2001) fitted to samples of known classes.

    ```python
    points = geopandas.read_file("samples.gpkg").to_crs(4326)        # points with a column "class"
    forest = fit_random_forest(features.at(points.geometry), points["class"])
    features.random_forest(forest)
    ```

    Parameters
    ----------
    samples
        Values of a chain at points (`chain.at`): dims `bands, point`, or `point` of an image without bands.
    labels
        The class of each point: whole numbers, or names.
    trees, max_depth, min_samples_leaf, max_features
        scikit-learn's `n_estimators` and others; the first three are by default those of land-cover maps (Inglada et
        al. 2017).
    random_state
        The same samples and the same number give the same forest.

    Samples with a missing band are left out, and a warning says how many. `ArgumentError` where nothing is left, where
    there is one class only, or where samples and labels are not as many.
    """
    from sklearn.ensemble import RandomForestClassifier

    bands, values, classes = _training(samples, labels, trees)
    names, positions = np.unique([_label(c) for c in classes.tolist()], return_inverse=True)
    if len(names) < 2:
        raise ArgumentError(f"all samples are of the class {names.tolist()[0]!r}; a forest tells two or more apart")
    model = RandomForestClassifier(
        trees, max_depth=max_depth, min_samples_leaf=min_samples_leaf, random_state=random_state, oob_score=True,
        max_features=max_features, n_jobs=1,
    )  # fmt: skip
    return Forest(bands, tuple(names.tolist()), _fitted(model, values, positions))


def fit_random_forest_regression(
    samples: xr.DataArray, targets: Sequence[float], trees: int = 100, max_depth: int | None = 25,
    min_samples_leaf: int = 5, random_state: int = 0, max_features: int | Literal["sqrt", "log2"] | None = None,
) -> Forest:  # fmt: skip
    """A random forest (Breiman 2001) that gives numbers, fitted to samples of which they are known.

    ```python
    forest = fit_random_forest_regression(features.at(points.geometry), points["biomass"])
    features.random_forest(forest)
    ```

    `targets` are the numbers of the samples; all else is as for `fit_random_forest`.
    """
    from sklearn.ensemble import RandomForestRegressor

    bands, values, numbers = _training(samples, targets, trees)
    if numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all():
        raise ArgumentError(
            "the targets of a regression are finite numbers; of classes fit_random_forest makes a forest"
        )
    model = RandomForestRegressor(
        trees, max_depth=max_depth, min_samples_leaf=min_samples_leaf, random_state=random_state, oob_score=True,
        max_features=max_features, n_jobs=1,
    )  # fmt: skip
    return Forest(bands, (), _fitted(model, values, numbers.astype(np.float64)))


def _fitted(model: Any, values: np.ndarray, targets: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some inputs do not have OOB scores")  # of a few trees
        return model.fit(values, targets)


def _training(
    samples: xr.DataArray, targets: Sequence[Any], trees: int
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """(bands, values of valid samples, their targets)."""
    if not isinstance(samples, xr.DataArray) or set(samples.dims) - {"bands"} != {"point"}:
        dims = getattr(samples, "dims", type(samples).__name__)
        raise ArgumentError(f"samples has {dims}; it is what chain.at(points) gives of a chain without dates")
    bands = tuple(str(b) for b in samples["bands"].values) if "bands" in samples.dims else ()
    values = samples.transpose("point", ...).values.reshape(samples.sizes["point"], -1).astype(np.float32)
    if trees > _MAX_TREES:
        raise ArgumentError(f"there are {trees} trees; the limit is {_MAX_TREES}")
    known = np.asarray(targets)
    if known.shape != (len(values),):
        raise ArgumentError(
            f"there are {len(values)} samples and labels of shape {known.shape}: one for each is needed"
        )
    valid = np.asarray(np.isfinite(values).all(axis=1))
    if not valid.all():
        left_out = f"{(~valid).sum()} of {len(valid)} samples have missing values and are left out"
        if not valid.any():
            raise ArgumentError(left_out)
        warnings.warn(left_out, stacklevel=3)
    return bands, values[valid], known[valid]


def _label(value: Any) -> Label:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_LABEL
    if not whole and not (isinstance(value, str) and value):
        raise ArgumentError(f"{value!r} is no class: they are whole numbers up to {_MAX_LABEL}, or names")
    return value


# ------------------------------------------------------------------------------------------------- as an artefact

_BUILTINS = {("builtins", "dict", "DictNode"), ("builtins", "list", "ListNode"), ("builtins", "tuple", "TupleNode")}
_TREE = ("sklearn.tree._tree", "Tree", "TreeNode")
_ALLOWED = _BUILTINS | {
    _TREE,
    ("builtins", "str", "JsonNode"),
    ("builtins", "str", "TypeNode"),
    ("numpy", "ndarray", "NdArrayNode"),
    ("numpy", "float64", "NdArrayNode"),
    ("numpy", "int64", "NdArrayNode"),
    ("sklearn.ensemble._forest", "RandomForestClassifier", "ObjectNode"),
    ("sklearn.ensemble._forest", "RandomForestRegressor", "ObjectNode"),
    ("sklearn.tree._classes", "DecisionTreeClassifier", "ObjectNode"),
    ("sklearn.tree._classes", "DecisionTreeRegressor", "ObjectNode"),
}
"""All that a forest's file is made of (module, class, reader of skops)."""

_SCHEMA = "schema.json"
_WHEN = (1980, 1, 1, 0, 0, 0)


def _write(forest: Forest) -> bytes:
    """skops' file, written in one way: names and numbers in it come from its content, not from this process."""
    from skops import io as skops

    whole = skops.dumps({"bands": list(forest.bands), "classes": list(forest.classes), "model": forest.model})
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        schema = json.loads(archive.read(_SCHEMA))
        for number, node in enumerate(_nodes(schema)):
            node["__id__"] = number
            if "file" in node:
                body = _packed(np.load(io.BytesIO(archive.read(node["file"])), allow_pickle=False))
                node["file"] = f"{hashlib.sha256(body).hexdigest()[:32]}.npy"
                files[node["file"]] = body
    files[_SCHEMA] = json.dumps(schema, sort_keys=True, separators=(",", ":")).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _WHEN), files[name], zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _packed(array: np.ndarray) -> bytes:
    if array.dtype.names:  # what lies between the fields is whatever was in memory
        clean = np.zeros(array.shape, array.dtype)
        for name in array.dtype.names:
            clean[name] = array[name]
        array = clean
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """All objects of skops' description of a file, in an order that depends on nothing but them."""
    return (item for item in _dicts(schema) if isinstance(item.get("__class__"), str))


def _dicts(schema: Any) -> Iterator[dict[str, Any]]:
    stack = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item[key] for key in sorted(item, reverse=True))
        elif isinstance(item, list):
            stack.extend(reversed(item))


def _parse(body: bytes) -> Forest:
    """The forest of a file that anybody may have written: made of what forests are made of, and each tree one."""
    from skops import io as skops

    try:
        found = skops.loads(_repacked(_check_files(_read(body))), trusted=[".".join(_TREE[:2])])
        return _checked(found)
    except ValueError as error:
        raise ValueError(f"is damaged: {error}") from None
    except Exception as error:  # of a description that skops cannot follow
        raise ValueError(f"is damaged: {type(error).__name__}: {str(error)[:200]}") from None


def _read(body: bytes) -> dict[str, bytes]:
    """What is packed in a file, never more of it than is allowed, whatever it says about itself."""
    files: dict[str, bytes] = {}
    left = _LARGEST
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for info in archive.infolist():
            if info.filename in files:
                raise ValueError(f"it has two files of the name {info.filename[:80]!r}")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{info.filename[:80]!r} is packed in the way {info.compress_type}, not by deflate")
            limit = min(left, _LARGEST_SCHEMA) if info.filename == _SCHEMA else left
            if info.file_size > limit:
                raise ValueError(f"{info.filename[:80]!r} has more than the {limit} bytes that are left of the limit")
            with archive.open(info) as file:
                content = file.read(info.file_size + 1)  # `archive.read` would unpack all of it, then cut it off
            files[info.filename] = content
            left -= len(content)
    return files


def _repacked(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def _check_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files that skops may load: the arrays, and a description in which nothing stands for anything else."""
    schema = strict_json.loads(files[_SCHEMA])
    numbers, left = set(), _LARGEST
    for item in _dicts(schema):
        if "__id__" in item:  # skops takes the first of a number for all others, whatever they are
            number = item.pop("__id__")
            if type(number) is not int or number in numbers:
                raise ValueError(f"it has the number {str(number)[:40]} twice, or it is none: each has its own")
            numbers.add(number)
    for node in _nodes(schema):
        made = node.get("__module__"), node["__class__"], node.get("__loader__")
        if made not in _ALLOWED or node.get("type", "numpy") != "numpy":
            raise ValueError(f"it holds a {'.'.join(map(str, made))}, of which no forest is made")
        if made[2] == "NdArrayNode":
            left -= len(files[node["file"]])  # skops reads it once for each
            if left < 0:
                raise ValueError(f"it has arrays of more than {_LARGEST} bytes")
        if made == _TREE:
            _check_tree(files, node)
    arrays = {name: content for name, content in files.items() if name != _SCHEMA}
    for content in arrays.values():
        _check_array(content)
    return {**arrays, _SCHEMA: json.dumps(schema).encode()}


def _check_array(content: bytes) -> None:
    """Before NumPy takes as much memory as the head of an array says."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"an array of it is of the version {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError("an array of it has not as many bytes as it says")


def _array(files: Mapping[str, bytes], node: dict[str, Any]) -> np.ndarray:
    if node["__class__"] != "ndarray" or node["__loader__"] != "NdArrayNode":
        raise ValueError("a tree of it has no array where one belongs")
    _check_array(files[node["file"]])
    return np.load(io.BytesIO(files[node["file"]]), allow_pickle=False)


def _number(node: dict[str, Any]) -> int:
    number = json.loads(node["content"]) if node["__loader__"] == "JsonNode" else None
    if type(number) is not int:
        raise ValueError("a tree of it has no number where one belongs")
    return number


def _check_tree(files: Mapping[str, bytes], node: dict[str, Any]) -> None:
    """Before scikit-learn follows it."""
    features, classes, outputs = node["__reduce__"]["args"]["content"]
    state = node["content"]["content"]
    if set(state) != {"max_depth", "node_count", "nodes", "values"}:
        raise ValueError("a tree of it is none")
    nodes, values, kinds_of = (_array(files, item) for item in (state["nodes"], state["values"], classes))
    count = len(nodes) if nodes.ndim == 1 else 0
    if count < 1 or _number(state["node_count"]) != count or _number(outputs) != 1:
        raise ValueError("a tree of it has not as many nodes as it says")
    if kinds_of.shape != (1,) or values.shape != (count, 1, int(kinds_of[0])):
        raise ValueError("a tree of it has not a share of each class in each node")
    at = nodes["left_child"], nodes["right_child"], nodes["feature"]
    _check_nodes(*at, features=_number(features), max_depth=_number(state["max_depth"]))


def _check_nodes(left: np.ndarray, right: np.ndarray, feature: np.ndarray, *, features: int, max_depth: int) -> None:
    """Children come after their parents, each is the child of one, features are there, and it is as deep as it says."""
    left, right, feature = (a.astype(np.int64) for a in (left, right, feature))
    at = np.arange(len(left))
    leaf = (left == -1) & (right == -1)
    goes_on = (left > at) & (right > at) & (feature >= 0) & (feature < features)
    children = np.sort(np.concatenate([left[~leaf], right[~leaf]]))
    if not (leaf | goes_on).all() or not np.array_equal(children, at[1:]):
        raise ValueError("a tree of it leads nowhere")
    depth, level = 0, np.zeros(1, np.int64)
    while len(level := level[~leaf[level]]):
        depth, level = depth + 1, np.concatenate([left[level], right[level]])
    if depth != max_depth:
        raise ValueError(f"a tree of it has {depth} levels below its root and says {max_depth}")


def _checked(found: Any) -> Forest:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    if not isinstance(found, dict) or set(found) != {"bands", "classes", "model"}:
        raise ValueError("it holds no bands, classes and model")
    bands, classes, model = found["bands"], found["classes"], found["model"]
    whole = type(model) in (RandomForestClassifier, RandomForestRegressor)
    if not whole or not isinstance(getattr(model, "estimators_", None), list):
        raise ValueError("its model is no fitted random forest")
    if not isinstance(bands, list) or len(bands) > _MAX_BANDS or not all(isinstance(b, str) for b in bands):
        raise ValueError("its bands are no names")
    features = max(len(bands), 1)
    if (model.n_features_in_, model.n_outputs_) != (features, 1):
        raise ValueError("its model is not one of its bands and classes")
    if type(model) is RandomForestClassifier:
        _check_classes(classes, model)
    elif classes != []:
        raise ValueError("it has classes, and a model that gives numbers")
    if not 1 <= len(model.estimators_) <= _MAX_TREES:
        raise ValueError(f"it has {len(model.estimators_)} trees; the limit is {_MAX_TREES}")
    for tree in model.estimators_:
        _check_made(tree, features, len(classes))
    model.n_jobs = 1  # threads are the engine's
    return Forest(tuple(bands), tuple(classes), model)


def _check_classes(classes: Any, model: RandomForestClassifier) -> None:
    same = {type(c) for c in classes} if isinstance(classes, list) else set()
    if same not in ({int}, {str}) or not 2 <= len(classes) <= _MAX_CLASSES or sorted(set(classes)) != classes:
        raise ValueError("its classes are no numbers or names in order")
    if model.n_classes_ != len(classes) or not np.array_equal(model.classes_, np.arange(len(classes))):
        raise ValueError("its model is not one of its bands and classes")


def _check_made(tree: Any, features: int, classes: int) -> None:
    """A tree once more as it was made: compiled code follows it without looking. `classes`: 0 of a regression."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
    from sklearn.tree._tree import Tree

    if type(tree) is not (DecisionTreeClassifier if classes else DecisionTreeRegressor):
        raise ValueError("one of its trees is none")
    made, values = tree.tree_, max(1, classes)
    shape = tree.n_features_in_, tree.n_outputs_, made.n_features, made.max_n_classes
    if shape != (features, 1, features, values) or (classes and tree.n_classes_ != classes):
        raise ValueError("one of its trees is not of its bands and classes")
    if type(made) is not Tree or made.value.shape != (made.node_count, 1, values):
        raise ValueError("one of its trees has not a share of each class in each node")
    if not made.node_count == len(made.children_left) == len(made.children_right) == len(made.feature) > 0:
        raise ValueError("one of its trees has not as many nodes as it says")
    _check_nodes(made.children_left, made.children_right, made.feature, features=features, max_depth=made.max_depth)


def _given(value: Any) -> Forest:
    if isinstance(value, Forest):
        return value
    if isinstance(value, str | PathLike):
        path = Path(value).expanduser()
        if not path.is_file():
            raise ValueError("there is no such file")
        try:
            return _parse(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"the file {error}") from None
    raise ValueError("give what fit_random_forest gives, or the path where .save(path) put it")


FORESTS = kinds.add(
    Kind(
        "muses:random_forest", "random forest", "application/zip",
        write=_write, parse=_parse, of=_given, max_bytes=_LARGEST,
    )
)  # fmt: skip


# --------------------------------------------------------------------------------------------------- the operator


def _shape(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    forest: Forest = arguments["model"]
    if not forest.classes and arguments["output"] != "class":
        raise DocumentError("random_forest: this forest gives numbers, so there are no probabilities of classes")
    labels = None if arguments["output"] == "class" else tuple(map(str, forest.classes))
    return Meta(metas["data"].time, labels)


def _needs(
    arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: tuple[str, ...] | None
) -> dict[str, tuple[str, ...] | None]:
    """All bands of the forest, whichever classes are wanted."""
    forest, meta = arguments["model"], metas["data"]
    if meta.bands is None and not forest.bands:
        return {"data": None}
    return {"data": tuple(meta.find(band) for band in forest.bands or ("",))}


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """Measured with 100 trees of 3000 nodes and depth 25: 18 ns for a pixel and tree on noise, 14 on classes."""
    forest: Forest = arguments["model"]
    return Cost(
        18e-9 * len(forest.model.estimators_) * rows * columns,
        _TOGETHER * (8 * max(len(forest.bands), 1) + 16 * len(forest.classes) + 8) + 4 * rows * columns,
    )


@operator("muses:random_forest", shape=_shape, needs=_needs, cost=_cost)
def random_forest(
    data: Cube,
    model: Annotated[Forest, OfKind("muses:random_forest")],
    output: Literal["class", "probability"] = "class",
) -> Cube:
    """The class of each pixel by a fitted random forest, the probability of each class, as bands, or a number.

    ```python
    image.random_forest(forest)                              # values are those of forest.numbers
    image.random_forest(forest, output="probability")        # a band for each class, from 0 to 1
    ```

    `model` is what `fit_random_forest` made of samples of known classes (or `fit_random_forest_regression` of known
    numbers), or the path where it was saved. Missing where any band that the forest looks at is missing. The class is
    the most probable one, the first of several; the number is the mean of all trees (scikit-learn's `predict`).
    """
    banded = "bands" in data.dims
    cube = data.transpose(..., "bands") if banded else data.expand_dims("bands", -1)
    values = np.ascontiguousarray(cube.data, np.float32)
    flat = values.reshape(-1, values.shape[-1])
    valid = np.flatnonzero(np.isfinite(flat).all(axis=1))
    probabilities = output == "probability"
    out = np.full((len(flat), len(model.classes) if probabilities else 1), np.nan, np.float32)
    numbers = np.array(model.numbers, np.float32)
    for start in range(0, len(valid), _TOGETHER):
        cancel.check()
        some = valid[start : start + _TOGETHER]
        means = model.packed.mean(flat[some])
        out[some] = means if probabilities or not model.classes else numbers[means.argmax(axis=1)][:, None]
    dims = tuple(d for d in cube.dims if d != "bands")
    coords = {d: cube[d] for d in dims if d in cube.coords}
    shape = values.shape[:-1]
    if not probabilities:
        return xr.DataArray(out.reshape(shape), coords, dims)
    labels = np.array([str(label) for label in model.classes], object)
    made = xr.DataArray(out.reshape(*shape, -1), {**coords, "bands": labels}, (*dims, "bands"))
    return made.transpose(*(d for d in ("t", "bands", "y", "x") if d in made.dims))

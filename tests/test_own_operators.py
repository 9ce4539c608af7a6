"""Operators of users and UDFs: declared in notebooks and modules, on workers, and never anybody else's code."""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import cloudpickle
import nbformat
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbclient import NotebookClient
from pydantic import Field
from scipy import ndimage

import muses_lab as ml
from muses_lab.document.artefacts import kinds
from muses_lab.errors import ArgumentError, DocumentError, MusesError, PrivateChain
from muses_lab.operators import Cube, Fit, Focal, Meta, registry
from muses_lab.operators.cubes import BBox, Metres
from muses_lab.publish.artefacts import load_published, stored
from muses_lab.service.documents import _publish
from muses_lab.store.sql import SqlStore
from muses_widgets.form import Form
from tests.helpers.made_stacks import own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

ROWS, COLUMNS = 30, 40
WINDOW = own_window(ROWS, COLUMNS)
FACTOR = 3


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    values = np.random.default_rng(4).integers(1, 900, (3, 2, ROWS, COLUMNS)).astype(np.int16)
    values[0, :, 3, 5:9] = 0
    values[:, 0, 7, 7] = 0
    return values


@pytest.fixture(scope="module")
def made(numbers: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> ml.Collection:
    return stack(numbers, tmp_path_factory.mktemp("made"), nodata=0)


@pytest.fixture(scope="module")
def image(made: ml.Collection) -> ml.Chain:
    return made.band("B4").median("t")


def scaled() -> None:
    @ml.operator
    def scaled(
        data: Cube,
        by: Annotated[float, Field(gt=0, le=10)] = 2.0,
        how: Literal["times", "over"] = "times",
    ) -> Cube:
        """Values times or over a factor.

        ```python
        image.scaled(by=3)
        ```
        """
        return data * by if how == "times" else data / by


# ------------------------------------------------------------------------------------------------- of a notebook


def test_one_of_a_notebook_is_a_method_with_checks_signature_schema_and_form(image: ml.Chain, own: None) -> None:
    scaled()
    chain = image.scaled(by=3)
    np.testing.assert_array_equal(chain.compute(WINDOW), image.compute(WINDOW) * np.float32(3))
    assert list(inspect.signature(ml.Chain.scaled).parameters) == ["self", "by", "how"]
    assert "times or over" in (ml.Chain.scaled.__doc__ or "")
    for wrong, told in (({"by": 11}, "less than or equal to 10"), ({"how": "minus"}, "'times' or 'over'")):
        with pytest.raises(DocumentError, match=told):
            image.scaled(**wrong)
    form = Form(image.scaled, by=3)
    assert form.chain is not None and form.chain.identical(chain)
    operator = registry.of_method("scaled")
    assert operator is not None and operator.arguments["by"].schema()["maximum"] == 10


def test_a_chain_keeps_the_code_it_was_built_with_and_says_that_it_is_private(
    image: ml.Chain, own: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    factor = [2]

    def declare(sign: int) -> None:
        @ml.operator
        def signed(data: Cube) -> Cube:
            return sign * factor[0] * data

    declare(1)
    first, values = image.signed(), image.compute(WINDOW).values
    assert first.is_private and (first + 1).is_private and not image.is_private
    assert repr(first).startswith("<Chain private, ")
    assert first.hash == image.signed().hash
    factor[0] = 5  # what the code refers to is part of it
    second = image.signed()
    declare(-1)
    third = image.signed()
    assert len({first.hash, second.hash, third.hash}) == 3
    for chain, by in (
        (first, 2),
        (second, 5),
        (third, -5),
        (pickle.loads(pickle.dumps(first)), 2),
        (first + third, -3),
    ):
        np.testing.assert_array_equal(chain.compute(WINDOW), by * values)


def test_it_has_every_support_and_shape(image: ml.Chain, made: ml.Collection, own: None) -> None:
    @ml.operator(support=Focal(lambda arguments, pixel: arguments["radius"]))
    def highest(data: Cube, radius: int = 1) -> Cube:
        return data.copy(data=ndimage.maximum_filter(data.values, 2 * radius + 1, mode="nearest"))

    @ml.operator(
        shape=lambda arguments, metas: Meta(metas["data"].time, ("double",)),
        needs=lambda arguments, metas, wanted: {"data": ("B4",)},
    )
    def doubled(data: Cube) -> Cube:
        return (2 * data).assign_coords(bands=["double"])

    def mean_of(data: Cube) -> dict[str, Any]:
        return {"mean": float(data.mean())}

    @ml.operator(support=Fit(mean_of))
    def centred(
        data: Cube, extent: BBox | None = None, resolution: Metres | None = None, fitted: dict[str, Any] | None = None
    ) -> Cube:
        assert fitted is not None
        return data - np.float32(fitted["mean"])

    @ml.operator
    def weighted(data: Cube, other: Cube, weight: float = 0.5) -> Cube:
        return weight * data + (1 - weight) * other

    every = made.median("t").doubled().compute(WINDOW)
    assert list(every.bands.values) == ["double"]
    np.testing.assert_array_equal(every[0], 2 * made.median("t").band("B4").compute(WINDOW))
    one = made.band("B8").median("t")
    whole = one.highest(2).compute(WINDOW)
    np.testing.assert_array_equal(one.highest(2).compute(WINDOW[8:20, 5:30]), whole[8:20, 5:30])
    bounds = WINDOW.to_crs(4326).boundingbox.bbox
    fitted = one.centred(extent=bounds, resolution=10)
    difference = one.compute(WINDOW).values - fitted.compute(WINDOW).values
    assert np.ptp(difference) < 1e-3 and abs(difference.mean() - one.compute(WINDOW).values.mean()) < 5
    np.testing.assert_allclose(
        one.weighted(image, 0.25).compute(WINDOW), 0.25 * one.compute(WINDOW) + 0.75 * image.compute(WINDOW)
    )


def test_what_it_reduces_is_gone_from_its_result(made: ml.Collection, numbers: np.ndarray, own: None) -> None:
    @ml.operator(reduces="t")
    def spread(data: Cube) -> Cube:
        return data.max("t") - data.min("t")

    @ml.operator(reduces="bands")
    def brightest(data: Cube) -> Cube:
        return data.max("bands")

    values = np.where(numbers == 0, np.nan, numbers).astype(np.float32)
    spreads = np.fmax.reduce(values) - np.fmin.reduce(values)
    np.testing.assert_array_equal(made.spread().compute(WINDOW), spreads)
    np.testing.assert_array_equal(made.spread().band("B4").compute(WINDOW), spreads[0])
    np.testing.assert_array_equal(made.spread().brightest().compute(WINDOW), np.fmax(*spreads))
    with pytest.raises(DocumentError, match="'t' has been reduced already"):
        made.spread().spread().compute(WINDOW)
    with pytest.raises(DocumentError, match="'bands' has been reduced already"):
        made.brightest().brightest().compute(WINDOW)


def test_a_result_of_other_dimensions_than_declared_is_told(made: ml.Collection, image: ml.Chain, own: None) -> None:
    @ml.operator
    def undeclared(data: Cube) -> Cube:
        return data.max("t")

    @ml.operator
    def bare(data: Cube) -> Cube:
        return data.values

    told = r"undeclared.* gives an array of \(y, x\), .* declared to give an array of \(t, y, x\): reduces='t'"
    with pytest.raises(MusesError, match=told):
        made.band("B4").undeclared().compute(WINDOW)
    with pytest.raises(MusesError, match="bare.* gave ndarray: it is to give a cube"):
        image.bare().compute(WINDOW)


def test_a_private_result_is_kept_in_no_store(image: ml.Chain, own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    scaled()
    monkeypatch.setattr(SqlStore, "put_result", lambda *args: pytest.fail("the store was written"))
    monkeypatch.setattr(SqlStore, "put_artefact", lambda *args: pytest.fail("the store was written"))
    monkeypatch.setattr(SqlStore, "put_document", lambda *args: pytest.fail("the store was written"))
    bounds = WINDOW.to_crs(4326).boundingbox.bbox
    otsu = image.scaled().otsu(extent=bounds, resolution=10)
    assert set(np.unique(otsu.compute(WINDOW).values)) >= {0, 1}


SHARED: dict[str, Callable[[ml.Chain, SqlStore], Any]] = {
    "publish": lambda chain, store: chain.publish(store),
    "a layer's publish": lambda chain, store: chain.style().publish(store),
    "share": lambda chain, store: chain.share(user="bob"),
    "materialize": lambda chain, store: chain.materialize(),
}


@pytest.mark.parametrize("how", SHARED)
def test_it_is_not_published(image: ml.Chain, own: None, tmp_path: Path, how: str) -> None:
    scaled()
    store = SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}")
    for chain in (image.scaled() > 4, image.run_udf(TWICE)):
        with pytest.raises(PrivateChain, match="is private.*runs code of its author.*cannot be published, shared"):
            SHARED[how](chain, store)
    assert store.documents() == []


def test_it_is_exported(image: ml.Chain, own: None, tmp_path: Path) -> None:
    scaled()
    image.scaled().export(tmp_path / "out.tif", WINDOW, progress=False).wait()
    assert (tmp_path / "out.tif").is_file()


def test_its_code_is_in_no_document(image: ml.Chain, own: None) -> None:
    scaled()
    chain = image.scaled()
    (process,) = [n["process_id"] for n in chain.to_json()["process_graph"].values() if n.get("namespace") == "own"]
    assert process.startswith("scaled_")
    with pytest.raises(PrivateChain):
        chain.to_json(artefacts=True)
    document = json.dumps(chain.to_json())
    with pytest.raises(PrivateChain, match="holds code"):
        ml.Chain.from_json(document)
    with pytest.raises(DocumentError, match="declared in a notebook, and runs only there"):
        ml.Chain.from_json(document.replace(process, "scaled_0123456789abcdef"), trust_code=True)
    with pytest.raises(ValueError, match="code of somebody's notebook"):
        kinds["muses:code"].parse(b"\x80\x04N.")


def test_code_is_taken_from_no_store(tmp_path: Path) -> None:
    store, mark = SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}"), tmp_path / "ran"
    body = cloudpickle.dumps(Runs(mark))
    digest = hashlib.sha256(body).hexdigest()
    store.put_artefact(digest, "muses:code", body)
    store.put_result(hashlib.sha256(f"muses:code 1 {digest}".encode()).hexdigest(), digest)
    with pytest.raises(PrivateChain, match="taken from no store"):
        stored(store, "muses:code", digest)
    assert not mark.exists()


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_what_cannot_be_an_operator_is_refused(image: ml.Chain, own: None) -> None:
    def bare(data, factor=1):
        return data * factor

    def values(data: float) -> float:
        return data

    def median(data: Cube) -> Cube:
        return data

    for fn, told in ((bare, "say what its arguments are, a cube first"), (values, "a cube first")):
        with pytest.raises(ArgumentError, match=told):
            ml.operator(fn)
    for id in ("muses:mine", "mine", 5, "own:a b"):
        with pytest.raises(ArgumentError, match="'namespace:name'"):
            ml.operator(id)(median) if not callable(id) else None
    with pytest.raises(ValueError, match=r"have the method .median\(\) of 'median' already"):
        ml.operator(median)
    with pytest.raises(ArgumentError, match="'halo_of'"):
        ml.operator("own:x", halo_of=3)(median)
    lock = threading.Lock()

    @ml.operator
    def waits(data: Cube) -> Cube:
        with lock:
            return data

    with pytest.raises(ArgumentError, match="cannot travel to the cluster.*not to open files, connections and locks"):
        image.waits()


# --------------------------------------------------------------------------------------------------- of a module

MODULE = """
import muses_lab as ml
from muses_lab.operators import Cube

@ml.operator
def {name}(data: Cube, by: float = 2.0) -> Cube:
    "Values times a factor."
    return data * by
"""


def test_one_of_a_module_is_an_operator_like_any_other(
    image: ml.Chain, own: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "muses_test_lab.py").write_text(MODULE.format(name="enlarged"))
    monkeypatch.syspath_prepend(tmp_path)
    __import__("muses_test_lab")
    id = "muses_test_lab:enlarged"
    try:
        chain = image.enlarged(3)
        assert not chain.is_private
        np.testing.assert_array_equal(chain.compute(WINDOW), image.compute(WINDOW) * 3)
        store = SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}")
        again = load_published(chain.publish(store), store)
        assert ml.Chain.from_json(chain.to_json()).identical(chain) and again.chain_hash
    finally:
        op = registry._operators.pop(id)
        registry._methods.pop(op.method or "")
    with pytest.raises(DocumentError, match="'muses_test_lab' come from a package, which must be installed here"):
        ml.Chain.from_json(chain.to_json())


CELLS = """
import sys
import threading
import numpy as np, muses_lab as ml
from muses_lab.catalog import open_catalog
from muses_lab.errors import MusesError
from muses_lab.operators import Cube
from tests.helpers.made_stacks import own_window
window = own_window(30, 40)
image = ml.collection("made", open_catalog(CATALOG)).band("B4").median("t")
values = image.compute(window).values
OFFSET = 7
# %%
def helper(data):
    return data + OFFSET

@ml.operator
def moved(data: Cube, times: float = 1.0) -> Cube:
    return times * helper(data)

first = image.moved(2)
np.testing.assert_array_equal(first.compute(window), 2 * (values + 7))
# %%
@ml.operator
def moved(data: Cube) -> Cube:
    return data - OFFSET

np.testing.assert_array_equal(image.moved().compute(window), values - 7)
np.testing.assert_array_equal((first + 1).compute(window), 2 * (values + 7) + 1)
# %%
code = "def apply_datacube(cube: xarray.DataArray, context) -> xarray.DataArray:\\n    return cube * context['by']\\n"
np.testing.assert_array_equal(image.run_udf(code, context={"by": 4}).compute(window), 4 * values)
# %%
import muses_test_there
np.testing.assert_array_equal(image.there(3).compute(window), 3 * values)
# %%
sys.path.insert(0, LACKED)
import muses_test_lacked
try:
    image.lacked(3).compute(window)
except MusesError as error:
    print("refused:", error)
"""


@pytest.mark.slow
def test_in_a_kernel_on_the_embedded_cluster(
    numbers: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells one after the other; the cluster's workers import the modules that are on PYTHONPATH, and no others."""
    for name in ("there", "lacked"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"muses_test_{name}.py").write_text(MODULE.format(name=name))
    root = Path(__file__).resolve().parent.parent
    monkeypatch.setenv("PYTHONPATH", ":".join([str(root), str(root / "widgets"), str(tmp_path / "there")]))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("MUSES_COMPUTE", "embedded")
    monkeypatch.setenv("MUSES_WORKERS", "1")
    stack(numbers, tmp_path / "made", nodata=0)
    source = CELLS.replace("CATALOG", repr(str(tmp_path / "made" / "catalogue"))).replace(
        "LACKED", repr(str(tmp_path / "lacked"))
    )
    cells = [nbformat.v4.new_code_cell(cell) for cell in textwrap.dedent(source).split("# %%\n")]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = [o for cell in book.cells for o in cell.outputs if o.get("name") == "stdout"]
    assert (
        "the worker lacks the operator 'muses_test_lacked:lacked' of the module 'muses_test_lacked'" in output["text"]
    )
    assert "install its package" in output["text"]


# ---------------------------------------------------------------------------------------------------------- UDFs

TWICE = """
def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:
    return cube * 2
"""

CUBE = """
from openeo.udf import XarrayDataCube

def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    array = cube.get_array()
    return XarrayDataCube((array - array.mean("t")).transpose("x", "y", ...))
"""

SERIES = """
def apply_timeseries(series: pd.Series, context: dict) -> pd.Series:
    return series * context["factor"]
"""

HIGHEST = """
def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:
    return cube.max("t")
"""


def test_udfs_of_openeos_interface(made: ml.Collection) -> None:
    red = made.band("B4")
    values, every = red.compute(WINDOW), made.compute(WINDOW)
    np.testing.assert_array_equal(red.run_udf(SERIES, context={"factor": 3}).compute(WINDOW), 3 * values)
    np.testing.assert_allclose(made.run_udf(CUBE).compute(WINDOW), every - every.mean("t"), rtol=1e-5, atol=1e-4)
    assert made.run_udf(TWICE).compute(WINDOW).dtype == np.float32


@settings(max_examples=8, deadline=None)
@given(st.integers(0, ROWS - 2), st.integers(0, COLUMNS - 2), st.data())
def test_parts_of_the_image_are_parts_of_the_result(made: ml.Collection, row: int, column: int, data: Any) -> None:
    end = data.draw(st.integers(row + 1, ROWS)), data.draw(st.integers(column + 1, COLUMNS))
    chain = made.run_udf(CUBE)
    part = chain.compute(WINDOW[row : end[0], column : end[1]])
    np.testing.assert_array_equal(part, chain.compute(WINDOW)[..., row : end[0], column : end[1]])
    assert np.isnan(chain.compute(WINDOW).values[0, :, 3, 5:9]).all()


def callback(chain: ml.Chain, process: str, udf: str, **arguments: Any) -> dict[str, Any]:
    """A document with the UDF as a callback, as openEO's clients write it."""
    graph = chain.to_json()["process_graph"]
    (last,) = [name for name, node in graph.items() if node.pop("result", False)]
    parameter = "x" if process == "apply" else "data"
    inner = {"data": {"from_parameter": parameter}, "udf": udf, "runtime": "Python"}
    inside = {"process_graph": {"udf": {"process_id": "run_udf", "arguments": inner, "result": True}}}
    given = {"data": {"from_node": last}, **arguments, "process" if process == "apply" else "reducer": inside}
    return {"process_graph": {**graph, "end": {"process_id": process, "arguments": given, "result": True}}}


def test_a_callback_may_be_a_udf_and_is_refused_like_one(made: ml.Collection) -> None:
    red = made.band("B4")
    for document, expected in (
        (callback(red, "reduce_dimension", HIGHEST, dimension="t"), red.max("t")),
        (callback(red, "apply", TWICE), red * 2),
    ):
        with pytest.raises(PrivateChain, match="trust_code=True"):
            ml.Chain.from_json(document)
        chain = ml.Chain.from_json(document, trust_code=True)
        assert chain.is_private
        np.testing.assert_array_equal(chain.compute(WINDOW), expected.compute(WINDOW))


def test_documents_from_elsewhere_run_no_code(made: ml.Collection, tmp_path: Path) -> None:
    """Neither read by a user nor posted to the service nor put into a store by other means; nor by naming a file."""
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w')\n{TWICE}"
    document = made.run_udf(code).to_json()
    store = SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}")
    for act in (
        lambda: ml.Chain.from_json(document),
        lambda: ml.Chain.from_json(json.dumps(document)),
        lambda: ml.read_graph(document),
        lambda: _publish(document, lambda: store),
    ):
        with pytest.raises(PrivateChain, match="holds code"):
            act()
    assert ml.read_graph(document, trust_code=True)[0].chain.is_private
    trusted = ml.Chain.from_json(document, trust_code=True).published
    store.put_document(trusted.chain_hash, trusted.document.decode())
    with pytest.raises(PrivateChain, match="is private"):
        load_published(trusted.chain_hash, store)
    assert not mark.exists()
    made.run_udf(code).compute(WINDOW)
    assert mark.exists()


WRONG = {
    "a path": ("smooth.py", "is no code: give the text itself"),
    "no Python": ("def f(:\n    pass\n", "is not Python"),
    "another function": ("def smooth(cube):\n    return cube\n", "it defines smooth"),
    "no annotations": ("def apply_datacube(cube, context):\n    return cube\n", "its annotations say what"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_code_that_is_no_udf_is_refused_without_running_it(image: ml.Chain, kind: str) -> None:
    code, told = WRONG[kind]
    with pytest.raises(DocumentError, match=told):
        image.run_udf(code)


def test_udfs_that_fail_or_give_something_else_are_told(made: ml.Collection, image: ml.Chain) -> None:
    header = "def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:\n    "
    for body, told in (
        ("return cube / context['no']", "the UDF failed: KeyError: 'no'"),
        ("return cube.max('t')", "the dates, bands and pixels that it was given"),
        ("return cube.isel(t=slice(None, None, -1))", "keeps them in their order"),
        ("return cube.isel(x=slice(1, None))", "the dates, bands and pixels"),
    ):
        with pytest.raises(MusesError, match=told):
            made.run_udf(header + body + "\n").compute(WINDOW)
    odd = "def apply_datacube(cube: list, context: dict) -> list:\n    return cube\n"
    with pytest.raises(MusesError, match="no function that openEO calls"):
        image.run_udf(odd).compute(WINDOW)
    for arguments, told in (({"runtime": "R"}, "InvalidRuntime"), ({"version": "2.7"}, "InvalidVersion")):
        with pytest.raises(DocumentError, match=told):
            image.run_udf(TWICE, **arguments)

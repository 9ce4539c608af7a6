"""Chains have the operators as methods: from the declarations alone, those of users and of other packages as well."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import jedi
import numpy as np
import pytest

import muses_lab as ml
from muses_lab.document.graph import Node
from muses_lab.errors import MusesError
from muses_lab.operators import Operator, registry
from muses_lab.operators.contract import Cube, Scalar
from muses_lab.operators.methods import description, examples, method_of
from muses_lab.operators.registered import OperatorRegistry
from tests.helpers import operator_examples

pytestmark = pytest.mark.usefixtures("in_threads")

ALL = [pytest.param(op, id=op.id) for op in registry]
METHODS = [pytest.param(op, id=op.id) for op in registry if op.method is not None]
WINDOW = ml.Window.from_bounds((1.40, 43.58, 1.402, 43.582), crs="EPSG:32631", resolution=20)
LOADING = {"load_collection", "muses:load_collection", "muses:load_items"}
REMOTE = {"load_stac", "load_url"}
"""Of a server on the internet: `test_load_stac.py` and `test_load_url.py` have their own."""


@pytest.mark.parametrize("op", [op for op in ALL if op.values[0].id not in REMOTE])
def test_an_operator_has_an_example_that_runs_and_makes_it(op: Operator, s2: ml.Collection) -> None:
    lines = operator_examples.lines(op)
    assert lines, "its docstring has no example"
    for line in lines:
        chain = operator_examples.run(line, s2)
        if op.gives:  # it runs when a document is read
            assert isinstance(chain, ml.Chain) or (isinstance(chain, ml.Vectors) and len(chain))
            continue
        made = set(operator_examples.processes(chain))
        shows = op.takes_text or op.gives_date or (op.method and op.method in line)  # in conditions, or folded
        assert op.id in made or (op.id in LOADING and made & LOADING) or shows, line
        if isinstance(chain, ml.Table):
            assert chain.compute().sizes["geometry"] == 1
        elif not isinstance(chain, ml.Collection) and op.id not in LOADING:
            values = chain.compute(WINDOW)
            assert values.sizes["y"] == WINDOW.shape.y and values.dtype == np.float32


@pytest.mark.parametrize("op", METHODS)
def test_a_method_is_a_function_with_signature_and_docstring(op: Operator) -> None:
    method = getattr(ml.Chain, op.method or "")
    declared = method_of(op)
    assert inspect.isfunction(method) and method.__qualname__ == f"Chain.{op.method}"
    assert list(inspect.signature(method).parameters) == ["self", *(declared.signature.parameters if declared else ())]
    assert inspect.signature(method).return_annotation == "Chain"
    assert description(method.__doc__ or "") and examples(method.__doc__ or "")


@pytest.mark.parametrize("op", [op for op in METHODS if op.values[0].build is None])
def test_a_method_has_the_arguments_that_are_declared(op: Operator) -> None:
    own = inspect.signature(getattr(ml.Chain, op.method or "")).parameters
    first, *others = op.arguments.values()
    assert {name for name in own if name not in ("self", "dim")} == {a.name for a in others}
    for argument in others:
        default = own[argument.name].default
        assert (default is inspect.Parameter.empty) == argument.required
        assert argument.required or default == argument.default
    assert ("dim" in own) == (first.kind == "array")


class Odd:
    """What no argument takes."""

    def __repr__(self) -> str:
        return "<odd>"


@pytest.mark.parametrize("op", METHODS)
def test_every_argument_refuses_what_is_none_and_shows_it(op: Operator, s2: ml.Collection) -> None:
    chain, args, kwargs = operator_examples.call_of(op, s2)
    if isinstance(chain, ml.Collection):  # it has `bands` and `dates` of its own
        chain = chain.mask_clouds()
    method = getattr(chain, op.method or "")
    signature = inspect.signature(method)
    assert isinstance(method(*args, **kwargs), ml.Chain)
    for name, parameter in signature.parameters.items():
        bound = signature.bind(*args, **kwargs)
        bound.arguments[name] = (Odd(),) if parameter.kind is parameter.VAR_POSITIONAL else Odd()
        with pytest.raises((MusesError, TypeError, ValueError)) as refused:
            method(*bound.args, **bound.kwargs)
        text = str(refused.value)
        assert "<odd>" in text and len(text) < 400, text
    with pytest.raises(TypeError, match=re.escape(f"Chain.{op.method}()")):
        method(*args, **kwargs, no_such_argument=1)


def test_notebooks_complete_methods_and_show_how_they_are_called(s2: ml.Collection) -> None:
    """JupyterLab asks jedi with the objects that there are."""
    known = [{"chain": s2.ndvi().median("t")}]
    assert {"focal_mean", "focal_median"} <= {c.name for c in jedi.Interpreter("chain.focal_m", known).complete()}
    (found,) = jedi.Interpreter("chain.focal_mean(", known).get_signatures()
    assert [p.name for p in found.params] == ["radius", "unit"]
    assert "focal_mean" in dir(known[0]["chain"]) and "focal_mean" in dir(s2)


def test_methods_are_recorded_and_travel(s2: ml.Collection) -> None:
    image = s2.ndvi().median("t")
    assert repr(image.focal_mean(2, unit="px")).endswith(".ndvi().median('t').focal_mean(2, unit='px')>")
    assert pickle.loads(pickle.dumps(image.focal_mean))(2).identical(image.focal_mean(2))


def test_scenes_of_all_chains_of_a_method_are_known(s2: ml.Collection) -> None:
    masked = s2.band("red").resolve().mask(s2.limit(3).band("green").resolve() > 0.1)
    assert len(masked.published.scenes) == 2


# ----------------------------------------------------------------------------- operators that are declared later


def python(code: str, *folders: Path, **env: str) -> str:
    """What a process of its own prints: what it declares is no operator of the tests."""
    import os

    path = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, "PYTHONPATH": path, **env},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_operator_of_a_user_is_a_method_at_once() -> None:
    python(
        """
        import inspect, warnings
        import muses_lab as ml
        from muses_lab.operators import Cube, operator, registry

        chain = ml.Chain.from_json({"a": {"process_id": "load_collection", "arguments": {"id": "x:y"}, "result": True}})
        assert not hasattr(chain, "twice")

        @operator("mine:twice")
        def twice(data: Cube, times: int = 2) -> Cube:
            '''The values times a number.'''
            return data * times

        assert str(inspect.signature(chain.twice)) == "(times: int = 2) -> 'Chain'"
        made = chain.twice(3)
        assert made.to_json()["process_graph"]["twice1"] == {
            "process_id": "twice", "namespace": "mine", "result": True,
            "arguments": {"data": {"from_node": "loadcollection1"}, "times": 3},
        }
        with warnings.catch_warnings(record=True) as told:
            operator("mine:compute")(twice)
        assert "Chain.compute is there already" in str(told[0].message)
        assert inspect.isfunction(ml.Chain.compute) and "mine:compute" in {op.id for op in registry}
        """
    )


def package(folder: Path, name: str, entries: dict[str, str], **modules: str) -> Path:
    """An installed distribution: modules, and the folder that tells importlib.metadata of it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = ["[muses_lab.operators]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(textwrap.dedent(text))
    return folder


TWICE = """
from muses_lab.operators import Cube, operator

@operator("mine:twice")
def twice(data: Cube, times: float = 2) -> Cube:
    '''The values times a number.'''
    return data * times
"""

BROKEN = """
import no_such_library
"""


def test_operators_of_installed_packages_are_there(tmp_path: Path) -> None:
    folder = package(tmp_path, "mine", {"mine": "mine_ops"}, mine_ops=TWICE)
    code = """
        import muses_lab as ml
        from muses_lab.operators.profile import profile

        assert ml.Chain.twice.__doc__ == "The values times a number."
        (described,) = [p for p in profile() if p.get("namespace") == "mine"]
        assert described["parameters"][1] == {
            "name": "times", "schema": {"type": "number"}, "optional": True, "default": 2
        }
        """
    python(code, folder)
    python("import mine_ops" + textwrap.dedent(code), folder)  # whoever of the two is imported first


def test_a_package_that_is_broken_is_told_by_name_and_skipped(tmp_path: Path) -> None:
    entries = {"a_broken": "broken_ops", "b_mine": "mine_ops"}
    folder = package(tmp_path, "mixed", entries, mine_ops=TWICE, broken_ops=BROKEN)
    python(
        """
        import warnings
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            import muses_lab as ml
            ml.Chain
        (text,) = [str(w.message) for w in told if w.category.__name__ == "BrokenPlugin"]
        assert "'a_broken' of the package 'mixed' (muses_lab.operators = broken_ops) cannot be used" in text, text
        assert "no_such_library" in text
        assert hasattr(ml.Chain, "twice") and hasattr(ml.Chain, "ndvi")
        try:
            ml.Chain.from_json({"a": {"process_id": "thrice", "namespace": "mine", "arguments": {}, "result": True}})
        except ml.errors.DocumentError as error:
            assert "'a_broken' of the package 'mixed' could not be loaded" in str(error), error
        """,
        folder,
    )


@pytest.mark.thorough
@pytest.mark.slow
def test_workers_have_the_operators_of_packages(tmp_path: Path) -> None:
    folder = package(tmp_path / "site", "mine", {"mine": "mine_ops"}, mine_ops=TWICE)
    for name in ("home", "runtime"):
        (tmp_path / name).mkdir(mode=0o700)
    code = """
        import numpy as np, xarray as xr, rioxarray
        import muses_lab as ml

        ml.use("embedded")
        values = np.arange(64, dtype=np.float32).reshape(8, 8)
        places = {"y": 4_800_075 - 10.0 * np.arange(8), "x": 360_005 + 10.0 * np.arange(8)}
        array = xr.DataArray(values, dims=("y", "x"), coords=places).rio.write_crs("EPSG:32631")
        print(float(ml.from_array(array).twice(3).compute(ml.Window.like(array)).sum()))
        """
    env = {"MUSES_LAB_HOME": str(tmp_path / "home"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    found = python(code, folder, **env)
    assert float(found.split()[-1]) == 3 * 64 * 63 / 2


# ---------------------------------------------------------------------------------------------- declarations


def declared(id: str, fn: Callable, **options) -> Operator:
    from muses_lab.operators.contract import PIXEL
    from muses_lab.operators.declared import Traits

    return Operator(fn, id, "1", PIXEL, traits=Traits(**options))


def test_a_declaration_without_a_possible_method_is_refused() -> None:
    def loads(id: str) -> Cube: ...

    def twice(data: Cube) -> Cube: ...

    def power(x: Scalar, p: float) -> Scalar: ...

    def built(data: Node, p: float) -> Node: ...

    with pytest.raises(TypeError, match=r"'mine:loads' has no cube.*method=None"):
        declared("mine:loads", loads)
    assert declared("mine:loads", loads, method=None).method is None
    for id in ("mine:lambda", "mine:a-b", "mine:_x"):
        with pytest.raises(TypeError, match=r"no method can be called"):
            declared(id, twice)
    assert declared("mine:a-b", twice, method="a_b").method == "a_b"
    assert declared("mine:x", power, method=built).method == "built"
    with pytest.raises(TypeError, match=r"reduces='time' is neither a dimension nor an argument"):
        declared("mine:twice", twice, reduces="time")


def test_two_operators_cannot_have_one_method() -> None:
    def twice(data: Cube) -> Cube: ...

    some = OperatorRegistry()
    some.add(declared("a:twice", twice))
    with pytest.raises(ValueError, match=r"'b:twice' would have the method .twice\(\), which 'a:twice' has"):
        some.add(declared("b:twice", twice))
    with pytest.raises(ValueError, match="declared twice"):
        some.add(declared("a:twice", twice))
    assert [op.id for op in some] == ["a:twice"]

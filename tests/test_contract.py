"""The contract between operators and the engine: operators declare, the engine asks, and knows none by its name."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from muses_lab.document.graph import Node, Parameter, walk
from muses_lab.engine.compiled import vm
from muses_lab.errors import BandError
from muses_lab.operators import Meta, registry

ENGINE = Path(__file__).resolve().parent.parent / "muses_lab" / "engine"


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda path: path.name)
def test_the_engine_knows_no_process_by_its_name(path: Path) -> None:
    ids = {op.id for op in registry}
    found = [
        f"line {node.lineno}: {node.value!r}"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in ids
    ]
    assert not found


def test_every_instruction_that_is_declared_is_one() -> None:
    codes = {op.id: op.code for op in registry if op.code is not None}
    assert not {id: code for id, code in codes.items() if not isinstance(getattr(vm, code, None), int)}
    assert {"add", "median", "quantiles", "normalized_difference"} <= codes.keys()


EXPANDED = [op for op in registry if op.expands is not None and "name" not in op.arguments]
"""The catalogue of indices, which are chosen by name, has tests of its own."""


@pytest.mark.parametrize("op", EXPANDED, ids=lambda op: op.id)
def test_a_process_that_is_defined_by_others_is_what_they_are(op) -> None:
    """Its own function and its definition, evaluated by the functions of what it is defined by."""
    values = np.array([[-1.5, 0.0, 0.2], [0.5, 1.0, np.nan]], np.float32)
    given = {a.name: a.default for a in op.arguments.values() if not a.required}
    if op.is_cube_process:
        roles = [name for name in given.values() if name is not None]  # an index has a default for each of its bands
        names = tuple(role.upper() for role in roles)
        data = xr.DataArray(
            np.stack([np.roll(values, n) + n / 4 for n in range(len(roles))]), dims=("bands", "y", "x"),
            coords={"bands": list(names)},
        )  # fmt: skip
        own = op.fn(data, meta=Meta(True, names, dict(zip(roles, names, strict=True))))
        defined = evaluated(op.expands(given), {role: data.sel(bands=role.upper(), drop=True) for role in roles})
    else:
        given |= {"min": 0.0, "max": 0.5, "inputMin": 0.0, "inputMax": 0.5}
        given = {name: value for name, value in given.items() if name in op.arguments}
        cube = xr.DataArray(values, dims=("y", "x"))
        own = op.fn(x=cube, **{n: v for n, v in given.items() if n != "x"})
        defined = evaluated(op.expands(given), cube)
    np.testing.assert_array_equal(np.asarray(own), np.asarray(defined))


def evaluated(root: Node, values):
    results: dict[str, object] = {}
    for node in walk(root):
        arguments = {
            name: results[a.hash] if isinstance(a, Node) else values if isinstance(a, Parameter) else a
            for name, a in node.arguments.items()
        }
        if isinstance(arguments.get("data"), dict):
            results[node.hash] = values[arguments["label"]]
        else:
            results[node.hash] = registry[node.process].fn(**arguments)
    return results[root.hash]


def test_an_index_is_not_put_over_a_band_that_there_is() -> None:
    meta = Meta(True, ("B04", "B08"), {"red": "B04", "nir": "B08"})
    arguments = {"nir": "nir", "red": "red", "target_band": "B04"}
    with pytest.raises(BandError, match="'B04' already"):
        registry["ndvi"].shape(arguments, {"data": meta})

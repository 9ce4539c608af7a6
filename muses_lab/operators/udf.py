"""openEO's `run_udf`: code in Python that is part of a document."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np

from muses_lab.errors import MusesError, OperatorFailed
from muses_lab.operators.callbacks import Series
from muses_lab.operators.contract import Cube
from muses_lab.operators.declare import operator
from muses_lab.operators.own import line_of

_FUNCTIONS = {"apply_datacube": "cube", "apply_hypercube": "cube", "apply_timeseries": "series"}
"""What code may define, and its first parameter."""


def _rule(arguments: Mapping[str, Any]) -> None:
    """The code is read here, and not run."""
    runtime, version, udf = arguments["runtime"], arguments["version"], arguments["udf"]
    if runtime.lower() not in ("python", "python-jep"):
        raise ValueError(f"InvalidRuntime: there is no runtime {runtime!r}; there is 'Python'")
    if version is not None and version.split(".")[0] != "3":
        raise ValueError(f"InvalidVersion: there is no version {version!r} of Python; there is '3'")
    if "\n" not in udf.strip():
        raise ValueError(f"udf={udf[:60]!r} is no code: give the text itself, Path(file).read_text() of a file")
    try:
        tree = ast.parse(udf)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ValueError(f"the UDF is not Python: {error}") from None
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    known = [name for name in found if name in _FUNCTIONS]
    if not known:
        raise ValueError(
            "the UDF defines none of apply_datacube(cube, context) and apply_timeseries(series, context); it defines "
            + (", ".join(found) or "no function")
        )
    for name in known:
        names = [argument.arg for argument in (*found[name].args.args, *found[name].args.kwonlyargs)]
        if not {_FUNCTIONS[name], "context"} <= set(names) or found[name].returns is None:
            raise ValueError(
                f"openEO's {name} of the UDF takes {_FUNCTIONS[name]!r} and 'context', and its annotations say what it "
                "takes and gives, as in `def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray`"
            )


@operator("run_udf", rule=_rule, strict=False, private=True, anywhere=True)
def run_udf(
    data: Cube,
    udf: str,
    runtime: str = "Python",
    version: str | None = None,
    context: dict[str, Any] = {},  # noqa: B006 (openEO's default; it is never changed)
) -> Cube:
    """Code in Python of the user's own, on the values of the cube: openEO's user-defined functions.

    ```python
    ndvi.run_udf("def apply_datacube(cube: xarray.DataArray, context) -> xarray.DataArray:\\n    return cube * 2\\n")
    ```

    `udf` is the text of the code (`Path("smooth.py").read_text()`). It defines `apply_datacube(cube, context)`, of an
    `xarray.DataArray` or openEO's `XarrayDataCube`, or `apply_timeseries(series, context)`, of a pandas Series for each
    pixel and band. `context` is handed to it. `numpy`, `pandas` and `xarray` are there without importing.

    It gets a part of the image at a time and depends on nothing but the same pixel: what looks at neighbours is an
    operator of its own (`@ml.operator` with `support=Focal(…)`). All dates of the chain are there, NaN where missing.
    The result has the dates, bands and pixels of what it was given, in any order of dimensions; anything else is an
    error. As a callback of `apply` the same holds; as one of `reduce_dimension` it gets the cube, and gives it without
    the dimension.

    The code runs with all that its author may do, so a chain with it is private: it is computed on its author's own
    cluster, is not published or shared, and `Chain.from_json` takes it from a document only with `trust_code=True`.

    Source: openEO 2.0, `run_udf`; the interface of openEO's Python client (`openeo.udf`).
    """
    from openeo.udf import OpenEoUdfException, UdfData, XarrayDataCube
    from openeo.udf.run_code import run_udf_code

    reduced = data.dim if isinstance(data, Series) else None
    cube: Cube = data.array if isinstance(data, Series) else data
    given = cube.copy()  # whatever the code does to it
    try:
        found = run_udf_code(udf, UdfData(datacube_list=[XarrayDataCube(given)], user_context=dict(context)))
    except OpenEoUdfException:
        raise MusesError(
            "the UDF has no function that openEO calls: its annotations must be those of its interface, as in `def "
            "apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray`"
        ) from None
    except Exception as error:  # whatever the code raises
        where = line_of(error, "<string>", udf)
        raise OperatorFailed(f"the UDF failed: {type(error).__name__}: {error}{where}") from error
    cubes = found.get_datacube_list() or []
    if len(cubes) != 1:
        raise MusesError(f"the UDF gave {len(cubes)} cubes; it gives one")
    return _like(cubes[0].get_array(), cube if reduced is None else cube.isel({reduced: 0}, drop=True))


def _like(found: Any, data: Cube) -> Cube:
    """What code gave, as the cube that it was made of is laid out, or that cube without a dimension."""
    same = set(found.dims) == set(data.dims) and all(found.sizes[d] == n for d, n in data.sizes.items())
    if not same:
        raise MusesError(
            f"the UDF gave {dict(found.sizes)}; it is to give {dict(data.sizes)}, the dates, bands and pixels that it "
            "was given"
        )
    found = found.transpose(*data.dims)
    for dim in ("t", "bands"):
        if dim in found.coords and dim in data.coords and not np.array_equal(found[dim], data[dim]):
            raise MusesError(
                f"the UDF gave the {dim} {list(found[dim].values)[:6]}; it was given {list(data[dim].values)[:6]}, and "
                "keeps them in their order"
            )
    values = np.asarray(found.data, np.result_type(np.float32, data.dtype))
    return data.copy(data=values)

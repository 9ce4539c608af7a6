"""Operators of users: `@ml.operator`, in a module that workers can import, or in a notebook.

One of an importable module is an operator like any other: documents name it, workers import its module. One of a
notebook travels by value, inside its author's own processes only. Its id ends with the hash of its code, and of all
that the code refers to in the notebook, so that chains keep the code they were built with and no cache mixes them up.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import linecache
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cloudpickle

from muses_lab.document.artefacts import Artefact, Kind, Packing, kinds
from muses_lab.document.graph import Node, walk_all
from muses_lab.errors import ArgumentError, DocumentError, MusesError, OperatorFailed
from muses_lab.operators.contract import Cube, Fit
from muses_lab.operators.declare import operator as _declare
from muses_lab.operators.declared import Operator, Traits
from muses_lab.operators.registered import OWN, registry

_OURS = "muses_lab"
_DIGITS = 16
"""Of the hash, in the id."""


def operator(id: Any = None, /, **declaration: Any) -> Any:
    """Declares a function as an operator of your own, which chains then have as a method.

    ```python
    import muses_lab as ml
    from muses_lab.operators import Cube, Focal

    @ml.operator(support=Focal(lambda arguments, pixel: 1))
    def edges(data: Cube, strength: float = 1.0) -> Cube:
        '''Differences of neighbours.'''
        return strength * (abs(data.diff("x")).reindex_like(data) + abs(data.diff("y")).reindex_like(data))

    image.edges(strength=2)
    ```

    The function gets cubes (`xarray.DataArray` of the dims `t, bands, y, x` that they have; NaN where missing), and
    values that the annotations describe: they are checked, and make the signature, the form and the schema.

    Parameters
    ----------
    id
        `namespace:name`. By default the function's name, in the namespace of its package or, in a notebook, `own`.
    declaration
        What else an operator declares: `support` (by default a pixel depends on the same pixel), `shape` and `needs`
        where the result has other bands or dates, `reduces`, `cost`, `rule`, `version`, `method`; see
        `muses_lab.operators.operator`.

    In a module that workers can import it is an operator like any other. Raise its `version` when it gives other
    values; for the service to draw it, its package names the module in the entry-point group `muses_lab.operators`.

    In a notebook its code travels to your own cluster with the chains that use it. Such chains are private: your own
    maps show them, and they cannot be published or shared. A chain keeps the code that the operator had when the chain
    was built; run the cell again to declare it anew.
    """

    def declare(fn: Callable[..., Any]) -> Callable[..., Any]:
        if is_importable(fn):
            name = id or f"{fn.__module__.partition('.')[0]}:{fn.__name__}"
            _check_id(name)
            return _declare(name, **declaration)(fn)
        _check_id(id or f"{OWN}:{fn.__name__}")
        own = Declaration(fn, (id or fn.__name__).rpartition(":")[2], declaration, text_of(fn))
        registry.offer(own.live())
        return fn

    if callable(id):
        fn, id = id, None
        return declare(fn)
    return declare


def is_importable(fn: Callable[..., Any]) -> bool:
    """Whether another process finds a function by its module and name."""
    module = sys.modules.get(fn.__module__)
    if module is None or fn.__module__ == "__main__" or "<" in fn.__qualname__:
        return False
    try:
        return importlib.util.find_spec(fn.__module__) is not None
    except (ImportError, ValueError):
        return False


def _check_id(id: Any) -> None:
    namespace, _, name = id.rpartition(":") if isinstance(id, str) else ("", "", "")
    if not namespace or not namespace.isidentifier() or namespace == "muses" or not name.isidentifier():
        raise ArgumentError(
            f"operator({id!r}): an operator of your own is called 'namespace:name', for example '{OWN}:edges'; the "
            "namespace muses and names without one are taken"
        )


# ---------------------------------------------------------------------------------------------- of a notebook


@dataclass(frozen=True)
class Declaration:
    """A function of a notebook, and what it was declared with."""

    fn: Callable[..., Any]
    name: str
    options: Mapping[str, Any]
    cell: str = ""
    """The text of the notebook's cell, or of the script, in which the function is: errors tell a line of it."""

    def live(self) -> Operator:
        """What the method is made of."""
        return _Live(self)

    def held(self) -> Operator:
        """The operator as its code is now, known to this process by an id that names the code."""
        try:
            code = Code(cloudpickle.dumps(self))
        except Exception as error:  # whatever pickling something raises
            raise ArgumentError(
                f"the operator {self.name!r} cannot travel to the cluster: {type(error).__name__}: {error}. It may "
                "refer to functions and plain values of the notebook, not to open files, connections and locks"
            ) from None
        return Artefact.of(CODE, code).value.operator


class _Live(Operator):
    """An operator of a notebook as it was declared: gives methods, and is never evaluated itself."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        _check_function(declaration)
        _make(self, declaration, f"{OWN}:{declaration.name}", "1")

    def current(self) -> Operator:
        return self.declaration.held()


def _check_function(declaration: Declaration) -> None:
    fn, name = declaration.fn, declaration.name
    if callable(declaration.options.get("method")) or declaration.options.get("expands"):
        raise ArgumentError(f"operator {name!r}: method=function and expands= are for operators of modules")
    try:
        hints = fn.__annotations__ = typing.get_type_hints(fn, include_extras=True)  # texts would not travel
    except NameError as error:
        raise ArgumentError(f"operator {name!r}: an annotation names what is not there: {error}") from None
    parameters = list(inspect.signature(fn).parameters)
    bare = [parameter for parameter in parameters if parameter not in hints]
    if not parameters or bare or hints[parameters[0]] is not Cube:
        raise ArgumentError(
            f"operator {name!r}: say what its arguments are, a cube first, as in `def {name}(data: Cube, factor: float "
            "= 1.0) -> Cube` (from muses_lab.operators import Cube)"
        )


def _make(made: Operator, declaration: Declaration, id: str, version: str) -> None:
    options = dict(declaration.options)
    options.pop("version", None)  # it is the hash of the code
    given = {name: options.pop(name) for name in ("support", "shape", "needs") if name in options}
    try:
        traits = Traits(private=True, **options)
    except TypeError as error:
        raise ArgumentError(f"operator {declaration.name!r}: {str(error).rpartition(') ')[2]}") from None
    support = given.pop("support", registry["apply"].support)
    Operator.__init__(made, declaration.fn, id, version, support, given.get("shape"), given.get("needs"), traits)


@dataclass(frozen=True, eq=False)
class Code:
    """An operator of a notebook as bytes."""

    body: bytes

    @cached_property
    def operator(self) -> Operator:
        """The operator, made of the bytes: what its author changes afterwards does not change it."""
        declaration = cloudpickle.loads(self.body)
        digest = hashlib.sha256(self.body).hexdigest()
        made = Operator.__new__(Operator)
        _make(made, declaration, f"{OWN}:{declaration.name}_{digest[:_DIGITS]}", digest)
        made.fn = _guarded(declaration)
        if isinstance(made.support, Fit):
            made.support = replace(made.support, fit=_telling(made.support.fit, declaration))
        made.method = None
        made.brings = (Artefact.of(CODE, self),)
        registry.hold(made)
        return made


def _telling(fn: Callable[..., Any], declaration: Declaration) -> Callable[..., Any]:
    """A function of a user whose errors tell the line of their code."""

    @functools.wraps(fn)
    def told(*arguments: Any, **named: Any) -> Any:
        try:
            return fn(*arguments, **named)
        except (MusesError, MemoryError):
            raise
        except Exception as error:  # whatever the code raises
            where = line_of(error, fn.__code__.co_filename, declaration.cell) if hasattr(fn, "__code__") else ""
            raise OperatorFailed(
                f"your operator {declaration.name!r} failed: {type(error).__name__}: {error}{where}"
            ) from error

    return told


def _guarded(declaration: Declaration) -> Callable[..., Any]:
    """The function of an operator: its errors tell their line, and what it gives is a cube."""
    fn = _telling(declaration.fn, declaration)

    @functools.wraps(declaration.fn)
    def checked(*arguments: Any, **named: Any) -> Any:
        found = fn(*arguments, **named)
        if not isinstance(found, Cube):
            raise OperatorFailed(
                f"your operator {declaration.name!r} gave {type(found).__name__}: it is to give a cube "
                "(xarray.DataArray), for example data.copy(data=values)"
            )
        return found

    return checked


def text_of(fn: Callable[..., Any], limit: int = 100_000) -> str:
    """The text of the file, or the notebook's cell, that holds a function; empty where nobody knows it."""
    code = getattr(fn, "__code__", None)
    text = "" if code is None else "".join(linecache.getlines(code.co_filename))
    return text if len(text) <= limit else ""


def line_of(error: BaseException, file: str, text: str) -> str:
    """Where in a user's code an error was raised, as the end of a sentence; empty where it was elsewhere."""
    numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if not numbers or numbers[-1] is None:
        return ""
    lines, number = text.splitlines(), numbers[-1]
    shown = f": {lines[number - 1].strip()}" if 0 < number <= len(lines) else ""
    return f" (line {number}{shown})"


def _unpack(body: bytes) -> Code:
    code = Code(body)
    try:
        _ = code.operator
    except Exception as error:  # whatever the imports of somebody's code raise
        raise ValueError(
            f"cannot be made here: {type(error).__name__}: {error}. What it imports must be installed where it runs"
        ) from None
    return code


def _refuse(body: bytes) -> Code:
    raise ValueError("is code of somebody's notebook, which runs on their own cluster only")


def _pack(code: Code) -> bytes:
    return code.body


CODE = kinds.add(
    Kind(
        "muses:code", "code of an operator", "application/octet-stream", write=_pack, parse=_refuse,
        packing=Packing("muses:code 1", _pack, _unpack, worth=lambda code: False), private=True,
    )
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ of a module


def modules_of(root: Node) -> dict[str, str]:
    """The modules that declare a chain's operators, but for ours: module → an operator of it."""
    used = {node.process: registry[node.process] for node in walk_all(root)}
    return {
        op.fn.__module__: id for id, op in used.items()
        if not op.private and op.fn.__module__.partition(".")[0] != _OURS
    }  # fmt: skip


def import_modules(modules: Mapping[str, str]) -> None:
    """Declares the operators of a chain that this process does not know yet.

    Raises
    ------
    DocumentError
        A module is not there, or does not declare the operator.
    """
    for module, id in modules.items():
        if _is_known(id):
            continue
        try:
            importlib.import_module(module)
            reason = "" if _is_known(id) else "it does not declare it there"
        except Exception as error:  # whatever a module of others may raise
            reason = f"{type(error).__name__}: {error}"
        if reason:
            raise DocumentError(
                f"the worker lacks the operator {id!r} of the module {module!r} ({reason}): install its package where "
                "the workers run, or declare the operator in the notebook itself",
                process=id,
            )


def _is_known(id: str) -> bool:
    try:
        return bool(registry[id])
    except KeyError:
        return False

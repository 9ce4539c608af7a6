"""The methods of chains that operators declare: ordinary functions, set on the class once for each operator."""

from __future__ import annotations

import typing
import warnings
from inspect import Parameter as Argument
from inspect import Signature
from typing import Any

from muses_lab.api.expression import Expression
from muses_lab.api.parameters import replayable
from muses_lab.api.written import call
from muses_lab.document.graph import Node
from muses_lab.errors import ArgumentError
from muses_lab.operators import Operator, registry
from muses_lab.operators.cubes import BBox
from muses_lab.operators.given import extent
from muses_lab.operators.methods import Method, method_of, schemas_of
from muses_lab.plain import shown


class NoMethod(UserWarning):
    """An operator has no method: the class has something else of this name."""


def add_methods(cls: type[Expression]) -> None:
    """Sets the methods of all operators on a class of expressions: of those there are, and of those declared later."""

    own: set[Any] = set()

    def add(op: Operator) -> None:
        method = method_of(op)
        if method is None:
            return
        if op.private and getattr(cls, method.name, None) in own:
            own.discard(getattr(cls, method.name))  # declared once more: what is there is an older one
            delattr(cls, method.name)
        if hasattr(cls, method.name):
            warnings.warn(
                f"the operator {op.id!r} has no method: {cls.__name__}.{method.name} is there already. Declare it with "
                "method='…', another name",
                NoMethod,
                stacklevel=2,
            )
        else:
            setattr(cls, method.name, _function(method, cls))
            if op.private:
                own.add(getattr(cls, method.name))

    registry.each(add)


def _function(method: Method, cls: type[Expression]) -> Any:
    own, given = method.signature.parameters, list(method.signature.parameters.values())
    chains = {name for name, p in own.items() if Node in _types(p.annotation)}
    only_chains = {name for name in chains if _types(own[name].annotation) == {Node}}
    bounds = {name for name, p in own.items() if BBox in _types(p.annotation)}

    def function(self: Expression, *args: Any, **kwargs: Any) -> Expression:
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}.{method.name}(): {error}") from None
        others = []
        for name in bound.arguments.keys() & own.keys():
            value = bound.arguments[name]
            if name in chains and isinstance(value, Expression):
                others.append(value)
                bound.arguments[name] = value._node
            elif name in only_chains and not (value is None and own[name].default is None):
                raise ArgumentError(
                    f"{method.name}({shown(value)}) takes a chain, for example a condition such as chain > 0.5",
                    argument=name,
                )
            elif name in bounds:
                bound.arguments[name] = extent(value)
        made = self._made(method.build(self._node, *bound.args[1:], **bound.kwargs), *others)
        made._written = call(self._written, method.name, args, kwargs)
        return made

    signature = Signature(
        [Argument("self", Argument.POSITIONAL_OR_KEYWORD), *(p.replace(annotation=_shown(p)) for p in given)],
        return_annotation="Chain",
    )
    function.__name__, function.__qualname__ = method.name, f"{cls.__qualname__}.{method.name}"
    function.__module__, function.__doc__ = cls.__module__, method.doc
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()} | {"return": "Chain"}
    return replayable(function, lambda: schemas_of(method.name))


def _types(annotation: Any) -> set[Any]:
    """What an annotation is made of, without None."""
    found = typing.get_args(annotation) if typing.get_origin(annotation) is not typing.Literal else ()
    return {t for t in found if t is not type(None)} or {annotation}


def _shown(parameter: Argument) -> Any:
    """The type that users see: chains for nodes, anything that are bounds for a box."""
    types = _types(parameter.annotation)
    if BBox in types:
        return Any
    if Node in types:
        return " | ".join(["Chain", *sorted(t.__name__ for t in types if t is not Node)])
    return parameter.annotation

"""What is checked of a node's arguments: what its operator declares of them, and how they fit with other operators."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from pydantic import ValidationError

from muses_lab.document.artefacts import Artefact, kinds
from muses_lab.document.graph import Callback, Node, Parameter, rebuild, walk
from muses_lab.errors import DocumentError
from muses_lab.operators.arguments import ARRAYS, CONTEXT, DATED, DIGEST, SERIES, Argument
from muses_lab.operators.contract import (
    Condition,
    Conditions,
    CubeProcess,
    Element,
    Focal,
    Pixel,
    Referring,
    Transform,
)
from muses_lab.operators.declared import Operator
from muses_lab.times import parse_moment

Wrong = Callable[[str], DocumentError]
"""(what an argument must be) → the error that says so."""


class Known(Protocol):
    """All operators, as far as checks ask them; see `registry`."""

    def __getitem__(self, id: str) -> Operator: ...

    def node(self, process: str, /, inside_callback: bool = False, **arguments: Any) -> Node: ...

    def artefact(self, node: Node) -> Artefact: ...


class Checks:
    """Checks the arguments of nodes, and tells what their callbacks give and use."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self._arrays: dict[str, bool] = {}
        """Node of a callback (by its hash) → whether it gives an array."""

    def check(self, op: Operator, arguments: dict[str, Any], node: str, inside_callback: bool) -> dict[str, Any]:
        """Checked, normalised arguments without those that equal their defaults."""
        if not (op.is_cube_process or inside_callback):
            raise DocumentError(
                f"node {node!r}: process {op.id!r} cannot be used outside of callbacks (apply, reduce_dimension, …)",
                node=node,
            )
        context = arguments.get(CONTEXT) if op.takes_context else None
        ignored = {CONTEXT} if op.takes_context or arguments.get(CONTEXT) is None else set()
        unknown = sorted(set(arguments) - set(op.arguments) - ignored)
        if unknown:
            known = ", ".join(op.arguments)
            raise DocumentError(
                f"node {node!r}: {op.id!r} has no argument {unknown[0]!r}; it has {known}",
                openeo="ProcessParameterUnsupported",
                node=node,
                argument=unknown[0],
            )
        if any(isinstance(context, kind) for kind in (Node, Callback)):
            raise DocumentError(
                f"node {node!r}: `context` is a constant, not the result of a process",
                openeo="ProcessParameterInvalid", node=node, argument=CONTEXT,
            )  # fmt: skip
        checked: dict[str, Any] = {}
        for argument in op.arguments.values():
            if argument.name not in arguments:
                if argument.required:
                    raise DocumentError(
                        f"node {node!r}: {op.id!r} needs the argument {argument.name!r}",
                        openeo="ProcessParameterMissing",
                        node=node,
                        argument=argument.name,
                    )
                continue
            value = arguments[argument.name]
            if value is None and _left_out(argument):
                continue
            if op.takes_context and isinstance(value, Callback):
                value = self._with_context(value, context)
            if not (inside_callback and argument.kind == "cube" and isinstance(value, Parameter)):
                value = self._check_one(op, argument, value, node, inside_callback)
            if argument.required or not _equal(value, argument.default):
                checked[argument.name] = value
        if op.rule is not None and not any(map(_is_context, checked.values())):
            try:
                op.rule({a.name: checked.get(a.name, a.default) for a in op.arguments.values()})
            except ValueError as error:
                name = getattr(error, "openeo", "")
                raise DocumentError(f"node {node!r}: {op.id!r}: {error}", openeo=name, node=node) from None
        return checked

    def _check_one(self, op: Operator, argument: Argument, value: Any, node: str, inside_callback: bool) -> Any:
        def wrong(expected: str, openeo: str = "ProcessParameterInvalid") -> DocumentError:
            text = repr(value)[:60]
            return DocumentError(
                f"node {node!r}: argument {argument.name!r} of {op.id!r} must be {expected}, not {text}",
                openeo=openeo,
                node=node,
                argument=argument.name,
            )

        match argument.kind:
            case "cube" if value is None and not argument.required:
                return None
            case "cube":
                if not isinstance(value, Node) or self.known[value.process].gives:
                    raise wrong("a data cube (the result of another node)")
            case "callback" if value is None and not argument.required:
                return None
            case "callback" if any(value is constant for constant in argument.constants):
                return value
            case "callback":
                self._check_callback(op, argument, value, node, wrong, inside_callback)
                if (
                    argument.annotation is Transform
                    and not self.is_array(value.root)
                    and not self.known[value.root.process].anywhere
                ):
                    return Callback(self.known.node("array_create", inside_callback=True, data=[value.root]))
            case "conditions":
                if value is not None and not isinstance(value, dict):
                    raise wrong("an object of process graphs by property")
                for condition in (value or {}).values():
                    self._check_callback(op, argument, condition, node, wrong, inside_callback)
            case "scalar":
                if isinstance(value, str) and op.takes_text:
                    return value
                expected = "a number, a truth value, null or another node"
                return self._check_scalar(value, lambda: wrong(expected), arrays=op.is_elementwise)
            case "date":
                return self._check_date(value, wrong)
            case "array" if isinstance(value, list | tuple):
                return [
                    item
                    if isinstance(item, str) and op.takes_text
                    else self._check_scalar(item, lambda: wrong("an array of numbers"))
                    for item in value
                ]
            case "array":
                if not (self.is_array(value) or _is_context(value)):
                    raise wrong(f"an array: a list, or the parameter {SERIES!r} of a reducer")
            case "artefact" if value is None and not argument.required:
                return None
            case "artefact":
                return value if argument.named and isinstance(value, str) else self._check_artefact(
                    argument.artefact, value, wrong
                )  # fmt: skip
            case "value" if _is_context(value) and inside_callback:
                return value
            case "value" if argument.computed and isinstance(value, Node | Parameter):
                return self._check_scalar(value, lambda: wrong("a number or another node"))
            case "value":
                adapter = argument.adapter
                try:
                    return adapter.dump_python(adapter.validate_python(_plain(value), strict=True), mode="json")
                except ValidationError as error:
                    every = error.errors()
                    choice = next((one for one in every if one["type"] == "literal_error"), every[0])
                    named = getattr(choice.get("ctx", {}).get("error"), "openeo", "ProcessParameterInvalid")
                    raise wrong(_expected(choice), named) from None
                except TypeError:
                    raise wrong("a value, not another node or process graph") from None
        return value

    def _check_artefact(self, name: str, value: Any, wrong: Wrong) -> Any:
        """A digest, an artefact, or what documents may hold in its place; a path of this machine never.

        What a process makes that gives artefacts is made now, and documents hold its digest; what is fitted stays a
        node until the document is published.
        """
        made = self.known[value.process] if isinstance(value, Node) else None
        if made is not None and made.gives == name:
            if made.fits:
                return value
            if isinstance(made.support, Referring):
                return next(iter(made.referred(value.arguments).values()))
        if isinstance(value, str) and re.fullmatch(DIGEST, value):
            return value
        if isinstance(value, Artefact) and value.kind.name == name:
            return value
        if isinstance(value, Node) and self.known[value.process].gives:
            value = self.known.artefact(value)
            try:
                return value if value.kind.name == name else Artefact.of(kinds[name], kinds[name].of(value.value))
            except ValueError as error:
                raise wrong(f"a {kinds[name].noun} ({error})") from None
        if not isinstance(value, dict) or (kind := kinds[name]).inline is None:
            raise wrong(f"the SHA-256 of an artefact of the kind {name!r} (64 hexadecimal digits)")
        try:
            return Artefact.of(kind, kind.inline(value))
        except ValueError as error:
            raise wrong(f"a {kind.noun} ({error})") from None

    def _check_date(self, value: Any, wrong: Wrong) -> Any:
        if isinstance(value, Parameter) and value.name in DATED:
            return value
        if isinstance(value, Node) and self.known[value.process].gives_date:
            return value
        if not isinstance(value, str):
            raise wrong("a date (text), a label, or a node that gives a date")
        try:
            parse_moment(value)
        except ValueError as error:
            raise wrong(f"a date ({error})") from None
        return value

    def _check_scalar(self, value: Any, wrong: Callable[[], DocumentError], arrays: bool = False) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, Node):
            used = self.known[value.process]
            if used.is_cube_process or used.gives_date or (self.is_array(value) and not arrays):
                raise wrong()
        elif isinstance(value, Parameter):
            if value.name in ARRAYS and not arrays:
                raise wrong()
        elif not isinstance(value, int | float | bool | None):
            raise wrong()
        return value

    def _check_callback(
        self, op: Operator, argument: Argument, value: Any, node: str, wrong: Wrong, inside_callback: bool
    ) -> None:
        if not isinstance(value, Callback):
            raise wrong("a process graph")
        gives_array, process = self.is_array(value.root), value.root.process
        if argument.annotation is CubeProcess:
            self._check_cubes(value.root, node, argument.name, wrong)
        elif self.known[process].is_cube_process and not self.known[process].anywhere:
            raise DocumentError(
                f"node {node!r}: argument {argument.name!r}: process {process!r} cannot be used inside a callback of "
                f"{op.id!r}, which is one of values",
                node=node,
                argument=argument.name,
            )
        if self.known[process].gives_date or (gives_array and argument.annotation not in (Transform, CubeProcess)):
            raise wrong(f"a process graph that gives one value ({process!r} does not)")
        if (
            argument.annotation not in (Conditions, Condition, Element)
            and (text := self._text_in(value.root)) is not None
        ):
            raise wrong(
                "a process graph of numbers; only properties of scenes and labels may be compared with texts such as "
                f"{text!r:.60}"
            )
        offered = argument.offers
        # Inside a callback the parameters of what is around it may be used; what is outside of all of them says no.
        for name in sorted(self.parameters_of(value.root) - set(offered)) if not inside_callback else ():
            raise DocumentError(
                f"node {node!r}: the callback {argument.name!r} uses the parameter {name!r}; "
                f"{op.id!r} offers {', '.join(offered)}",
                node=node,
                argument=argument.name,
            )

    def _check_cubes(self, root: Node, node: str, argument: str, wrong: Wrong) -> None:
        """Refuses what is no process of parts of cubes: what loads, needs a whole extent, or another grid."""
        if not self.known[root.process].is_cube_process:
            if not self.is_array(root):
                raise wrong(f"a process graph that gives as much as it is given ({root.process!r} gives one value)")
            return
        for one in walk(root):
            op = self.known[one.process]
            reason = ""
            if not op.cubes:
                reason = "makes no cube of `data`"
            elif op.artefacts:
                reason = f"refers to a {kinds[op.arguments[op.artefacts[0]].artefact].noun}; do that before or after"
            elif not isinstance(op.support, Pixel | Focal):
                reason = (
                    f"depends on {op.depends_on}" if op.needs_extent else "changes the grid, or is no cube of pixels"
                )
            elif "rect" in op.injected:
                reason = "is of parts of the grid itself"
            elif op.groups is not None:
                reason = "makes dates of others (DataCubePropertiesImmutable)"
            if reason:
                raise DocumentError(
                    f"node {node!r}: {op.id!r} cannot be used in the callback {argument!r}, which gets parts of a "
                    f"cube: it {reason}",
                    node=node, argument=argument, process=op.id,
                )  # fmt: skip

    def is_array(self, value: Any) -> bool:
        """Whether an argument in a callback is an array: `data`, a list, what gives one, or values computed of one."""
        if isinstance(value, Parameter):
            return value.name in ARRAYS
        if not isinstance(value, Node):
            return isinstance(value, list)
        if len(self._arrays) > 100_000:
            self._arrays = {}
        known = self._arrays
        if value.hash not in known:
            for node in [value] if all(used.hash in known for used in value.inputs) else walk(value):
                known[node.hash] = self._gives_array(node, known)
        return known[value.hash]

    def _gives_array(self, node: Node, known: Mapping[str, bool]) -> bool:
        op = self.known[node.process]
        values = [node.arguments.get(a.name) for a in op.arguments.values() if a.kind == "scalar"]
        arrays = (
            known[v.hash] if isinstance(v, Node) else isinstance(v, Parameter) and v.name in ARRAYS for v in values
        )
        made = op.gives_series or (op.anywhere and op.length is not None)
        return made or (op.is_elementwise and any(arrays))

    def _with_context(self, callback: Callback, context: Any) -> Callback:
        """A callback with the constant in the place of the parameter `context`."""
        if CONTEXT not in self.parameters_of(callback.root):
            return callback

        def put(value: Any) -> Any:
            if _is_context(value):
                return context
            if isinstance(value, list):
                return [put(item) for item in value]
            return self._with_context(value, context) if isinstance(value, Callback) else value

        def with_it(node: Node, arguments: dict[str, Any]) -> Node:
            return self.known.node(node.process, inside_callback=True, **{n: put(a) for n, a in arguments.items()})

        return Callback(rebuild(callback.root, with_it))

    def _text_in(self, root: Node) -> str | None:
        """A text that a callback compares values with."""
        given = (
            value for node in walk(root) if self.known[node.process].takes_text for value in node.arguments.values()
        )
        listed = (one for value in given for one in (value if isinstance(value, list) else (value,)))
        return next((one for one in listed if isinstance(one, str)), None)

    def parameters_of(self, root: Node) -> set[str]:
        """Names of the parameters that a callback graph uses; without those that callbacks inside it have."""
        names: set[str] = set()
        for node in walk(root):
            op = self.known[node.process]
            stack: list[Any] = list(node.arguments.values())
            while stack:
                item = stack.pop()
                if isinstance(item, Parameter):
                    names.add(item.name)
                elif isinstance(item, list):
                    stack.extend(item)
            for name, value in node.arguments.items():
                if isinstance(value, Callback):
                    names |= self.parameters_of(value.root) - set(op.arguments[name].offers)
        return names


def _left_out(argument: Argument) -> bool:
    """Whether null means the default: of what may be left out, unless null is a value of its own."""
    if argument.required or argument.kind != "value":
        return False
    try:
        argument.adapter.validate_python(None, strict=True)
    except ValidationError:
        return True
    return False


def _is_context(value: Any) -> bool:
    """Whether it is a constant that is not known yet, while the callback is read that it is used in."""
    return isinstance(value, Parameter) and value.name == CONTEXT


def _plain(value: Any) -> Any:
    """JSON values only, written in one way: lists, Python's numbers, whole numbers without a decimal point."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str | int | float | bool | None):
        raise TypeError(f"{value!r} is no JSON value")
    return value


def _expected(error: Any) -> str:
    text = error["msg"]
    place = ".".join(str(p) for p in error["loc"] if not str(p).startswith(("function-", "constrained")))
    text = text.removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    return f"valid ({place + ': ' if place else ''}{text})"


def _equal(a: Any, b: Any) -> bool:
    return type(a) is not Node and (a is b or (a == b and isinstance(a, bool) == isinstance(b, bool)))

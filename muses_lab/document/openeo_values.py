"""What nodes and parameters of a document of others stand for while it is read."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from muses_lab.document import graph
from muses_lab.document.graph import Node
from muses_lab.document.openeo_forms import Form, objects
from muses_lab.errors import DocumentError


@dataclass(frozen=True)
class Unset:
    """A parameter that has no value; in an extent it means the window."""

    name: str


@dataclass(frozen=True)
class Value:
    """What a node stands for: JSON in which `from_node` is a node that is written, and what is known of it."""

    json: Any
    dimensions: Mapping[str, str] = field(default_factory=dict)
    """How its dimensions were named on the way → here."""
    format: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_node(self) -> bool:
        return isinstance(self.json, dict) and set(self.json) == {"from_node"}

    @property
    def is_constant(self) -> bool:
        return not _holds(self.json, ("from_node", "from_parameter"))


def _holds(value: Any, keys: tuple[str, ...]) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if any(set(item) == {key} for key in keys):
                return True
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, Unset):
            return True
    return False


def unset_in(value: Any) -> str | None:
    """The name of a parameter without a value that an argument holds."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Unset):
            return item.name
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return None


@dataclass
class Scope:
    """A graph that is read, with what its parameters and the graph around it are."""

    nodes: dict[str, Any]
    out: dict[str, Any]
    """Where its nodes are written."""
    path: str = ""
    """Of its nodes, in messages: `apply1/process/`."""
    prefix: str = ""
    """Of its nodes where they are written."""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    offered: tuple[str, ...] = ()
    """Parameters that the process around a callback gives it."""
    dimensions: Mapping[str, str] = field(default_factory=dict)
    """How the dimensions of those were named on the way → here."""
    around: Scope | None = None
    """Whose names it sees: of a callback."""
    inside_callback: bool = False
    values: dict[str, Value] = field(default_factory=dict)
    calls: tuple[str, ...] = ()
    """Processes of the document in whose definition this is."""

    def parameter(self, name: str) -> Value:
        """What a parameter is: of the process around a callback, as it is; else its value."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.parameters:
                return scope.parameters[name]
            if name in scope.offered:
                return Value({"from_parameter": name}, scope.dimensions)
            scope = scope.around
        return Value(Unset(name))

    @property
    def outer(self) -> Mapping[str, Value]:
        """The values of the nodes of the graphs around this one, the nearest first."""
        scopes, scope = [], self.around
        while scope is not None:
            scopes.append(scope.values)
            scope = scope.around
        return ChainMap(*scopes)


def given_values(form: Form, parameters: Mapping[str, Any], out: dict[str, Any]) -> dict[str, Value]:
    """The values of a document's parameters: given, or their defaults."""
    declared = {one["name"]: one for one in form.parameters}
    used = _parameters_in(form.graph)
    for name in parameters:
        if name not in declared and name not in used:
            names = ", ".join(map(repr, sorted({*declared, *used}))) or "none"
            raise DocumentError(f"the document has no parameter {name!r}; it has {names}", argument=name)
    values = {name: Value(one["default"]) for name, one in declared.items() if one.get("default") is not None}
    for name, value in parameters.items():
        if isinstance(value, Node):
            values[name] = Value(_write_chain(value, f"parameter {name}/", out))
        else:
            graph.check_json(value)
            values[name] = Value(value)
    return values


def _write_chain(root: Node, prefix: str, out: dict[str, Any]) -> dict[str, str]:
    """The nodes of a chain, and a reference to its end."""

    def prefixed(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"from_node"}:
                return {"from_node": prefix + value["from_node"]}
            return value if "process_graph" in value else {key: prefixed(item) for key, item in value.items()}
        return [prefixed(item) for item in value] if isinstance(value, list) else value

    nodes = graph.to_document(root)["process_graph"]
    for name, node in nodes.items():
        out[prefix + name] = {**node, "arguments": prefixed(node["arguments"])}
    return {"from_node": prefix + next(name for name, node in nodes.items() if node.get("result"))}


def _parameters_in(value: Any) -> set[str]:
    references = (item["from_parameter"] for item in objects(value) if set(item) == {"from_parameter"})
    return {name for name in references if isinstance(name, str)}


def is_extent(parameter: Mapping[str, Any]) -> bool:
    """Whether a parameter is declared as a place."""
    schemas = parameter.get("schema")
    schemas = schemas if isinstance(schemas, list) else [schemas]
    return any(isinstance(one, dict) and one.get("subtype") in ("bounding-box", "geojson") for one in schemas)

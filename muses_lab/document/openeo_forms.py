"""The forms that documents of others have, as one: nodes by id with what there is to be read of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from muses_lab.document import graph
from muses_lab.errors import DocumentError

_KEYS_BEFORE_1 = ({"callback"}, {"from_argument"})


@dataclass(frozen=True)
class Form:
    """What a document holds, in whatever form."""

    graph: dict[str, Any]
    parameters: list[dict[str, Any]]
    processes: Any
    rest: Mapping[str, Any]


def form_of(document: Any) -> Form:
    rest: dict[str, Any] = {}
    if isinstance(document, dict):
        if isinstance(document.get("process"), dict):
            rest, document = {**document}, document["process"]
        if "process_graph" in document and "process_id" not in document:
            rest, document = {**rest, **document}, document["process_graph"]
    return Form(read_nodes(document, ""), declared_in(rest.get("parameters")), rest.get("processes"), rest)


def declared_in(parameters: Any) -> list[dict[str, Any]]:
    parameters = parameters or []
    if not isinstance(parameters, list) or not all(
        isinstance(p, dict) and isinstance(p.get("name"), str) for p in parameters
    ):
        raise DocumentError("`parameters` of a process must be a list of objects with a text `name`")
    return parameters


def defined(processes: Any) -> dict[str, dict[str, Any]]:
    """Definitions of processes by id."""
    if isinstance(processes, Mapping):
        processes = [
            {"id": id, **definition} for id, definition in processes.items() if isinstance(definition, Mapping)
        ]
    found = {}
    for one in processes or ():
        if not isinstance(one, Mapping) or not isinstance(one.get("id"), str) or "process_graph" not in one:
            raise DocumentError("the definition of a process must be an object with a text `id` and a `process_graph`")
        graph.check_json(one)
        found[one["id"]] = dict(one)
    return found


def read_nodes(nodes: Any, path: str) -> dict[str, Any]:
    """The nodes of a graph, each with what there is to be read of it."""
    where = f" in the callback of {path.rstrip('/')!r}" if path else ""
    if not isinstance(nodes, dict) or not nodes:
        raise DocumentError(
            f"a process graph must be a non-empty object of nodes{where}, not {nodes!r:.60}",
            openeo="ProcessGraphMissing",
        )
    return {name: read_node(node, path + name) for name, node in nodes.items()}


def read_node(node: Any, path: str) -> dict[str, Any]:
    if not isinstance(node, dict) or not isinstance(node.get("process_id"), str):
        raise DocumentError(f"node {path!r} must be an object with a text `process_id`", node=path)
    arguments = node.get("arguments")
    if not isinstance(arguments, dict | None):
        raise DocumentError(f"node {path!r}: `arguments` must be an object", node=path)
    if any(set(item) in _KEYS_BEFORE_1 for item in objects(arguments)):
        raise DocumentError(
            f"node {path!r} is written as openEO was before its version 1 (`callback`, `from_argument`), which is not "
            "read: there are `process_graph` and `from_parameter` in their place",
            openeo="ProcessParameterInvalid",
            node=path,
        )
    namespace = node.get("namespace")
    if not isinstance(namespace, str | None):
        raise DocumentError(f"node {path!r}: `namespace` must be text", node=path)
    return {
        "process_id": node["process_id"],
        "arguments": _numbered(arguments or {}),
        "namespace": namespace or "",
        "result": node.get("result") is True,
    }


def _numbered(value: Any) -> Any:
    """References to nodes by numbers, as texts."""
    if isinstance(value, dict):
        if set(value) == {"from_node"} and isinstance(value["from_node"], int) and value["from_node"] is not True:
            return {"from_node": str(value["from_node"])}
        return value if "process_graph" in value else {key: _numbered(item) for key, item in value.items()}
    return [_numbered(item) for item in value] if isinstance(value, list) else value


def ends_of(nodes: Mapping[str, Any]) -> list[str]:
    """Ids of nodes to which no other refers."""
    used = {target for node in nodes.values() for target in graph.references(node["arguments"])}
    return [name for name in nodes if name not in used]


def reduced_to(nodes: Mapping[str, Any], root: str) -> dict[str, Any]:
    """A node and what it needs of a graph, as its result."""
    kept: dict[str, Any] = {}
    stack = [root]
    while stack:
        name = stack.pop()
        if name not in kept:
            kept[name] = nodes[name]
            stack.extend(graph.references(nodes[name]["arguments"]))
    return {name: {**node, "result": name == root} for name, node in kept.items()}


def as_node(process: str, arguments: dict[str, Any]) -> dict[str, Any]:
    namespace, _, plain = process.rpartition(":")
    return {"process_id": plain, "arguments": arguments, **({"namespace": namespace} if namespace else {})}


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a value, however deep."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)

"""Chain documents: openEO process graphs as immutable, content-addressed expressions.

A `Node` is one process with its arguments; its inputs are other nodes, so a chain is the node of its result. Nothing
here knows what a process does: names, arguments and versions come from a registry (see `muses_lab.operators`).
All walks are loops, not recursion, so that a deep document is an error message and never a crash.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, Protocol

import rfc8785

from muses_lab.document.artefacts import Artefact
from muses_lab.errors import DocumentError

MAX_NODES = 9_000
"""Of one document, those of its callbacks included."""
MAX_DEPTH = 64
MAX_BYTES = 4 << 20
VERSIONS_KEY = "muses:operators"


class Parameter:
    """A value that the surrounding process gives to a callback, for example `x` in `apply`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<Parameter {self.name}>"


class Callback:
    """A process graph given as an argument (`{"process_graph": …}`): what to do with each value or series."""

    __slots__ = ("root",)

    def __init__(self, root: Node) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"<Callback {self.root.process}>"


class Node:
    """One process of a graph with its arguments; equal content has an equal `hash`.

    Arguments are JSON values in which a `Node`, `Callback` or `Parameter` may stand, also inside lists. Build nodes
    with `Registry.node`, which checks them and leaves out arguments that equal their defaults. An artefact that is
    given as an argument becomes its digest there, and is in `artefacts` for whoever builds the chain.
    """

    __slots__ = ("arguments", "artefacts", "hash", "inputs", "process", "version")

    def __init__(
        self, process: str, arguments: Mapping[str, Any], version: str, brings: tuple[Artefact, ...] = ()
    ) -> None:
        self.process = process
        self.artefacts = brings + tuple(value for value in arguments.values() if isinstance(value, Artefact))
        self.arguments: dict[str, Any] = {k: v.digest if isinstance(v, Artefact) else v for k, v in arguments.items()}
        self.version = version
        self.inputs: tuple[Node, ...] = tuple(_nodes_in(self.arguments))
        try:
            content = [process, version, _encode(self.arguments, lambda n: n.hash, lambda c: c.root.hash)]
            self.hash = hashlib.sha256(rfc8785.dumps(content)).hexdigest()
        except (rfc8785.CanonicalizationError, OverflowError) as error:  # NaN, infinity, half characters
            raise DocumentError(f"an argument of {process!r} cannot be written as JSON: {error}") from None

    def __repr__(self) -> str:
        return f"<Node {self.process} {self.hash[:8]}>"


class Signature(Protocol):
    """What a registry tells of one process."""

    id: str
    version: str
    brings: tuple[Artefact, ...]
    """What it needs wherever it is evaluated, beside what its arguments refer to."""
    takes_text: bool
    """Whether its values may be texts."""

    @property
    def is_elementwise(self) -> bool:
        """Whether it is a process of values, for callbacks, which is applied to arrays element by element."""
        ...

    def takes(self, argument: str) -> bool:
        """Whether it has an argument of this name."""
        ...

    def offers(self, argument: str) -> tuple[str, ...]:
        """The parameters that a callback given as the argument has."""
        ...


class Registry(Protocol):
    def signature(self, process: str, node: str) -> Signature:
        """Raises `DocumentError` naming the node where there is no such process."""
        ...

    def checked(self, process: str, arguments: dict[str, Any], node: str, inside_callback: bool) -> dict[str, Any]:
        """Arguments checked and normalised, defaults left out; raises `DocumentError` naming node and argument."""
        ...

    def labels(self, node: Node, dimension: str) -> list[str]:
        """The labels of a dimension of a cube, as far as its document says them."""
        ...


def make(registry: Registry, process: str, arguments: dict[str, Any], *, inside_callback: bool = False) -> Node:
    """A checked node: the one way in which code builds graphs."""
    signature = registry.signature(process, process)
    given = {k: v for k, v in arguments.items() if v is not _UNSET}
    checked = registry.checked(process, given, process, inside_callback)
    return Node(process, checked, signature.version, signature.brings)


_UNSET = object()


def walk(root: Node) -> list[Node]:
    """All nodes that `root` depends on, inputs before users, each once; deterministic."""
    found: list[Node] = []
    state: dict[int, bool] = {}
    stack: list[tuple[Node, Iterator[Node]]] = [(root, iter(root.inputs))]
    state[id(root)] = False
    seen_hash: set[str] = set()
    while stack:
        node, inputs = stack[-1]
        for child in inputs:
            if id(child) not in state and child.hash not in seen_hash:
                state[id(child)] = False
                stack.append((child, iter(child.inputs)))
                break
        else:
            stack.pop()
            if node.hash not in seen_hash:
                seen_hash.add(node.hash)
                found.append(node)
    return found


def walk_all(root: Node) -> Iterator[Node]:
    """All nodes of a chain, those inside of callbacks too; some of them more than once."""
    roots = [root]
    while roots:
        for node in walk(roots.pop()):
            yield node
            roots.extend(_callbacks_in(node.arguments))


def _callbacks_in(value: Any) -> Iterator[Node]:
    if isinstance(value, Callback):
        yield value.root
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _callbacks_in(item)


def rebuild(root: Node, replace: Callable[[Node, dict[str, Any]], Node]) -> Node:
    """`root` with every node made anew by `replace(node, arguments)`, whose inputs have been replaced already."""
    new: dict[str, Node] = {}
    for node in walk(root):
        new[node.hash] = replace(node, _map_nodes(node.arguments, lambda n: new[n.hash]))
    return new[root.hash]


def to_document(root: Node) -> dict[str, Any]:
    """The canonical openEO document of a chain: nodes named and ordered by content alone."""
    versions: dict[str, str] = {}
    graph = _to_graph(root, versions, [MAX_NODES])
    return {"process_graph": graph, VERSIONS_KEY: versions}


def _to_graph(root: Node, versions: dict[str, str], budget: list[int]) -> dict[str, Any]:
    graph: dict[str, Any] = {}
    order = walk(root)
    _spend(budget, len(order))
    names = _names(order)
    for node in order:
        namespace, _, plain = node.process.rpartition(":")
        versions[node.process] = node.version
        name = names[node.hash]
        arguments = _encode(node.arguments, lambda n: names[n.hash], lambda c: _to_graph(c.root, versions, budget))
        graph[name] = {"process_id": plain, "arguments": arguments}
        if namespace:
            graph[name]["namespace"] = namespace
    graph[names[root.hash]]["result"] = True
    return graph


def names(root: Node) -> dict[str, str]:
    """Hash of each node of a chain → its name in the canonical document."""
    return _names(walk(root))


def _names(order: list[Node]) -> dict[str, str]:
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for node in order:
        stem = "".join(c for c in node.process.rpartition(":")[2] if c.isalnum())
        counts[stem] = counts.get(stem, 0) + 1
        found[node.hash] = f"{stem}{counts[stem]}"
    return found


def alone(node: Node, inputs: Mapping[str, str]) -> dict[str, Any]:
    """The document of one node; the nodes that it takes (by hash) are parameters of these names."""
    given = _map_nodes(node.arguments, lambda child: Parameter(inputs[child.hash]))
    return to_document(Node(node.process, given, node.version))


def to_bytes(root: Node) -> bytes:
    """Canonical JSON (RFC 8785) of the document; its SHA-256 is the chain's hash."""
    body = rfc8785.dumps(to_document(root))
    _check_size(len(body))
    return body


def _spend(budget: list[int], nodes: int) -> None:
    budget[0] -= nodes
    if budget[0] < 0:
        raise DocumentError(f"the document has too many nodes; the limit is {MAX_NODES}")


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise DocumentError(f"the document has {size} bytes; the limit is {MAX_BYTES}")


def loads(text: str | bytes) -> Any:
    """JSON of a document, with limits on size and depth that hold before anything is built."""
    _check_size(len(text))
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise DocumentError(f"the document is nested too deeply; the limit is {MAX_DEPTH} levels") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise DocumentError(f"the document is not JSON: {error}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def parse(document: Any, registry: Registry) -> Node:
    """A chain from an openEO document: a process graph, or an object with `process_graph` (and `process`).

    Raises
    ------
    DocumentError
        Naming the node and the argument: unknown process, missing or mistyped argument, reference to no node, cycle,
        no or several results, an operator version this release does not have, too many nodes, too deep nesting.
    """
    if isinstance(document, str | bytes):
        document = loads(document)
    check_json(document)
    versions: Any = {}
    if isinstance(document, dict):
        if isinstance(document.get("process"), dict) and "process_graph" in document["process"]:
            document = document["process"]
        if "process_graph" in document:
            versions = document.get(VERSIONS_KEY, {})
            document = document["process_graph"]
    root = _parse_graph(document, registry, "")
    if not isinstance(versions, dict):
        raise DocumentError(f"{VERSIONS_KEY!r} must map operators to versions, not {versions!r:.60}")
    for process, version in versions.items():
        have = registry.signature(process, VERSIONS_KEY).version
        if have != version:
            raise DocumentError(
                f"the document was made with version {version!r} of {process!r}; this release has {have!r}",
                process=process,
            )
    return root


def _parse_graph(graph: Any, registry: Registry, path: str) -> Node:
    where = f" in the callback of {path.rstrip('/')!r}" if path else ""
    if not isinstance(graph, dict) or not graph:
        raise DocumentError(f"a process graph must be a non-empty object of nodes{where}, not {_short(graph)}")
    for name, node in graph.items():
        if not isinstance(node, dict) or not isinstance(node.get("process_id"), str):
            raise DocumentError(f"node {path + name!r} must be an object with a text `process_id`", node=path + name)
        if not isinstance(node.get("arguments", {}), dict):
            raise DocumentError(f"node {path + name!r}: `arguments` must be an object", node=path + name)
        if not isinstance(node.get("namespace"), str | None):
            raise DocumentError(f"node {path + name!r}: `namespace` must be text", node=path + name)
    results = [name for name, node in graph.items() if node.get("result") is True]
    if len(results) != 1:
        listed = ", ".join(map(repr, results)) or "none"
        raise DocumentError(f"exactly one node must have `result: true`{where}; found {listed}")

    built: dict[str, Node] = {}
    for name in order(graph, path):
        node = graph[name]
        namespace = node.get("namespace")
        process = f"{namespace}:{node['process_id']}" if namespace else node["process_id"]
        signature = registry.signature(process, path + name)
        arguments = {
            key: _decode(value, built, registry, f"{path}{name}", key)
            for key, value in node.get("arguments", {}).items()
        }
        checked = registry.checked(process, arguments, path + name, bool(path))
        built[name] = Node(process, checked, signature.version, signature.brings)
    return built[results[0]]


def order(graph: dict[str, Any], path: str, around: Container[str] = (), deep: bool = False) -> list[str]:
    """Names so that every node comes after those it refers to; complains of cycles and of unknown names.

    `around`: names of nodes outside of the graph that it may refer to; `deep`: callbacks may refer to its nodes.
    """
    uses = {name: sorted(set(references(node.get("arguments", {})))) for name, node in graph.items()}
    for name, targets in uses.items():
        for target in targets:
            if target not in graph and target not in around:
                raise DocumentError(
                    f"node {path + name!r} refers to {target!r}, which is no node here", node=path + name
                )
    if deep:
        uses = {name: [*targets, *_of_callbacks(graph[name].get("arguments", {}))] for name, targets in uses.items()}
    uses = {name: sorted({target for target in targets if target in graph}) for name, targets in uses.items()}
    waiting = {name: len(targets) for name, targets in uses.items()}
    users: dict[str, list[str]] = {name: [] for name in graph}
    for name, targets in uses.items():
        for target in targets:
            users[target].append(name)
    ready = [name for name, count in waiting.items() if count == 0]
    found = []
    while ready:
        name = ready.pop()
        found.append(name)
        for user in users[name]:
            waiting[user] -= 1
            if waiting[user] == 0:
                ready.append(user)
    if len(found) < len(graph):
        stuck = sorted(set(graph) - set(found))[0]
        raise DocumentError(f"the graph has a cycle through node {path + stuck!r}", node=path + stuck)
    return found


def _of_callbacks(arguments: Any) -> Iterator[str]:
    """Names to which callbacks refer that are none of their own nodes."""
    stack = [arguments]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict) and isinstance(inner := item.get("process_graph"), dict):
            own = [node.get("arguments") for node in inner.values() if isinstance(node, dict)]
            found = [name for one in own if isinstance(one, dict) for name in (*references(one), *_of_callbacks(one))]
            yield from (name for name in found if name not in inner)
        elif isinstance(item, dict):
            stack.extend(item.values())


def references(arguments: dict[str, Any]) -> Iterator[str]:
    """Names of the nodes to which arguments refer, those in callbacks not counted."""
    stack = list(arguments.values())
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if _is_reference(item):
                yield item["from_node"]
            elif "process_graph" not in item:
                stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _is_reference(value: dict[str, Any]) -> bool:
    return set(value) == {"from_node"} and isinstance(value["from_node"], str)


def _decode(value: Any, built: dict[str, Node], registry: Registry, node: str, key: str) -> Any:
    if isinstance(value, dict):
        if _is_reference(value):
            return built[value["from_node"]]
        if set(value) == {"from_parameter"} and isinstance(value["from_parameter"], str):
            return Parameter(value["from_parameter"])
        if "process_graph" in value:
            return Callback(_parse_graph(value["process_graph"], registry, f"{node}/{key}/"))
        return {k: _decode(v, built, registry, node, key) for k, v in value.items()}
    if isinstance(value, list):
        return [_decode(v, built, registry, node, key) for v in value]
    return value


def _encode(value: Any, name: Callable[[Node], str], callback: Callable[[Callback], Any]) -> Any:
    if isinstance(value, Node):
        return {"from_node": name(value)}
    if isinstance(value, Parameter):
        return {"from_parameter": value.name}
    if isinstance(value, Callback):
        return {"process_graph": callback(value)}
    if isinstance(value, Mapping):
        return {k: _encode(v, name, callback) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(v, name, callback) for v in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, int) and abs(value) >= 2**53:
        return float(value)  # JSON's numbers are doubles: 1e20 is written as a whole number with 21 digits
    return value


def _map_nodes(value: Any, replace: Callable[[Node], Any]) -> Any:
    if isinstance(value, Node):
        return replace(value)
    if isinstance(value, Mapping):
        return {k: _map_nodes(v, replace) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_map_nodes(v, replace) for v in value]
    return value


def _nodes_in(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from _nodes_in(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _nodes_in(item)


def check_json(document: Any) -> None:
    """Depth, number of nodes and values, before anything is built."""
    budget = [MAX_NODES]
    stack = [(document, 0)]
    while stack:
        value, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise DocumentError(f"the document is nested too deeply; the limit is {MAX_DEPTH} levels")
        if isinstance(value, dict):
            if not all(isinstance(k, str) for k in value):
                raise DocumentError("the keys of a document must be text")
            _check_text("".join(value))
            _spend(budget, "process_id" in value)
            stack.extend((v, depth + 1) for v in value.values())
        elif isinstance(value, list | tuple):
            stack.extend((v, depth + 1) for v in value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise DocumentError(f"{value!r} is not a JSON number")
        elif isinstance(value, int) and value.bit_length() > 1023:
            raise DocumentError(f"{_short(value)} is too large for a JSON number")
        elif isinstance(value, str):
            _check_text(value)
        elif not isinstance(value, int | float | bool | None):
            raise DocumentError(f"{_short(value)} is no JSON value")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DocumentError(f"{_short(text)} holds half a character (a lone surrogate)") from None


def _short(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**30:
        return f"a number of {value.bit_length()} bits"  # its decimals may be too many to write
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"

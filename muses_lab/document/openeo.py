"""Reading the openEO documents of others: from any form of process graph to our canonical one.

```python
for result in read(text, registry, parameters={"year": "2020"}):
    result.root, result.name, result.format
```

What is read is made plainer, as JSON, and then given to `graph.parse`, which checks it:

- the forms that documents have (a graph, a process, a job) become a graph; ids may be numbers, fields null;
- parameters become their values, processes that the document defines become the nodes that they stand for;
- what only has constant inputs becomes its value, wherever it is referred to;
- processes that change no value (`save_result`, `inspect`, `rename_dimension`) become what they are given;
- dimensions are called as they are here, whatever they are called there.
"""

from __future__ import annotations

import warnings
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from muses_lab.document import extents, graph
from muses_lab.document.constants import NotConstant, folded
from muses_lab.document.graph import VERSIONS_KEY, Node, Registry
from muses_lab.errors import DocumentError

MAX_RESULTS = 64
"""Of one document."""
MAX_CALLS = 32
"""Processes that call processes which a document defines, inside of each other."""
MAX_VALUES = 500_000
"""Elements and characters of constants that are written where they are referred to."""

PASSING = ("save_result", "save_ml_model", "inspect", "debug", "log_message")
"""Processes that give back their `data` as it is."""

READ: Mapping[str, str] = {
    "save_result": "the format becomes that of exports; its `options` are told and not followed",
    "inspect": "gives back its data; nothing is logged", "debug": "gives back its data; nothing is logged",
    "log_message": "gives back its data; nothing is logged",
    "save_ml_model": "gives back its model, which the store keeps once it is fitted; `options` are ignored",
    "rename_dimension": "t, bands, x and y may have any name in a document",
    "dimension_labels": "the names of bands, where `bands` are named as they are loaded; dates are not known before",
    "text_concat": "of constants", "date_replace_component": "of constants",
}  # fmt: skip
"""Processes that are no steps of chains: what becomes of them when a document is read."""

FEATURES: Mapping[str, str] = {
    "geojson": ".geojson", "json": ".geojson", "parquet": ".parquet", "geoparquet": ".parquet", "gpkg": ".gpkg",
    "esri shapefile": ".zip",
}  # fmt: skip
"""Formats of `load_url`, in lower case, that give features and no pixels → how a file of it ends."""

_DIMENSIONS = {
    "t": "t", "time": "t", "temporal": "t", "date": "t", "dates": "t", "datetime": "t", "times": "t",
    "bands": "bands", "band": "bands", "b": "bands", "spectral": "bands", "variable": "bands", "variables": "bands",
    "x": "x", "lon": "x", "longitude": "x", "easting": "x", "X": "x", "E": "x",
    "y": "y", "lat": "y", "latitude": "y", "northing": "y", "Y": "y", "N": "y",
}  # fmt: skip
"""How dimensions are called elsewhere → here."""
_TYPES = {"temporal": "t", "bands": "bands"}
"""Type of a dimension in openEO → its name here."""


_BEFORE_1 = {"reduce": "reduce_dimension", "aggregate_polygon": "aggregate_spatial", "merge_collections": "merge_cubes"}
"""Processes that have another name since openEO 1.0."""
_KEYS_BEFORE_1 = ({"callback"}, {"from_argument"})


class OpeneoWarning(UserWarning):
    """Something of a document was read and makes no difference here."""


@dataclass(frozen=True)
class Result:
    """One result of a document."""

    root: Node
    name: str
    """Id of its node in the document."""
    format: str | None = None
    """As `save_result` has it; None: none was stated."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the format."""


def read(
    document: Any,
    registry: Registry,
    parameters: Mapping[str, Any] | None = None,
    processes: Any = None,
    collections: Mapping[str, Any] | None = None,
) -> list[Result]:
    """The results of an openEO document, in its order.

    Parameters
    ----------
    document
        Text or JSON: a process graph, a process (`process_graph` with `id` and `parameters`), or whatever holds one
        under `process`: a job, a service, a request for a result.
    parameters
        Values of the document's parameters, JSON or (of a data cube) the root of a chain; those that are not given have
        their defaults. An extent that has neither means the window.
    processes
        Definitions of processes which the document calls, beside its own (`processes`): a list, or by id.
    collections
        What collections are here, by what the document calls them: `{"id": …, "bands": {theirs: ours}}`, or the id.

    Raises
    ------
    DocumentError
        Naming the node and the argument, as `graph.parse` does; with openEO's name in `openeo`.
    """
    form = _form(_checked(document))
    versions = {VERSIONS_KEY: form.rest[VERSIONS_KEY]} if VERSIONS_KEY in form.rest else {}
    here = _here(form, collections or {})
    reader = _Reader(registry, _definitions(form.processes) | _definitions(processes), here, ours=bool(versions))
    values = reader.values(_Scope(form.graph, reader.out, parameters=_given(form, parameters or {}, reader.out)))
    found = _results(form.graph, values)
    if len(found) > MAX_RESULTS:
        raise DocumentError(f"the document has {len(found)} results; the limit is {MAX_RESULTS}")
    results = []
    for name in found:
        value = values[name]
        if not value.is_node:
            raise DocumentError(
                f"node {name!r} gives the constant {value.json!r:.60}; the result of a document is a data cube",
                node=name,
            )
        only = _only(reader.out, value.json["from_node"])
        root = graph.parse({"process_graph": only, **versions}, registry)
        results.append(Result(root, name, value.format, value.options))
    return results


def declared(document: Any) -> list[dict[str, Any]]:
    """The parameters that a document declares, as openEO has them: `name`, `schema`, `description`, `default`."""
    return _form(_checked(document)).parameters


def faults(
    document: Any,
    registry: Registry,
    parameters: Mapping[str, Any] | None = None,
    processes: Any = None,
    collections: Mapping[str, Any] | None = None,
) -> list[DocumentError]:
    """All that `read` complains of in a document, where it stops at the first: one for each node, and none for those
    that only depend on such a node."""
    try:
        form = _form(_checked(document))
        definitions = _definitions(form.processes) | _definitions(processes)
        here = _here(form, collections or {})
        checker = _Checker(registry, definitions, here, ours=VERSIONS_KEY in form.rest)
        checker.values(_Scope(form.graph, checker.out, parameters=_given(form, parameters or {}, checker.out)))
    except DocumentError as error:
        return [error]
    if not checker.found:
        try:
            read(document, registry, parameters, processes, collections)
        except DocumentError as error:
            return [error]
    return checker.found


def _checked(document: Any) -> Any:
    if isinstance(document, str | bytes):
        document = graph.loads(document)
    graph.check_json(document)
    return document


# ------------------------------------------------------------------------------------------------------- the forms


@dataclass(frozen=True)
class _Form:
    """What a document holds, in whatever form."""

    graph: dict[str, Any]
    parameters: list[dict[str, Any]]
    processes: Any
    rest: Mapping[str, Any]


def _form(document: Any) -> _Form:
    rest: dict[str, Any] = {}
    if isinstance(document, dict):
        if isinstance(document.get("process"), dict):
            rest, document = {**document}, document["process"]
        if "process_graph" in document and "process_id" not in document:
            rest, document = {**rest, **document}, document["process_graph"]
    return _Form(_graph(document, ""), _declared(rest.get("parameters")), rest.get("processes"), rest)


def _declared(parameters: Any) -> list[dict[str, Any]]:
    parameters = parameters or []
    if not isinstance(parameters, list) or not all(
        isinstance(p, dict) and isinstance(p.get("name"), str) for p in parameters
    ):
        raise DocumentError("`parameters` of a process must be a list of objects with a text `name`")
    return parameters


def _definitions(processes: Any) -> dict[str, dict[str, Any]]:
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


def _graph(nodes: Any, path: str) -> dict[str, Any]:
    """The nodes of a graph, each with what there is to be read of it."""
    where = f" in the callback of {path.rstrip('/')!r}" if path else ""
    if not isinstance(nodes, dict) or not nodes:
        raise DocumentError(
            f"a process graph must be a non-empty object of nodes{where}, not {nodes!r:.60}",
            openeo="ProcessGraphMissing",
        )
    return {name: _node(node, path + name) for name, node in nodes.items()}


def _node(node: Any, path: str) -> dict[str, Any]:
    if not isinstance(node, dict) or not isinstance(node.get("process_id"), str):
        raise DocumentError(f"node {path!r} must be an object with a text `process_id`", node=path)
    arguments = node.get("arguments")
    if not isinstance(arguments, dict | None):
        raise DocumentError(f"node {path!r}: `arguments` must be an object", node=path)
    if any(set(item) in _KEYS_BEFORE_1 for item in _objects(arguments)):
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


def _results(nodes: Mapping[str, Any], values: Mapping[str, _Value]) -> list[str]:
    """Ids of the results: what is saved, and the result that is not what another one saves."""
    saved = [name for name, node in nodes.items() if node["process_id"] == "save_result"]
    same = [values[name].json for name in saved]
    marked = [n for n, node in nodes.items() if node["result"] and n not in saved and values[n].json not in same]
    if found := [name for name in nodes if name in {*saved, *marked}]:
        return found
    ends = _ends(nodes)
    if len(ends) != 1:
        raise DocumentError(
            f"exactly one node must have `result: true`; found none, and the graph ends in {', '.join(map(repr, ends))}"
        )
    return ends


def _ends(nodes: Mapping[str, Any]) -> list[str]:
    """Ids of nodes to which no other refers."""
    used = {target for node in nodes.values() for target in graph.references(node["arguments"])}
    return [name for name in nodes if name not in used]


def _only(nodes: Mapping[str, Any], root: str) -> dict[str, Any]:
    """A node and what it needs of a graph, as its result."""
    kept: dict[str, Any] = {}
    stack = [root]
    while stack:
        name = stack.pop()
        if name not in kept:
            kept[name] = nodes[name]
            stack.extend(graph.references(nodes[name]["arguments"]))
    return {name: {**node, "result": name == root} for name, node in kept.items()}


# ----------------------------------------------------------------------------------------------- parameters and values


@dataclass(frozen=True)
class _Unset:
    """A parameter that has no value; in an extent it means the window."""

    name: str


@dataclass(frozen=True)
class _Value:
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
        elif isinstance(item, _Unset):
            return True
    return False


@dataclass
class _Scope:
    """A graph that is read, with what its parameters and the graph around it are."""

    nodes: dict[str, Any]
    out: dict[str, Any]
    """Where its nodes are written."""
    path: str = ""
    """Of its nodes, in messages: `apply1/process/`."""
    prefix: str = ""
    """Of its nodes where they are written."""
    parameters: Mapping[str, _Value] = field(default_factory=dict)
    offered: tuple[str, ...] = ()
    """Parameters that the process around a callback gives it."""
    dimensions: Mapping[str, str] = field(default_factory=dict)
    """How the dimensions of those were named on the way → here."""
    around: _Scope | None = None
    """Whose names it sees: of a callback."""
    inside_callback: bool = False
    values: dict[str, _Value] = field(default_factory=dict)
    calls: tuple[str, ...] = ()
    """Processes of the document in whose definition this is."""

    def parameter(self, name: str) -> _Value:
        """What a parameter is: of the process around a callback, as it is; else its value."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.parameters:
                return scope.parameters[name]
            if name in scope.offered:
                return _Value({"from_parameter": name}, scope.dimensions)
            scope = scope.around
        return _Value(_Unset(name))

    @property
    def outer(self) -> Mapping[str, _Value]:
        """The values of the nodes of the graphs around this one, the nearest first."""
        scopes, scope = [], self.around
        while scope is not None:
            scopes.append(scope.values)
            scope = scope.around
        return ChainMap(*scopes)


def _given(form: _Form, parameters: Mapping[str, Any], out: dict[str, Any]) -> dict[str, _Value]:
    """The values of a document's parameters: given, or their defaults."""
    declared = {one["name"]: one for one in form.parameters}
    used = _parameters_in(form.graph)
    for name in parameters:
        if name not in declared and name not in used:
            names = ", ".join(map(repr, sorted({*declared, *used}))) or "none"
            raise DocumentError(f"the document has no parameter {name!r}; it has {names}", argument=name)
    values = {name: _Value(one["default"]) for name, one in declared.items() if one.get("default") is not None}
    for name, value in parameters.items():
        if isinstance(value, Node):
            values[name] = _Value(_write_chain(value, f"parameter {name}/", out))
        else:
            graph.check_json(value)
            values[name] = _Value(value)
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
    references = (item["from_parameter"] for item in _objects(value) if set(item) == {"from_parameter"})
    return {name for name in references if isinstance(name, str)}


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a value, however deep."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


@dataclass(frozen=True)
class _Here:
    """What a collection of a document is here."""

    id: str
    bands: Mapping[str, str]
    """How the document calls bands → how they are called here."""


def _here(form: _Form, collections: Mapping[str, Any]) -> dict[str, _Here]:
    """What collections are here, by their id in the document."""
    loaded = [
        item["arguments"].get("id")
        for item in _objects([form.graph, form.processes])
        if item.get("process_id") == "load_collection" and isinstance(item.get("arguments"), dict)
    ]
    found = {}
    for name, value in collections.items():
        given = {"id": value} if isinstance(value, str) else value
        bands = given.get("bands", {}) if isinstance(given, Mapping) else None
        if (
            not isinstance(bands, Mapping)
            or not {"id"} <= set(given) <= {"id", "bands"}
            or not all(isinstance(text, str) for text in (given["id"], *bands, *bands.values()))
        ):
            raise DocumentError(
                f"the collection {name!r} of the document is given as {value!r:.80}: give the id of a collection here, "
                "or {'id': …, 'bands': {'B4': 'red'}} with the document's names of bands",
                argument="collections",
            )
        if name not in loaded and all(isinstance(id, str) for id in loaded):  # else parameters tell
            listed = ", ".join(map(repr, dict.fromkeys(loaded))) or "none"
            raise DocumentError(f"the document loads no collection {name!r}; it loads {listed}", argument="collections")
        found[name] = _Here(given["id"], bands)
    return found


# --------------------------------------------------------------------------------------------------------- the reading


class _Reader:
    """Reads the graphs of one document."""

    def __init__(
        self, registry: Registry, processes: Mapping[str, Any], collections: Mapping[str, _Here], ours: bool
    ) -> None:
        self.registry = registry
        self.processes = processes
        self.collections = collections
        self.ours = ours
        """Whether it is in our form: its callbacks stay as they are written."""
        self.out: dict[str, Any] = {}
        self._nodes = graph.MAX_NODES
        self._constants = MAX_VALUES

    def values(self, scope: _Scope) -> dict[str, _Value]:
        """What each node of a graph stands for."""
        for name in graph.order(scope.nodes, scope.path, scope.outer, deep=True):
            scope.values[name] = self._value(name, scope.nodes[name], scope)
        return scope.values

    def _value(self, name: str, node: dict[str, Any], scope: _Scope) -> _Value:
        path, process = scope.path + name, node["process_id"]
        self._spend_node()
        if (defined := self._definition(node)) is not None:
            return self._called(name, defined, node, scope)
        arguments = {key: self._written(value, scope, path, key) for key, value in node["arguments"].items()}
        data = self._data(node, scope)
        if process in PASSING and not node["namespace"]:
            return _passed(process, arguments, data, path)
        if process == "rename_dimension":
            return _renamed(arguments, data, path)
        if process == "dimension_labels":
            return self._labels(arguments, data, path)
        if process == "if" and not scope.inside_callback and isinstance(arguments.get("value"), bool):
            return self._branch(node["arguments"].get("accept" if arguments["value"] else "reject"), scope, path)
        if process == "filter_bbox" and extents.is_window(arguments.get("extent"), _Unset):
            return data
        if self._folds(node, arguments, scope):
            try:
                return self._counted(_Value(folded(process, arguments)))
            except NotConstant:
                pass
            except (TypeError, ValueError) as error:
                if not scope.inside_callback:
                    name = getattr(error, "openeo", "ProcessParameterInvalid")
                    raise DocumentError(f"node {path!r}: {process!r}: {error}", openeo=name, node=path) from None
        return self._node(name, node, arguments, data, scope)

    def _labels(self, arguments: dict[str, Any], data: _Value, path: str) -> _Value:
        """The labels of a dimension of a cube, which are a constant as far as the document says them."""
        dimension = arguments.get("dimension")
        if not isinstance(dimension, str) or not data.is_node:
            raise DocumentError(
                f"node {path!r}: 'dimension_labels' takes `data`, a cube, and the name of a `dimension`; in a callback "
                "array_labels has those of the data",
                openeo="ProcessParameterInvalid",
                node=path,
            )
        cube = graph.parse({"process_graph": _only(self.out, data.json["from_node"])}, self.registry)
        try:
            return self._counted(_Value(self.registry.labels(cube, _dimension(dimension, data.dimensions))))
        except DocumentError as error:
            raise DocumentError(
                f"node {path!r}: 'dimension_labels': {error.message}", **error.details, node=path
            ) from None

    def _branch(self, chosen: Any, scope: _Scope, path: str) -> _Value:
        """The side of an `if` that its condition, a constant, chooses."""
        if isinstance(chosen, dict) and set(chosen) == {"from_node"}:
            return self._referred(chosen["from_node"], scope, path)
        return _Value(self._written(chosen, scope, path, ""))

    def _folds(self, node: dict[str, Any], arguments: dict[str, Any], scope: _Scope) -> bool:
        if node["namespace"] or (scope.inside_callback and self.ours) or not _Value(arguments).is_constant:
            return False
        alone = scope.inside_callback and (node["result"] or len(scope.nodes) == 1)
        return not alone or self._is_no_node(node["process_id"], arguments, scope.path)

    def _is_no_node(self, process: str, arguments: dict[str, Any], path: str) -> bool:
        """Whether constants have to become their value, as there are no such nodes: of texts, or of arrays of them."""
        if any(isinstance(value, list) for value in arguments.values()):
            return True
        try:
            signature = self.registry.signature(process, path)
            signature.check(dict(arguments), path, True)
        except DocumentError:
            return True
        return signature.takes_text and any(isinstance(value, str) for value in arguments.values())

    def _node(self, name: str, node: dict[str, Any], arguments: dict[str, Any], data: _Value, scope: _Scope) -> _Value:
        """A node that is written, in our words."""
        path = scope.path + name
        process = self._process(node, path)
        if process == "load_url" and str(arguments.get("format")).lower() in FEATURES:
            process = "muses:load_features"
        dimensions = dict(data.dimensions)
        if process == "add_dimension":
            arguments, dimensions = _added(arguments, dimensions)
        elif process in ("flatten_dimensions", "unflatten_dimension"):
            arguments, dimensions = _refolded(arguments, dimensions)
        arguments = {key: _called_here(value, key, dimensions) for key, value in arguments.items()}
        if process == "drop_dimension" and isinstance(arguments.get("name"), str):
            arguments["name"] = _dimension(arguments["name"], dimensions)
        self._check_set(arguments, path, process, scope.offered)
        self._callbacks(process, arguments, path, scope, data.dimensions)
        made = scope.prefix + name
        if process == "load_collection" and (here := self._collection(arguments)):
            _load_here(here, arguments, made, path, scope.out)
            return _Value({"from_node": made}, dimensions)
        if process == "if":
            _write_arrays(arguments, made, scope.out)
        elif not scope.inside_callback and self.registry.signature(process, path).is_elementwise:
            process, arguments = _of_every_value(process, arguments)
        scope.out[made] = _as_node(process, _placed(process, arguments, path))
        return _Value({"from_node": made}, dimensions)

    def _collection(self, arguments: dict[str, Any]) -> _Here | None:
        """What the collection of a node is here, where that was said."""
        id = arguments.get("id")
        return self.collections.get(id) if isinstance(id, str) else None

    def _process(self, node: dict[str, Any], path: str) -> str:
        namespace, process = node["namespace"], node["process_id"]
        if not namespace and process in _BEFORE_1:
            raise DocumentError(
                f"node {path!r}: there is no process {process!r}: openEO calls it {_BEFORE_1[process]!r} since its "
                "version 1",
                openeo="ProcessUnsupported",
                node=path,
            )
        if namespace in ("", "backend", "openeo", "user"):
            return process
        return f"{namespace}:{process}"

    # ------------------------------------------------------------------------------------------------- arguments

    def _written(self, value: Any, scope: _Scope, path: str, key: str) -> Any:
        """An argument with the values of what it refers to; callbacks as they are."""
        if isinstance(value, dict):
            if "process_graph" in value:
                return value
            if set(value) == {"from_node"} and isinstance(value["from_node"], str):
                return self._counted(self._referred(value["from_node"], scope, path)).json
            if set(value) == {"from_parameter"} and isinstance(value["from_parameter"], str):
                return self._counted(scope.parameter(value["from_parameter"])).json
            return {k: self._written(v, scope, path, key) for k, v in value.items()}
        if isinstance(value, list):
            return [self._written(v, scope, path, key) for v in value]
        return value

    def _referred(self, target: str, scope: _Scope, path: str) -> _Value:
        if target in scope.values:
            return scope.values[target]
        value = scope.outer[target]
        if not value.is_constant:
            raise DocumentError(
                f"node {path!r} refers to {target!r} of the graph around its callback, which is no constant: callbacks "
                "see values of their own data only",
                node=path,
            )
        return value

    def _data(self, node: dict[str, Any], scope: _Scope) -> _Value:
        """What the first cube of a node stands for."""
        for key in ("data", "cube1", "x"):
            target = node["arguments"].get(key)
            if isinstance(target, dict) and isinstance(target.get("from_node"), str):
                found = scope.values.get(target["from_node"])
                return found or _Value(None)
            if isinstance(target, dict) and isinstance(target.get("from_parameter"), str):
                return scope.parameter(target["from_parameter"])
        return _Value(None)

    def _check_set(self, arguments: dict[str, Any], path: str, process: str, offered: tuple[str, ...]) -> None:
        """Extents that are parameters without a value mean the window; anything else needs one."""
        for key, value in list(arguments.items()):
            if key in ("spatial_extent", "extent") and extents.is_window(value, _Unset):
                arguments[key] = None
            elif (unset := _unset_in(value)) is not None:
                inside = f" (the process around the callback offers {', '.join(offered)})" if offered else ""
                raise DocumentError(
                    f"node {path!r}: argument {key!r} of {process!r} is the parameter {unset!r}, which has no value "
                    f"and no default{inside}: give parameters={{{unset!r}: …}}",
                    openeo="ProcessParameterMissing",
                    node=path,
                    argument=key,
                )

    def _callbacks(
        self, process: str, arguments: dict[str, Any], path: str, scope: _Scope, dimensions: Mapping[str, str]
    ) -> None:
        """Reads the callbacks of a node; its `context`, a constant, stands where they refer to it."""
        context = arguments.get("context")
        signature = self.registry.signature(process, path)
        if self.ours or signature.takes("context"):
            context = None
        else:
            arguments.pop("context", None)
        for key, value in list(arguments.items()):
            if isinstance(value, dict) and "process_graph" in value:
                arguments[key] = self._callback(process, key, value, context, path, scope, dimensions)
            elif key == "properties" and isinstance(value, dict):
                arguments[key] = {
                    name: self._callback(process, key, one, context, f"{path}/{key}/{name}", scope)
                    if isinstance(one, dict) and "process_graph" in one
                    else one
                    for name, one in value.items()
                }

    def _callback(
        self, process: str, key: str, value: dict[str, Any], context: Any, path: str, scope: _Scope,
        dimensions: Mapping[str, str] = {},
    ) -> dict[str, Any]:  # fmt: skip
        place = f"{path}/{key}/" if not path.endswith(f"/{key}") else f"{path}/"
        offered = self.registry.signature(process, path).offers(key)
        inner = _Scope(
            _graph(value["process_graph"], place),
            {},
            place,
            parameters={} if "context" in offered and context is None else {"context": _Value(context)},
            offered=tuple(name for name in offered if name != "context" or context is None),
            dimensions=dimensions,
            around=scope,
            inside_callback=True,
            calls=scope.calls,
        )
        marked = [name for name, node in inner.nodes.items() if node["result"]] or _ends(inner.nodes)
        if len(marked) != 1:
            listed = ", ".join(map(repr, marked))
            raise DocumentError(
                f"exactly one node must have `result: true` in the callback of {place.rstrip('/')!r}; found {listed}"
            )
        inner.nodes[marked[0]]["result"] = True
        root = self.values(inner)[marked[0]]
        if not root.is_node:
            as_array = isinstance(root.json, list)
            made = _as_node("array_create", {"data": root.json}) if as_array else _as_node("constant", {"x": root.json})
            inner.out = {marked[0]: made}
            return {"process_graph": _only(inner.out, marked[0])}
        return {"process_graph": _only(inner.out, root.json["from_node"])}

    # --------------------------------------------------------------------------------------- processes of the document

    def _definition(self, node: dict[str, Any]) -> dict[str, Any] | None:
        """The definition of a process that the document, or who reads it, has."""
        if node["namespace"] in ("", "user") or "://" in node["namespace"]:
            return self.processes.get(node["process_id"])
        return None

    def _called(self, name: str, defined: dict[str, Any], node: dict[str, Any], scope: _Scope) -> _Value:
        """The nodes that a process of the document stands for, in the place of its call."""
        path, id = scope.path + name, node["process_id"]
        if id in scope.calls:
            raise DocumentError(f"node {path!r}: the process {id!r} calls itself", node=path)
        if len(scope.calls) >= MAX_CALLS:
            raise DocumentError(f"node {path!r}: more than {MAX_CALLS} processes call each other", node=path)
        inner = _Scope(
            _graph(defined["process_graph"], f"{path}/"),
            scope.out,
            f"{path}/",
            f"{scope.prefix}{name}/",
            parameters=self._bound(defined, node, scope, path),
            calls=(*scope.calls, id),
            inside_callback=scope.inside_callback,
        )
        marked = [n for n, inner_node in inner.nodes.items() if inner_node["result"]] or _ends(inner.nodes)
        if len(marked) != 1:
            listed = ", ".join(map(repr, marked))
            raise DocumentError(
                f"node {path!r}: exactly one node of the process {id!r} must have `result: true`; found {listed}",
                node=path,
            )
        return self.values(inner)[marked[0]]

    def _bound(self, defined: dict[str, Any], node: dict[str, Any], scope: _Scope, path: str) -> dict[str, _Value]:
        """The parameters of a process by name, with what a call gives it."""
        declared = {one["name"]: one for one in _declared(defined.get("parameters"))}
        arguments = node["arguments"]
        for key in arguments:
            if declared and key not in declared:
                raise DocumentError(
                    f"node {path!r}: {node['process_id']!r} has no parameter {key!r}; it has {', '.join(declared)}",
                    openeo="ProcessParameterUnsupported",
                    node=path,
                    argument=key,
                )
        bound = {}
        for key, value in arguments.items():
            if isinstance(value, dict) and set(value) == {"from_node"}:
                bound[key] = self._referred(value["from_node"], scope, path)
            elif isinstance(value, dict) and set(value) == {"from_parameter"}:
                bound[key] = scope.parameter(value["from_parameter"])
            else:
                bound[key] = _Value(self._written(value, scope, path, key))
        for key, one in declared.items():
            if key in bound and (bound[key].json is not None or "default" not in one):
                continue
            if "default" not in one and not one.get("optional") and not _is_extent(one):
                raise DocumentError(
                    f"node {path!r}: {node['process_id']!r} needs the parameter {key!r}",
                    openeo="ProcessParameterMissing",
                    node=path,
                    argument=key,
                )
            bound[key] = _Value(one.get("default"))
        return bound

    # ------------------------------------------------------------------------------------------------------ limits

    def _spend_node(self) -> None:
        self._nodes -= 1
        if self._nodes < 0:
            raise DocumentError(
                f"the document has too many nodes; the limit is {graph.MAX_NODES}", openeo="ProcessGraphComplexity"
            )

    def _counted(self, value: _Value) -> _Value:
        """A value that is written once more; complains where that is too much."""
        self._constants -= _size(value.json)
        if self._constants < 0:
            raise DocumentError(
                f"the constants of the document have more than {MAX_VALUES} values where they are referred to",
                openeo="ProcessGraphComplexity",
            )
        return value


class _Checker(_Reader):
    """Reads on after a fault."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.found: list[DocumentError] = []
        self._faulty: set[str] = set()

    def _value(self, name: str, node: dict[str, Any], scope: _Scope) -> _Value:
        if scope.around is not None or scope.calls:
            return super()._value(name, node, scope)
        if self._faulty.isdisjoint(graph.references(node["arguments"])):
            try:
                value = super()._value(name, node, scope)
                if value.is_node:
                    graph.parse({"process_graph": _only(self.out, value.json["from_node"])}, self.registry)
                return value
            except DocumentError as error:
                self.found.append(error)
        self._faulty.add(name)
        return _Value(None)


def _size(value: Any) -> int:
    size, stack = 0, [value]
    while stack:
        item = stack.pop()
        size += len(item) if isinstance(item, str) else 1
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        if size > MAX_VALUES:
            break
    return size


def _as_node(process: str, arguments: dict[str, Any]) -> dict[str, Any]:
    namespace, _, plain = process.rpartition(":")
    return {"process_id": plain, "arguments": arguments, **({"namespace": namespace} if namespace else {})}


def _unset_in(value: Any) -> str | None:
    """The name of a parameter without a value that an argument holds."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, _Unset):
            return item.name
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return None


def _is_extent(parameter: Mapping[str, Any]) -> bool:
    """Whether a parameter is declared as a place."""
    schemas = parameter.get("schema")
    schemas = schemas if isinstance(schemas, list) else [schemas]
    return any(isinstance(one, dict) and one.get("subtype") in ("bounding-box", "geojson") for one in schemas)


# ------------------------------------------------------------------------------- processes that only the reader knows


def _passed(process: str, arguments: dict[str, Any], data: _Value, path: str) -> _Value:
    if data.json is None:
        if "data" not in arguments:
            raise DocumentError(
                f"node {path!r}: {process!r} needs the argument 'data'", openeo="ProcessParameterMissing", node=path,
                argument="data",
            )  # fmt: skip
        data = _Value(arguments["data"])
    if process != "save_result":
        return data
    known = ("data", "format", "options")
    if unknown := sorted(set(arguments) - {*known, "context"}):
        raise DocumentError(
            f"node {path!r}: 'save_result' has no argument {unknown[0]!r}; it has {', '.join(known)}",
            openeo="ProcessParameterUnsupported",
            node=path,
            argument=unknown[0],
        )
    format, options = arguments.get("format"), arguments.get("options") or {}
    if not isinstance(format, str | None) or not isinstance(options, dict):
        raise DocumentError(
            f"node {path!r}: 'save_result' takes the name of a `format` and an object of `options`",
            openeo="ProcessParameterInvalid",
            node=path,
        )
    return replace(data, format=format or None, options=options)


def _renamed(arguments: dict[str, Any], data: _Value, path: str) -> _Value:
    source, target = arguments.get("source"), arguments.get("target")
    if not isinstance(source, str) or not isinstance(target, str):
        raise DocumentError(
            f"node {path!r}: 'rename_dimension' takes the names `source` and `target`",
            openeo="ProcessParameterInvalid",
            node=path,
        )
    here = _dimension(source, data.dimensions)
    if here not in _DIMENSIONS.values():
        raise DocumentError(
            f"node {path!r}: there is no dimension {source!r} to rename; there are t, bands, x and y under any of "
            "their names",
            openeo="DimensionNotAvailable",
            node=path,
            argument="source",
        )
    if (other := _dimension(target, data.dimensions)) != here and other in ("x", "y"):  # which all cubes have
        raise DocumentError(
            f"node {path!r}: there is a dimension {target!r} already",
            openeo="DimensionExists",
            node=path,
            argument="target",
        )
    return replace(data, dimensions={**data.dimensions, target: here})


def _load_here(here: _Here, arguments: dict[str, Any], made: str, path: str, out: dict[str, Any]) -> None:
    """A collection by its id here, whose bands are then called as the document calls them."""
    wanted, names, given = arguments.get("bands"), dict(here.bands), {**arguments, "id": here.id}
    if isinstance(wanted, list) and all(isinstance(band, str) for band in wanted):
        names = {band: own for band, own in names.items() if band in wanted}
        given["bands"] = [names.get(band, band) for band in wanted]
    loaded = _as_node("load_collection", _placed("load_collection", given, path))
    if not names:
        out[made] = loaded
        return
    out[f"{made}/here"] = loaded
    renamed = {"source": list(names.values()), "target": list(names), "dimension": "bands"}
    out[made] = _as_node("rename_labels", {"data": {"from_node": f"{made}/here"}, **renamed})


def _write_arrays(arguments: dict[str, Any], made: str, out: dict[str, Any]) -> None:
    """The arrays between which an `if` chooses, as nodes."""
    for side in ("accept", "reject"):
        if isinstance(values := arguments.get(side), list):
            out[f"{made}/{side}"] = _as_node("array_create", {"data": values})
            arguments[side] = {"from_node": f"{made}/{side}"}


def _of_every_value(process: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A process of values that is given one cube, as an `apply` of it: what clients wrote before there was `apply`."""
    cubes = [name for name, value in arguments.items() if _Value(value).is_node]
    if len(cubes) != 1:
        return process, arguments
    inside = _as_node(process, {**arguments, cubes[0]: {"from_parameter": "x"}})
    return "apply", {"data": arguments[cubes[0]], "process": {"process_graph": {"1": {**inside, "result": True}}}}


def _dimension(name: str, dimensions: Mapping[str, str]) -> str:
    return dimensions.get(name) or _DIMENSIONS.get(name, name)


def _added(arguments: dict[str, Any], dimensions: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """`add_dimension` with our name of the dimension, which its type tells, or what it is called."""
    name = arguments.get("name")
    if not isinstance(name, str):
        return arguments, dimensions
    here = _TYPES.get(str(arguments.get("type"))) or _DIMENSIONS.get(name)
    if here is None:
        return arguments, dimensions
    return {**arguments, "name": here}, {**dimensions, name: here}


def _refolded(arguments: dict[str, Any], dimensions: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """`flatten_dimensions` and `unflatten_dimension` with our names; the dimension that is made has its own no more."""
    made = dict(arguments)
    for key in ("dimensions", "target_dimensions"):
        if isinstance(names := made.get(key), list) and all(isinstance(name, str) for name in names):
            known = dimensions if key == "dimensions" else {}
            made[key] = [_dimension(name, known) for name in names]
    target = made.get("target_dimension")
    if isinstance(target, str) and "dimensions" in made and target not in ("x", "y"):
        return {**made, "target_dimension": "bands"}, {target: "bands"}
    return made, dimensions


def _called_here(value: Any, key: str, dimensions: Mapping[str, str]) -> Any:
    """An argument in which dimensions have our names."""
    if isinstance(value, str):
        return _dimension(value, dimensions) if key in ("dimension", "target_dimension") else value
    if isinstance(value, dict) and "process_graph" not in value and "type" not in value:
        return {name: _called_here(item, name, dimensions) for name, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_called_here(item, "", dimensions) for item in value]
    return value


def _placed(process: str, arguments: dict[str, Any], path: str) -> dict[str, Any]:
    """Arguments whose extents are written as they are here."""
    made = dict(arguments)
    if process in ("load_collection", "load_stac"):
        made["spatial_extent"] = _told(extents.area(arguments.get("spatial_extent"), path), path)
        interval = extents.interval(arguments.get("temporal_extent"))
        made["temporal_extent"] = None if interval == [None, None] else interval
    elif process == "filter_bbox":
        made["extent"] = _told(extents.box(arguments.get("extent"), path), path)
    elif process == "filter_temporal":
        made["extent"] = extents.interval(arguments.get("extent"))
    elif process == "apply_polygon" and "geometries" in made and "polygons" not in made:  # as later drafts call them
        made["polygons"] = made.pop("geometries")
    return {key: value for key, value in made.items() if value is not None or key in arguments}


def _told(value: tuple[Any, Iterable[str]], path: str) -> Any:
    extent, ignored = value
    for key in ignored:
        warnings.warn(
            f"node {path!r}: {key!r} of an extent is ignored: images have no height", OpeneoWarning, stacklevel=6
        )
    return extent

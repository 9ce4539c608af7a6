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

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from muses_lab.document import extents, graph
from muses_lab.document.constants import NotConstant, folded
from muses_lab.document.graph import VERSIONS_KEY, Node, Registry
from muses_lab.document.openeo_forms import (
    as_node,
    declared_in,
    defined,
    ends_of,
    form_of,
    read_nodes,
    reduced_to,
)
from muses_lab.document.openeo_plainer import (
    PASSING,
    Here,
    added_dimension,
    called_here,
    collections_here,
    dimension_here,
    load_here,
    of_every_value,
    passed,
    placed,
    refolded,
    renamed_dimension,
    write_arrays,
)
from muses_lab.document.openeo_values import Scope, Unset, Value, given_values, is_extent, unset_in
from muses_lab.errors import DocumentError

MAX_RESULTS = 64
"""Of one document."""
MAX_CALLS = 32
"""Processes that call processes which a document defines, inside of each other."""
MAX_VALUES = 500_000
"""Elements and characters of constants that are written where they are referred to."""


FEATURES: Mapping[str, str] = {
    "geojson": ".geojson", "json": ".geojson", "parquet": ".parquet", "geoparquet": ".parquet", "gpkg": ".gpkg",
    "esri shapefile": ".zip",
}  # fmt: skip
"""Formats of `load_url`, in lower case, that give features and no pixels → how a file of it ends."""


_BEFORE_1 = {"reduce": "reduce_dimension", "aggregate_polygon": "aggregate_spatial", "merge_collections": "merge_cubes"}
"""Processes that have another name since openEO 1.0."""


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
    form = form_of(_checked(document))
    versions = {VERSIONS_KEY: form.rest[VERSIONS_KEY]} if VERSIONS_KEY in form.rest else {}
    here = collections_here(form, collections or {})
    reader = _Reader(registry, defined(form.processes) | defined(processes), here, ours=bool(versions))
    values = reader.values(Scope(form.graph, reader.out, parameters=given_values(form, parameters or {}, reader.out)))
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
        only = reduced_to(reader.out, value.json["from_node"])
        root = graph.parse({"process_graph": only, **versions}, registry)
        results.append(Result(root, name, value.format, value.options))
    return results


def declared(document: Any) -> list[dict[str, Any]]:
    """The parameters that a document declares, as openEO has them: `name`, `schema`, `description`, `default`."""
    return form_of(_checked(document)).parameters


def faults(
    document: Any,
    registry: Registry,
    parameters: Mapping[str, Any] | None = None,
    processes: Any = None,
    collections: Mapping[str, Any] | None = None,
) -> list[DocumentError]:
    """All that `read` complains of in a document, where it stops at the first: one for each node. Of those that depend
    on a faulty node only what is wrong with themselves."""
    try:
        form = form_of(_checked(document))
        definitions = defined(form.processes) | defined(processes)
        here = collections_here(form, collections or {})
        checker = _Checker(registry, definitions, here, ours=VERSIONS_KEY in form.rest)
        checker.values(Scope(form.graph, checker.out, parameters=given_values(form, parameters or {}, checker.out)))
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


def _results(nodes: Mapping[str, Any], values: Mapping[str, Value]) -> list[str]:
    """Ids of the results: what is saved, and the result that is not what another one saves."""
    saved = [name for name, node in nodes.items() if node["process_id"] == "save_result"]
    same = [values[name].json for name in saved]
    marked = [n for n, node in nodes.items() if node["result"] and n not in saved and values[n].json not in same]
    if found := [name for name in nodes if name in {*saved, *marked}]:
        return found
    ends = ends_of(nodes)
    if len(ends) != 1:
        raise DocumentError(
            f"exactly one node must have `result: true`; found none, and the graph ends in {', '.join(map(repr, ends))}"
        )
    return ends


# --------------------------------------------------------------------------------------------------------- the reading


class _Reader:
    """Reads the graphs of one document."""

    def __init__(
        self, registry: Registry, processes: Mapping[str, Any], collections: Mapping[str, Here], ours: bool
    ) -> None:
        self.registry = registry
        self.processes = processes
        self.collections = collections
        self.ours = ours
        """Whether it is in our form: its callbacks stay as they are written."""
        self.out: dict[str, Any] = {}
        self._nodes = graph.MAX_NODES
        self._constants = MAX_VALUES

    def values(self, scope: Scope) -> dict[str, Value]:
        """What each node of a graph stands for."""
        for name in graph.order(scope.nodes, scope.path, scope.outer, deep=True):
            scope.values[name] = self._value(name, scope.nodes[name], scope)
        return scope.values

    def _value(self, name: str, node: dict[str, Any], scope: Scope) -> Value:
        path, process = scope.path + name, node["process_id"]
        self._spend_node()
        if (defined := self._definition(node)) is not None:
            return self._called(name, defined, node, scope)
        arguments = {key: self._written(value, scope, path, key) for key, value in node["arguments"].items()}
        data = self._data(node, scope)
        if process in PASSING and not node["namespace"]:
            return passed(process, arguments, data, path)
        if process == "rename_dimension":
            return renamed_dimension(arguments, data, path)
        if process == "dimension_labels":
            return self._labels(arguments, data, path)
        if process == "if" and not scope.inside_callback and isinstance(arguments.get("value"), bool):
            return self._branch(node["arguments"].get("accept" if arguments["value"] else "reject"), scope, path)
        if process == "filter_bbox" and extents.is_window(arguments.get("extent"), Unset):
            return data
        if self._folds(node, arguments, scope):
            try:
                return self._counted(Value(folded(process, arguments)))
            except NotConstant:
                pass
            except (TypeError, ValueError) as error:
                if not scope.inside_callback:
                    name = getattr(error, "openeo", "ProcessParameterInvalid")
                    raise DocumentError(f"node {path!r}: {process!r}: {error}", openeo=name, node=path) from None
        return self._node(name, node, arguments, data, scope)

    def _labels(self, arguments: dict[str, Any], data: Value, path: str) -> Value:
        """The labels of a dimension of a cube, which are a constant as far as the document says them."""
        dimension = arguments.get("dimension")
        if not isinstance(dimension, str) or not data.is_node:
            raise DocumentError(
                f"node {path!r}: 'dimension_labels' takes `data`, a cube, and the name of a `dimension`; in a callback "
                "array_labels has those of the data",
                openeo="ProcessParameterInvalid",
                node=path,
            )
        cube = graph.parse({"process_graph": reduced_to(self.out, data.json["from_node"])}, self.registry)
        try:
            return self._counted(Value(self.registry.labels(cube, dimension_here(dimension, data.dimensions))))
        except DocumentError as error:
            raise DocumentError(
                f"node {path!r}: 'dimension_labels': {error.message}", **error.details, node=path
            ) from None

    def _branch(self, chosen: Any, scope: Scope, path: str) -> Value:
        """The side of an `if` that its condition, a constant, chooses."""
        if isinstance(chosen, dict) and set(chosen) == {"from_node"}:
            return self._referred(chosen["from_node"], scope, path)
        return Value(self._written(chosen, scope, path, ""))

    def _folds(self, node: dict[str, Any], arguments: dict[str, Any], scope: Scope) -> bool:
        if node["namespace"] or (scope.inside_callback and self.ours) or not Value(arguments).is_constant:
            return False
        alone = scope.inside_callback and (node["result"] or len(scope.nodes) == 1)
        return not alone or self._is_no_node(node["process_id"], arguments, scope.path)

    def _is_no_node(self, process: str, arguments: dict[str, Any], path: str) -> bool:
        """Whether constants have to become their value, as there are no such nodes: of texts, or of arrays of them."""
        if any(isinstance(value, list) for value in arguments.values()):
            return True
        try:
            signature = self.registry.signature(process, path)
            self.registry.checked(process, dict(arguments), path, True)
        except DocumentError:
            return True
        return signature.takes_text and any(isinstance(value, str) for value in arguments.values())

    def _node(self, name: str, node: dict[str, Any], arguments: dict[str, Any], data: Value, scope: Scope) -> Value:
        """A node that is written, in our words."""
        path = scope.path + name
        process = self._process(node, path)
        if process == "load_url" and str(arguments.get("format")).lower() in FEATURES:
            process = "muses:load_features"
        dimensions = dict(data.dimensions)
        if process == "add_dimension":
            arguments, dimensions = added_dimension(arguments, dimensions)
        elif process in ("flatten_dimensions", "unflatten_dimension"):
            arguments, dimensions = refolded(arguments, dimensions)
        arguments = {key: called_here(value, key, dimensions) for key, value in arguments.items()}
        if process == "drop_dimension" and isinstance(arguments.get("name"), str):
            arguments["name"] = dimension_here(arguments["name"], dimensions)
        self._check_set(arguments, path, process, scope.offered)
        self._callbacks(process, arguments, path, scope, data.dimensions)
        made = scope.prefix + name
        if process == "load_collection" and (here := self._collection(arguments)):
            load_here(here, arguments, made, path, scope.out)
            return Value({"from_node": made}, dimensions)
        if process == "if":
            write_arrays(arguments, made, scope.out)
        elif not scope.inside_callback and self.registry.signature(process, path).is_elementwise:
            process, arguments = of_every_value(process, arguments)
        scope.out[made] = as_node(process, placed(process, arguments, path))
        return Value({"from_node": made}, dimensions)

    def _collection(self, arguments: dict[str, Any]) -> Here | None:
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

    def _written(self, value: Any, scope: Scope, path: str, key: str) -> Any:
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

    def _referred(self, target: str, scope: Scope, path: str) -> Value:
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

    def _data(self, node: dict[str, Any], scope: Scope) -> Value:
        """What the first cube of a node stands for."""
        for key in ("data", "cube1", "x"):
            target = node["arguments"].get(key)
            if isinstance(target, dict) and isinstance(target.get("from_node"), str):
                found = scope.values.get(target["from_node"])
                return found or Value(None)
            if isinstance(target, dict) and isinstance(target.get("from_parameter"), str):
                return scope.parameter(target["from_parameter"])
        return Value(None)

    def _check_set(self, arguments: dict[str, Any], path: str, process: str, offered: tuple[str, ...]) -> None:
        """Extents that are parameters without a value mean the window; anything else needs one."""
        for key, value in list(arguments.items()):
            if key in ("spatial_extent", "extent") and extents.is_window(value, Unset):
                arguments[key] = None
            elif (unset := unset_in(value)) is not None:
                inside = f" (the process around the callback offers {', '.join(offered)})" if offered else ""
                raise DocumentError(
                    f"node {path!r}: argument {key!r} of {process!r} is the parameter {unset!r}, which has no value "
                    f"and no default{inside}: give parameters={{{unset!r}: …}}",
                    openeo="ProcessParameterMissing",
                    node=path,
                    argument=key,
                )

    def _callbacks(
        self, process: str, arguments: dict[str, Any], path: str, scope: Scope, dimensions: Mapping[str, str]
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
        self, process: str, key: str, value: dict[str, Any], context: Any, path: str, scope: Scope,
        dimensions: Mapping[str, str] = {},
    ) -> dict[str, Any]:  # fmt: skip
        place = f"{path}/{key}/" if not path.endswith(f"/{key}") else f"{path}/"
        offered = self.registry.signature(process, path).offers(key)
        inner = Scope(
            read_nodes(value["process_graph"], place),
            {},
            place,
            parameters={} if "context" in offered and context is None else {"context": Value(context)},
            offered=tuple(name for name in offered if name != "context" or context is None),
            dimensions=dimensions,
            around=scope,
            inside_callback=True,
            calls=scope.calls,
        )
        marked = [name for name, node in inner.nodes.items() if node["result"]] or ends_of(inner.nodes)
        if len(marked) != 1:
            listed = ", ".join(map(repr, marked))
            raise DocumentError(
                f"exactly one node must have `result: true` in the callback of {place.rstrip('/')!r}; found {listed}"
            )
        inner.nodes[marked[0]]["result"] = True
        root = self.values(inner)[marked[0]]
        if not root.is_node:
            as_array = isinstance(root.json, list)
            made = as_node("array_create", {"data": root.json}) if as_array else as_node("constant", {"x": root.json})
            inner.out = {marked[0]: made}
            return {"process_graph": reduced_to(inner.out, marked[0])}
        return {"process_graph": reduced_to(inner.out, root.json["from_node"])}

    # --------------------------------------------------------------------------------------- processes of the document

    def _definition(self, node: dict[str, Any]) -> dict[str, Any] | None:
        """The definition of a process that the document, or who reads it, has."""
        if node["namespace"] in ("", "user") or "://" in node["namespace"]:
            return self.processes.get(node["process_id"])
        return None

    def _called(self, name: str, defined: dict[str, Any], node: dict[str, Any], scope: Scope) -> Value:
        """The nodes that a process of the document stands for, in the place of its call."""
        path, id = scope.path + name, node["process_id"]
        if id in scope.calls:
            raise DocumentError(f"node {path!r}: the process {id!r} calls itself", node=path)
        if len(scope.calls) >= MAX_CALLS:
            raise DocumentError(f"node {path!r}: more than {MAX_CALLS} processes call each other", node=path)
        inner = Scope(
            read_nodes(defined["process_graph"], f"{path}/"),
            scope.out,
            f"{path}/",
            f"{scope.prefix}{name}/",
            parameters=self._bound(defined, node, scope, path),
            calls=(*scope.calls, id),
            inside_callback=scope.inside_callback,
        )
        marked = [n for n, inner_node in inner.nodes.items() if inner_node["result"]] or ends_of(inner.nodes)
        if len(marked) != 1:
            listed = ", ".join(map(repr, marked))
            raise DocumentError(
                f"node {path!r}: exactly one node of the process {id!r} must have `result: true`; found {listed}",
                node=path,
            )
        return self.values(inner)[marked[0]]

    def _bound(self, defined: dict[str, Any], node: dict[str, Any], scope: Scope, path: str) -> dict[str, Value]:
        """The parameters of a process by name, with what a call gives it."""
        declared = {one["name"]: one for one in declared_in(defined.get("parameters"))}
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
                bound[key] = Value(self._written(value, scope, path, key))
        for key, one in declared.items():
            if key in bound and (bound[key].json is not None or "default" not in one):
                continue
            if "default" not in one and not one.get("optional") and not is_extent(one):
                raise DocumentError(
                    f"node {path!r}: {node['process_id']!r} needs the parameter {key!r}",
                    openeo="ProcessParameterMissing",
                    node=path,
                    argument=key,
                )
            bound[key] = Value(one.get("default"))
        return bound

    # ------------------------------------------------------------------------------------------------------ limits

    def _spend_node(self) -> None:
        self._nodes -= 1
        if self._nodes < 0:
            raise DocumentError(
                f"the document has too many nodes; the limit is {graph.MAX_NODES}", openeo="ProcessGraphComplexity"
            )

    def _counted(self, value: Value) -> Value:
        """A value that is written once more; complains where that is too much."""
        self._constants -= _size(value.json)
        if self._constants < 0:
            raise DocumentError(
                f"the constants of the document have more than {MAX_VALUES} values where they are referred to",
                openeo="ProcessGraphComplexity",
            )
        return value


class _Checker(_Reader):
    """Reads on after a fault: for what uses a faulty node, a cube of which nothing is known stands in its place."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.found: list[DocumentError] = []
        self._doubtful: set[str] = set()
        """Faulty nodes, and those made of them."""

    def _value(self, name: str, node: dict[str, Any], scope: Scope) -> Value:
        if scope.around is not None or scope.calls:
            return super()._value(name, node, scope)
        doubtful = not self._doubtful.isdisjoint(graph.references(node["arguments"]))
        try:
            value = super()._value(name, node, scope)
            if value.is_node:
                graph.parse({"process_graph": reduced_to(self.out, value.json["from_node"])}, self.registry)
        except DocumentError as error:
            if not doubtful or self._is_its_own(error, node):
                self.found.append(error)
            self.out[name] = as_node("load_collection", {"id": name})
            value, doubtful = Value({"from_node": name}), True
        if doubtful:
            self._doubtful.add(name)
        return value

    def _is_its_own(self, error: DocumentError, node: dict[str, Any]) -> bool:
        """Whether an error is wrong with a node itself, and not with what stands in the place of a faulty one."""
        argument = error.details.get("argument")
        if argument in _OF_CUBES or node["process_id"] in _OF_CUBES:
            return False
        if argument is None:
            return error.openeo in ("ProcessUnsupported", "ProcessParameterMissing")
        return self._doubtful.isdisjoint(graph.references({argument: node["arguments"].get(argument)}))


_OF_CUBES = {"dimension", "dimensions", "target_dimension", "name", "source", "target", "label", "labels",
             "dimension_labels", "rename_dimension"}  # fmt: skip
"""Arguments and processes whose faults depend on what a cube is."""


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

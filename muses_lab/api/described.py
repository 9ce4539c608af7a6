"""A chain's document as facts for a picture: what each node does, with what, and where it stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from muses_lab.api.difference import Difference, own_arguments
from muses_lab.api.expression import Expression
from muses_lab.api.formula import formula, shortened, steps
from muses_lab.api.layering import layered
from muses_lab.document import graph
from muses_lab.document.graph import Callback, Node
from muses_lab.errors import MusesError, NotFound
from muses_lab.operators import registry
from muses_lab.operators.methods import description
from muses_lab.operators.registered import OWN
from muses_lab.operators.zonal import is_table
from muses_lab.publish.pinning import LOADS

_TOLD = {
    "apply": ("process",), "merge_cubes": ("overlap_resolver",), "reduce_dimension": ("reducer", "dimension"),
    **dict.fromkeys(LOADS, ("id", "url")),
}  # fmt: skip
"""Arguments that the title of a node says."""

Described = dict[str, Any]
"""A node: {id, process, title, says, arguments, callbacks, inputs, is_cube}; as `ChainNode` in js/types.d.ts."""


def nodes(chain: Expression) -> list[Described]:
    """The nodes of a chain, inputs before what uses them.

    `arguments` are {name, value, control, told}: the value as text, the name of the `ml.parameter` that it is of, and
    whether the title says it already.
    `callbacks` are {argument, formula, steps}.
    """
    names, controls = graph.names(chain._node), _controls(chain)
    return [_described(node, names, controls.get(names[node.hash], {})) for node in graph.walk(chain._node)]


def _described(node: Node, names: Mapping[str, str], controls: Mapping[str, str]) -> Described:
    op = registry[node.process]
    callbacks = {name: value for name, value in node.arguments.items() if isinstance(value, Callback)}
    told = _TOLD.get(node.process, ())
    arguments = [
        {"name": name, "value": text, "control": controls.get(name), "told": name in told}
        for name, text in own_arguments(node).items()
    ]  # fmt: skip
    return {
        "id": names[node.hash], "process": node.process, "title": title(node), "says": _says(node),
        "arguments": arguments,
        "callbacks": [
            {"argument": name, "formula": formula(value.root), "steps": steps(value.root)}
            for name, value in callbacks.items()
        ],
        "inputs": _inputs(node.arguments, names),
        "is_image": bool(op.is_cube_process and not op.gives) and not is_table(node),
    }  # fmt: skip


def _inputs(arguments: Mapping[str, Any], names: Mapping[str, str]) -> list[dict[str, str]]:
    found = []
    for name, value in arguments.items():
        several = value if isinstance(value, list) else [value]
        found += [{"argument": name, "id": names[one.hash]} for one in several if isinstance(one, Node)]
    return found


def size(chain: Expression) -> int:
    """How many nodes a chain has, those inside callbacks not counted."""
    return len(graph.walk(chain._node))


def step(chain: Any, name: str) -> tuple[str, Any]:
    """(title, chain) of a node, by its name in the document.

    Raises
    ------
    NotFound
        The chain has no node of that name.
    """
    names = graph.names(chain._node)
    found = next((node for node in graph.walk(chain._node) if names[node.hash] == name), None)
    if found is None:
        raise NotFound(f"the chain has no step {name!r}; it has {', '.join(names.values())}")
    return title(found), chain._made(found)


_TRUTHS = {"gt", "gte", "lt", "lte", "eq", "neq", "and", "or", "xor", "not", "between", "is_valid", "is_nodata"}
"""Processes whose values are 1 and 0."""


def is_condition(chain: Expression) -> bool:
    """Whether its values are 1 and 0."""
    inside = [value.root.process for value in chain._node.arguments.values() if isinstance(value, Callback)]
    plain = chain._node.process in ("apply", "merge_cubes", "reduce_dimension")
    return plain and bool(inside) and inside[0] in _TRUTHS


def title(node: Node) -> str:
    """What a node is called in a picture: by what it does rather than by how openEO writes that."""
    arguments = node.arguments
    if node.process in LOADS:
        return str(arguments.get("id") or arguments.get("url")).rpartition(":")[2]
    callback = next((value for value in arguments.values() if isinstance(value, Callback)), None)
    if node.process == "reduce_dimension" and callback is not None:
        over = "over time" if arguments["dimension"] == "t" else "of bands"
        text = formula(callback.root)
        return f"{_words(callback.root.process)} {over}" if text == f"{callback.root.process}(data)" else text
    if node.process in ("apply", "merge_cubes") and callback is not None:
        return formula(callback.root)
    if node.process == "merge_cubes":
        return "bands side by side"
    return _words(node.process)


def _words(process: str) -> str:
    namespace, _, name = process.rpartition(":")
    if namespace == OWN:  # its name ends in the hash of its code
        name = name.rpartition("_")[0]
    return name.replace("_", " ")


def _says(node: Node) -> str:
    """What its operator says of itself; of a step that only applies a process, what that does to each value."""
    said = [_first_sentence(registry[node.process].fn.__doc__)]
    for name, value in node.arguments.items():
        if isinstance(value, Callback):
            inner = _first_sentence(registry[value.root.process].fn.__doc__)
            said.append(f"{name}, {formula(value.root)}: {inner}")
    return " ".join(said)


def _first_sentence(doc: str | None) -> str:
    return " ".join(description(doc or "").split("\n\n")[0].split())


def _controls(chain: Expression) -> dict[str, dict[str, str]]:
    """Node → argument → name of the `ml.parameter` whose value it is: found by giving that another value."""
    found: dict[str, dict[str, str]] = {}
    plain = _own(chain)
    for name, parameter in chain._named.items():
        for other in _others(parameter):
            try:
                changed = _own(chain.with_parameters({name: other}))
            except (MusesError, TypeError, ValueError):
                continue
            if changed.keys() != plain.keys():
                continue
            for node, arguments in plain.items():
                for argument, text in arguments.items():
                    if changed[node].get(argument) != text:
                        found.setdefault(node, {})[argument] = name
            break
    return found


def _own(chain: Expression) -> dict[str, dict[str, str]]:
    names = graph.names(chain._node)
    return {names[node.hash]: own_arguments(node) for node in graph.walk(chain._node)}


def _others(parameter: Any) -> list[Any]:
    """Values that a parameter might have as well."""
    value, schema = parameter.value, parameter.schema
    if isinstance(value, list):
        return [[one for one in schema.get("items", {}).get("enum", value) if one not in value[:1]] or value[:1]]
    if schema.get("enum"):
        return [one for one in schema["enum"] if one != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        step = 1 if schema.get("type") == "integer" else 0.015625
        return [value + step, value - step, value + 1, value - 1]
    return ["2001-01-01", "1999-12-31"]


# -------------------------------------------------------------------------------- documents that may have faults


def nodes_of_document(document: Any) -> list[Described]:
    """The nodes of a document as far as they can be made out, whatever is wrong with it; none of what is no graph."""
    text = document
    if isinstance(document, str | bytes):
        try:
            text = graph.loads(document)
        except MusesError:
            return []
    for key in ("process", "process_graph"):
        if isinstance(text, Mapping) and isinstance(text.get(key), Mapping):
            text = text[key]
    if not isinstance(text, Mapping):
        return []
    return [_of_json(str(name), node, text) for name, node in text.items() if isinstance(node, Mapping)]


def _of_json(name: str, node: Mapping[str, Any], of: Mapping[str, Any]) -> Described:
    process = str(node.get("process_id", "?"))
    given = node.get("arguments")
    arguments = given if isinstance(given, Mapping) else {}
    inputs, own, inside = [], [], []
    for argument, value in arguments.items():
        sources = [one for one in graph.references({"": value}) if one in of and one != name]
        inputs += [{"argument": str(argument), "id": source} for source in dict.fromkeys(sources)]
        graphs = value.get("process_graph") if isinstance(value, Mapping) else None
        if isinstance(graphs, Mapping):
            texts = [f"{key}: {_process_of(one)}" for key, one in graphs.items()]
            processes = ", ".join(_process_of(one) for one in graphs.values())
            inside.append({"argument": str(argument), "formula": processes, "steps": texts})
            own.append({"name": str(argument), "value": processes, "control": None, "told": False})
        elif not sources:
            text = shortened(json.dumps(value, ensure_ascii=False))
            own.append({"name": str(argument), "value": text, "control": None, "told": False})
    known = {op.id: op for op in registry}.get(process)
    return {
        "id": name, "process": process, "title": _words(process),
        "says": _first_sentence(known.fn.__doc__) if known else "", "arguments": own, "callbacks": inside,
        "inputs": inputs, "is_image": True,
    }  # fmt: skip


def _process_of(node: Any) -> str:
    return str(node.get("process_id", "?")) if isinstance(node, Mapping) else "?"


# ------------------------------------------------------------------------------------------------------ pictures


def picture(described: list[Described], **more: Any) -> dict[str, Any]:
    """Nodes with their places: {nodes, edges}, see `layering.layered`."""
    ids = {node["id"] for node in described}
    inputs = {node["id"]: [one["id"] for one in node["inputs"] if one["id"] in ids] for node in described}
    return {**layered(described, inputs), **more}


def merged(a: Expression, b: Expression, difference: Difference) -> list[Described]:
    """The nodes of two chains as one graph: those of both once, with `kind` and `changes`."""
    mine, its = ({node["id"]: node for node in nodes(chain)} for chain in (a, b))
    new_name = {step.before: step.after for step in difference.steps if step.before and step.after}
    found = []
    for step in difference.steps:
        if step.after is not None:
            node = {**its[step.after], "id": step.after}
            links = its[step.after]["inputs"]
            if step.before is not None:
                before = [
                    {**one, "id": new_name.get(one["id"]) or f"- {one['id']}"} for one in mine[step.before]["inputs"]
                ]
                links = [*links, *(one for one in before if one not in links)]
        else:
            assert step.before is not None
            node = {**mine[step.before], "id": f"- {step.before}"}
            links = [{**one, "id": new_name.get(one["id"]) or f"- {one['id']}"} for one in node["inputs"]]
        differ = step.arguments.items() if step.kind == "changed" else ()
        changes = [{"argument": name, "before": a, "after": b} for name, (a, b) in differ]
        found.append({**node, "inputs": links, "kind": step.kind, "changes": changes, "text": str(step)})
    return found

"""A chain as Python: code that builds the same document, whoever made the chain and however.

Each node is written as the call that somebody would have typed. A call is only a guess until it has been made here, on
chains, and has given the very node; a node for which none does is written as JSON, which always gives it.
"""

from __future__ import annotations

import builtins
import keyword
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from inspect import Parameter as Argument
from typing import Any, NamedTuple, TypeGuard

from muses_lab.api.expression import Expression
from muses_lab.api.formula import SIGNS, grouped
from muses_lab.api.lambdas import as_lambda
from muses_lab.document import graph
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.errors import ArgumentError
from muses_lab.operators import Operator, registry
from muses_lab.operators.methods import Method, method_of
from muses_lab.operators.registered import OWN
from muses_lab.plain import shown
from muses_lab.publish.conditions import as_text
from muses_lab.publish.pinning import LOADS

_WIDTH = 100
"""Characters of an expression that is not written into the one that uses it any more."""

_CALLED = {
    "dimension": ("dim",), "dimensions": ("dims",), "projection": ("grid",), "target": ("grid", "other"),
    "climatology_period": ("years",), "valid_within": ("within",), "label_separator": ("separator",),
    "inputMin": ("input_min",), "inputMax": ("input_max",), "outputMin": ("output_min",),
    "outputMax": ("output_max",), "label": ("date", "name"), "name": ("dim",), "target_dimension": ("target",),
}  # fmt: skip
"""What methods call an argument of a process that they do not call as the process does."""

_CALLS: Mapping[tuple[str, int], Callable[..., Any]] = {
    ("+", 2): operator.add, ("-", 2): operator.sub, ("*", 2): operator.mul, ("/", 2): operator.truediv,
    ("%", 2): operator.mod, ("**", 2): operator.pow, (">", 2): operator.gt, (">=", 2): operator.ge,
    ("<", 2): operator.lt, ("<=", 2): operator.le, ("==", 2): operator.eq, ("!=", 2): operator.ne,
    ("&", 2): operator.and_, ("|", 2): operator.or_, ("^", 2): operator.xor, ("~", 1): operator.invert,
    ("-", 1): operator.neg, }  # fmt: skip
"""Python's signs, with the number of values that they take."""

_SIGNED = {name for name, _ in _CALLS}


class Function(NamedTuple):
    """A callback, which is written as a function of what its argument offers."""

    callback: Callback
    parameters: tuple[str, ...]


class Call(NamedTuple):
    """A guess: `receiver.name(*args, **kwargs)`, a function of `ml`, or a sign. Nodes stand for chains."""

    name: str
    receiver: Node | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    then: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    """Methods with their arguments that are called of what it gives."""

    @property
    def uses(self) -> list[Node]:
        """The nodes that are written in it."""
        values = [self.receiver, *self.args, *self.kwargs.values()]
        flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
        return [one for one in flat if isinstance(one, Node)]


class Found(NamedTuple):
    """What a node is written as, without the text of what it takes."""

    chain: Any
    call: Call | None
    """None: as JSON."""
    uses: list[Node]


def to_python(chain: Expression, name: str = "chain") -> str:
    """See `Chain.to_python`."""
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name == "ml":
        raise ArgumentError(
            f"name={shown(name)} is no name that a variable can have here: letters, digits and _, for example 'ndvi'; "
            "no word of Python's own, and not 'ml'",
            argument="name",
        )
    order = graph.walk(chain._node)
    found = _all_found(chain)
    times = _uses(chain, found)
    lines, taken = ["import muses_lab as ml", ""], {name, "ml"}
    texts: dict[str, str] = {}
    for node in order:
        if not times[node.hash] and node is not chain._node:
            continue  # of a mask of a product, of which the collection knows what it is made of
        texts[node.hash] = text = _text(node, found[node.hash], texts)
        if node is not chain._node and (times[node.hash] > 1 or len(text) > _WIDTH):
            texts[node.hash] = variable = _variable(node, taken)
            lines.append(f"{variable} = {text}")
    return "\n".join([*lines, f"{name} = {texts[chain._node.hash]}", ""])


class Written(NamedTuple):
    """How a node is written."""

    names: tuple[str, ...]
    """Of the method, function or sign, and of the methods that are called of what it gives; none: as JSON."""
    goes_on: tuple[str, ...]
    """Hashes of the nodes whose values go through it; a condition, which only chooses among them, is none."""


def written(chain: Expression) -> dict[str, Written]:
    """How the nodes of a chain are written, by their hashes; inputs before what uses them.

    >>> [one.names for one in written(ndvi.median("t")).values()]                   # doctest: +SKIP
    [('collection', 'dates'), ('mask_clouds',), ('ndvi',), ('median',)]

    What a call makes beside its result (the condition of a product's mask) is not told.
    """
    found = _all_found(chain)
    times = _uses(chain, found)
    return {
        node.hash: _as_written(node, found[node.hash])
        for node in graph.walk(chain._node) if times[node.hash] or node is chain._node
    }  # fmt: skip


def _as_written(node: Node, found: Found) -> Written:
    call = found.call
    both = node.process == "merge_cubes"
    if call is None:
        cubes = [node.arguments.get(name) for name in registry[node.process].cubes]
        through = [one for one in (cubes if both else cubes[:1]) if isinstance(one, Node)]
        return Written((), tuple(one.hash for one in through))
    name = call.name.removeprefix("ml.")
    if name == "where":
        through = [call.receiver] if call.receiver is not None else call.uses[1:]
    else:
        through = call.uses if both or call.receiver is None else [call.receiver]
    return Written((name, *(then for then, _ in call.then)), tuple(one.hash for one in through))


def _uses(chain: Expression, found: Mapping[str, Found]) -> Counter[str]:
    """How often each node is written in others, by its hash."""
    times: Counter[str] = Counter()
    left = [chain._node]
    while left:
        for node in found[left.pop().hash].uses:
            times[node.hash] += 1
            if times[node.hash] == 1:
                left.append(node)
    return times


def _all_found(chain: Expression) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for node in graph.walk(chain._node):
        found[node.hash] = _found(node, found, chain)
    return found


def _found(node: Node, known: Mapping[str, Found], of: Expression) -> Found:
    for call in _guesses(node):
        # A guess may be wrong in any way: operators refuse arguments as they like. What none of them gives is JSON.
        with suppress(Exception):
            made = _made(call, known)
            if isinstance(made, Expression) and made._node.hash == node.hash:
                _call_text(call, _Names())  # that it can be written
                return Found(made, call, call.uses)
    return Found(of._made(node), None, list(dict.fromkeys(node.inputs)))


class _Names(dict[str, str]):
    """Names of nodes that have none yet."""

    def __missing__(self, hash: str) -> str:
        return "chain"


def _made(call: Call, known: Mapping[str, Found]) -> Any:
    def given(value: Any) -> Any:
        if isinstance(value, Node):
            return known[value.hash].chain
        if isinstance(value, Function):
            return value.callback
        return [given(one) for one in value] if isinstance(value, list) else value

    args = [given(value) for value in call.args]
    kwargs = {name: given(value) for name, value in call.kwargs.items()}
    if call.receiver is not None:
        return getattr(known[call.receiver.hash].chain, call.name)(*args, **kwargs)
    if call.name in _SIGNED:
        return _CALLS[call.name, len(args)](*args)
    if call.name == "abs":
        return abs(*args)
    # As the code will find it; not before, because what makes chains imports this module.
    made = getattr(import_module("muses_lab"), call.name.removeprefix("ml."))(*args, **kwargs)
    for method, its in call.then:
        made = getattr(made, method)(*its)
    return made


def _text(node: Node, found: Found, texts: Mapping[str, str]) -> str:
    if found.call is not None:
        return _call_text(found.call, texts)
    inputs = {child.hash: f"cube{number}" for number, child in enumerate(found.uses, start=1)}
    document = repr(graph.alone(node, inputs))
    trusted = ", trust_code=True" if registry[node.process].private else ""
    if not inputs:
        return f"ml.Chain.from_json({document}{trusted})"
    given = ", ".join(f"{name!r}: {texts[hash]}" for hash, name in inputs.items())
    return f"ml.read_graph({document}, {{{given}}}{trusted})[0].chain"


def _call_text(call: Call, texts: Mapping[str, str]) -> str:
    if call.name in _SIGNED:
        parts = [_tight(_value(value, texts)) for value in call.args]
        return f" {call.name} ".join(parts) if len(parts) == 2 else f"{call.name}{parts[0]}"
    given = [_value(value, texts) for value in call.args]
    given += [f"{name}={_value(value, texts)}" for name, value in call.kwargs.items()]
    before = f"{_tight(texts[call.receiver.hash])}." if call.receiver is not None else ""
    after = "".join(f".{method}({', '.join(map(repr, its))})" for method, its in call.then)
    return f"{before}{call.name}({', '.join(given)}){after}"


def _value(value: Any, texts: Mapping[str, str]) -> str:
    if isinstance(value, Node):
        return texts[value.hash]
    if isinstance(value, Function):
        return as_lambda(value.callback, value.parameters)
    if isinstance(value, list):
        return f"[{', '.join(_value(one, texts) for one in value)}]"
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


def _tight(text: str) -> str:
    """In brackets where a sign stands outside of all brackets."""
    return grouped(f"({text})" if text[0] in "-~" else text)


def _variable(node: Node, taken: set[str]) -> str:
    stem = node.arguments.get("id") if node.process in LOADS else None
    inside = next((value.root.process for value in node.arguments.values() if isinstance(value, Callback)), None)
    stem = str(stem or inside or node.process).rpartition(":")[2]
    stem = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem.lower()).strip("_")
    if not stem.isidentifier() or keyword.iskeyword(stem) or hasattr(builtins, stem):
        stem = f"step_{stem}".rstrip("_")
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return name


# ------------------------------------------------------------------------------------------------------ guesses


def _guesses(node: Node) -> Iterator[Call]:
    op = registry[node.process]
    special = _SPECIAL.get(node.process)
    if special is not None:
        yield from special(node)
    method = method_of(op)
    if method is not None and op.cubes:
        yield from _by_method(node, op, method)
    namespace, _, name = node.process.rpartition(":")
    if namespace == OWN and op.cubes:  # called as its function, as long as its code is that of the chain
        others = {name: value for name, value in node.arguments.items() if name != op.cubes[0]}
        yield Call(name.rpartition("_")[0], node.arguments[op.cubes[0]], (), others)


def _by_method(node: Node, op: Operator, method: Method) -> Iterator[Call]:
    """The operator's own method, its arguments by the names that the method has for them."""
    receiver = node.arguments.get(op.cubes[0])
    if not isinstance(receiver, Node):
        return
    kwargs: dict[str, Any] = {}
    for argument, value in node.arguments.items():
        if argument == op.cubes[0]:
            continue
        names = (argument, *_CALLED.get(argument, ()))
        name = next((one for one in names if one in method.signature.parameters and one not in kwargs), None)
        if name is not None:
            callback = isinstance(value, Callback)
            kwargs[name] = Function(value, op.arguments[argument].offers) if callback else value
    if isinstance(constants := node.arguments.get("constants"), Mapping):
        yield _call(method, receiver, {**kwargs, **constants})
    for name, value in kwargs.items():
        if isinstance(value, Function):
            named = _named_reducer(name, value.callback)
            yield from (_call(method, receiver, {**kwargs, **given}) for given in named)
    yield _call(method, receiver, kwargs)


def _call(method: Method, receiver: Node, kwargs: Mapping[str, Any]) -> Call:
    """Required arguments by their place, as long as there are none between them that are left out."""
    args: list[Any] = []
    left = dict(kwargs)
    for parameter in method.signature.parameters.values():
        if parameter.name not in left or parameter.kind is not Argument.POSITIONAL_OR_KEYWORD:
            break
        if parameter.default is not Argument.empty and parameter.name not in ("dim", "mask"):
            break
        args.append(left.pop(parameter.name))
    return Call(method.name, receiver, tuple(args), left)


def _named_reducer(argument: str, callback: Callback) -> Iterator[dict[str, Any]]:
    """`reducer="median"`, `reducer="quantile", q=0.9`."""
    root = callback.root
    data = root.arguments.get("data")
    if root.process == "array_element" and isinstance(data, Node) and data.process == "quantiles":
        for q in data.arguments.get("probabilities", ())[:1]:
            yield {argument: "quantile", "q": q}
    made = method_of(registry[root.process])
    if made is not None:
        yield {argument: made.name}


def _loading(node: Node) -> Iterator[Call]:
    """`ml.collection(…)`, and what is chosen of it."""
    given = node.arguments
    chosen: list[tuple[str, tuple[Any, ...]]] = []
    place = given.get("intersects")
    if place is not None:
        ring = place["coordinates"][0] if place.get("type") == "Polygon" else []
        is_box = len(ring) == 5 and ring[1] == [ring[2][0], ring[0][1]] and ring[3] == [ring[0][0], ring[2][1]]
        chosen.append(("bbox", (*ring[0], *ring[2])) if is_box else ("intersects", (place,)))
    if given.get("temporal_extent"):
        chosen.append(("dates", tuple(given["temporal_extent"])))
    condition = given.get("filter") or as_text(given.get("properties"))
    for name, value in (("filter", condition), ("sort", given.get("sortby")), ("limit", given.get("limit")),
                        ("bands", given.get("bands"))):  # fmt: skip
        if value is not None:
            chosen.append((name, tuple(value) if isinstance(value, list) else (value,)))
    yield Call("ml.collection", None, (given["id"],), then=tuple(chosen))


def _applied(node: Node) -> Iterator[Call]:
    root, data = node.arguments["process"].root, node.arguments["data"]
    op = registry[root.process]
    names = list(op.arguments)
    if root.process in SIGNS and len(root.arguments) == 2:
        both = [root.arguments[name] for name in names[:2]]
        if not any(isinstance(one, Node) for one in both):
            if both[1] == -1 and root.process == "multiply":
                yield Call("-", None, (data,))
            yield Call(SIGNS[root.process], None, tuple(data if _is_x(one) else one for one in both))
    if root.process == "not":
        yield Call("~", None, (data,))
    if root.process == "absolute":
        yield Call("abs", None, (data,))
    method = method_of(op)
    if method is None:
        return
    others = {name: value for name, value in root.arguments.items() if not _is_x(value)}
    if root.process == "array_contains":
        yield Call(method.name, data, (others.get("data"),))
    kwargs: dict[str, Any] = {}
    for name, value in others.items():
        known = [one for one in (name, *_CALLED.get(name, ())) if one in method.signature.parameters]
        kwargs[known[0] if known else name] = value
    yield _call(method, data, kwargs)


def _is_x(value: Any) -> bool:
    return isinstance(value, Parameter)


def _reduced(node: Node) -> Iterator[Call]:
    """The reducer's own method; what is left is a function of the series."""
    root, data, dim = _callback(node).root, node.arguments["data"], node.arguments["dimension"]
    if root.process == "array_element":
        inner = root.arguments.get("data")
        if isinstance(inner, Node) and inner.process == "quantiles":
            others = {n: v for n, v in inner.arguments.items() if n not in ("data", "probabilities")}
            for q in inner.arguments.get("probabilities", ())[:1]:
                yield Call("quantile", data, (q, dim), others)
        yield Call("band", data, (root.arguments.get("label"),))
    if root.process == "normalized_difference":
        sides = [root.arguments[side] for side in ("x", "y")]
        yield Call(root.process, data, tuple(s.arguments.get("label") for s in sides if isinstance(s, Node)))
    if root.process == "if" and data.process in LOADS:
        yield Call("clouds", data)
    method = method_of(registry[root.process])
    if method is not None and "dim" in method.signature.parameters:
        offers = registry[root.process].offers
        others = {
            name: Function(value, offers(name)) if isinstance(value, Callback) else value
            for name, value in root.arguments.items() if not isinstance(value, Node | Parameter)
        }  # fmt: skip
        yield _call(method, data, {**others, "dim": dim})


def _callback(node: Node) -> Callback:
    return next(value for value in node.arguments.values() if isinstance(value, Callback))


def _merged(node: Node) -> Iterator[Call]:
    a, b, resolver = node.arguments["cube1"], node.arguments["cube2"], node.arguments.get("overlap_resolver")
    if resolver is None:
        yield _stacked([*_parts(a), *_parts(b)])
        yield _stacked([(None, a), *_parts(b)])
        yield Call("ml.stack", None, (a, b))
        return
    root = resolver.root
    if root.process in SIGNS:
        yield Call(SIGNS[root.process], None, (a, b))
    if root.process == "arctan2":
        yield Call("arctan2", a, (b,))
    if root.process == "if":
        yield Call("where", a, (b,))
        sides = [_chosen_side(one, reject) for one, reject in ((a, False), (b, True))]
        if all(sides):
            (condition, yes), (_, no) = (side for side in sides if side)
            yield Call("ml.where", None, (condition, yes, no))
        yield Call("ml.mosaic", None, ([a, b],))


def _stacked(parts: list[tuple[str | None, Node]]) -> Call:
    named = {label: cube for label, cube in parts if label is not None}
    return Call("ml.stack", None, tuple(cube for label, cube in parts if label is None), named)


def _is_name(label: Any) -> TypeGuard[str]:
    """Whether code can give it as the name of an argument."""
    return isinstance(label, str) and label.isidentifier() and not keyword.iskeyword(label)


def _parts(node: Node) -> list[tuple[str | None, Node]]:
    """What is side by side in a cube: (name of the band that an image becomes, image), (None, cube)."""
    if node.process == "merge_cubes" and "overlap_resolver" not in node.arguments:
        return [*_parts(node.arguments["cube1"]), *_parts(node.arguments["cube2"])]
    label = node.arguments.get("label")
    if node.process == "add_dimension" and _is_name(label):
        return [(label, node.arguments["data"])]
    return [(None, node)]


def _chosen_side(node: Node, reject: bool) -> tuple[Node, Any] | None:
    """(condition, values) of one side of an `ml.where`."""
    if node.process == "merge_cubes":
        return node.arguments["cube2"], node.arguments["cube1"]
    if node.process == "apply":
        return node.arguments["data"], node.arguments["process"].root.arguments.get("accept")
    return None


def _added(node: Node) -> Iterator[Call]:
    label, data = node.arguments.get("label"), node.arguments["data"]
    if _is_name(label):
        yield Call("ml.stack", None, (), {label: data})
    yield Call("dated", data, (label,))


def _masked(node: Node) -> Iterator[Call]:
    """A mask of the collection's product, with the classes that are kept and what is removed around."""
    data, mask = node.arguments["data"], node.arguments["mask"]
    if data.process in LOADS:
        lists = [
            one.arguments["data"] for one in graph.walk_all(mask)
            if one.process == "array_contains" and isinstance(one.arguments.get("data"), list)
        ]  # fmt: skip
        grown = [one.arguments.get("metres") for one in graph.walk(mask) if one.process == "muses:grow"]
        more = [{}, *({"keep": one} for one in lists)]
        for how in more:
            yield Call("mask_clouds", data, (), {**how, **({"grow": grown[0]} if grown else {})})


def _boxed(node: Node) -> Iterator[Call]:
    extent = node.arguments["extent"]
    if isinstance(extent, Mapping) and "west" in extent:
        yield Call("crop", node.arguments["data"], tuple(extent[side] for side in ("west", "south", "east", "north")))


def _bands(node: Node) -> Iterator[Call]:
    yield Call("bands", node.arguments["data"], tuple(node.arguments.get("bands") or ()))


def _dates(node: Node) -> Iterator[Call]:
    yield Call("dates", node.arguments["data"], tuple(node.arguments["extent"]))


def _renamed(node: Node) -> Iterator[Call]:
    source, target = node.arguments.get("source") or (), node.arguments.get("target") or ()
    yield Call("rename_bands", node.arguments["data"], (dict(zip(source, target, strict=False)),))


def _labelled(node: Node) -> Iterator[Call]:
    labels = [
        value for one in graph.walk(node.arguments["condition"].root) if one.process == "eq"
        for value in one.arguments.values() if isinstance(value, str)
    ]  # fmt: skip
    yield Call("filter_labels", node.arguments["data"], (node.arguments["dimension"], labels))


def _on_grid(node: Node) -> Iterator[Call]:
    others = {name: value for name, value in node.arguments.items() if name == "method"}
    yield Call("on_grid", node.arguments["data"], (node.arguments["target"],), others)


_SPECIAL: Mapping[str, Callable[[Node], Iterator[Call]]] = {
    "load_collection": _loading, "muses:load_collection": _loading, "apply": _applied, "reduce_dimension": _reduced,
    "apply_dimension": _reduced, "merge_cubes": _merged, "add_dimension": _added, "mask": _masked,
    "filter_bbox": _boxed, "filter_bands": _bands, "filter_temporal": _dates, "rename_labels": _renamed,
    "filter_labels": _labelled, "resample_cube_spatial": _on_grid,
}  # fmt: skip

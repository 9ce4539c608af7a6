"""Sealed chains: a private chain as a process holds it that plans its tiles and must not run its code.

`seal` makes one in the kernel of its author: the payload that workers get, with a plan of it beside. The plan is the
same graph, with stand-ins in the place of all nodes that run code of their author (`operators.stand_ins`): it has the
bands, dates, grids and scenes of the chain, and no code. `Sealed.opened` reads the plan alone. The payload goes on to
workers as it came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact, kinds
from muses_lab.document.graph import Callback, Node
from muses_lab.engine.graph import PreparedGraph, Step
from muses_lab.engine.published import Published, hash_of
from muses_lab.errors import DocumentError, MusesError, PrivateChain
from muses_lab.operators import Focal, Region, Regrid, references, registry
from muses_lab.operators.stand_ins import Answers, StandIn
from muses_lab.scenes.scene import Scenes
from muses_lab.scenes.wire import split

_HEAD = "sealed"

_LEVELS = range(24)
"""Of grids, of which the radii of neighbourhoods are told: the coarsest has the world in a pixel."""


def seal(published: Published) -> bytes:
    """A private chain as bytes for a process that plans without running its code.

    The results of its `region` and `fit` nodes must have come (`compute.wholes.prepare`): they are evaluated by nobody
    else, and kept nowhere else.
    """
    prepared = published.prepared
    if len(published.results) != len(prepared.whole_nodes()):
        raise MusesError("a chain is sealed with the results of its whole areas: evaluate them first")
    operators: dict[str, StandIn] = {}
    apart: set[str] = set()
    """Nodes on grids that are named after nodes of which stand-ins have other names."""

    def replaced(node: Node, arguments: dict[str, Any]) -> Node:
        step = prepared[node]
        private, support = runs_code(node), step.operator.support
        above = any(child.hash in hidden for child in node.inputs)
        on_own_grids = any(child.hash in apart for child in node.inputs) or (above and isinstance(support, Region))
        if private or above:
            hidden.add(node.hash)
        if not private and not on_own_grids:
            return Node(node.process, arguments, node.version)
        on_own_grids = on_own_grids or isinstance(support, Region | Regrid)
        if on_own_grids:
            apart.add(node.hash)
        op = registry.lend(StandIn(_answers(step, on_own_grids)))
        operators[op.id] = op
        return Node(op.id, {name: arguments[name] for name in op.cubes}, op.version)

    hidden: set[str] = set()
    plan = graph.rebuild(prepared.root, replaced)
    told = {
        "document": graph.to_bytes(plan).decode(),
        "operators": [op.answers.to_json() for op in operators.values()],
        "left_out": published.left_out,
    }
    body = published.packed(**{_HEAD: told})
    _check_same(prepared.output, Sealed.opened(body).prepared.output)
    return body


def runs_code(node: Node) -> bool:
    """Whether a node, or a callback of it, runs code of the chain's author."""
    callbacks = [value.root for value in node.arguments.values() if isinstance(value, Callback)]
    return registry[node.process].private or any(
        registry[inner.process].private for root in callbacks for inner in graph.walk_all(root)
    )


@dataclass(frozen=True, eq=False)
class Sealed:
    """A private chain whose code this process has as bytes only. In the place of a `Published`."""

    chain_hash: str
    hash: str
    payload: bytes
    left_out: Sequence[str]
    plan: Published
    """What there is to know of it without its code."""
    operators: tuple[StandIn, ...]
    """Held here, and so known to the registry."""

    @classmethod
    def opened(cls, body: bytes) -> Sealed:
        """What `seal` gave; `DocumentError` for anything else."""
        try:
            head, parts = split(body)
            if lacking := [name for name, part in parts.items() if len(part) != head["parts"][name]]:
                raise ValueError(f"{lacking[0]} is cut off")
            told = head[_HEAD]
            operators = tuple(registry.lend(StandIn(Answers.from_json(answers))) for answers in told["operators"])
            root = graph.parse(told["document"], registry)
            for node in graph.walk(root):
                if runs_code(node) and not isinstance(registry[node.process], StandIn):
                    raise PrivateChain(f"the plan of a sealed chain holds code: {node.process!r}", process=node.process)
            chain_hash = hashlib.sha256(head["document"].encode()).hexdigest()
            results = {name.removeprefix("result "): part for name, part in parts.items() if name.startswith("result ")}
            hash, left_out = hash_of(chain_hash, results, head["incomplete"]), list(map(str, told["left_out"]))
            artefacts = {
                digest: Artefact.unpacked(kinds[kind], digest, bytes(parts[f"artefact {digest}"]))
                for digest, kind in references(root).items()
            }
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            if isinstance(error, MusesError):
                raise
            raise DocumentError(f"these bytes are no sealed chain: {type(error).__name__}: {error}") from None
        return cls(chain_hash, hash, body, left_out, Published(root, artefacts), operators)

    @property
    def prepared(self) -> PreparedGraph:
        return self.plan.prepared

    @property
    def scenes(self) -> Mapping[str, Scenes]:
        return self.plan.scenes

    @property
    def remote(self) -> bool:
        return self.plan.remote

    @property
    def results(self) -> Mapping[str, bytes]:
        """Which results are in the payload; not what they are."""
        return {step.node.hash: b"" for step in self.prepared.whole_nodes()}


def _answers(step: Step, on_own_grids: bool) -> Answers:
    op, arguments = step.operator, step.arguments
    radii = None
    if isinstance(op.support, Focal):
        sizes = {grid.pixel_metres(level) for grid in step.grids.values() for level in _LEVELS}
        radii = tuple((size, int(step.halo(size))) for size in sorted(sizes))
    groups = step.groups
    return Answers(
        cubes=tuple(name for name in op.cubes if name != op.asks_dates_of),
        meta=step.meta,
        needs={name: bands for name, bands in step.needs.items() if name != op.asks_dates_of},
        strict=step.strict,
        reduces=op.reduces(arguments),
        along=op.along(arguments),
        masks=op.masks,
        dates=step.times if op.dates is not None and step.meta.time else None,
        groups=groups,
        labels=None if groups is None or op.labels is None else tuple(step.labels[time] for time in step.times),
        radii=radii,
        grids=step.grids if on_own_grids else None,
    )


def _check_same(chain: Step, plan: Step) -> None:
    """A plan of another image than the chain's would show pixels at wrong places: never."""
    for what in ("meta", "times", "labels"):
        if getattr(chain, what) != getattr(plan, what):
            raise MusesError(
                f"this private chain cannot be shown: its plan has other {what} than the chain itself (this is an "
                "error of MUSES Lab). It can be computed and exported"
            )
    if dict(chain.grids) != dict(plan.grids):
        raise MusesError(
            "this private chain cannot be shown: its plan has other grids than the chain itself (this is an error of "
            "MUSES Lab). It can be computed and exported"
        )

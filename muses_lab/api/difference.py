"""What differs between two chains: steps that are added, removed, or have other arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from muses_lab.api.expression import Expression
from muses_lab.api.formula import told_apart, value_text
from muses_lab.document import graph
from muses_lab.document.graph import Node
from muses_lab.errors import ArgumentError
from muses_lab.operators import registry
from muses_lab.plain import shown

Kind = Literal["same", "moved", "changed", "added", "removed"]

_SIGNS = {"same": " ", "moved": " ", "changed": "~", "added": "+", "removed": "-"}
_MOST = 1_000_000
"""Pairs of steps that are weighed; beyond that only equal ones are found."""


@dataclass(frozen=True)
class StepDifference:
    """One step of two chains."""

    kind: Kind
    """`moved`: the same step, of something that differs."""
    process: str
    before: str | None
    """Its name in the first chain's document; None: it is not there."""
    after: str | None
    """Its name in the second one's."""
    arguments: Mapping[str, tuple[str | None, str | None]]
    """Argument → its value in both, as text; None where it has its default."""

    def __str__(self) -> str:
        changes = [f"{name}: {_side(a)} → {_side(b)}" for name, (a, b) in self.arguments.items()]
        if self.kind in ("added", "removed"):
            changes = [f"{name}={b if a is None else a}" for name, (a, b) in self.arguments.items()]
        return f"{_SIGNS[self.kind]} {self.after or self.before}{' (' if changes else ''}{', '.join(changes)}" + (
            ")" if changes else ""
        )


def _side(value: str | None) -> str:
    return "default" if value is None else value


@dataclass(frozen=True, repr=False)
class Difference:
    """What differs between two chains; made by `ml.compare`.

    ```python
    found = ml.compare(ndvi.median("t"), ndvi.quantile(0.9, "t"))
    print(found)
    found.is_same, found.changed, found.added, found.removed
    ```
    """

    steps: tuple[StepDifference, ...]
    """All steps of both, inputs before what uses them."""

    def _of(self, kind: Kind) -> tuple[StepDifference, ...]:
        return tuple(step for step in self.steps if step.kind == kind)

    @property
    def added(self) -> tuple[StepDifference, ...]:
        """Steps that only the second chain has."""
        return self._of("added")

    @property
    def removed(self) -> tuple[StepDifference, ...]:
        """Steps that only the first chain has."""
        return self._of("removed")

    @property
    def changed(self) -> tuple[StepDifference, ...]:
        """Steps that have other arguments."""
        return self._of("changed")

    @property
    def is_same(self) -> bool:
        """Whether both are the same chain."""
        return all(step.kind == "same" for step in self.steps)

    def __str__(self) -> str:
        told = [str(step) for step in self.steps if step.kind not in ("same", "moved")]
        if told:
            return "\n".join(told)
        return "the same chain" if self.is_same else "the same steps, one of another"

    def __repr__(self) -> str:
        counts = [f"{len(self._of(kind))} {kind}" for kind in ("added", "removed", "changed") if self._of(kind)]
        return f"<Difference: {', '.join(counts) or str(self)}>"


def compare(a: Any, b: Any) -> Difference:
    """What differs between two chains (or layers): which steps are added, removed, or have other arguments.

    ```python
    print(ml.compare(ndvi.focal_mean(3) > 0.4, ndvi.focal_mean(5) > 0.4))
    # ~ focalmean1 (radius: 3 → 5)
    ```

    A step of one chain is that of the other where it is the same process at the same place in the order; `before` and
    `after` are the names of the nodes in `to_json()`.

    Raises
    ------
    ArgumentError
        One of them is no chain.
    """
    first, second = (_root(one) for one in (a, b))
    mine, its = graph.walk(first), graph.walk(second)
    names, other_names = graph.names(first), graph.names(second)
    partner = _matched(mine, its)
    by_node = {id(two): one for one, two in partner.values()}
    steps: list[StepDifference] = []
    before = iter(mine)
    for two in its:
        one = by_node.get(id(two))
        if one is not None:  # what is gone stands where it stood
            for gone in before:
                if gone is one:
                    break
                if id(gone) not in partner:
                    steps.append(_step("removed", gone, None, names[gone.hash], None))
        if one is None:
            steps.append(_step("added", None, two, None, other_names[two.hash]))
            continue
        kind: Kind = "same" if one.hash == two.hash else "changed" if _own(one) != _own(two) else "moved"
        steps.append(_step(kind, one, two, names[one.hash], other_names[two.hash]))
    told = {step.before for step in steps}
    steps += [
        _step("removed", one, None, names[one.hash], None)
        for one in mine
        if id(one) not in partner and names[one.hash] not in told
    ]
    return Difference(tuple(steps))


def _root(item: Any) -> Node:
    chain = getattr(item, "chain", item)
    if not isinstance(chain, Expression):
        raise ArgumentError(f"compare({shown(item)}) takes two chains, or layers of them")
    return chain._node


def _step(kind: Kind, one: Node | None, two: Node | None, before: str | None, after: str | None) -> StepDifference:
    changes: dict[str, tuple[str | None, str | None]] = {}
    if kind in ("added", "removed"):
        alone = one if one is not None else two
        assert alone is not None
        texts = own_arguments(alone)
        changes = {name: (text, None) if two is None else (None, text) for name, text in texts.items()}
    elif kind == "changed":
        assert one is not None and two is not None
        changes = _changes(_values(one), _values(two))
    found = two if two is not None else one
    assert found is not None
    return StepDifference(kind, found.process, before, after, changes)


def _changes(mine: Mapping[str, Any], its: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """The arguments that differ, each with a text of both in which the difference is seen."""
    changes: dict[str, tuple[str | None, str | None]] = {}
    for name in dict.fromkeys((*mine, *its)):
        if name not in mine or name not in its:
            changes[name] = (
                value_text(mine[name]) if name in mine else None, value_text(its[name]) if name in its else None,
            )  # fmt: skip
        elif _content(mine[name]) != _content(its[name]):
            before, after = told_apart(mine[name], its[name])
            if before == after:  # of formulas that are too long for a line
                before, after = (f"{before} #{_content(own[name])[:8]}" for own in (mine, its))
            changes[name] = before, after
    return changes


def own_arguments(node: Node) -> dict[str, str]:
    """The arguments of a node that are no other nodes, as text, in the order in which they are declared."""
    return {name: value_text(value) for name, value in _values(node).items()}


def _values(node: Node) -> dict[str, Any]:
    order = [name for name in registry[node.process].arguments if name in node.arguments]
    return {name: node.arguments[name] for name in order if not isinstance(node.arguments[name], Node)}


def _own(node: Node) -> tuple[Any, ...]:
    """A node without what it takes."""
    return node.process, tuple(sorted((name, _content(value)) for name, value in node.arguments.items()))


def _content(value: Any) -> str:
    if isinstance(value, Node):
        return ""
    return graph.Node("", {"value": value}, "").hash


def _matched(mine: list[Node], its: list[Node]) -> dict[int, tuple[Node, Node]]:
    """Which step is which, by the identity of the first: equal ones, then those in one order that are most alike."""
    there = {node.hash: node for node in its}
    found = {id(one): (one, there[one.hash]) for one in mine if one.hash in there}
    equal = {one.hash for one, _ in found.values()}
    left, right = ([node for node in order if node.hash not in equal] for order in (mine, its))
    if len(left) * len(right) <= _MOST:
        found.update((id(one), (one, two)) for one, two in _aligned(left, right))
    return found


def _aligned(left: list[Node], right: list[Node]) -> Iterator[tuple[Node, Node]]:
    """Pairs in both orders that are alike: the best sum of likenesses (Needleman and Wunsch 1970)."""
    own = {id(node): _own(node) for node in (*left, *right)}

    def likeness(one: Node, two: Node) -> float:
        if one.process != two.process:
            return 0
        return 3 if own[id(one)] == own[id(two)] else 2 if _inside(one) == _inside(two) else 1

    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) - 1, -1, -1):
        for j in range(len(right) - 1, -1, -1):
            alike = likeness(left[i], right[j])
            both = best[i + 1][j + 1] + alike if alike else 0
            best[i][j] = max(both, best[i + 1][j], best[i][j + 1])
    i = j = 0
    while i < len(left) and j < len(right):
        alike = likeness(left[i], right[j])
        if alike and best[i][j] == best[i + 1][j + 1] + alike:
            yield left[i], right[j]
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1


def _inside(node: Node) -> tuple[str, ...]:
    """The processes that its callbacks end in: a step of `apply` is known by them."""
    return tuple(value.root.process for value in node.arguments.values() if isinstance(value, graph.Callback))

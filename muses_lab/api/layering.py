"""Where the nodes of a graph stand: in layers, from what is read down to the result (Sugiyama, Tagawa and Toda 1981).

Rows are numbers, because how high a row is the page decides; places across are in units of a node's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SWEEPS = 8
_STRAIGHTENINGS = 6
_LANE = 0.22
"""Width of an edge that passes a row, where a node's is 1."""
_GAP = 0.14


def layered(nodes: Sequence[Mapping[str, Any]], inputs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Nodes with `row` and `x` (of their middle), and `edges`: {from, to, points: [[row, x], …]}.

    `inputs` are the nodes that each one takes. A circle, which a faulty document may have, is cut somewhere.
    """
    rows = _rows([node["id"] for node in nodes], inputs)
    layers: list[list[str]] = [[] for _ in range(max(rows.values(), default=-1) + 1)]
    for node in nodes:
        layers[rows[node["id"]]].append(node["id"])
    above: dict[str, list[str]] = {node["id"]: [] for node in nodes}
    edges = []
    for node in nodes:
        for source in dict.fromkeys(inputs[node["id"]]):
            path = [source]
            for row in range(rows[source] + 1, rows[node["id"]]):
                lane = f"{source} > {node['id']} {row}"
                layers[row].append(lane)
                above[lane] = [path[-1]]
                path.append(lane)
            above[node["id"]].append(path[-1])
            edges.append({"from": source, "to": node["id"], "path": [*path, node["id"]]})
    across = _places(_ordered(layers, above), above, {node["id"] for node in nodes})
    row_of = {item: row for row, layer in enumerate(layers) for item in layer}
    placed = [{**node, "row": rows[node["id"]], "x": round(across[node["id"]], 4)} for node in nodes]
    drawn = [
        {"from": e["from"], "to": e["to"], "points": [[row_of[i], round(across[i], 4)] for i in e["path"]]}
        for e in edges
    ]  # fmt: skip
    return {"nodes": placed, "edges": drawn}


def _rows(ids: Sequence[str], inputs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Below all that it takes; what takes nothing stands right above what uses it first."""
    rows: dict[str, int] = {}
    for _ in range(len(ids)):  # as many rounds as the longest way; one where inputs stand first
        before = dict(rows)
        for id in ids:
            rows[id] = min(1 + max((rows.get(one, -1) for one in inputs[id] if one != id), default=-1), len(ids) - 1)
        if rows == before:
            break
    users: dict[str, list[str]] = {id: [] for id in ids}
    for id in ids:
        for one in inputs[id]:
            users[one].append(id)
    for id in ids:
        if not inputs[id] and users[id]:
            rows[id] = max(0, min(rows[one] for one in users[id]) - 1)
    # In a circle, edges that lead up are none of the layout's: they are drawn as they are.
    return rows


def _ordered(layers: list[list[str]], above: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Each row in the order in which its edges cross little: by the mean place of neighbours, down and up again."""
    below: dict[str, list[str]] = {item: [] for layer in layers for item in layer}
    for item, sources in above.items():
        for source in sources:
            below[source].append(item)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        order = layers if down else layers[::-1]
        beside = above if down else below
        place = {item: n for layer in layers for n, item in enumerate(layer)}
        for layer in order:

            def mean(item: str, place: dict[str, int] = place, beside: Any = beside) -> float:
                there = [place[one] for one in beside[item]]
                return sum(there) / len(there) if there else place[item]

            layer.sort(key=mean)
            place.update({item: n for n, item in enumerate(layer)})
    return layers


def _places(layers: list[list[str]], above: Mapping[str, Sequence[str]], nodes: set[str]) -> dict[str, float]:
    """Middles: as near as the order lets to those of their neighbours; the leftmost edge of all is at 0."""
    width = {item: 1.0 if item in nodes else _LANE for layer in layers for item in layer}
    below: dict[str, list[str]] = {item: [] for layer in layers for item in layer}
    for item, sources in above.items():
        for source in sources:
            below[source].append(item)
    across: dict[str, float] = {}
    for layer in layers:
        across.update(_apart(layer, {item: float(n) for n, item in enumerate(layer)}, width))
    for sweep in range(_STRAIGHTENINGS):
        down = sweep % 2 == 1  # the last sweep: what is taken once stands right below what it takes
        for layer in layers if down else layers[::-1]:
            wanted = {item: _middle(item, (above if down else below)[item], across, nodes) for item in layer}
            across.update(_apart(layer, wanted, width))
    left = min((across[item] - width[item] / 2 for item in across), default=0.0)
    return {item: x - left for item, x in across.items()}


def _middle(item: str, beside: Sequence[str], across: Mapping[str, float], nodes: set[str]) -> float:
    """The mean place of the neighbours; edges that pass rows are to be straight first (Gansner et al. 1993)."""
    weights = [(8 if one not in nodes else 2) if item not in nodes else (1 if one in nodes else 0.5) for one in beside]
    if not weights:
        return across[item]
    return sum(across[one] * weight for one, weight in zip(beside, weights, strict=True)) / sum(weights)


def _apart(layer: Sequence[str], wanted: Mapping[str, float], width: Mapping[str, float]) -> dict[str, float]:
    """Middles in one row, in its order and far enough from one another, least squares from where they are wanted:
    after the gaps are taken off that is an isotonic regression (pool adjacent violators)."""
    offsets, offset = [], 0.0
    for n, item in enumerate(layer):
        offset += (width[layer[n - 1]] + width[item]) / 2 + _GAP if n else 0.0
        offsets.append(offset)
    pools: list[tuple[float, int]] = []
    for n, item in enumerate(layer):
        pools.append((wanted[item] - offsets[n], 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, k) = pools[-2:]
            pools[-2:] = [((a * m + b * k) / (m + k), m + k)]
    values = [value for value, count in pools for _ in range(count)]
    return {item: value + offset for item, value, offset in zip(layer, values, offsets, strict=True)}

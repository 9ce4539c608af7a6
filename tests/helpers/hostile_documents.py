"""Documents that nobody means well with: valid ones changed at random, and heaps of what documents are made of."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from muses_lab.operators import registry

PROCESSES = sorted(op.id for op in registry)
TEXTS = [
    "", "t", "bands", "x", "data", "B04", "nir", "near", "a" * 300, "\0", "\ud800", "é", "../..", "/etc/passwd",
    "http://127.0.0.1/x", "file:///etc/passwd", "EPSG:32631", "EPSG:0", "+proj=longlat +nadgrids=/etc/passwd", "NaN",
    "__class__", "2018-01-01", "9999-12-31", "sentinel-2-l2a", "eo:cloud_cover < 60", "(" * 40, "'; DROP TABLE x; --",
    "0" * 64, "GEOGCS[" * 20, "{{7*7}}", "a:b:c", "muses:focal_mean",
]  # fmt: skip
NUMBERS = [0, -1, 1, 2, 0.5, 1e-320, 1e308, -1e308, 2**31, 2**63, 2**64, 10**300, 4326, 32631, 255, 65536, 1.5, -0.0]
BYTES = [b"[", b"{", b'"', b"\\u0000", b"\\ud800", b"1e999", b"NaN", b"-", b"\xff"]
KEYS = [
    "process_id", "arguments", "result", "namespace", "from_node", "from_parameter", "process_graph", "data", "x", "y",
    "type", "west", "crs", "coordinates", "reducer", "muses:operators", "__proto__", "",
]  # fmt: skip
PLACES: list[Any] = [
    {"west": 1.4, "south": 43.5, "east": 1.5, "north": 43.6},
    {"west": 0, "south": 89, "east": 1, "north": 91},
    {"west": -1e308, "south": 0, "east": 1e308, "north": 1, "crs": 32631},
    {"type": "Polygon", "coordinates": [[[1, 43], [2, 43], [2, 44], [1, 43]]]},
    {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]},
    {"type": "GeometryCollection", "geometries": [{"type": "Point"}]},
]


def chain(rng: random.Random) -> dict[str, Any]:
    """A valid document of some steps."""
    steps: list[tuple[str, dict[str, Any]]] = [
        ("load_collection", {"id": "sentinel-2-l2a", "bands": ["B04", "B08"], "spatial_extent": None}),
        ("reduce_dimension", {"dimension": "t", "reducer": callback("median", data={"from_parameter": "data"})}),
    ]
    choice: list[tuple[str, dict[str, Any]]] = [
        ("apply", {"process": callback("multiply", x={"from_parameter": "x"}, y=rng.choice([2, 0.5, -1]))}),
        ("muses:focal_mean", {"radius": rng.randint(1, 5)}),
        ("filter_bands", {"bands": ["B04"]}),
        ("filter_bbox", {"extent": PLACES[0]}),
        ("resample_spatial", {"resolution": rng.choice([20, 100]), "projection": rng.choice([32631, 3857])}),
        ("muses:at_resolution", {"resolution": 40}),
        ("mask", {"mask": {"from_node": "n1"}}),
        ("merge_cubes", {"cube2": {"from_node": "n1"}, "overlap_resolver": callback("add", x=X, y=Y)}),
        ("ndvi", {}),
    ]
    steps += rng.sample(choice, rng.randint(0, 4))
    graph: dict[str, Any] = {}
    for number, (process, arguments) in enumerate(steps):
        namespace, _, plain = process.rpartition(":")
        arguments = copied(arguments)
        if number:
            arguments["cube1" if process == "merge_cubes" else "data"] = {"from_node": f"n{number - 1}"}
        graph[f"n{number}"] = {"process_id": plain, "arguments": arguments}
        if namespace:
            graph[f"n{number}"]["namespace"] = namespace
    graph[f"n{len(steps) - 1}"]["result"] = True
    return {"process_graph": graph} if rng.random() < 0.9 else graph


def copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


X, Y = {"from_parameter": "x"}, {"from_parameter": "y"}


def callback(process: str, **arguments: Any) -> dict[str, Any]:
    return {"process_graph": {"c": {"process_id": process, "arguments": arguments, "result": True}}}


def anything(rng: random.Random, depth: int = 0) -> Any:
    """A JSON value."""
    kind = rng.randrange(12 if depth < 4 else 8)
    if kind < 3:
        return rng.choice(TEXTS)
    if kind < 5:
        return rng.choice(NUMBERS)
    if kind < 8:
        choice = rng.choice([None, True, False, X, Y, {"from_node": f"n{rng.randrange(8)}"}, *PLACES, [], {}])
        return copied(choice)
    if kind == 8:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 9:
        return {rng.choice(KEYS): anything(rng, depth + 1) for _ in range(rng.randrange(4))}
    if kind == 10:
        return callback(rng.choice(PROCESSES), **{rng.choice(["x", "y", "data"]): anything(rng, depth + 1)})
    namespace, _, plain = rng.choice(PROCESSES).rpartition(":")
    return {"process_id": plain, "namespace": namespace or None, "arguments": {"data": {"from_node": "n0"}}}


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a document."""
    found, stack = [], [value]
    while stack:
        item = stack.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            found.append((item, key))
            stack.append(item[key])
    return found


def mutated(document: Any, rng: random.Random) -> Any:
    """A document with one to four changes."""
    document = copied(document)
    for _ in range(rng.choice([1, 1, 2, 4])):
        options = places(document)
        if not options:
            return anything(rng)
        container, key = rng.choice(options)
        match rng.randrange(7):
            case 0:
                del container[key]
            case 1 if isinstance(container, dict):
                container[rng.choice([*KEYS, *TEXTS[:6]])] = copied(container[key])
            case 2:
                other, its = rng.choice(options)
                container[key] = copied(other.get(its) if isinstance(other, dict) else other[its : its + 1])
            case 3 if container.get("process_id") if isinstance(container, dict) else False:
                container["process_id"] = rng.choice(PROCESSES).rpartition(":")[2]
            case 4:
                inner = container[key]
                for _ in range(rng.choice([1, 3, 30, 70, 150])):
                    inner = [inner] if rng.random() < 0.5 else {"process_graph": inner}
                container[key] = inner
            case _:
                container[key] = anything(rng)
    return document


def garbled(document: Any, rng: random.Random) -> bytes:
    """The text of a document with some bytes changed, lost or doubled."""
    body = bytearray(json.dumps(document).encode())
    for _ in range(rng.randint(1, 5)):
        if body:
            at = rng.randrange(len(body))
            match rng.randrange(4):
                case 0:
                    body[at] = rng.randrange(256)
                case 1:
                    del body[at : at + rng.randint(1, 20)]
                case 2:
                    body[at:at] = body[at : at + rng.randint(1, 40)]
                case 3:
                    body[at:at] = rng.choice(
                        [b"[", b"{", b'"', b"\\u0000", b"1e999", b"NaN", b"-", b"\xff", b"\\ud800"]
                    )
    return bytes(body)


def documents(number: int, seed: int) -> Iterator[Any]:
    """So many documents, of every sort: objects, and bytes that were meant to be JSON."""
    rng = random.Random(seed)
    valid = [chain(rng) for _ in range(200)]
    for _ in range(number):
        sort = rng.random()
        if sort < 0.6:
            yield mutated(rng.choice(valid), rng)
        elif sort < 0.8:
            yield garbled(rng.choice(valid), rng)
        elif sort < 0.9:
            yield {f"n{i}": anything(rng) for i in range(rng.randrange(6))}
        else:
            yield anything(rng)

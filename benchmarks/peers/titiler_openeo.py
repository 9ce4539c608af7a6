"""titiler-openeo: its own application behind Uvicorn on loopback, asked for the tiles of an XYZ service.

The service is a process graph, as its users write them, created over its API. It needs a STAC API only to find items:
its `LoadCollection` asks an object for them, and here that object has them in memory, so that no search over HTTP
counts against it.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import os
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from contestant import HEIGHT, TILE, WIDTH, Result, Unsupported, View, day_of, serve, settings, unshadow

unshadow()
SETTINGS = settings(
    at_once=2,  # tiles at a time: a browser asks for six
    threads=1,  # dates of one tile at a time
    whole=0,  # 1: the view in one request for a result, no service
    cache_mb=256,
)
STORE = tempfile.TemporaryDirectory(prefix="titiler-openeo-")  # its services; gone with the process
os.environ |= {  # before the imports, which read them
    "RIO_TILER_MAX_THREADS": str(SETTINGS["threads"]),
    "NUMEXPR_NUM_THREADS": "1",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": str(SETTINGS["cache_mb"]),
    "TITILER_OPENEO_STAC_API_URL": "http://127.0.0.1:9",  # never asked
    "TITILER_OPENEO_STORE_URL": str(Path(STORE.name, "services.json")),
    "TITILER_OPENEO_PROCESSING_MAX_ITEMS": "100000",
    "TITILER_OPENEO_PROCESSING_MAX_PIXELS": "1000000000000",
}

import numpy as np  # noqa: E402
import pystac  # noqa: E402
import uvicorn  # noqa: E402
from openeo_pg_parser_networkx.process_registry import Process  # noqa: E402
from titiler.openeo import __version__  # noqa: E402
from titiler.openeo.main import app  # noqa: E402
from titiler.openeo.processes import PROCESS_SPECIFICATIONS, process_registry  # noqa: E402
from titiler.openeo.processes.implementations import apply  # noqa: E402
from titiler.openeo.stacapi import LoadCollection, stacApiBackend  # noqa: E402

Graph = dict[str, dict[str, Any]]
NOTHING = np.ma.masked_all((TILE, TILE), "f4")


class ItemsInMemory(stacApiBackend):
    """Stands where titiler-openeo has its client of a STAC API."""

    def __init__(self, items: list[pystac.Item]) -> None:
        super().__init__(url="memory")
        self.items = items

    def get_items(self, collections: list[str], **query: Any) -> list[pystac.Item]:
        west, south, east, north = query["bbox"]
        first, last = (moment[:10] for moment in query["datetime"].split("/"))
        return [
            item
            for item in self.items
            if first <= item.datetime.date().isoformat() <= last
            and item.bbox[0] < east
            and item.bbox[2] > west
            and item.bbox[1] < north
            and item.bbox[3] > south
        ]


class TitilerOpeneo:
    name = "titiler-openeo, whole view" if SETTINGS["whole"] else "titiler-openeo"
    version = __version__

    def __init__(self) -> None:
        self.address = start_server()
        self.raw: list[dict[str, Any]] = []
        self.services: dict[str, str] = {}  # by graph
        self.seen: dict[Any, np.ma.MaskedArray] = {}  # what was coloured, by bounds: the API gives only pictures of it
        register("apply", self.observe(apply))

    def open(self, folder: Path, items: list[dict[str, Any]]) -> None:
        self.raw = items
        loader = LoadCollection(ItemsInMemory([pystac.Item.from_dict(item) for item in items]))
        register("load_collection", loader.load_collection)

    def forget(self) -> None:
        """Nothing to drop: titiler-openeo keeps no tiles, only lists of collections, which are not asked for here."""

    def view(self, view: View) -> Result:
        graph = self.graph(view)
        self.seen = {}
        if SETTINGS["whole"]:
            west, south, east, north = view.bounds
            extent = {"west": west, "south": south, "east": east, "north": north, "crs": 3857}
            graph["load"]["arguments"] |= {
                "spatial_extent": extent,
                "width": WIDTH,
                "height": HEIGHT,
                "target_crs": 3857,
            }
            images = [self.ask("/result", {"process": {"process_graph": graph}})[0]]
        else:
            service = self.service(graph)
            paths = [f"/services/xyz/{service}/tiles/{z}/{x}/{y}" for x, y, z in view.tiles]
            with ThreadPoolExecutor(SETTINGS["at_once"]) as pool:
                images = list(filter(None, pool.map(self.tile, paths)))
            self.seen |= dict.fromkeys(range(len(paths) - len(images)), NOTHING)
        return Result(list(self.seen.values()), images, {"requests": len(self.seen)})

    def tile(self, path: str) -> bytes | None:
        """A PNG, or none where there are no scenes: maps show nothing there."""
        try:
            return self.ask(path)[0]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise RuntimeError(f"{path} answered {error.code}: {error.read().decode()}") from error

    def observe(self, process: Callable) -> Callable:
        """`apply`, the step from values to colour indices, with a look at the values that costs no time."""

        @functools.wraps(process)  # its name and types are read by titiler-openeo
        def observed(data: Any, *arguments: Any, **named: Any) -> Any:
            self.seen[data.first.bounds] = data.first.array
            return process(data, *arguments, **named)

        return observed

    def graph(self, view: View) -> Graph:
        if view.workload not in ("W1", "W2"):
            raise Unsupported(
                "titiler-openeo has no process that looks at neighbours (no apply_kernel, no apply_neighborhood)"
                if view.workload == "W3"
                else f"{view.workload} is not written for titiler-openeo: W1 and W2 are"
            )
        days = [day_of(item) for item in view.choose(self.raw)]
        load = {
            "id": "sentinel-2",
            "spatial_extent": {"from_parameter": "bounding_box"},
            "target_crs": {"from_parameter": "target_crs"},
            "temporal_extent": [f"{days[0]}T00:00:00Z", f"{days[-1]}T23:59:59Z"],
            "bands": ["B04", "B08"] + ["SCL"] * (view.workload == "W1"),
        }
        if set(days) != {day_of(item) for item in self.raw if days[0] <= day_of(item) <= days[-1]}:
            raise Unsupported("load_collection takes one interval of time, and the dates asked for are not one")
        graph: Graph = {
            "load": {"process_id": "load_collection", "arguments": load},
            "ndvi": {"process_id": "ndvi", "arguments": {"data": node("load"), "nir": 2, "red": 1}},
        }
        values = "ndvi"
        if view.workload == "W1":
            graph |= {
                "unclear": {
                    "process_id": "reduce_dimension",
                    "arguments": {
                        "data": node("load"),
                        "dimension": "bands",
                        "reducer": {"process_graph": unclear(view)},
                    },
                },
                "clear": {"process_id": "mask", "arguments": {"data": node("ndvi"), "mask": node("unclear")}},
                "median": {
                    "process_id": "reduce_dimension",
                    "arguments": {
                        "data": node("clear"),
                        "dimension": "t",
                        "reducer": {"process_graph": call("median", data=parameter("data"))},
                    },
                },
            }
            values = "median"
        if view.threshold is not None:
            below = call("lt", x=parameter("x"), y=view.threshold)
            graph |= {
                "below": {
                    "process_id": "apply",
                    "arguments": {"data": node(values), "process": {"process_graph": below}},
                },
                "above": {"process_id": "mask", "arguments": {"data": node(values), "mask": node("below")}},
            }
            values = "above"
        scale = call("linear_scale_range", x=parameter("x"), inputMin=0, inputMax=1, outputMin=0, outputMax=255)
        graph |= {
            "scaled": {"process_id": "apply", "arguments": {"data": node(values), "process": {"process_graph": scale}}},
            "palette": {"process_id": "get_colormap", "arguments": {"name": "rdylgn"}},
            "coloured": {"process_id": "colormap", "arguments": {"data": node("scaled"), "colormap": node("palette")}},
            "png": {
                "process_id": "save_result",
                "arguments": {"data": node("coloured"), "format": "PNG"},
                "result": True,
            },
        }
        return graph

    def service(self, graph: Graph) -> str:
        """Created once per graph, as a teacher would publish a layer; a tile then is one GET."""
        key = json.dumps(graph, sort_keys=True)
        if key not in self.services:
            _, headers = self.ask(
                "/services", {"type": "xyz", "process": {"process_graph": graph}, "configuration": {}}
            )
            self.services[key] = headers["openeo-identifier"]
        return self.services[key]

    def ask(self, path: str, document: dict[str, Any] | None = None) -> tuple[bytes, Any]:
        request = urllib.request.Request(self.address + path, json.dumps(document).encode() if document else None)
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", "Bearer basic//" + base64.b64encode(b"test:test").decode())
        with urllib.request.urlopen(request) as response:
            return response.read(), response.headers


def unclear(view: View) -> Graph:
    """True where the third band is none of the clear classes."""
    graph: Graph = {
        "class": {"process_id": "array_element", "arguments": {"data": parameter("data"), "index": 2}},
    }
    last = ""
    for number in view.classes:
        graph[f"not{number}"] = {"process_id": "neq", "arguments": {"x": node("class"), "y": number}}
        if last:
            both = {"x": node(last), "y": node(f"not{number}")}
            graph[f"none{number}"] = {"process_id": "and", "arguments": both}
        last = f"none{number}" if last else f"not{number}"
    graph[last]["result"] = True
    return graph


def node(name: str) -> dict[str, str]:
    return {"from_node": name}


def parameter(name: str) -> dict[str, str]:
    return {"from_parameter": name}


def call(process: str, **arguments: Any) -> Graph:
    return {"only": {"process_id": process, "arguments": arguments, "result": True}}


def register(name: str, implementation: Callable) -> None:
    process_registry[name] = Process(spec=PROCESS_SPECIFICATIONS[name], implementation=implementation)


def start_server() -> str:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # a traceback for every tile where there are no scenes
    serve(TitilerOpeneo())

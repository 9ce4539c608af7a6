"""openeo-processes-dask: a process graph over one cube of the whole view, run by its parser and processes.

The package leaves `load_collection` to the back-end that uses it; here that is odc-stac with the chunking that is best
for odc-stac alone. What follows (bands, mask, median, kernel) are the package's own processes on Dask arrays.
"""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from typing import Any

from contestant import HEIGHT, WIDTH, Result, Unsupported, View, ndvi_shift, serve, settings, unshadow
from palette import png

unshadow()
SETTINGS = settings(
    threads=2,
    rows=0,  # of the view in a chunk that is loaded; 0: all
    block_rows=64,  # of the view in a chunk of the median; 0: as loaded
)
os.environ |= {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}

import dask  # noqa: E402
import odc.stac  # noqa: E402
import openeo_processes_dask.specs as specs  # noqa: E402
import pystac  # noqa: E402
import xarray as xr  # noqa: E402
from affine import Affine  # noqa: E402
from odc.geo.geobox import GeoBox  # noqa: E402
from openeo_pg_parser_networkx import OpenEOProcessGraph, ProcessRegistry  # noqa: E402
from openeo_pg_parser_networkx.process_registry import Process  # noqa: E402
from openeo_processes_dask.process_implementations.core import process, standard_processes  # noqa: E402

Graph = dict[str, dict[str, Any]]
KERNEL = 5  # pixels


class OpeneoProcessesDask:
    name = "openeo-processes-dask"
    version = importlib.metadata.version("openeo-processes-dask")

    def __init__(self) -> None:
        self.items: list[tuple[dict[str, Any], pystac.Item]] = []
        self.registry = ProcessRegistry(wrap_funcs=[process])
        for implementation in standard_processes:
            name = implementation.__name__.strip("_")
            if spec := getattr(specs, name, None) or getattr(specs, "_" + name, None):
                self.registry[name] = Process(spec=spec, implementation=implementation)

    def open(self, folder: Path, items: list[dict[str, Any]]) -> None:
        self.items = [(item, pystac.Item.from_dict(item)) for item in items]
        dask.config.set(scheduler="threads", num_workers=SETTINGS["threads"])
        odc.stac.configure_rio(cloud_defaults=False, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")

    def forget(self) -> None:
        """Nothing to drop: files are opened and closed by each task, and no result is persisted."""

    def view(self, view: View) -> Result:
        if view.workload not in ("W1", "W2", "W3"):
            raise Unsupported(f"{view.workload} is not written for openeo-processes-dask: W1, W2, W3 are")

        def load_collection(id: str, bands: list[str], **_: Any) -> xr.DataArray:
            return self.load(view, bands)

        self.registry["load_collection"] = Process(spec=specs.load_collection, implementation=load_collection)
        run = OpenEOProcessGraph(pg_data={"process_graph": self.graph(view)}).to_callable(self.registry)
        values = run().compute().values
        return Result([values], [png(values)], {})

    def load(self, view: View, bands: list[str]) -> xr.DataArray:
        """What a back-end does for `load_collection`: stored numbers on the view's grid, one chunk per date."""
        left, bottom, right, top = view.bounds
        grid = GeoBox(
            (HEIGHT, WIDTH), Affine((right - left) / WIDTH, 0, left, 0, (bottom - top) / HEIGHT, top), "EPSG:3857"
        )
        chosen = view.choose([raw for raw, _ in self.items])
        cube = odc.stac.load(
            [item for raw, item in self.items if raw in chosen],
            bands=bands,
            geobox=grid,
            resampling="nearest",
            chunks={"x": -1, "y": SETTINGS["rows"] or -1},
        )
        cube = cube.to_dataarray(dim="bands").rename(time="t")
        if bands == ["SCL"]:
            return cube
        if view.workload == "W1":  # its mask leaves out class 0, which is where nothing is stored
            return cube.astype("f4")
        return cube.astype("f4").where(cube > 0)

    def graph(self, view: View) -> Graph:
        shifts = {ndvi_shift(raw) for raw in view.choose([raw for raw, _ in self.items])}
        if len(shifts) > 1:
            raise Unsupported("one load has one scale and offset; these dates differ")
        graph: Graph = {
            "bands": {"process_id": "load_collection", "arguments": load_arguments("B04", "B08")},
            "ndvi": reduce("bands", "bands", ndvi(shifts.pop())),
        }
        values = "ndvi"
        if view.workload == "W1":
            graph |= {
                "classes": {"process_id": "load_collection", "arguments": load_arguments("SCL")},
                "unclear": reduce("classes", "bands", unclear(view.classes)),
                "clear": {"process_id": "mask", "arguments": {"data": node("ndvi"), "mask": node("unclear")}},
            }
            values = "clear"
            if SETTINGS["block_rows"]:
                self.registry["rechunk"] = Process(spec=RECHUNK, implementation=rechunk)
                graph["blocks"] = {"process_id": "rechunk", "arguments": {"data": node("clear")}}
                values = "blocks"
        graph["one"] = reduce(values, "t", only("median", data=parameter("data")))
        values = "one"
        if view.workload == "W3":
            kernel = {
                "data": node(values),
                "kernel": [[1] * KERNEL] * KERNEL,
                "factor": 1 / KERNEL**2,
                "border": "replicate",
            }
            graph["smooth"] = {"process_id": "apply_kernel", "arguments": kernel}
            values = "smooth"
        if view.threshold is not None:
            below = only("lt", x=parameter("x"), y=view.threshold)
            graph |= {
                "below": {
                    "process_id": "apply",
                    "arguments": {"data": node(values), "process": {"process_graph": below}},
                },
                "above": {"process_id": "mask", "arguments": {"data": node(values), "mask": node("below")}},
            }
            values = "above"
        graph[values]["result"] = True
        return graph


RECHUNK = {"id": "rechunk", "parameters": [{"name": "data", "schema": {}}], "returns": {"schema": {}}}


def rechunk(data: xr.DataArray) -> xr.DataArray:
    """Blocks of rows over all dates: a back-end's own step, so that the median runs in both threads and in cache."""
    return data.chunk({"t": -1, "y": SETTINGS["block_rows"]})


def load_arguments(*bands: str) -> dict[str, Any]:
    return {"id": "sentinel-2", "spatial_extent": None, "temporal_extent": None, "bands": list(bands)}


def ndvi(shift: float) -> Graph:
    """Of stored numbers: the offset that belongs to reflectance stands in the denominator."""
    return {
        "red": {"process_id": "array_element", "arguments": {"data": parameter("data"), "index": 0}},
        "nir": {"process_id": "array_element", "arguments": {"data": parameter("data"), "index": 1}},
        "difference": {"process_id": "subtract", "arguments": {"x": node("nir"), "y": node("red")}},
        "sum": {"process_id": "add", "arguments": {"x": node("nir"), "y": node("red")}},
        "shifted": {"process_id": "add", "arguments": {"x": node("sum"), "y": shift}},
        "ratio": {
            "process_id": "divide",
            "arguments": {"x": node("difference"), "y": node("shifted")},
            "result": True,
        },
    }


def unclear(classes: tuple[int, ...]) -> Graph:
    """True where a scene class is none of these: neighbours in number make one interval."""
    graph: Graph = {"class": {"process_id": "array_element", "arguments": {"data": parameter("data"), "index": 0}}}
    last = ""
    for number, (first, final) in enumerate(intervals(classes)):
        graph |= {
            f"in{number}": {"process_id": "between", "arguments": {"x": node("class"), "min": first, "max": final}},
            f"out{number}": {"process_id": "not", "arguments": {"x": node(f"in{number}")}},
        }
        if last:
            graph[f"none{number}"] = {"process_id": "and", "arguments": {"x": node(last), "y": node(f"out{number}")}}
        last = f"none{number}" if last else f"out{number}"
    graph[last]["result"] = True
    return graph


def intervals(numbers: tuple[int, ...]) -> list[tuple[int, int]]:
    """(4, 5, 6, 11) is 4 to 6 and 11 to 11."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def reduce(data: str, dimension: str, reducer: Graph) -> dict[str, Any]:
    arguments = {"data": node(data), "dimension": dimension, "reducer": {"process_graph": reducer}}
    return {"process_id": "reduce_dimension", "arguments": arguments}


def node(name: str) -> dict[str, str]:
    return {"from_node": name}


def parameter(name: str) -> dict[str, str]:
    return {"from_parameter": name}


def only(process: str, **arguments: Any) -> Graph:
    return {"only": {"process_id": process, "arguments": arguments, "result": True}}


if __name__ == "__main__":
    serve(OpeneoProcessesDask())

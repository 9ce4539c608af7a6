"""Processes that only the reader knows, and arguments as they are written here."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from muses_lab.document import extents
from muses_lab.document.openeo_forms import Form, as_node, objects
from muses_lab.document.openeo_values import Value
from muses_lab.errors import DocumentError

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


_DIMENSIONS = {
    "t": "t", "time": "t", "temporal": "t", "date": "t", "dates": "t", "datetime": "t", "times": "t",
    "bands": "bands", "band": "bands", "b": "bands", "spectral": "bands", "variable": "bands", "variables": "bands",
    "x": "x", "lon": "x", "longitude": "x", "easting": "x", "X": "x", "E": "x",
    "y": "y", "lat": "y", "latitude": "y", "northing": "y", "Y": "y", "N": "y",
}  # fmt: skip
"""How dimensions are called elsewhere → here."""


_TYPES = {"temporal": "t", "bands": "bands"}
"""Type of a dimension in openEO → its name here."""


class OpeneoWarning(UserWarning):
    """Something of a document was read and makes no difference here."""


@dataclass(frozen=True)
class Here:
    """What a collection of a document is here."""

    id: str
    bands: Mapping[str, str]
    """How the document calls bands → how they are called here."""


def collections_here(form: Form, collections: Mapping[str, Any]) -> dict[str, Here]:
    """What collections are here, by their id in the document."""
    loaded = [
        item["arguments"].get("id")
        for item in objects([form.graph, form.processes])
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
        found[name] = Here(given["id"], bands)
    return found


def passed(process: str, arguments: dict[str, Any], data: Value, path: str) -> Value:
    if data.json is None:
        if "data" not in arguments:
            raise DocumentError(
                f"node {path!r}: {process!r} needs the argument 'data'", openeo="ProcessParameterMissing", node=path,
                argument="data",
            )  # fmt: skip
        data = Value(arguments["data"])
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


def renamed_dimension(arguments: dict[str, Any], data: Value, path: str) -> Value:
    source, target = arguments.get("source"), arguments.get("target")
    if not isinstance(source, str) or not isinstance(target, str):
        raise DocumentError(
            f"node {path!r}: 'rename_dimension' takes the names `source` and `target`",
            openeo="ProcessParameterInvalid",
            node=path,
        )
    here = dimension_here(source, data.dimensions)
    if here not in _DIMENSIONS.values():
        raise DocumentError(
            f"node {path!r}: there is no dimension {source!r} to rename; there are t, bands, x and y under any of "
            "their names",
            openeo="DimensionNotAvailable",
            node=path,
            argument="source",
        )
    if (other := dimension_here(target, data.dimensions)) != here and other in ("x", "y"):  # which all cubes have
        raise DocumentError(
            f"node {path!r}: there is a dimension {target!r} already",
            openeo="DimensionExists",
            node=path,
            argument="target",
        )
    return replace(data, dimensions={**data.dimensions, target: here})


def load_here(here: Here, arguments: dict[str, Any], made: str, path: str, out: dict[str, Any]) -> None:
    """A collection by its id here, whose bands are then called as the document calls them."""
    wanted, names, given = arguments.get("bands"), dict(here.bands), {**arguments, "id": here.id}
    if isinstance(wanted, list) and all(isinstance(band, str) for band in wanted):
        names = {band: own for band, own in names.items() if band in wanted}
        given["bands"] = [names.get(band, band) for band in wanted]
    loaded = as_node("load_collection", placed("load_collection", given, path))
    if not names:
        out[made] = loaded
        return
    out[f"{made}/here"] = loaded
    renamed = {"source": list(names.values()), "target": list(names), "dimension": "bands"}
    out[made] = as_node("rename_labels", {"data": {"from_node": f"{made}/here"}, **renamed})


def write_arrays(arguments: dict[str, Any], made: str, out: dict[str, Any]) -> None:
    """The arrays between which an `if` chooses, as nodes."""
    for side in ("accept", "reject"):
        if isinstance(values := arguments.get(side), list):
            out[f"{made}/{side}"] = as_node("array_create", {"data": values})
            arguments[side] = {"from_node": f"{made}/{side}"}


def of_every_value(process: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A process of values that is given one cube, as an `apply` of it: what clients wrote before there was `apply`."""
    cubes = [name for name, value in arguments.items() if Value(value).is_node]
    if len(cubes) != 1:
        return process, arguments
    inside = as_node(process, {**arguments, cubes[0]: {"from_parameter": "x"}})
    return "apply", {"data": arguments[cubes[0]], "process": {"process_graph": {"1": {**inside, "result": True}}}}


def dimension_here(name: str, dimensions: Mapping[str, str]) -> str:
    return dimensions.get(name) or _DIMENSIONS.get(name, name)


def added_dimension(arguments: dict[str, Any], dimensions: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """`add_dimension` with our name of the dimension, which its type tells, or what it is called."""
    name = arguments.get("name")
    if not isinstance(name, str):
        return arguments, dimensions
    here = _TYPES.get(str(arguments.get("type"))) or _DIMENSIONS.get(name)
    if here is None:
        return arguments, dimensions
    return {**arguments, "name": here}, {**dimensions, name: here}


def refolded(arguments: dict[str, Any], dimensions: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """`flatten_dimensions` and `unflatten_dimension` with our names; the dimension that is made has its own no more."""
    made = dict(arguments)
    for key in ("dimensions", "target_dimensions"):
        if isinstance(names := made.get(key), list) and all(isinstance(name, str) for name in names):
            known = dimensions if key == "dimensions" else {}
            made[key] = [dimension_here(name, known) for name in names]
    target = made.get("target_dimension")
    if isinstance(target, str) and "dimensions" in made and target not in ("x", "y"):
        return {**made, "target_dimension": "bands"}, {target: "bands"}
    return made, dimensions


def called_here(value: Any, key: str, dimensions: Mapping[str, str]) -> Any:
    """An argument in which dimensions have our names."""
    if isinstance(value, str):
        return dimension_here(value, dimensions) if key in ("dimension", "target_dimension") else value
    if isinstance(value, dict) and "process_graph" not in value and "type" not in value:
        return {name: called_here(item, name, dimensions) for name, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [called_here(item, "", dimensions) for item in value]
    return value


def placed(process: str, arguments: dict[str, Any], path: str) -> dict[str, Any]:
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

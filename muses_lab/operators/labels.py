"""Processes of openEO on the labels of a cube's dimensions: chosen by a condition, renamed, added, dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from muses_lab.document.graph import Callback, Node, Parameter, walk
from muses_lab.errors import ArgumentError, BandError, DocumentError
from muses_lab.operators.contract import Compiling, Condition, Cube, Dates, Groups, Images, Meta, Refused, same_bands
from muses_lab.operators.cubes import instant
from muses_lab.operators.declare import operator
from muses_lab.operators.given import band_name, moment
from muses_lab.operators.methods import Dimension, on_cube
from muses_lab.operators.registered import registry
from muses_lab.plain import shown

# ----------------------------------------------------------------------------------------------------- choosing

_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "eq": str.__eq__, "neq": str.__ne__, "text_begins": str.startswith, "text_ends": str.endswith,
    "text_contains": str.__contains__,
}  # fmt: skip
_ORDERS = ("gt", "gte", "lt", "lte", "between")


def holds(condition: Callback, label: str) -> bool:
    """Whether a condition is true of a label."""
    found: dict[str, Any] = {}

    def value(argument: Any) -> Any:
        if isinstance(argument, Parameter):
            return label
        return found[argument.hash] if isinstance(argument, Node) else argument

    for node in walk(condition.root):
        given = {name: value(argument) for name, argument in node.arguments.items()}
        texts = [v for v in given.values() if isinstance(v, str)]
        if len(texts) == 2 and node.process in _TEXTS:
            if given.get("case_sensitive") is False:
                texts = [text.casefold() for text in texts]
            found[node.hash] = np.float32(_TEXTS[node.process](*texts))
        elif node.process in _ORDERS and texts:
            raise DocumentError(
                f"{node.process!r} orders numbers, and labels are texts: of dates ask `date_between`, `date_difference`"
            )
        elif node.process == "array_contains" and isinstance(given["value"], str):
            found[node.hash] = np.float32(given["value"] in given["data"])
        elif node.process in ("eq", "neq") and texts:  # a text is no number
            found[node.hash] = np.float32(node.process == "neq")
        else:
            try:
                found[node.hash] = registry[node.process].fn(**given)
            except TypeError:
                raise DocumentError(f"{node.process!r} cannot be asked of the label {label!r}, a text") from None
    result = found[condition.root.hash]
    return result is not None and bool(np.nan_to_num(float(result)))


def date_label(time: np.datetime64) -> str:
    """A date as openEO's labels are: RFC 3339, in UTC.

    >>> date_label(np.datetime64("2018-03-01T10:30"))
    '2018-03-01T10:30:00Z'
    """
    return str(time.astype("M8[s]")) + "Z"


def _chosen(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["data"]
    if arguments["dimension"] == "t":
        if not meta.time:
            raise DocumentError(
                "the dimension 't' has been reduced already: it has no labels to choose from",
                openeo="DimensionNotAvailable",
            )
        return meta
    if meta.bands is None:
        raise DocumentError(
            "the data have no dimension 'bands': it has no labels to choose from", openeo="DimensionNotAvailable"
        )
    bands = tuple(band for band in meta.bands if holds(arguments["condition"], band))
    if not bands and meta.bands:
        raise BandError(f"no band is left of {', '.join(meta.bands)}: the condition is true of none")
    return Meta(meta.time, bands, meta.common)


def _chosen_needs(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    bands = _chosen(arguments, metas).bands
    return {"data": None if bands is None else tuple(b for b in bands if wanted is None or b in wanted)}


def _chosen_dates(arguments: Mapping[str, Any], times: Dates) -> Dates:
    if arguments["dimension"] != "t":
        return times
    return tuple(time for time in times if holds(arguments["condition"], date_label(time)))


def _filter_labels(data: Node, dim: Dimension, labels: list[str]) -> Node:
    """The bands or dates with one of the labels: names of bands, dates as texts (2018-03-01T10:30:00Z).

    ```python
    s2.filter_labels("bands", ["B04", "B08"])
    ```

    Bands are taken by their own names; `bands` takes common names, too, and `dates` takes periods.
    """
    if not isinstance(labels, list | tuple) or not labels or not all(isinstance(label, str) for label in labels):
        raise ArgumentError(f"{shown(labels)} is no list of labels such as ['B04', 'B08']")
    same = [_inside("eq", x=Parameter("value"), y=label) for label in labels]
    root = same[0]
    for other in same[1:]:
        root = _inside("or", x=root, y=other)
    return on_cube(data, "filter_labels", condition=Callback(root), dimension=dim)


def _inside(process: str, **arguments: Any) -> Node:
    return registry.node(process, inside_callback=True, **arguments)


@operator(
    "filter_labels", shape=_chosen, needs=_chosen_needs, dates=_chosen_dates, method=_filter_labels,
    partly="of dates and bands",
)  # fmt: skip
def filter_labels(data: Cube, condition: Condition, dimension: Literal["t", "bands"]) -> Cube:
    """The bands or dates whose label fulfils a condition on `value` (openEO).

    ```python
    s2.filter_labels("bands", ["B04", "B08"])
    ```

    Labels are the names of bands, and dates as texts (2018-03-01T10:30:00Z).
    """
    if dimension == "t":
        return data.isel(t=[k for k, time in enumerate(data.t.values) if holds(condition, date_label(time))])  # type: ignore[arg-type]
    return data.isel(bands=[k for k, band in enumerate(data.bands.values) if holds(condition, str(band))])  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------- renaming

Names = Annotated[list[str | float], Field(max_length=200)]


def _new_names(arguments: Mapping[str, Any], meta: Meta) -> dict[str, str]:
    """Label → label after."""
    bands = meta.bands
    if bands is None:
        raise DocumentError(
            "the data have no dimension 'bands': it has no labels to rename", openeo="DimensionNotAvailable"
        )
    target = [str(name) for name in arguments["target"]]
    if not arguments["source"] and len(target) > len(bands):
        raise DocumentError(f"{len(target)} labels for {len(bands)} bands ({', '.join(bands)})", openeo="LabelMismatch")
    try:
        source = [meta.find(str(name)) for name in arguments["source"]] or bands[: len(target)]
    except BandError as error:
        raise BandError(error.message, openeo="LabelNotAvailable", **error.details) from None
    names = dict(zip(source, target, strict=True))
    after = [names.get(band, band) for band in bands]
    if twice := {name for name in after if after.count(name) > 1}:
        raise BandError(f"there would be two bands {sorted(twice)[0]!r}", openeo="LabelExists", band=sorted(twice)[0])
    return names


def _renamed(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["data"]
    if arguments["dimension"] == "t":
        if not meta.time:
            raise DocumentError(
                "the data have no dimension 't': it has no labels to rename", openeo="DimensionNotAvailable"
            )
        return meta
    names = _new_names(arguments, meta)
    common = {name: names.get(band, band) for name, band in meta.common.items()}
    return Meta(meta.time, tuple(names.get(band, band) for band in meta.bands or ()), common)


def _renamed_needs(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    if arguments["dimension"] == "t":
        return same_bands(arguments, metas, wanted)
    names, bands = _new_names(arguments, metas["data"]), metas["data"].bands or ()
    return {"data": tuple(band for band in bands if wanted is None or names.get(band, band) in wanted)}


def _renamed_narrowed(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    if arguments["dimension"] == "t":
        return {}
    (bands,) = _renamed_needs(arguments, metas, wanted).values()
    names = {band: name for band, name in _new_names(arguments, metas["data"]).items() if band in bands}
    return {"source": list(names), "target": list(names.values())}


def _renamed_images(
    compiling: Compiling, arguments: Mapping[str, Any], inputs: Mapping[str, Images], bands: tuple[str, ...] | None
) -> Images:
    if arguments["dimension"] == "t":
        raise compiling.refuse("other dates")
    have = inputs["data"]
    if not arguments["source"]:
        return dict(zip(bands or (), have.values(), strict=True))
    names = dict(zip(arguments["source"], arguments["target"], strict=True))
    return {names.get(band, band): value for band, value in have.items()}


def _check_names(arguments: Mapping[str, Any]) -> None:
    source, target = arguments["source"], arguments["target"]
    if source and len(source) != len(target):
        raise Refused("LabelMismatch", f"{len(target)} new labels for {len(source)} old ones")
    for given in (source, target):
        if len(set(map(str, given))) < len(given):
            raise ValueError(f"the labels {given} must differ")
        for label in given if arguments["dimension"] == "t" else ():
            _date_of(label)


def _date_of(label: str | float) -> np.datetime64:
    try:
        return instant(str(label))
    except ValueError:
        raise ValueError(f"the labels of 't' must be dates, not {label!r}") from None


def _renamed_groups(arguments: Mapping[str, Any], dates: Mapping[str, Dates]) -> Groups | None:
    """The new dates, each with the date that it was."""
    if arguments["dimension"] != "t":
        return None
    times = dates["data"]
    target = [_date_of(label) for label in arguments["target"]]
    source = [_date_of(label) for label in arguments["source"]] or list(times[: len(target)])
    listed = ", ".join(map(date_label, times)) or "no dates"
    if len(target) > len(source):
        raise DocumentError(f"{len(target)} labels for {len(times)} dates ({listed})", openeo="LabelMismatch")
    if gone := [time for time in source if time not in times]:
        raise DocumentError(
            f"there is no date {date_label(gone[0])}; the data have {listed}", openeo="LabelNotAvailable"
        )
    names = dict(zip(source, target, strict=True))
    after = [names.get(time, time) for time in times]
    if twice := {time for time in after if after.count(time) > 1}:
        raise DocumentError(f"there would be two dates {date_label(min(twice))}", openeo="LabelExists")
    return {new: (time,) for new, time in sorted(zip(after, times, strict=True))}


def _rename_bands(data: Node, names: dict[str, str]) -> Node:
    """The bands under other names: old name (or common name) → new one.

    ```python
    s2.rename_bands({"red": "R", "nir": "N"})
    ```

    Bands that are not named keep their name. An error where two would have the same.
    """
    if not isinstance(names, Mapping) or not names:
        raise ArgumentError(f"{shown(names)} does not say which bands to rename: give {{'B04': 'red'}}")
    old, new = ([band_name(name) for name in side] for side in (names, names.values()))
    return on_cube(data, "rename_labels", dimension="bands", source=old, target=new)


@operator(
    "rename_labels", shape=_renamed, needs=_renamed_needs, narrowed=_renamed_narrowed, images=_renamed_images,
    groups=_renamed_groups, rule=_check_names, method=_rename_bands,
)  # fmt: skip
def rename_labels(
    data: Cube,
    dimension: Dimension,
    target: Names,
    source: Names = [],  # noqa: B006
    meta: Meta | None = None,
    groups: Groups | None = None,
) -> Cube:
    """The bands (or dates) under other names, in `source`'s order; in their own order where `source` is empty (openEO).

    ```python
    s2.rename_bands({"red": "R", "nir": "N"})
    ```

    Dates get other dates, and are in the order of these afterwards.
    """
    if groups is not None:
        have = {time: place for place, time in enumerate(data.t.values)}
        times = {new: have[old] for new, (old,) in groups.items() if old in have}
        return data.isel(t=list(times.values())).assign_coords(t=np.array(list(times), "datetime64[ns]"))
    own = meta or Meta(bands=tuple(data.bands.values))
    names = _new_names({"source": source, "target": target}, own)
    labels = np.array([names.get(band, band) for band in data.bands.values], dtype=object)
    return data.assign_coords(bands=labels)


# ------------------------------------------------------------------------------------------- adding and dropping


def _added(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta, name = metas["data"], arguments["name"]
    if meta.time if name == "t" else meta.bands is not None:
        raise DocumentError(f"the cube has a dimension {name!r} already", openeo="DimensionExists")
    return Meta(True, meta.bands, meta.common) if name == "t" else Meta(meta.time, (str(arguments["label"]),), {})


def _check_added(arguments: Mapping[str, Any]) -> None:
    name, kind = arguments["name"], arguments["type"]
    if kind not in {"bands": ("bands", "other"), "t": ("temporal", "other")}[name]:
        raise ValueError(f"a dimension {name!r} is not of the type {kind!r}")
    if name == "t":
        try:
            instant(str(arguments["label"]))
        except ValueError:
            raise ValueError(f"the label of 't' must be a date, not {arguments['label']!r}") from None


def _added_groups(arguments: Mapping[str, Any], dates: Mapping[str, Dates]) -> Groups | None:
    if arguments["name"] == "bands":
        return None
    return {instant(str(arguments["label"])): ()}


def _added_needs(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    return {"data": None} if arguments["name"] == "bands" else same_bands(arguments, metas, wanted)


def _added_images(
    compiling: Compiling, arguments: Mapping[str, Any], inputs: Mapping[str, Images], bands: tuple[str, ...] | None
) -> Images:
    if arguments["name"] == "t":
        raise compiling.refuse("a date for an image")
    return {arguments["label"]: inputs["data"][None]}


def _dated(data: Node, date: Any) -> Node:
    """An image as a series of one date.

    ```python
    image.dated("2018-07-01")
    ```

    So that images can be put together as series, with `merge_cubes` or in arithmetic with one of that date.
    """
    return on_cube(data, "add_dimension", name="t", label=moment(date), type="temporal")


@operator(
    "add_dimension",
    shape=_added,
    needs=_added_needs,
    images=_added_images,
    rule=_check_added,
    groups=_added_groups,
    method=_dated,
    partly="`t` or `bands`, where the cube has none",
)
def add_dimension(
    data: Cube,
    name: Literal["bands", "t"],
    label: str | float,
    type: Literal["spatial", "temporal", "bands", "geometry", "other"] = "other",
) -> Cube:
    """The cube with a dimension of one label: `bands` with its name, or `t` with a date (openEO).

    ```python
    ml.rgb(image, other, image)
    image.dated("2018-07-01")
    ```
    """
    if name == "t":
        return data.expand_dims(t=np.array([instant(str(label))], "datetime64[ns]"))
    return data.expand_dims(bands=[str(label)])


def _dropped(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta, name = metas["data"], arguments["name"]
    if not (meta.time if name == "t" else meta.bands is not None):
        raise DocumentError(f"the cube has no dimension {name!r} to drop", openeo="DimensionNotAvailable")
    if name == "t":
        return Meta(False, meta.bands, meta.common)
    if len(meta.bands or ()) != 1:
        raise DocumentError(
            f"the dimension 'bands' has {len(meta.bands or ())} labels ({', '.join(meta.bands or ())}), and only one "
            "of one label can be dropped: choose a band, or reduce it",
            openeo="DimensionLabelCountMismatch",
        )
    return Meta(meta.time, None, {})


def _dropped_needs(arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: Any) -> dict[str, Any]:
    return same_bands(arguments, metas, None if arguments["name"] == "bands" else wanted)


def _drop(data: Node, dim: Literal["t", "bands"]) -> Node:
    """Without a dimension that has one label: a series of one date as an image, a band without its name.

    ```python
    ndvi.by_intervals([("2018-01-01", "2019-01-01")], "max").drop("t")
    ```

    An error where it has several: choose one, or reduce it.
    """
    return on_cube(data, "drop_dimension", name=dim)


@operator(
    "drop_dimension",
    shape=_dropped,
    needs=_dropped_needs,
    reduces="name",
    images=lambda compiling, arguments, inputs, bands: (
        {None: next(iter(inputs["data"].values()))} if arguments["name"] == "bands" else dict(inputs["data"])
    ),
    method=_drop,
)
def drop_dimension(data: Cube, name: Literal["t", "bands"], axes: Mapping[str, Dates] | None = None) -> Cube:
    """The cube without a dimension of one label (openEO).

    ```python
    ndvi.by_intervals([("2018-01-01", "2019-01-01")], "max").drop("t")
    ```
    """
    labels = axes["data"] if axes is not None and name == "t" else data[name].values
    if len(labels) != 1:
        raise DocumentError(
            f"the dimension {name!r} has {len(labels)} labels, and only one of one label can be dropped: choose one, "
            "or reduce it",
            openeo="DimensionLabelCountMismatch",
        )
    if not data.sizes[name]:  # its one date has no data here
        return xr.full_like(data.sum(name), np.nan)
    return data.isel({name: 0}, drop=True)


@operator(
    "trim_cube",
    images=lambda compiling, arguments, inputs, bands: dict(inputs["data"]),
    partly="the cube as it is: which labels have no data, only pixels tell",
)
def trim_cube(data: Cube) -> Cube:
    """The cube as it is: borders without data are cut off by the window, and dates without data are left out of plans.

    ```python
    image.trim_cube()
    ```

    openEO's process removes leading and trailing labels without data. Which these are, only the pixels tell; here a
    window has all dates, missing where they have no data.
    """
    return data

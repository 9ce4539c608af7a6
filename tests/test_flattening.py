"""`flatten_dimensions` and `unflatten_dimension`: dates and bands as one dimension, and apart again."""

from __future__ import annotations

import numpy as np
import pytest

import muses_lab as ml
from muses_lab.document import openeo
from muses_lab.errors import DocumentError
from muses_lab.operators import registry
from tests.helpers.made_stacks import own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

DATES = ["2020-01-05", "2020-02-10", "2020-04-01"]
WINDOW = own_window(20, 30)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Collection, np.ndarray]:
    values = np.random.default_rng(3).uniform(0, 1, (3, 2, 20, 30)).astype(np.float32)
    values[1] = np.nan  # a date without data has its place, too
    return stack(values, tmp_path_factory.mktemp("flat"), dates=DATES), values


def test_labels_and_values_are_in_the_order_that_is_named(made) -> None:
    collection, values = made
    found = collection.flatten().compute(WINDOW)
    assert list(found.bands.values) == [f"{date}T00:00:00Z~{band}" for date in DATES for band in ("B4", "B8")]
    np.testing.assert_array_equal(found.values, values.reshape(6, 20, 30))
    turned = collection.flatten(["bands", "t"], ":").compute(WINDOW)
    assert turned.bands.values[1] == "B4:2020-02-10T00:00:00Z"
    np.testing.assert_array_equal(turned.values, values.transpose(1, 0, 2, 3).reshape(6, 20, 30))
    one = collection.flatten().bands("2020-04-01T00:00:00Z~B8").compute(WINDOW[3:5, 7:9])
    np.testing.assert_array_equal(one.values[0], values[2, 1, 3:5, 7:9])
    ndvi = collection.ndvi()
    np.testing.assert_array_equal(ndvi.flatten(["t"]).compute(WINDOW).values, ndvi.compute(WINDOW).values)


def test_apart_again_they_are_what_they_were(made) -> None:
    collection, _ = made
    there = collection.compute(WINDOW)
    for back in (collection.flatten().unflatten(), collection.flatten(["bands", "t"]).unflatten(["bands", "t"])):
        found = back.compute(WINDOW)
        np.testing.assert_array_equal(found.values, there.values)
        assert (found.t == there.t).all() and list(found.bands.values) == ["B4", "B8"]
        np.testing.assert_array_equal(back.dates("2020-03-01", None).max("t").compute(WINDOW).values, there.values[2])


def test_what_has_no_place_in_a_cube_is_refused(made) -> None:
    collection, _ = made
    image = collection.max("t")
    for make, said in (
        (lambda: collection.flatten(["t"]), "name 'bands'"),
        (lambda: image.flatten(), "no dimension 't'"),
        (lambda: collection.unflatten(), "has dates already"),
        (lambda: image.unflatten(), "has 1 parts"),
        (lambda: image.rename_bands({"B4": "a~b", "B8": "c~d"}).unflatten(), "'a' of the label 'a~b' is no date"),
        (lambda: image.rename_bands({"B4": "2020-01-01~b", "B8": "2020-01-02~d"}).unflatten(), "each date needs"),
    ):
        with pytest.raises(DocumentError, match=said):
            make().compute(WINDOW)
    with pytest.raises(DocumentError, match="named twice"):
        collection.flatten(["t", "t"])


def test_documents_call_the_new_dimension_as_they_like(made) -> None:
    load = {"process_id": "load_collection", "arguments": {"id": "a:b"}}
    flat = {"process_id": "flatten_dimensions", "arguments": {
        "data": {"from_node": "l"}, "dimensions": ["time", "spectral"], "target_dimension": "feature"}}  # fmt: skip
    mean = {"process_id": "mean", "arguments": {"data": {"from_parameter": "data"}}, "result": True}
    reduced = {"process_id": "reduce_dimension", "arguments": {
        "data": {"from_node": "f"}, "dimension": "feature", "reducer": {"process_graph": {"m": mean}}}}  # fmt: skip
    apart = {"process_id": "unflatten_dimension", "arguments": {
        "data": {"from_node": "f"}, "dimension": "feature", "target_dimensions": ["dates", "bands"]}}  # fmt: skip
    (one,) = openeo.read({"l": load, "f": flat, "r": {**reduced, "result": True}}, registry)
    assert one.root.arguments["dimension"] == "bands"
    assert one.root.arguments["data"].arguments["dimensions"] == ["t", "bands"]
    (two,) = openeo.read({"l": load, "f": flat, "u": {**apart, "result": True}}, registry)
    assert two.root.arguments["target_dimensions"] == ["t", "bands"]
    apart["arguments"]["target_dimensions"] = ["A", "B"]
    with pytest.raises(DocumentError, match="'A'"):
        openeo.read({"l": load, "f": flat, "u": {**apart, "result": True}}, registry)

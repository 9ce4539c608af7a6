"""Labels chosen, renamed, added and dropped; cubes of other bands and dates merged: against xarray."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import muses_lab as ml
from muses_lab.document.graph import Callback, Parameter
from muses_lab.errors import MusesError
from muses_lab.operators import registry
from tests.helpers.made_stacks import own_window, stack
from tests.helpers.refusals import refused

pytestmark = pytest.mark.usefixtures("in_threads")

WINDOW = own_window(530, 30)
BANDS = ["B2", "B4", "B8"]


def cube_of(rng, count: int, bands: list[str], first: str) -> xr.DataArray:
    times = np.datetime64(first, "D") + 10 * np.arange(count)
    values = rng.uniform(0, 1, (count, len(bands), 530, 30)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    return xr.DataArray(values, dims=("t", "bands", "y", "x"), coords={"t": times.astype("M8[ns]"), "bands": bands})


def collection_of(cube: xr.DataArray, folder, name: str) -> ml.Collection:
    dates = [str(t)[:10] for t in cube.t.values]
    return stack(cube.values, folder / name, bands=list(cube.bands.values), dates=dates, name=name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("labels")
    a, b = cube_of(rng, 5, BANDS, "2020-01-01"), cube_of(rng, 5, ["B4", "B8", "B11"], "2020-01-21")
    return collection_of(a, folder, "a"), collection_of(b, folder, "b"), a, b


def same(found: xr.DataArray, expected: xr.DataArray) -> None:
    assert found.dims == expected.dims
    for dim in {"t", "bands"} & set(found.dims):
        assert found[dim].values.tolist() == expected[dim].values.tolist()
    np.testing.assert_array_equal(found.values, expected.values)


def inside(process: str, **arguments):
    return registry.node(process, inside_callback=True, **arguments)


def labelled(chain: ml.Chain, dimension: str, root) -> ml.Chain:
    return chain._with("filter_labels", data=chain._node, dimension=dimension, condition=Callback(root))


# --------------------------------------------------------------------------------------------------------- labels


def test_labels_are_chosen_by_a_condition(made) -> None:
    a, _, cube, _ = made
    value = Parameter("value")
    not_red = labelled(a, "bands", inside("neq", x=value, y="B4"))
    same(not_red.compute(WINDOW), cube.sel(bands=["B2", "B8"]))
    same(a.filter_labels("bands", ["B8", "B2"]).compute(WINDOW), cube.sel(bands=["B2", "B8"]))
    same(not_red.band("B8").compute(WINDOW), cube.sel(bands="B8", drop=True))
    one = a.filter_labels("t", ["2020-01-11T00:00:00Z"]).compute(WINDOW)
    same(one, cube.isel(t=[1]))
    other = labelled(a, "t", inside("not", x=inside("eq", x=value, y="2020-01-11T00:00:00Z")))
    same(other.compute(WINDOW), cube.isel(t=[0, 2, 3, 4]))
    same(other.median("t").compute(WINDOW), cube.isel(t=[0, 2, 3, 4]).median("t"))
    with pytest.raises(MusesError, match="no band is left"):
        labelled(a, "bands", inside("eq", x=value, y="red")).compute(WINDOW)
    with pytest.raises(MusesError, match="reduced already"):
        labelled(a.median("t"), "t", inside("eq", x=value, y="red")).compute(WINDOW)


def test_bands_are_renamed_and_only_what_is_used_is_read(made) -> None:
    a, _, cube, _ = made
    renamed = a.rename_bands({"red": "R", "B8": "N"})
    same(renamed.compute(WINDOW), cube.assign_coords(bands=["B2", "R", "N"]))
    same(renamed.band("N").compute(WINDOW), cube.sel(bands="B8", drop=True))
    by_place = a._with("rename_labels", data=a._node, dimension="bands", target=["x", "y"])
    same(by_place.compute(WINDOW), cube.assign_coords(bands=["x", "y", "B8"]))
    last = by_place.bands("B8", "y").median("t")
    same(last.compute(WINDOW), cube.sel(bands=["B8", "B4"]).assign_coords(bands=["B8", "y"]).median("t"))
    assert renamed.band("N").plan(WINDOW).bytes == a.band("B8").plan(WINDOW).bytes
    swapped = a.rename_bands({"B4": "B8", "B8": "B4"})
    same(swapped.band("B8").compute(WINDOW), cube.sel(bands="B4", drop=True))
    same(renamed.ndvi().compute(WINDOW), a.ndvi().compute(WINDOW))  # common names go along
    for names, said in (({"B4": "B8"}, "LabelExists"), ({"B99": "x"}, "no band 'B99'")):
        with refused(said):
            a.rename_bands(names).compute(WINDOW)
    with refused("LabelMismatch"):
        a._with("rename_labels", data=a._node, dimension="bands", target=["a", "b"], source=["B4"])
    with refused("LabelMismatch"):
        a._with("rename_labels", data=a._node, dimension="bands", target=["a", "b", "c", "d"]).compute(WINDOW)


def test_dates_are_renamed_and_in_their_new_order(made) -> None:
    a, _, cube, _ = made

    def renamed(target: list[str], source: list[str] = []) -> ml.Chain:  # noqa: B006
        return a._with("rename_labels", data=a._node, dimension="t", target=target, source=source)

    def with_dates(days: list[str], places: list[int]) -> xr.DataArray:
        return cube.isel(t=places).assign_coords(t=np.array(days, "datetime64[ns]"))

    rest = [str(t)[:10] for t in cube.t.values[2:]]
    same(renamed(["2019-03-01", "2019-02-01"]).compute(WINDOW),
         with_dates(["2019-02-01", "2019-03-01", *rest], [1, 0, 2, 3, 4]))  # fmt: skip
    one = renamed(["2021-01-01T12:00:00Z"], ["2020-01-11"])
    same(one.compute(WINDOW), with_dates(["2020-01-01", *rest, "2021-01-01T12:00:00"], [0, 2, 3, 4, 1]))
    same(
        one.dates("2021-01-01", None).band("B4").median("t").compute(WINDOW),
        cube.sel(bands="B4", drop=True)[1].drop_vars("t"),
    )
    for target, source, said in (
        (["2019-01-01"] * 6, [], "must differ"),
        ([f"2019-01-0{day}" for day in range(1, 7)], [], "6 labels for 5 dates"),
        (["2019-01-01"], ["2020-01-02"], "no date 2020-01-02"),
        (["2020-01-11"], ["2020-01-01"], "two dates"),
        (["May"], [], "must be dates"),
    ):
        with pytest.raises(MusesError, match=said):
            renamed(target, source).compute(WINDOW)


def test_a_mask_of_one_band_of_its_own_is_for_all(made) -> None:
    a, _, cube, _ = made
    dark = a.apply_dimension(lambda d: [d["B2"] < 0.4], "bands")
    expected = cube.where(~(cube.sel(bands="B2", drop=True) < 0.4))
    same(a.mask(dark).compute(WINDOW), expected)
    same(a.mask(dark).band("B8").median("t").compute(WINDOW), expected.sel(bands="B8", drop=True).median("t"))
    same(a.bands("B4", "B8").mask(a.band("B2") < 0.4).compute(WINDOW), expected.sel(bands=["B4", "B8"]))
    with pytest.raises(MusesError, match="the same bands, or none, or one of another name"):
        a.mask(a.bands("B4") > 0.5).compute(WINDOW)


def test_dimensions_of_one_label(made) -> None:
    a, _, cube, _ = made
    image = a.band("B4").max("t")
    expected = cube.sel(bands="B4", drop=True).max("t")
    dated = image.dated("2020-07-01")
    found = dated.compute(WINDOW)
    assert found.dims == ("t", "y", "x") and [str(t)[:10] for t in found.t.values] == ["2020-07-01"]
    np.testing.assert_array_equal(found.values[0], expected.values)
    same(dated.drop("t").compute(WINDOW), expected)
    same((dated * 2).median("t").compute(WINDOW), expected * np.float32(2))
    same(a.bands("B4").drop("bands").compute(WINDOW), cube.sel(bands="B4", drop=True))
    for chain, said in (
        (a.drop("bands"), "3 labels"), (a.drop("t"), "5 labels"), (image.drop("t"), "DimensionNotAvailable"),
        (image.drop("bands"), "no dimension 'bands'"), (a.dated("2020-01-01"), "DimensionExists"),
    ):  # fmt: skip
        with refused(said):
            chain.compute(WINDOW)
    with pytest.raises(MusesError, match="must be a date"):
        image._with("add_dimension", data=image._node, name="t", label="May", type="temporal")


# -------------------------------------------------------------------------------------------------------- merging


def merged(a: ml.Chain, b: ml.Chain, resolver=None) -> ml.Chain:
    given = {} if resolver is None else {"overlap_resolver": Callback(resolver)}
    return a._with("merge_cubes", b, cube1=a._node, cube2=b._node, **given)


X, Y = Parameter("x"), Parameter("y")


def test_series_of_other_dates_and_bands_are_put_together(made) -> None:
    a, b, first, second = made
    early, late = a.bands("B4", "B8").dates("2020-01-01", "2020-01-21"), b.bands("B4", "B8")
    cubes = first.sel(bands=["B4", "B8"]).isel(t=slice(0, 2)), second.sel(bands=["B4", "B8"])
    expected = xr.concat(cubes, dim="t")
    same(merged(early, late).compute(WINDOW), expected)
    same(merged(late, early).compute(WINDOW), expected)
    same(merged(early, late).median("t").compute(WINDOW), expected.median("t"))
    same(merged(early, late).dates("2020-01").band("B8").compute(WINDOW),
         expected.sel(bands="B8", drop=True).sel(t=slice("2020-01-01", "2020-01-31")))  # fmt: skip
    with refused("OverlapResolverMissing"):
        merged(a.bands("B4", "B8"), late).compute(WINDOW)
    with refused("OverlapResolverMissing"):
        merged(a.median("t"), b.median("t")).compute(WINDOW)


@pytest.mark.parametrize("process", ["mean", "max", "first"])
def test_partly_overlapping_cubes_are_resolved_where_both_have_values(made, process: str) -> None:
    a, b, first, second = made
    resolver = inside(process, data=[X, Y])
    both = xr.concat(xr.align(first, second, join="outer"), dim="side")
    expected = {
        "mean": both.mean("side"), "max": both.max("side"), "first": both[0].where(both[0].notnull(), both[1]),
    }[process].sel(bands=["B2", "B4", "B8", "B11"])  # fmt: skip
    found = merged(a, b, resolver)
    np.testing.assert_allclose(found.compute(WINDOW).values, expected.values, rtol=1e-6)
    assert found.compute(WINDOW).bands.values.tolist() == ["B2", "B4", "B8", "B11"]
    image = merged(a.max("t"), b.max("t"), resolver).compute(WINDOW)
    sides = xr.concat(xr.align(first.max("t"), second.max("t"), join="outer"), dim="side")
    by_hand = {
        "mean": sides.mean("side"),
        "max": sides.max("side"),
        "first": sides[0].where(sides[0].notnull(), sides[1]),
    }
    np.testing.assert_allclose(image.values, by_hand[process].sel(bands=image.bands).values, rtol=1e-6)
    part = found.band("B11").compute(WINDOW[500:530])
    np.testing.assert_allclose(part.values, expected.sel(bands="B11").values[:, 500:530], rtol=1e-6)


def test_arithmetic_on_partly_overlapping_bands_is_refused(made) -> None:
    a, b, *_ = made
    with pytest.raises(MusesError, match="cannot be combined"):
        (a.max("t") + b.max("t")).compute(WINDOW)


def test_trimming_changes_nothing(made) -> None:
    a, _, cube, _ = made
    same(a.trim_cube().band("B4").max("t").compute(WINDOW), cube.sel(bands="B4", drop=True).max("t"))

"""What operators take: large neighbourhoods are exact, small in memory, told beforehand, and can be stopped."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bottleneck as bn
import numpy as np
import pytest
import shapely
import xarray as xr
from scipy import ndimage

from muses_lab.api.chain import Chain
from muses_lab.compute.admission import Admission, TooCostly
from muses_lab.document.graph import Callback, Parameter
from muses_lab.engine import BlockKey, Engine
from muses_lab.errors import Cancelled
from muses_lab.operators import (
    Cost,
    Fit,
    Focal,
    Operator,
    Region,
    Series,
    Structural,
    cost_of,
    cost_of_blocks,
    operator,
    registry,
    run,
)
from muses_lab.operators.contract import Cube, Meta, same_bands
from muses_lab.operators.declared import Traits
from muses_lab.operators.functions import callback
from muses_lab.operators.vectors import Features
from muses_lab.raster.asset import Band
from muses_lab.resources import cancel, rates
from muses_lab.resources.rates import Throughput
from muses_lab.scenes.scene import Scenes
from tests.helpers.made_scenes import Made, chain_of, window, write_tif
from tests.helpers.operator_examples import forest

NAN = np.float32("nan")
KINDS = {"apply_kernel": ({"kernel": np.ones((3, 3)).tolist()}, {"kernel": np.arange(1.0, 5042).reshape(71, 71)})}
KINDS |= {
    id: ({"radius": 1}, {"radius": 40})
    for id in ("focal_mean", "focal_median", "muses:dilate", "muses:erode", "muses:opening", "muses:closing")
}
KINDS = {id if ":" in id or id == "apply_kernel" else f"muses:{id}": v for id, v in KINDS.items()}
"""Neighbourhoods: arguments for a small one, and for a large one."""


def noise(rows: int, columns: int, dtype: str = "f4", gaps: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(rows * columns)
    image = rng.normal(size=(rows, columns)).astype(dtype)
    image[rng.random(image.shape) < gaps] = np.nan
    return image


def arguments(id: str, given: dict[str, Any]) -> dict[str, Any]:
    return {a.name: given.get(a.name, a.default) for a in registry[id].arguments.values() if a.kind != "cube"}


def called(id: str, image: np.ndarray, **given: Any) -> np.ndarray:
    return registry[id].fn(xr.DataArray(image, dims=("y", "x")), **given).values


# ---------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1), (3, 3), (31, 17), (101, 151)])
@pytest.mark.parametrize("made", ["of weights of both signs", "of a column and a row", "with zeros"])
def test_convolution_is_that_of_scipy(dtype: str, shape: tuple[int, int], made: str) -> None:
    rng = np.random.default_rng(7)
    kernel = rng.normal(size=shape)
    if made == "of a column and a row":
        kernel = np.outer(kernel[:, 0], kernel[0])
    if made == "with zeros":
        kernel[rng.random(shape) < 0.5] = 0
    image = noise(60, 70, dtype)
    found = called("apply_kernel", image, kernel=kernel.tolist(), factor=0.5, replace_invalid=1.25)
    filled = np.where(np.isnan(image), 1.25, image).astype(np.float64)
    expected = ndimage.convolve(filled, kernel, mode="constant", cval=0) * 0.5
    assert found.dtype == image.dtype
    scale = np.abs(kernel).sum() * 4  # of the terms, not of the sums: those may cancel
    np.testing.assert_allclose(found, expected.astype(dtype), 2 * np.finfo(dtype).eps, scale * 1e-15)


@pytest.mark.parametrize("made", ["of weights of both signs", "of a column and a row"])
def test_infinite_values_count_as_the_value_for_invalid_ones(made: str) -> None:
    """As openEO has it; where a kernel is convolved with infinity nothing else would be left."""
    kernel = np.random.default_rng(2).normal(size=(9, 5))
    if made == "of a column and a row":
        kernel = np.outer(kernel[:, 0], kernel[0])
    kernel[0] = 0
    image = noise(40, 40, gaps=0)
    image[10, 10], image[12, 11], image[30, 30] = np.inf, -np.inf, np.inf
    valid = np.where(np.isfinite(image), image, 0.5).astype(np.float64)
    found = called("apply_kernel", image, kernel=kernel.tolist(), replace_invalid=0.5)
    np.testing.assert_allclose(found, ndimage.convolve(valid, kernel, mode="constant"), rtol=1e-5, atol=1e-5)


def test_sums_of_whole_numbers_are_whole() -> None:
    image = np.random.default_rng(1).integers(0, 10_000, (50, 50)).astype(np.float64)
    for kernel in (np.ones((15, 15)), np.outer([1, 3, 1], [1, 3, 1]), np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])):
        found = called("apply_kernel", image, kernel=kernel.tolist())
        np.testing.assert_array_equal(found, ndimage.convolve(image, kernel, mode="constant"))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("r", [1, 2, 5, 21])
@pytest.mark.parametrize("content", ["noise", "few values", "half missing", "infinities", "one value", "huge", "zeros"])
def test_a_median_is_that_of_each_square(content: str, r: int, dtype: str) -> None:
    """Also of an even number of values, which has the mean of the two in the middle, bit by bit."""
    rng = np.random.default_rng(r)
    image = noise(37, 45, dtype, gaps=0.5 if content == "half missing" else 0.05)
    if content == "few values":
        image = (rng.integers(0, 5, image.shape) * 0.1).astype(dtype)
    if content == "infinities":
        image[rng.random(image.shape) < 0.4] = np.inf
        image[rng.random(image.shape) < 0.4] = -np.inf
    if content == "one value":
        image[:] = np.nan
        image[20, 20] = 3
    if content == "huge":
        image = np.clip(image, -1, 1) * np.finfo(dtype).max
    if content == "zeros":
        image = np.where(rng.random(image.shape) < 0.5, -0.0, 0.0).astype(dtype)
    around = np.pad(image, r, constant_values=np.nan)
    squares = np.lib.stride_tricks.sliding_window_view(around, (2 * r + 1, 2 * r + 1)).reshape(*image.shape, -1)
    with np.errstate(all="ignore"):
        expected = np.where(np.isnan(image), np.nan, bn.nanmedian(squares, axis=-1)).astype(dtype)
    found = called("muses:focal_median", image, radius=r)
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, expected)
    assert not np.signbit(found[found == 0]).any(), "there is one zero only, wherever a block begins"


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("id", KINDS)
def test_a_value_does_not_depend_on_where_its_block_begins(id: str, size: str) -> None:
    """Bit by bit; and what is asked for without a halo is what the engine asks for with one."""
    given = KINDS[id][size == "large"]
    given = {name: np.asarray(v).tolist() if name == "kernel" else v for name, v in given.items()}
    image = noise(300, 290)
    image[150:, :100] = np.round(image[150:, :100], 1)
    halo = registry[id].support.radius(arguments(id, given), 10.0)
    whole = called(id, image, **given, halo=halo)
    assert whole.shape == (300 - 2 * halo, 290 - 2 * halo)
    np.testing.assert_array_equal(called(id, image, **given)[halo:-halo, halo:-halo], whole)
    for top, left, rows, columns in ((0, 0, 17, 31), (5, 3, 64, 20), (11, 37, 1, 50), (60, 61, 8, 8)):
        part = image[top : top + rows + 2 * halo, left : left + columns + 2 * halo]
        expected = whole[top : top + rows, left : left + columns]
        found = called(id, np.ascontiguousarray(part), **given, halo=halo)
        assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


def test_every_image_of_a_cube_is_treated_alike() -> None:
    cube = np.stack([[noise(30, 33), noise(30, 33) * 2]] * 3)
    data = xr.DataArray(cube, dims=("t", "bands", "y", "x"), coords={"bands": ["a", "b"], "y": np.arange(30)})
    found = registry["muses:focal_median"].fn(data, radius=2, halo=2)
    assert found.dims == data.dims and found.shape == (3, 2, 26, 29) and list(found.bands.values) == ["a", "b"]
    np.testing.assert_array_equal(found.y, np.arange(2, 28))
    np.testing.assert_array_equal(found.values[2, 1], called("muses:focal_median", cube[2, 1], radius=2, halo=2))


# ---------------------------------------------------------------------------------------------------- declarations


@pytest.mark.parametrize("support", [Focal(lambda a, pixel: 1), Region(), Fit(lambda data: {})])
def test_who_looks_at_more_than_a_pixel_says_what_that_takes(support: Any) -> None:
    def looks_around(data: Cube) -> Cube:
        return data

    with pytest.raises(TypeError, match="made:looks_around.*cost="):
        operator("made:looks_around", support=support)(looks_around)
    assert "made:looks_around" not in {op.id for op in registry}
    Operator(
        looks_around, "made:looks_around", "1", support, lambda a, m: Meta(), lambda a, m, w: {},
        Traits(cost=lambda a, pixel, rows, columns: Cost(1e-9 * rows * columns)),
    )  # fmt: skip


def renamed(arguments: Any, metas: Any) -> Meta:
    return Meta(metas["data"].time, ("made",), {})


def test_who_gives_a_shape_says_which_bands_it_is_made_of() -> None:
    """One that does not is refused when it is declared: with the needs of others it would read no band at all."""

    def renames(data: Cube) -> Cube:
        return data.assign_coords(bands=["made"])

    with pytest.raises(TypeError, match=r"made:renames.*not which bands it reads.*needs=.*same_bands"):
        operator("made:renames", shape=renamed)(renames)
    assert "made:renames" not in {op.id for op in registry}
    with pytest.raises(TypeError, match=r"gives the band 'made', which its cubes do not have \(B4, B8\)"):
        same_bands({}, {"data": Meta(bands=("B4", "B8"))}, ("made",))
    assert same_bands({}, {"data": Meta(bands=("B4", "B8"))}, ("B8",)) == {"data": ("B8",)}


def test_every_operator_tells_what_it_takes() -> None:
    inner = registry.node("apply_kernel", inside_callback=True, data=Parameter("data"), kernel=[[1, 1, 1]])
    some = {
        "radius": 3, "metres": 30, "kernel": [[1, 2, 1]], "data": [1, 2, 3], "probabilities": [0.1, 0.9],
        "model": forest(), "process": Callback(inner), "parameters": [0.5, 0.1],
        "function": callback("function", lambda x, p: p[0] + p[1] * x, "x", "parameters"),
        "polygons": Features.of(4326, [shapely.box(1, 43, 1.01, 43.01)]),
    }  # fmt: skip
    for op in registry:
        if isinstance(op.support, Structural):
            assert cost_of_blocks(op, {}, 10.0, 100, 100) == Cost(0.0)
            continue
        given = {a.name: a.default for a in op.arguments.values() if not a.required} | some
        if op.id == "muses:spectral_index":
            given |= {"name": "EVI", "kernel": "RBF"}
        if op.id == "apply_neighborhood":
            given |= {"size": [{"dimension": "x", "value": 32, "unit": "px"}]}
        small, large = (cost_of(op, given, 10.0, n, n) for n in (64, 640))
        most = 10 if isinstance(op.support, Fit) else 0.2  # of a fitting, which is done once
        assert 0 < small.seconds < large.seconds < most and 0 <= small.bytes <= large.bytes, op


@pytest.mark.parametrize("id", KINDS)
def test_larger_neighbourhoods_take_more(id: str) -> None:
    small, large = (cost_of(registry[id], arguments(id, given), 10.0, 256, 256) for given in KINDS[id])
    assert small.seconds < large.seconds and small.bytes < large.bytes
    if id != "apply_kernel":
        metres = cost_of(registry[id], arguments(id, {"radius": 400, "unit": "m"}), 10.0, 256, 256)
        assert metres == large, "a radius in metres counts as the pixels that it has here"


def test_a_kernel_of_a_column_and_a_row_takes_a_fraction() -> None:
    bell = np.exp(-0.5 * (np.arange(-75, 76) / 20) ** 2)
    cost = [
        cost_of(registry["apply_kernel"], {"kernel": k.tolist()}, 10.0, 512, 512).seconds
        for k in (
            np.outer(bell, bell),
            np.outer(bell, bell) / bell.sum() ** 2,
            np.random.default_rng(0).random((151, 151)),
        )
    ]
    assert cost[0] == cost[1] < cost[2] / 20


def test_processes_of_callbacks_are_counted() -> None:
    x = Parameter("x")
    one = registry.node("ln", True, x=x)
    three = registry.node("ln", True, x=registry.node("sqrt", True, x=registry.node("exp", True, p=x)))
    once, thrice = (cost_of(registry["apply"], {"process": Callback(n)}, 10.0, 10, 10).seconds for n in (one, three))
    assert thrice == pytest.approx(2 * once)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("id", KINDS)
def test_no_operator_needs_more_memory_than_it_declares(id: str, dtype: str) -> None:
    for given in KINDS[id]:
        given = {name: np.asarray(v).tolist() if name == "kernel" else v for name, v in given.items()}
        halo = registry[id].support.radius(arguments(id, given), 10.0)
        image = noise(400 + 2 * halo, 300 + 2 * halo, dtype)
        called(id, image, **given, halo=halo)
        tracemalloc.start()
        try:
            out = called(id, image, **given, halo=halo)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        declared = cost_of(registry[id], arguments(id, given), 10.0, 400, 300).bytes
        assert peak < 2 * out.nbytes + declared + (1 << 20), (given, peak, declared)


# ------------------------------------------------------------------------------------------- plans and admission


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Scenes:
    made = Made(tmp_path_factory.mktemp("scenes"))
    rng = np.random.default_rng(3)
    found = []
    for n in range(4):
        path = write_tif(made.folder / f"{n}.tif", rng.integers(1, 9000, (700, 700), dtype=np.uint16))
        found.append(made.scene(f"s{n}", f"2018-06-{10 + n}", {"B04": made.asset(path)}, grid="MADE-1"))
    far = made.asset(write_tif(made.folder / "far.tif", np.ones((64, 64), np.uint16), corner=(464_000.0, 4_733_900.0)))
    found += [
        made.scene(f"far{n}", f"2019-{1 + n // 28:02}-{1 + n % 28:02}", {"B04": far}, grid="MADE-1") for n in range(200)
    ]
    return made.scenes([Band("B04", "red", nodata=0.0, scale=1e-4)], found)


@pytest.fixture
def unmeasured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No rates of this machine yet."""
    estimate = Throughput(tmp_path / "rates.json")
    monkeypatch.setattr(rates, "_estimate", lambda: estimate)


def seconds(chain: Chain, rows: int = 512) -> float:
    return chain.plan(window(rows, 512)).seconds


def test_plans_count_what_operators_take(scenes: Scenes, unmeasured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_THREADS", "1")
    image = chain_of(scenes).band("B04").max("t")
    plain, small, large = seconds(image), seconds(image.focal_median(1)), seconds(image.focal_median(128))
    declared = cost_of(registry["muses:focal_median"], {"radius": 128, "unit": "px"}, 10.0, 512, 512).seconds
    assert plain < small < large and large > declared > 0.3
    before, after = seconds(chain_of(scenes).band("B04").focal_median(40).max("t")), seconds(image.focal_median(40))
    assert before > 2.5 * after, "dates that have a scene here, not those elsewhere"
    assert before < 20 * after
    rates.record_operator(10.0, 100.0)
    assert seconds(image.focal_median(128)) > plain + 8 * (large - plain), "a slower machine expects more"
    rates.record_operator(1e5, 10.0)
    assert seconds(image.focal_median(128)) >= 0.9 * large, "what was declared too dear does not make others cheap"


def test_long_callbacks_are_planned(scenes: Scenes, unmeasured: None) -> None:
    chain = chain_of(scenes).band("B04")
    few, many = (chain.max("t"), chain)
    for _ in range(300):
        many = many.sqrt() + 1
    assert seconds(many.max("t")) > 5 * seconds(few)


def test_regions_and_fits_are_planned(scenes: Scenes, unmeasured: None) -> None:
    image = chain_of(scenes).band("B04").max("t")
    box = (1.31, 43.60, 1.39, 43.64)
    for small, large in (
        ((image > 0.4).connected_components(extent=box, resolution=r) for r in (40, 10)),
        (image.otsu(extent=box, resolution=r) for r in (40, 10)),
    ):
        assert seconds(small) < seconds(large)


def test_a_large_median_of_a_long_series_over_a_large_view_is_refused(scenes: Scenes, unmeasured: None) -> None:
    days = [f"{2000 + n // 12}-{1 + n % 12:02}-11T10:00:00Z" for n in range(240)]
    many = tuple(replace(scenes.scenes[0], id=f"s{n}", datetime=day) for n, day in enumerate(days))
    series = chain_of(replace(scenes, scenes=many)).band("B04")
    tiles = 20

    def admitted(chain: Chain) -> None:
        Admission(600, 1200).check(view=tiles * seconds(chain), waiting=0)

    admitted(series.focal_median(1).max("t"))
    admitted(series.max("t").focal_median(20))
    with pytest.raises(TooCostly, match="smaller radius") as refused:
        admitted(series.focal_median(128).max("t"))
    assert refused.value.details["expected_seconds"] > 600


def test_what_was_done_is_recorded(scenes: Scenes, unmeasured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, float]] = []
    monkeypatch.setattr(rates, "record_operator", lambda declared, took: told.append((declared, took)))
    evaluated(Engine(256 << 20), chain_of(scenes).band("B04").focal_median(9).max("t"))
    one = cost_of(registry["muses:focal_median"], {"radius": 9, "unit": "px"}, 10.0, 512, 512).seconds
    assert sum(declared for declared, _ in told) == pytest.approx(4 * one, rel=0.3), "strips have halos"
    assert all(took > 0 for _, took in told)


# -------------------------------------------------------------------------------------------------------- stopping


def evaluated(engine: Engine, chain: Chain, cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
    published = chain.published
    engine.keep(published.hash, published)
    values = engine.run(published.hash, BlockKey("MADE-1@10", 0, 0, 0), cancelled).values
    assert values is not None
    return values


def test_stripes_look_at_the_flag_before_each() -> None:
    looked: list[int] = []
    with cancel.watching(lambda: looked.append(1)):
        assert list(cancel.stripes(10, cancel.LONGEST / 3)) == [(0, 3), (3, 6), (6, 9), (9, 10)]
        assert len(looked) == 4
        assert list(cancel.stripes(3, 5.0)) == [(0, 1), (1, 2), (2, 3)]
        assert list(cancel.stripes(3, 0.0)) == [(0, 3)] and list(cancel.stripes(0, 0.0)) == []
    cancel.check()
    assert len(looked) == 8, "outside of an evaluation nobody is asked"


def test_each_thread_has_its_own_flag() -> None:
    def stop() -> None:
        raise Cancelled("nobody waits")

    found: list[str] = []

    def other() -> None:
        cancel.check()
        found.append("went on")

    with cancel.watching(stop):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with pytest.raises(Cancelled):
            cancel.check()
    assert found == ["went on"]


def looks(id: str, shape: tuple[int, int], **given: Any) -> int:
    """How often an operator looks at its flag."""
    count = 0

    def look() -> None:
        nonlocal count
        count += 1

    image = noise(*shape)
    with cancel.watching(look):
        called(id, image, **given)
    return count


@pytest.mark.parametrize("id", ["apply_kernel", "muses:focal_mean", "muses:focal_median"])
def test_long_operators_look_at_the_flag_as_often_as_they_say_they_take(id: str) -> None:
    """More than once for each tenth of a second that they declare, whatever their radius."""
    large = {"kernel": np.random.default_rng(0).random((91, 91)).tolist()} if id == "apply_kernel" else {"radius": 100}
    declared = cost_of(registry[id], arguments(id, large), 10.0, 700, 700).seconds
    assert looks(id, (700, 700), **large) >= declared / cancel.LONGEST / 2
    assert looks(id, (700, 700), **KINDS[id][0]) >= 1


CHAINS: dict[str, Callable[[Scenes], Chain]] = {
    "a large kernel": lambda s: (
        chain_of(s).band("B04").max("t").apply_kernel(np.random.default_rng(0).random((151, 151)))
    ),
    "a large median": lambda s: chain_of(s).band("B04").max("t").focal_median(128),
    "medians of all dates": lambda s: chain_of(s).band("B04").focal_median(5).max("t"),
    "closings of all dates": lambda s: chain_of(s).band("B04").closing(20).max("t"),
    "a long expression": lambda s: long(chain_of(s).band("B04")).max("t"),
    "quantiles of dates": lambda s: chain_of(s).band("B04").focal_mean(1).quantile(0.3),
}


def long(chain: Chain) -> Chain:
    for _ in range(400):
        chain = (chain + 1).sqrt()
    return chain


@pytest.mark.parametrize("name", CHAINS)
def test_an_evaluation_ends_when_nobody_waits_any_more(
    scenes: Scenes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped where it looks for the last time, which is inside of an operator, or of a compiled program."""
    chain, looks, limit = CHAINS[name](scenes), 0, 1 << 60
    by_program = name == "a long expression"

    def cancelled() -> bool:
        nonlocal looks
        looks += by_program or cancel._flag.get() is not None
        return looks > limit

    evaluated(Engine(256 << 20), chain, cancelled)
    every, looks = looks, 0
    assert every >= 4, "what takes long looks while it runs"
    if by_program:
        evaluated(Engine(256 << 20), chain_of(scenes).band("B04").max("t"), cancelled)
        assert every >= looks + 4
    looks, limit = 0, every - 1
    with pytest.raises(Cancelled):
        evaluated(Engine(256 << 20), chain, cancelled)
    assert looks == every


def test_reducers_look_at_the_flag_and_give_the_same_in_pieces() -> None:
    cube = np.stack([noise(300, 400) for _ in range(80)])
    assert cube.size > 2 << 22
    series = Series(xr.DataArray(cube, dims=("t", "y", "x")), "t", Meta())
    data = Parameter("data")
    for process in ("median", "mean", "max", "sum", "sd", "count", "first", "last", "product"):
        count = 0

        def look() -> None:
            nonlocal count
            count += 1

        callback = Callback(registry.node(process, True, data=data))
        with cancel.watching(look):
            found = run(callback, data=series).values
        assert count >= 3, process
        part = Series(series.array[:, 100:120, 30:50], "t", Meta())
        np.testing.assert_array_equal(found[100:120, 30:50], run(callback, data=part).values)


def test_other_threads_go_on_while_a_neighbourhood_is_evaluated() -> None:
    """The lock of Python is not held for long at once."""
    image = noise(512, 512)
    kernel = np.random.default_rng(0).random((151, 151)).tolist()
    registry["apply_kernel"].fn(xr.DataArray(image[:8, :8], dims=("y", "x")), kernel=[[1.0]])
    gaps, ended = [0.0], threading.Event()

    def watch() -> None:
        last = time.perf_counter()
        while not ended.wait(0.001):
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    thread = threading.Thread(target=watch)
    thread.start()
    for id, given in (("apply_kernel", {"kernel": kernel}), ("muses:focal_median", {"radius": 100})):
        called(id, image, **given)
    ended.set()
    thread.join()
    assert len(gaps) > 50 and np.percentile(gaps, 99) < 0.1

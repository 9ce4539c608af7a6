"""Programs over stored values against the same chains evaluated operator by operator with NumPy: equal bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.engine import Engine, execute
from muses_lab.engine.compiled import compiler, vm
from muses_lab.operators import registry
from muses_lab.raster.asset import Band
from muses_lab.scenes.scene import Scene
from tests.helpers.examples import examples
from tests.helpers.made_scenes import Made, pixels, window, write_tif
from tests.oracles.uncompiled import without_code

ROWS, COLUMNS = 44, 76
BANDS = [
    Band("B04", "red", resolution=10, dtype="uint16", nodata=0, scale=1e-4, offset=-0.1),
    Band("B08", "nir", resolution=10, dtype="uint16", nodata=0, scale=1e-4),
    Band("B11", "swir16", resolution=20, dtype="int16", nodata=-999, scale=0.01),
    Band("VH", None, resolution=10, dtype="float32", nodata=None),
    Band("SST", None, resolution=10, dtype="float32", nodata=-3.4e38),
    Band("SCL", None, resolution=20, dtype="uint8", nodata=0, categorical=True),
]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Chain:
    """Six dates, two of them of two scenes that overlap; gaps, extremes, one scene with an offset of its own."""
    rng = np.random.default_rng(5)
    made = Made(tmp_path_factory.mktemp("series"))
    scenes: list[Scene] = []
    for n in range(8):
        day = f"2018-06-{10 + min(n, 7 - n) if n in (6, 7) else 10 + n}"
        fine, half = (ROWS, COLUMNS), (ROWS // 2, COLUMNS // 2)
        made_of = {
            "B04": rng.choice([0, 1, 900, 1000, 1001, 65535, *rng.integers(1, 9000, 60)], fine).astype(np.uint16),
            "B08": rng.choice([0, 1, 1000, 3000, *rng.integers(1, 9000, 60)], fine).astype(np.uint16),
            "B11": rng.choice([-999, -500, 0, *rng.integers(-500, 9000, 30)], half).astype(np.int16),
            "VH": rng.choice([np.nan, np.inf, 0.0, -3.5, 1e30, *rng.normal(size=30)], fine).astype(np.float32),
            "SST": rng.choice([-3.4e38, np.finfo("f4").min, 0.0, 2.0, *rng.normal(size=9)], fine).astype(np.float32),
            "SCL": rng.choice([0, 3, 4, 4, 5, 6, 8, 9], half).astype(np.uint8),
        }
        if n == 3:  # nothing but cloud
            made_of["SCL"][:] = 9
        if n in (4, 7):  # half a scene: the swath's edge
            for image in made_of.values():
                image[:, image.shape[1] // 2 :] = -999 if image.dtype == np.int16 else 0
            made_of["VH"][:, COLUMNS // 2 :] = np.nan
            made_of["SST"][:, COLUMNS // 2 :] = -3.4e38
        assets = {}
        for band in BANDS:
            path = made.folder / f"{n}-{band.name}.tif"
            write_tif(path, made_of[band.name], pixel=float(band.resolution))
            extra = {"offset": -0.2} if n == 2 and band.name == "B04" else {}
            assets[band.name] = made.asset(path, **extra)
        if n == 5:
            del assets["VH"]
        scenes.append(made.scene(f"s{n}", day, assets, grid="MADE-1"))
    return made.chain(BANDS, scenes)


def both(chain: Chain, rows: int = ROWS, columns: int = COLUMNS, pixel: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """A chain's values by programs, and operator by operator; that there is a program is made sure of."""
    prepared = chain.published.prepared
    reducers = [s for s in prepared.steps.values() if s.reduces_time]
    assert reducers and all(compiler.code_of(prepared, s) is not None for s in reducers)
    box = window(rows, columns, pixel)
    fast = pixels(Engine(64 << 20), chain, box)
    with without_code():
        slow = pixels(Engine(64 << 20), chain, box)
    assert fast.report.used == slow.report.used
    return fast.values, slow.values


def same(chain: Chain, **kwargs) -> None:
    fast, slow = both(chain, **kwargs)
    assert fast.dtype == slow.dtype == np.float32
    np.testing.assert_array_equal(fast, slow)


# ------------------------------------------------------------------------------------------------- any expression

NUMBERS = st.sampled_from([-1.5, -0.1, 0.0, 0.05, 0.2, 1.0, 3.0, 1e-4])
BINARY = ["+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "&", "|", "^", "nd"]


@st.composite
def recipes(draw: st.DrawFn, depth: int = 4):
    """A description of an expression, which the series is then put into."""
    kind = draw(st.sampled_from(["band", "band", "binary", "binary", "unary", "choose"])) if depth else "band"
    if kind == "band":
        return draw(st.sampled_from(["B04", "B08", "B11", "VH", "SST", "SCL", "clear", "infinite"]))
    below = recipes(depth=depth - 1)
    if kind == "unary":
        return (
            draw(
                st.sampled_from(
                    ["abs", "sqrt", "floor", "ceil", "not", "nodata", "ln", "clip", "scale", "down", "between", "never"]
                )
            ),
            draw(below),
        )
    if kind == "choose":
        return ("where", draw(below), draw(below))
    name = draw(st.sampled_from(BINARY))
    return (name, draw(below), draw(below if name in "&|^" else st.one_of(below, NUMBERS)))


def put(recipe, series: Chain):
    match recipe:
        case float():
            return recipe
        case "clear":
            return series.band("B08").mask(~series.band("SCL").isin([4, 5, 6]))
        case "infinite":  # of either sign, and missing, on many dates
            return series.band("SST") / series.band("B11")._apply("floor")
        case str():
            return series.band(recipe)
        case ("where", a, b):
            return put(a, series).where(put(b, series) > 0)
        case (name, a):
            x = put(a, series)
            return {
                "abs": lambda: abs(x), "sqrt": x.sqrt, "floor": lambda: x._apply("floor"),
                "ceil": lambda: x._apply("ceil"), "not": lambda: ~x, "nodata": lambda: x._apply("is_nodata"),
                "ln": x.ln, "clip": lambda: x.clip(0.0, 0.3),
                "scale": lambda: x.scale(0.0, 0.4, 0.0, 100.0), "down": lambda: x.scale(0.4, 0.0, 0.0, 100.0),
                "between": lambda: x._apply("between", min=0.0, max=0.3),
                "never": lambda: x._apply("between", min=0.3, max=0.0),
            }[name]()  # fmt: skip
        case (name, a, b):
            x, y = put(a, series), put(b, series)
            return {
                "+": lambda: x + y, "-": lambda: x - y, "*": lambda: x * y, "/": lambda: x / y, "<": lambda: x < y,
                "<=": lambda: x <= y, ">": lambda: x > y, ">=": lambda: x >= y, "==": lambda: x == y,
                "!=": lambda: x != y, "&": lambda: x & y, "|": lambda: x | y, "^": lambda: x ^ y,
                "nd": lambda: (x - y) / (x + y),
            }[name]()  # fmt: skip
    raise AssertionError(recipe)


REDUCERS = ["median", "mean", "min", "max", "sd", "variance", "count", "sum", "first", "last"]


def over_time(chain: Chain, reducer: str | float) -> Chain:
    return chain.quantile(reducer, "t") if isinstance(reducer, float) else getattr(chain, registry[reducer].method)("t")


@pytest.mark.parametrize("reducer", [*REDUCERS, 0.0, 0.1, 0.5, 0.9])
def test_series_with_infinities(series: Chain, reducer: str | float) -> None:
    """Of one sign, of both, beside missing values; by division, and through indices."""
    infinite = put("infinite", series)
    found, _ = both(infinite.max("t"))
    assert np.isposinf(found).any() and np.isfinite(found).any()
    for chain in (infinite, -infinite, (infinite - 0.05) / (infinite + 0.05), 0.05 / (series.band("B11") - 0.05)):
        same(over_time(chain, reducer))


@pytest.mark.slow
@example(recipe="VH", reducer="variance")  # of 1e30
@given(recipe=recipes(), reducer=st.sampled_from([*REDUCERS, 0.1, 0.5]))
@hypothesis_settings(
    max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_any_expression_over_stored_values_then_a_reducer(series: Chain, recipe, reducer: str | float) -> None:
    chain = over_time(put(recipe, series), reducer)
    same(chain)


# --------------------------------------------------------------------------------------------------- whole chains


@pytest.mark.parametrize("pixel", [10.0, 20.0, 40.0, 80.0])
def test_levels(series: Chain, pixel: float) -> None:
    """From native pixels to averages of many (where nothing is stored for a level)."""
    clear = series.mask(~series.band("SCL").isin([4, 5]))
    chain = clear.normalized_difference("nir", "red").median("t")
    same(chain, rows=ROWS * 10 // int(pixel), columns=COLUMNS * 10 // int(pixel), pixel=pixel)


def test_several_bands_and_several_reducers_of_the_same_values(series: Chain) -> None:
    clear = series.bands("B04", "B08", "B11").mask(~series.band("SCL").isin([4, 5, 6]))
    same(clear.median("t"))
    ndvi = clear.ndvi()
    same(ml.rgb(ndvi.quantile(0.1), ndvi.quantile(0.5), ndvi.quantile(0.9)))
    same(ndvi.max("t") - ndvi.min("t"))
    same((ndvi.median("t") > 0.2).where(ndvi.count("t") > 2))


def test_reducers_of_the_same_values_are_evaluated_together(series: Chain) -> None:
    ndvi = series.ndvi()
    chain = ml.rgb(ndvi.quantile(0.1), ndvi.median("t"), ndvi.max("t"))
    engine = Engine(64 << 20)
    with pytest.MonkeyPatch.context() as patch:
        runs = []
        run = execute.run_code
        patch.setattr(execute, "run_code", lambda *a: (runs.append(a[3].step), run(*a))[1])
        pixels(engine, chain, window(ROWS, COLUMNS))
    assert sum(step.reduces_time for step in runs) == 1


def test_dates_chosen_after_a_mask_and_dates_that_count_without_data(series: Chain) -> None:
    clear = series.band("B08").mask(~series.band("SCL").isin([4]))
    same(clear.dates("2018-06-11", "2018-06-14").mean("t"))
    same(clear.dates("2018-06-11", "2018-06-14")._apply("is_nodata").sum("t"))
    filled = clear._apply("is_nodata").sum("t")
    same(filled)
    fast, _ = both(filled)
    assert fast.max() > 4  # dates on which a pixel is not there count as missing


def test_anomalies_use_what_is_reduced_already(series: Chain) -> None:
    ndvi = series.ndvi()
    same((ndvi - ndvi.median("t")).max("t"))
    same(abs(ndvi - ndvi.mean("t").focal_mean(1)).median("t"))


def test_a_scene_cut_into_two_is_one_date(series: Chain) -> None:
    fast, slow = both(series.band("B04").count("t"))
    np.testing.assert_array_equal(fast, slow)
    assert fast.max() <= 6


def test_a_missing_result_is_no_missing_value(series: Chain) -> None:
    """Where scenes overlap the first with data counts, also if a function makes nothing of it."""
    same(series.band("VH").ln().count("t"))
    same((series.band("VH").ln() + series.band("B04")).median("t"))
    same(series.band("B11").sqrt().count("t"))


def test_an_index_of_masked_bands_is_masked_once(series: Chain) -> None:
    clear = series.mask(~series.band("SCL").isin([4, 5]))
    chain = (clear.normalized_difference("nir", "red") * 2 - abs(clear.band("red"))).median("t")
    same(chain)
    prepared = chain.published.prepared
    assert compiler.code_of(prepared, prepared.output).code[:, 0].tolist().count(vm.MASK) == 1
    other = clear.band("nir") - series.mask(series.band("SCL") == 4).band("red")
    same(other.median("t"))


def test_nothing_here(series: Chain) -> None:
    for reducer in ("median", "count", "sum", "first"):
        chain = getattr(series.dates("2019-01-01", "2019-02-01").band("B04"), reducer)("t")
        same(chain)


def test_what_does_not_fit_is_left_to_the_operators(series: Chain) -> None:
    """Processes without instruction on two bands; neighbourhoods before the reduction."""
    red, nir = series.band("red"), series.band("nir")
    several = (red + nir).has_bits(1).mean("t"), (red - nir).isin([0.5, 1]).max("t")
    for chain in (*several, series.ndvi().focal_mean(1).median("t")):
        prepared = chain.published.prepared
        assert compiler.code_of(prepared, prepared.output) is None
        assert np.isfinite(pixels(Engine(64 << 20), chain, window(ROWS, COLUMNS)).values).any()
    for table in ((red**0.5).mean("t"), red.has_bits(1).mean("t")):  # of one band alone: a table
        same(table)


def test_mathematical_functions_of_several_bands(series: Chain) -> None:
    red, nir, radar = series.band("red"), series.band("nir"), series.band("VH")
    for chain in ((red + nir) ** 2, radar**0.5, 2**radar, red % nir, red.arctan2(nir), (red - nir).sin().round(2),
                  (nir / red).log(10), radar.tanh() + radar.is_valid() + radar.is_infinite(), (radar * 3).int().sgn(),
                  (nir - red).where(nir - red > 0), (1 / (nir - red)).where(nir - red)):  # fmt: skip
        same(chain.max("t"))

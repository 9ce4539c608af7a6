"""The catalogue of spectral indices against its check pixel, spyndex, and the papers where the catalogue differs."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spyndex
import xarray as xr

import muses_lab as ml
from muses_lab.document.graph import Callback, walk
from muses_lab.engine import Engine
from muses_lab.engine.compiled import compiler
from muses_lab.errors import ArgumentError, BandError, DocumentError
from muses_lab.operators import Meta, registry
from muses_lab.operators.spectral import BANDS, CATALOGUE, DEFAULTS, NOTES, VERSION, index_of, indices_of, parse
from tests.helpers.made_scenes import pixels
from tests.helpers.made_stacks import own_window, stack
from tests.oracles.uncompiled import without_code

pytestmark = pytest.mark.usefixtures("in_threads")

GIVEN: dict[str, float] = {
    "lambdaN": 833.0, "lambdaN2": 865.0, "lambdaR": 665.0, "lambdaG": 560.0, "lambdaS1": 1614.0, "lambdaS2": 2202.0,
    "PAR": 1500.0,
}  # fmt: skip
"""For constants that have no default."""

SENTINEL2 = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
LANDSAT = {
    "SR_B1": "coastal", "SR_B2": "blue", "SR_B3": "green", "SR_B4": "red", "SR_B5": "nir08", "SR_B6": "swir16",
    "SR_B7": "swir22", "ST_B10": "lwir11",
}  # fmt: skip
HLS_S30 = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge", "B06": "rededge", "B07": "rededge",
    "B08": "nir", "B8A": "nir08", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
RADAR = {"vv": None, "vh": None}


def meta(bands: dict[str, str | None]) -> Meta:
    common: dict[str, str] = {}
    for name, known in bands.items():
        if known is not None:
            common.setdefault(known, name)
    return Meta(True, tuple(bands), common)


@pytest.fixture(scope="module")
def known(shared_data: Path) -> dict[str, Any]:
    return json.loads((shared_data / "references" / "spectral_indices.json").read_text())


def cube(values: dict[str, Any]) -> xr.DataArray:
    """Bands under their common names, of values by letter."""
    letters = [letter for letter in values if letter in BANDS]
    stacked = np.stack([np.asarray(values[letter], np.float32).reshape(1, -1) for letter in letters])
    return xr.DataArray(stacked, dims=("bands", "y", "x"), coords={"bands": [BANDS[n] for n in letters]})


def of(name: str, data: xr.DataArray, **constants: float) -> np.ndarray:
    """As documents have it: checked, then evaluated."""
    node = checked(name, **constants)
    return registry["muses:spectral_index"].fn(data, **node).values.ravel()


def checked(name: str, **arguments: Any) -> dict[str, Any]:
    constants = {n: v for n, v in arguments.items() if n in DEFAULTS} | {
        n: GIVEN[n] for n, v in CATALOGUE[name].constants().items() if v is None and n in GIVEN
    }
    others = {n: v for n, v in arguments.items() if n not in DEFAULTS}
    op, data = registry["muses:spectral_index"], registry.node("load_collection", id="x")
    found = registry.checked(op.id, {"data": data, "name": name, "constants": constants or None, **others}, "n", False)
    return {n: v for n, v in found.items() if n != "data"}


def spyndex_data() -> dict[str, dict[str, Any]]:
    text = (files("spyndex") / "data" / "spectral-indices-dict.json").read_text("utf-8")
    return json.loads(text)["SpectralIndices"]


# -------------------------------------------------------------------------------------------------- the formulas


def test_there_are_all_of_the_catalogue(known: dict[str, Any]) -> None:
    assert CATALOGUE.keys() == known["indices"].keys() and len(CATALOGUE) == 280
    assert VERSION == spyndex.__version__ == registry["muses:spectral_index"].version
    assert {name: index.formula for name, index in CATALOGUE.items()} == {
        name: entry["formula"] for name, entry in spyndex_data().items()
    }
    assert NOTES.keys() <= CATALOGUE.keys()


def test_every_index_on_the_check_pixel(known: dict[str, Any]) -> None:
    """Of 273; the seven others have constants without default."""
    data, wrong = cube(known["check_pixel"]), {}
    for name, entry in known["indices"].items():
        if entry["check"] is not None and not np.isclose(of(name, data)[0], entry["check"], rtol=2e-5, atol=1e-6):
            wrong[name] = (of(name, data)[0], entry["check"])
    assert not wrong
    assert sum(entry["check"] is None for entry in known["indices"].values()) == 7


def test_every_index_is_that_of_spyndex_on_other_pixels() -> None:
    """Kernels are handed over, there as here: the catalogue's formulas take them as values."""
    rng = np.random.default_rng(3)
    values = {letter: rng.uniform(0.02, 0.6, 50).astype(np.float32) for letter in BANDS}
    values |= {letter: rng.uniform(270, 320, 50).astype(np.float32) for letter in ("T", "T1", "T2")}
    exact = {name: v.astype(np.float64) for name, v in values.items()}
    constants = {n: v.default for n, v in spyndex.constants.items() if v.default is not None} | GIVEN
    width = 0.5 * (exact["N"] + exact["R"])
    kernels = {}
    for a, b in ("NN", "NR", "NB", "NL", "GG", "GR", "GB"):
        second = constants["L"] if b == "L" else exact[b]
        kernels[f"k{a}{b}"] = spyndex.computeKernel("RBF", a=exact[a], b=second, sigma=width)
    data = cube(values)
    for name in CATALOGUE:
        with np.errstate(all="ignore"):
            expected = spyndex.computeIndex(name, params={**exact, **constants, **kernels})
        # quotients of differences lose digits where these are small: what half a step of single precision makes of them
        np.testing.assert_allclose(
            of(name, data), expected, rtol=2e-3, atol=2e-4 * np.nanmax(np.abs(expected)), err_msg=name
        )


@pytest.mark.parametrize("kernel", ["linear", "poly", "RBF"])
def test_kernels_are_those_of_spyndex(kernel: str) -> None:
    n, r, constants = 0.68, 0.13, {"linear": {}, "poly": {"c": 0.5, "p": 3.0}, "RBF": {"sigma": 0.3}}[kernel]
    pairs = {
        pair: spyndex.computeKernel(kernel, a=a, b=b, **constants) for pair, a, b in (("kNN", n, n), ("kNR", n, r))
    }
    arguments = checked("kNDVI", kernel=kernel, **constants)
    found = registry["muses:spectral_index"].fn(cube({"N": [n], "R": [r]}), **arguments).item()
    assert found == pytest.approx(spyndex.computeIndex("kNDVI", **pairs), rel=1e-5)


def test_kndvi_is_the_hyperbolic_tangent_of_the_square_of_ndvi() -> None:
    """Camps-Valls et al. 2021, equation 4."""
    data = cube({"N": [0.4, 0.3, 0.05], "R": [0.05, 0.3, 0.2]})
    ndvi = of("NDVI", data).astype(np.float64)
    np.testing.assert_allclose(of("kNDVI", data), np.tanh(ndvi**2), rtol=1e-5, atol=1e-7)


def test_traps_of_the_catalogue_are_the_catalogues_and_told(known: dict[str, Any]) -> None:
    """Its value, not the paper's, where they differ; the table says so."""
    data = cube(known["check_pixel"])
    for name, catalogue, paper in (
        ("AWEInsh", -0.345, -0.895), ("BAIM", 8.1733, 7.5472), ("mSR705", 0.8182, 3.0), ("mND705", 0.4615, 0.5),
    ):  # fmt: skip
        assert of(name, data)[0] == pytest.approx(catalogue, abs=1e-4) != paper
        assert ml.indices().note[name]
    assert of("SAVI", data)[0] == pytest.approx(0.482759, abs=1e-6)
    assert of("SAVI", data, L=0.5)[0] == pytest.approx(0.552632, abs=1e-6)


def test_nothing_but_arithmetic_is_a_formula() -> None:
    for text in (
        "__import__('os').system('true')",
        "N.real",
        "[N]",
        "N if R else 1",
        "N @ R",
        "'N'",
        "True",
        "N <",
        "N(1)",
    ):
        with pytest.raises(ValueError, match="no formula"):
            parse(text)


# ------------------------------------------------------------------------------------------- names and arguments


@pytest.mark.parametrize(
    ("bands", "least", "some", "none"),
    [
        (SENTINEL2, 245, {"EVI", "NBR2", "IRECI", "SeLI"}, {"NBLI", "VHVVR"}),
        (LANDSAT, 190, {"EVI", "NBR2", "NBLI", "kNDVI"}, {"IRECI", "MTCI"}),
        (HLS_S30, 240, {"IRECI", "MTCI", "NDCI"}, {"NBLI"}),
        (RADAR, 7, {"VHVVR", "DpRVIVV"}, {"NDVI", "RFDI"}),
    ],
    ids=["Sentinel-2", "Landsat 8", "HLS S30", "Sentinel-1"],
)
def test_what_data_have_the_bands_of(bands: Any, least: int, some: set[str], none: set[str]) -> None:
    found = indices_of(meta(bands))
    assert len(found) >= least and some <= found.keys() and not none & found.keys()
    if "B8A" in bands:
        assert found["IRECI"] == {"RE3": "B07", "R": "B04", "RE1": "B05", "RE2": "B06"}


def test_every_index_of_a_platform_can_be_made_of_its_bands() -> None:
    """As the catalogue says which platforms have it."""
    for platform, bands in (("Sentinel-2", SENTINEL2), ("Landsat-OLI", LANDSAT)):
        lacking = {n for n, i in CATALOGUE.items() if platform in i.platforms} - indices_of(meta(bands)).keys()
        assert not lacking - {"NBLIOLI"}, platform


def test_names_are_found_whatever_their_capitals() -> None:
    assert index_of("evi").name == "EVI" and index_of("kndvi").name == "kNDVI" and index_of("BaI").name == "BaI"
    with pytest.raises(ValueError, match="did you mean BAI or BaI"):
        index_of("bai")
    with pytest.raises(ValueError, match=r"no index 'EVI3' .* did you mean EVI"):
        index_of("EVI3")


def made(
    folder: Path, name: str = "made", bands: tuple[str, ...] = ("B2", "B4", "B8"), dates: int = 3
) -> ml.Collection:
    rng = np.random.default_rng(7)
    values = rng.uniform(0.01, 0.6, (dates, len(bands), 5, 7)).astype(np.float32)
    values[0, 0, 0, 0] = np.nan
    return stack(values, folder, bands=bands, name=name)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("EVI9", {}, "no index 'EVI9'"),
        (7, {}, "7 is no name of an index"),
        ("EVI", {"sla": 2}, r"EVI has no constant 'sla'; its constants: g=2.5, C1=6, C2=7.5, L=1"),
        ("EVI", {"L": "x"}, "'x'"),
        ("FAI", {"lambdaN": 833}, r"FAI needs lambdaR=, lambdaS1= \(central wavelengths in nm.*Landsat 8"),
        ("NIRvP", {}, "PAR"),
        ("EVI", {"bands": {"S1": "B4"}}, "EVI is made of N, R, B, and of no band 'S1'"),
        ("EVI", {"bands": ["B4"]}, "letters"),
        ("EVI", {"kernel": "poly"}, "made of no kernel"),
        ("kNDVI", {"kernel": "cubic"}, "cubic"),
        ("kNDVI", {"sigma": 0}, "sigma=0"),
        ("kNDVI", {"kernel": "linear", "sigma": 1}, "no constant 'sigma'; its constants: none"),
        ("EVI", {"L": float("nan")}, "L"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(tmp_path: Path, name: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises((ArgumentError, DocumentError), match=message):
        made(tmp_path).index(name, **given)


def test_a_band_that_lacks_is_told(tmp_path: Path) -> None:
    with pytest.raises(BandError, match="no band 'swir16'; the data have"):
        made(tmp_path).index("NBR2").compute(own_window(5, 7))
    with pytest.raises(BandError, match="has no bands"):
        made(tmp_path).index("EVI").indices()


def test_a_document_has_what_differs_from_the_defaults(tmp_path: Path) -> None:
    s2 = made(tmp_path)
    plain, same = s2.index("evi"), s2.index("EVI", L=1, g=2.5, bands={"N": "nir"}, kernel="RBF")
    assert plain.identical(same) and not plain.identical(s2.index("EVI", L=0.5))
    document = s2.index("EVI", L=0.5, bands={"N": "B8"}).to_json()
    (node,) = [n for n in document["process_graph"].values() if n["process_id"] == "spectral_index"]
    assert {k: v for k, v in node["arguments"].items() if k != "data"} == {
        "name": "EVI", "constants": {"L": 0.5}, "bands": {"N": "B8"},
    }  # fmt: skip
    assert document["muses:operators"]["muses:spectral_index"] == VERSION
    assert ml.Chain.from_json(document).identical(s2.index("EVI", L=0.5, bands={"N": "B8"}))
    with pytest.raises(DocumentError, match=r"called 'EVI', not 'evi'"):
        ml.Chain.from_json(json.loads(json.dumps(document).replace('"EVI"', '"evi"')))


def test_tables_of_indices(tmp_path: Path) -> None:
    every = ml.indices()
    assert every.shape[0] == 280 and every.loc["EVI", "title"] == "Enhanced Vegetation Index"
    assert every.bands["EVI"] == ("N", "R", "B") and every.constants["FAI"]["lambdaN"] is None
    free = every.scale_free
    assert (
        free[["NDVI", "kNDVI", "NBR", "MTCI"]].all() and not free[["EVI", "SAVI", "BAI", "GEMI", "MIRBI", "kEVI"]].any()
    )
    assert {"NDII", "NDMI"} <= set(every.same_as["LSWI"]) and every.same_as["MNDWI"] == ("NDSI",)
    mine = made(tmp_path).indices()
    assert mine.uses["EVI"] == {"N": "B8", "R": "B4", "B": "B2"} and "NBR" not in mine.index and "NDVI" in mine.index


# ------------------------------------------------------------------------------------------------------- values


def test_every_index_is_expanded_into_processes_of_openeo() -> None:
    for name in CATALOGUE:
        root = registry["muses:spectral_index"].expands(
            {"kernel": "RBF", "bands": None, **checked(name)} | {"constants": checked(name).get("constants")}
        )
        assert not {n.process for n in walk(root) if ":" in n.process}, name
        assert isinstance(Callback(root).root.hash, str)


def test_division_by_zero_is_missing() -> None:
    data = cube({"N": [0.2, 0.0, np.nan], "R": [-0.2, 0.0, 0.1], "G": [0.0, 0.0, 0.1], "RE1": [0.0, 0.1, 0.2]})
    assert np.isnan(of("NDVI", data)).all()
    assert np.isnan(of("CIG", data)[:2]).all()  # N / G - 1
    assert np.isnan(of("ARI", data)[:2]).all()  # 1 / G - 1 / RE1


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> ml.Collection:
    """Reflectances stored as integers, with gaps and zeros; all bands that have a letter, temperature aside."""
    rng = np.random.default_rng(11)
    values = rng.choice([0, -9999, *range(100, 6000, 37)], (3, 10, 6, 9)).astype(np.int16)
    bands = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
    return stack(values, tmp_path_factory.mktemp("twelve"), bands=bands, nodata=-9999, name="twelve")


@pytest.mark.parametrize("part", range(12))
def test_compiled_code_and_numpy_give_the_same_bits(twelve: ml.Collection, part: int) -> None:
    """Every index that can be made, twenty bands of one chain, over time: one program for all."""
    every = sorted(indices_of(twelve.published.prepared.output.meta))
    assert len(every) >= 240
    names, chain, window = every[part::12], twelve * 1e-4, own_window(6, 9)
    for name in names:
        given = {n: GIVEN[n] for n, v in CATALOGUE[name].constants().items() if v is None and n in GIVEN}
        chain = chain.index(name, target_band=f"index {name}", **given)
    chain = chain.max("t")
    prepared = chain.published.prepared
    assert compiler.code_of(prepared, prepared.output) is not None
    fast = pixels(Engine(256 << 20), chain, window)
    with without_code():
        slow = pixels(Engine(256 << 20), chain, window)
    assert fast.bands == slow.bands and len(fast.bands or ()) == len(names) + 10
    np.testing.assert_array_equal(fast.values, slow.values)
    assert (np.isfinite(fast.values).mean(axis=(1, 2)) > 0.3).mean() > 0.9

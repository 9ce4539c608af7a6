"""Polygons that are drawn on a map or picked from its layers become candidates of the panel of series."""

from __future__ import annotations

import time
from typing import Any

import geopandas
import ipyleaflet
import numpy as np
import pytest
import shapely

import muses_lab as ml
from muses_widgets import Map, ParcelsPanel, SeriesPanel
from muses_widgets.places.polygons import polygon_of
from tests.helpers import real_series
from tests.helpers.made_stacks import CRS, ORIGIN

pytestmark = [pytest.mark.usefixtures("in_threads"), pytest.mark.filterwarnings("ignore::UserWarning")]


def box(rows: slice, cols: slice) -> shapely.Polygon:
    """Some pixels of the stack, in degrees."""
    x, y = ORIGIN
    square = shapely.box(x + 10 * cols.start, y - 10 * rows.stop, x + 10 * cols.stop, y - 10 * rows.start)
    return geopandas.GeoSeries([square], crs=CRS).to_crs(4326).iloc[0]


def feature(shape: shapely.Geometry) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"style": {}}, "geometry": shapely.geometry.mapping(shape)}


def settle(panel: SeriesPanel) -> SeriesPanel:
    end = time.monotonic() + 120
    time.sleep(0.1)
    while panel.told["state"] == "working" or not panel.plot:
        assert time.monotonic() < end
        time.sleep(0.05)
    return panel


@pytest.fixture
def panel(masked: ml.Chain) -> SeriesPanel:
    m = Map()
    m.add(masked.median("t").style(cmap="RdYlGn", vmin=-0.2, vmax=1, label="NDVI"), name="NDVI")
    return SeriesPanel(m)


def test_a_drawn_polygon_is_a_candidate_whose_numbers_are_those_of_over(panel: SeriesPanel, masked: ml.Chain) -> None:
    field = box(slice(20, 30), slice(40, 55))
    panel._tools.data = [feature(field)]
    settle(panel)
    expected = masked.over(panel._plotted.candidate, stats=["mean", "median", "q10", "q90"]).table
    end = time.monotonic() + 60
    while len(panel.table()) != 68 and time.monotonic() < end:
        time.sleep(0.05)
    for name in ("mean", "median", "q10", "q90", "count"):
        np.testing.assert_array_equal(panel.table()[name], expected[name], err_msg=name)
    kept = panel.keep("Field")
    assert not kept.is_point and panel._tools.data == [] and panel._plotted.candidate is None


def test_the_newest_polygon_takes_the_place_of_the_one_before_and_a_click_of_both(panel: SeriesPanel) -> None:
    one, other = box(slice(0, 10), slice(0, 10)), box(slice(50, 60), slice(50, 60))
    panel._tools.data = [feature(one)]
    panel._tools.data = [feature(one), feature(other)]
    assert len(panel._tools.data) == 1 and panel._plotted.candidate.equals_exact(other, 1e-9)
    panel._tools.data = []
    assert panel._plotted.candidate is None
    panel._tools.data = [feature(one)]
    lon, lat = real_series.place(17, 64)
    panel.map.panel.clicked = [lat, lon]
    assert panel._plotted.candidate.geom_type == "Point" and panel._tools.data == []


def test_a_click_on_a_layer_s_polygon_picks_it_though_the_map_is_clicked_too(panel: SeriesPanel) -> None:
    field = box(slice(20, 30), slice(40, 55))
    layer = ipyleaflet.GeoJSON(data={"type": "FeatureCollection", "features": [feature(field)]})
    panel.map.add(layer)
    at = field.centroid
    layer._handle_mouse_events(None, {"event": "click", "feature": feature(field), "coordinates": [at.y, at.x]}, [])
    panel.map.panel.clicked = [at.y, at.x]
    assert panel._plotted.candidate.equals_exact(field, 1e-9)
    panel.map.panel.clicked = [at.y + 0.001, at.x]
    assert panel._plotted.candidate.geom_type == "Point"


def test_parcels_are_picked_likewise(panel: SeriesPanel) -> None:
    field = box(slice(20, 30), slice(40, 55))
    parcels = ParcelsPanel(panel.map, geopandas.GeoDataFrame(geometry=[field], crs=4326))
    (drawn,) = parcels.layer.data["features"]
    parcels.layer._handle_mouse_events(None, {"event": "click", "feature": drawn, "coordinates": [43.3, 3.0]}, [])
    assert panel._plotted.candidate.equals_exact(field, 1e-6)


def test_what_is_wrong_with_a_polygon_is_mended_and_told() -> None:
    bow = shapely.Polygon([(3, 43), (3.01, 43.01), (3.01, 43), (3, 43.01)])
    mended, notes = polygon_of(shapely.geometry.mapping(bow))
    assert mended.is_valid and "not valid" in notes[0]
    again, _ = polygon_of(shapely.geometry.mapping(shapely.box(363, 43, 364, 44)))
    assert again.bounds == (3, 43, 4, 44)


def test_a_panel_that_another_one_replaces_takes_its_tools_along(panel: SeriesPanel) -> None:
    other = SeriesPanel(panel.map)
    tools = [one for one in panel.map.controls if isinstance(one, ipyleaflet.GeomanDrawControl)]
    assert tools == [other._tools]

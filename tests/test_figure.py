"""A layer as a figure: the pixels of a tile's picture, the style's legend, a scale that is true on the ground."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image
from pyproj import Geod

import muses_lab as ml
from muses_lab.errors import NotAnImage
from muses_lab.render import render

pytestmark = pytest.mark.usefixtures("in_threads")
BOUNDS = (1.40, 43.57, 1.44, 43.60)
WINDOW = ml.Window.from_bounds(BOUNDS, crs="EPSG:32631", resolution=20)


@pytest.fixture(autouse=True)
def _no_screen():
    matplotlib.use("Agg")
    yield
    pyplot.close("all")


def test_its_pixels_are_those_of_a_tile_where_the_window_is(layer: ml.Layer) -> None:
    axes = layer.plot(WINDOW, title="NDVI 2018")
    (image,) = axes.get_images()
    found = layer.chain.pixels(WINDOW)
    expected = Image.open(io.BytesIO(render(found.values, layer.drawn, found.bands))).convert("RGBA")
    np.testing.assert_array_equal(image.get_array(), np.asarray(expected))
    left, bottom, right, top = WINDOW.boundingbox
    assert tuple(image.get_extent()) == (left, right, bottom, top)
    assert axes.get_title() == "NDVI 2018" and "EPSG:32631" in axes.get_xlabel()


def test_a_ramp_has_the_ticks_and_the_label_of_the_style(layer: ml.Layer) -> None:
    _, bar = layer.plot(WINDOW).figure.axes
    assert bar.get_ylabel() == "NDVI"
    assert [t.get_text() for t in bar.get_yticklabels()] == [t["label"] for t in layer.look.legend()["ticks"]]


def test_classes_are_named(s2: ml.Collection) -> None:
    kinds = (s2.ndvi().median("t") > 0.5).style(classes={0: ("bare", "tan"), 1: ("green", "darkgreen")})
    assert [text.get_text() for text in kinds.plot(WINDOW).get_legend().get_texts()] == ["bare", "green"]


def test_the_scale_is_as_long_as_it_says_on_the_ground(layer: ml.Layer) -> None:
    """In web Mercator a metre of the coordinates is 0.72 m here."""
    window = ml.Window.from_bounds(BOUNDS, crs="EPSG:3857", resolution=30)
    axes = layer.plot(window)
    (text,) = [one.get_text() for one in axes.texts]
    share = float(np.diff(axes.lines[0].get_xdata())[0])
    west, south, east, north = window.extent.to_crs("EPSG:4326").boundingbox
    width = Geod(ellps="WGS84").inv(west, (south + north) / 2, east, (south + north) / 2)[2]
    assert text == "500 m"
    assert share * width == pytest.approx(500, rel=1e-3)


def test_it_draws_into_axes_that_are_given_and_refuses_dates(layer: ml.Layer, s2: ml.Collection) -> None:
    _, axes = pyplot.subplots()
    assert layer.plot(WINDOW, ax=axes) is axes
    with pytest.raises(NotAnImage, match="dates"):
        s2.ndvi().style().plot(WINDOW)

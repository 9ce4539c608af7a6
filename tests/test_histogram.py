"""The kernel's side of the histogram of a view, and the colours that become part of the style."""

from __future__ import annotations

import time

import numpy as np
import pytest

import muses_lab as ml
from muses_widgets import Map, view
from muses_widgets.inputs import NotShown, rounded
from muses_widgets.sections.histogram import BINS

pytestmark = pytest.mark.usefixtures("in_threads")

BOUNDS, ZOOM = (1.37, 43.59, 1.39, 43.60), 12


@pytest.fixture(scope="module")
def ndvi(s2: ml.Collection) -> ml.Chain:
    return s2.mask_clouds().ndvi().median("t")


def send(m: Map, section: str, **message: object) -> None:
    """What the page sends."""
    m.panel._handle_custom_msg({"section": section, **message}, [])


def counted(m: Map, name: str) -> dict:
    send(m, "histogram", asked=name, layer=m.tiles(name).model_id, bounds=list(BOUNDS), zoom=ZOOM)
    end = time.monotonic() + 60
    while m.panel.sections.get("histogram", {}).get("state", "busy") == "busy" and time.monotonic() < end:
        time.sleep(0.02)
    return m.panel.sections["histogram"]


def test_it_counts_what_the_chain_gives_for_the_view(ndvi):
    m = Map()
    m.add(ndvi.style(cmap="RdYlGn", vmin=0.2, vmax=0.6, label="NDVI"), name="NDVI")
    found = counted(m, "NDVI")
    values = ndvi.compute(view.window(BOUNDS, ZOOM)).values
    valid = values[np.isfinite(values)].astype(float)
    assert (found["values"], found["missing"]) == (valid.size, values.size - valid.size)
    assert found["percentiles"] == list(rounded(*np.quantile(valid, (0.02, 0.98)).tolist()))
    (curve,) = found["curves"]
    edges = np.linspace(found["low"], found["high"], BINS + 1)
    assert sum(curve["counts"]) == valid.size, "outliers are counted at the ends"
    inside = [int(((valid >= a) & (valid < b)).sum()) for a, b in zip(edges[1:-2], edges[2:-1], strict=True)]
    assert curve["counts"][1:-1] == inside
    assert found["low"] <= 0.2 and found["high"] >= 0.6, "the limits are in sight"


def test_the_bands_of_a_colour_image_have_a_curve_each(s2):
    m = Map()
    median = s2.median("t")
    m.add(ml.rgb(*(median.band(name) for name in ("red", "green", "blue"))).style(vmax=0.3), name="Colour")
    found = counted(m, "Colour")
    assert [curve["label"] for curve in found["curves"]] == ["red", "green", "blue"]
    assert len({tuple(curve["counts"]) for curve in found["curves"]}) == 3


def test_colours_are_written_into_the_style_and_leave_the_chain_and_its_address(ndvi):
    m = Map()
    m.add(ndvi.style(cmap="RdYlGn", gamma=1.2, label="NDVI"), name="NDVI", opacity=0.5)
    chain, address = m.layer("NDVI").chain, m.tiles("NDVI").url
    values = {"style.vmin": 0.12, "style.vmax": 0.71, "style.cmap": "magma_r"}
    send(m, "colours", asked="first", layer=m.tiles("NDVI").model_id, values=values)
    assert m.panel.sections["colours"] == {"asked": "first"}
    assert m.layer("NDVI") == ndvi.style(cmap="magma_r", gamma=1.2, label="NDVI", vmin=0.12, vmax=0.71)
    assert m.layer("NDVI").chain is chain and m.tiles("NDVI").url == address
    assert m.tiles("NDVI").opacity == 0.5
    assert m.panel.layers[0]["legend"]["vmin"] == m.panel.layers[0]["colours"]["vmin"] == 0.12
    assert "cmap='magma_r'" in repr(m.layer("NDVI"))


def test_colours_that_are_refused_are_answered_too(ndvi, monkeypatch):
    """So that the page shows again what the style has."""
    m, sent = Map(), []
    m.add(ndvi.style(cmap="RdYlGn"), name="NDVI")
    monkeypatch.setattr(m.panel, "send", sent.append)
    send(m, "colours", asked="wrong", layer=m.tiles("NDVI").model_id, values={"style.vmin": 7})
    assert m.panel.sections["colours"] == {"asked": "wrong"} and m.layer("NDVI").look.vmin is None
    assert "vmin=7 must be below vmax=1" in sent[-1]["text"]


def test_a_stretch_in_python_is_that_of_the_panel(ndvi):
    m = Map()
    m.add(ndvi.style(cmap="RdYlGn"), name="NDVI")
    for side, value in zip(("west", "south", "east", "north"), BOUNDS, strict=True):
        m.set_trait(side, value)
    m.zoom = ZOOM
    layer = m.stretch("NDVI")
    assert [layer.look.vmin, layer.look.vmax] == counted(m, "NDVI")["percentiles"]
    assert m.layer("NDVI") == layer == ndvi.style(cmap="RdYlGn", vmin=layer.look.vmin, vmax=layer.look.vmax)
    with pytest.raises(NotShown, match="two percentiles"):
        m.stretch("NDVI", 98, 2)
    m.add(ndvi.mask(ndvi > -9), name="Nothing")
    with pytest.raises(NotShown, match="'Nothing' has no value in this view"):
        m.stretch("Nothing")


def test_a_view_without_values_and_one_that_cannot_be_counted_say_so(ndvi):
    m = Map()
    m.add(ndvi.mask(ndvi > -9), name="Nothing")
    assert counted(m, "Nothing")["text"] == "There is no value in this view."
    send(m, "histogram", asked="x", layer="gone", bounds=list(BOUNDS), zoom=ZOOM)
    end = time.monotonic() + 10
    while m.panel.sections["histogram"]["state"] != "failed" and time.monotonic() < end:
        time.sleep(0.02)
    assert m.panel.sections["histogram"]["text"] == "that layer is no longer on the map"

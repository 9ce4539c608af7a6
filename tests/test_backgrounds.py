"""Maps of others as layers: addresses that are understood, and where they lie."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import ipyleaflet
import pytest

from muses_widgets import Map
from muses_widgets.backgrounds import holds_secret
from muses_widgets.inputs import NotShown


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://a.example/{z}/{x}/{y}.png", "https://a.example/{z}/{x}/{y}.png"),
        ("https://{s}.example/{z}/{x}/{y}.png", "https://a.example/{z}/{x}/{y}.png"),
        ("https://a.example/{TileMatrix}/{TileRow}/{TileCol}.png", "https://a.example/{z}/{y}/{x}.png"),
        (ipyleaflet.basemaps.OpenTopoMap, "https://a.tile.opentopomap.org/{z}/{x}/{y}.png"),
    ],
)
def test_tiles_are_asked_for_by_their_place(url, asked):
    layer = Map().add_background(url)
    assert layer.url == asked and type(layer)._model_name.default_value == "LeafletTileLayerModel"


def test_rows_that_are_counted_from_the_south():
    layer = Map().add_background("https://a.example/{z}/{x}/{-y}.png")
    assert layer.tms and layer.url.endswith("/{z}/{x}/{y}.png")


def test_a_wms_and_a_wmts_by_the_names_of_their_layers():
    wms = Map().add_background("https://a.example/wms?map=x&SERVICE=WMS&request=GetCapabilities", layers="DEM")
    assert isinstance(wms, ipyleaflet.WMSLayer) and wms.url == "https://a.example/wms?map=x" and wms.layers == "DEM"
    wmts = Map().add_background("https://a.example/wmts", layers="PLAN", matrix_set="PM", styles="normal")
    asked = {name: one for name, (one,) in parse_qs(urlsplit(wmts.url).query).items()}
    assert asked == {
        "SERVICE": "WMTS", "REQUEST": "GetTile", "VERSION": "1.0.0", "LAYER": "PLAN", "STYLE": "normal",
        "TILEMATRIXSET": "PM", "FORMAT": "image/png", "TILEMATRIX": "{z}", "TILEROW": "{y}", "TILECOL": "{x}",
    }  # fmt: skip


def test_it_lies_above_the_base_map_and_those_before_it():
    m = Map()
    m.add(ipyleaflet.Marker(location=(43, 1)))
    a = m.add_background("https://a.example/{z}/{x}/{y}.png", attribution="© A", opacity=0.5, max_zoom=17)
    b = m.add_background("https://b.example/{z}/{x}/{y}.png", "B")
    assert m.layers[1:3] == (a, b) and [a.name, b.name] == ["Background 1", "B"]
    assert (a.attribution, a.opacity, a.max_native_zoom, a.max_zoom) == ("© A", 0.5, 17, 20)
    assert not a.base and m.panel.basemap == "Offline"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://a.example/wms", "no address of a map; give 'https://…/{z}/{x}/{y}.png'"),
        (7, "give 'https://"),
        ("ftp://a.example/{z}/{x}/{y}.png", "give 'https://"),
        ("https://me:secret@a.example/{z}/{x}/{y}.png", "does not belong in an address"),
    ],
)
def test_what_is_no_address_is_refused(url, message):
    with pytest.raises(NotShown, match=message):
        Map().add_background(url)


def test_a_key_in_an_address_is_seen():
    for key in ("subscription-key", "X-Amz-Signature", "auth", "access-token", "map_key", "appid", "tk", "sig"):
        assert holds_secret(f"https://a.example/{{z}}/{{x}}/{{y}}.png?{key}=1"), key
    assert holds_secret("https://a.example/ogc/wms/0f1e2d3c-0000-4000-8000-0123456789ab")
    assert not holds_secret("https://a.example/wms?service=WMS&design=1")
    assert holds_secret("https://a.example/{z}/{x}/{y}.png?apikey=1") and not holds_secret(
        "https://a.example/{z}?map=1"
    )

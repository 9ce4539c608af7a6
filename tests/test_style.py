from __future__ import annotations

import json

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muses_lab.render import pixels, shapes
from muses_lab.style import Style, StyleError

CLASSES = {4: ("vegetation", "forestgreen"), 6: ("water", "#2b6cb0")}

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
ends = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)).map(lambda p: (p[0], p[0] + p[1]))
styles = st.builds(
    lambda cmap, ends, gamma, opacity, label: Style(cmap, *ends, gamma=gamma, opacity=opacity, label=label),
    st.sampled_from(["viridis", "RdYlGn", ("black", "red", "#ffffff")]),
    ends,
    st.floats(0.1, 10),
    st.floats(0, 1),
    st.none() | names,
)


@given(styles)
def test_document_gives_the_same_style_and_hash_back(style: Style) -> None:
    again = Style.from_json(style.to_text())
    assert again == style
    assert again.hash == style.hash
    assert Style.from_json(json.loads(json.dumps(style.to_json()))) == style


def test_equal_looks_have_equal_hashes() -> None:
    assert Style(cmap=["red", "blue"]).hash == Style(cmap=("#ff0000", "#0000ff")).hash
    assert Style(vmin=0).hash == Style(vmin=0.0).hash
    assert Style(classes=CLASSES) == Style(classes=dict(reversed(CLASSES.items())))
    assert Style(cmap=matplotlib.colormaps["RdYlGn"]) == Style(cmap="RdYlGn")
    assert (
        len({Style(), Style(cmap="RdYlGn"), Style(vmax=2), Style(classes=CLASSES), Style(bands=("a", "b", "c"))}) == 5
    )


def test_hash_of_a_style_does_not_change_between_releases() -> None:
    assert Style(cmap="RdYlGn", vmin=0, vmax=1).to_text() == (
        '{"cmap":"RdYlGn","type":"muses:style","version":1,"vmax":1,"vmin":0}'
    )


@pytest.mark.parametrize(
    ("arguments", "argument", "says"),
    [
        ({"cmap": "rdylgn"}, "cmap", "did you mean 'RdYlGn'"),
        ({"cmap": "virids"}, "cmap", "'viridis'"),
        ({"cmap": ("red",)}, "cmap", "2 to 256 colours"),
        ({"cmap": ("red", "gren")}, "cmap", "'green'"),
        ({"cmap": 3}, "cmap", "neither"),
        ({"vmin": 1, "vmax": 1}, "vmin", "vmin=1 must be below vmax=1"),
        ({"vmin": 2}, "vmin", "default"),
        ({"vmax": float("nan")}, "vmax", "finite"),
        ({"vmin": True}, "vmin", "not a finite number"),
        ({"vmin": 0, "vmax": 1e-40}, "vmax", "too close"),
        ({"gamma": 0}, "gamma", "between"),
        ({"opacity": 1.5}, "opacity", "between 0 and 1"),
        ({"bands": ("a", "b")}, "bands", "three band names"),
        ({"bands": 7}, "bands", "three band names"),
        ({"classes": {1: "red"}}, "classes", "(label, colour)"),
        ({"classes": {1: ("water", "blau")}}, "classes", "is not a colour"),
        ({"classes": {"one": ("water", "blue")}}, "classes", "finite number"),
        ({"classes": {i: (str(i), "red") for i in range(256)}}, "classes", "256 classes"),
        ({"classes": CLASSES, "bands": ("a", "b", "c")}, "classes", "exclude"),
        ({"label": 5}, "label", "text"),
        ({"classes": CLASSES, "hidden": (4, 5)}, "hidden", "hidden=5 is no class of the style; there are 4"),
        ({"hidden": (1,)}, "hidden", "there are none"),
        ({"classes": CLASSES, "hidden": "4"}, "hidden", "no list of values"),
    ],
)
def test_what_is_wrong_is_said(arguments: dict, argument: str, says: str) -> None:
    with pytest.raises(StyleError) as caught:
        Style(**arguments)
    assert says in caught.value.message
    assert caught.value.details["argument"] == argument


@pytest.mark.parametrize(
    ("doc", "says"),
    [
        ("{", "not a style document"),
        ("[" * 100_000, "not a style document"),
        ([1], "a JSON object"),
        ({"version": 2}, "version 2"),
        ({"type": "other"}, "muses:style"),
        ({"colormap": "jet"}, "no 'colormap'; did you mean 'cmap'?"),
        ({"classes": [[1, "water"]]}, "[value, label, colour]"),
        ({"classes": [[[1], "water", "red"]]}, "finite number"),
    ],
)
def test_foreign_documents_are_refused(doc: object, says: str) -> None:
    with pytest.raises(StyleError, match=None) as caught:
        Style.from_json(doc)  # type: ignore[arg-type]
    assert says in caught.value.message


@given(styles)
def test_legend_of_a_colormap_runs_from_end_to_end(style: Style) -> None:
    legend = json.loads(json.dumps(style.legend()))
    offsets = [offset for offset, _ in legend["stops"]]
    assert offsets[0] == 0 and offsets[-1] == 1 and offsets == sorted(offsets)
    assert all(len(colour) == 7 for _, colour in legend["stops"])
    assert len(legend["ticks"]) >= 2
    assert all(0 <= tick["offset"] <= 1 for tick in legend["ticks"])


def test_a_hidden_class_is_listed_and_has_no_pixels() -> None:
    look = Style(classes=CLASSES, hidden=[4])
    assert look == Style(classes=CLASSES, hidden=(4.0,)) != Style(classes=CLASSES)
    assert Style.from_json(look.to_text()) == look and "hidden" not in Style(classes=CLASSES).to_json()
    values = np.array([[4.0, 6.0, np.nan]], np.float32)
    assert pixels(values, look).tolist() == [[0, 2, 0]]
    assert pixels(values, Style(classes=CLASSES)).tolist() == [[1, 2, 0]]
    assert shapes(look) != shapes(Style(classes=CLASSES)), "one picture does not stand for the other"
    assert [one.get("hidden", False) for one in look.legend()["entries"]][:2] == [True, False]


def test_legend_of_classes_and_rgb() -> None:
    legend = Style(classes=CLASSES, label="Land cover").legend()
    assert legend["kind"] == "classes" and legend["label"] == "Land cover"
    assert legend["entries"][0] == {"value": 4.0, "label": "vegetation", "colour": "#228b22"}
    rgb = Style(bands=("B04", "B03", "B02")).legend()
    assert (rgb["kind"], rgb["bands"], rgb["vmin"], rgb["vmax"]) == ("rgb", ["B04", "B03", "B02"], 0.0, 0.3)


def test_legend_of_a_short_colour_list_has_hard_edges() -> None:
    stops = Style(cmap="tab10").legend()["stops"]
    assert len(stops) == 20 and stops[1][0] == stops[2][0] == 0.1 and stops[1][1] != stops[2][1]

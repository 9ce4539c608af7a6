"""What is plotted, as a text: layers, bands, indices, arithmetic and operators of these, and nothing else of Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import muses_lab as ml
from muses_lab.errors import ArgumentError, MusesError
from muses_lab.operators import registry
from muses_lab.operators.methods import schemas_of
from muses_widgets.series.expressions import _WORD, Expressions

pytestmark = pytest.mark.usefixtures("in_threads")

LON, LAT = 1.40, 43.6


@pytest.fixture(scope="module")
def clear(s2):
    return s2.mask_clouds()


@pytest.fixture(scope="module")
def known(s2, clear) -> Expressions:
    colours = ml.rgb(*(clear.band(b).median("t") for b in ("red", "green", "blue")))
    layers = {"Colour": colours, "NDVI 2018": clear.ndvi().median("t").style(label="NDVI", unit="1")}
    return Expressions(layers, {"wet": s2.ndwi() > 0})


@pytest.mark.parametrize(
    ("text", "chain"),
    [
        ("NDVI 2018", lambda s2, clear: clear.ndvi()),
        ("B04", lambda s2, clear: clear.band("B04")),
        ("red", lambda s2, clear: clear.band("red")),
        ("B8 / B4", lambda s2, clear: clear.band("B08") / clear.band("B04")),
        ("evi", lambda s2, clear: clear.index("EVI")),
        ("(nir - red) / (nir + red)", lambda s2, clear: clear.ndvi()),
        ("-NDVI ** 2", lambda s2, clear: -(clear.index("NDVI") ** 2)),
        ("NDVI > 0.4", lambda s2, clear: clear.index("NDVI") > 0.4),
        ("NDVI.whittaker(smoothness=2)", lambda s2, clear: clear.index("NDVI").whittaker(smoothness=2)),
        ("wet", lambda s2, clear: s2.ndwi() > 0),
        ("2 ** NDVI", lambda s2, clear: 2 ** clear.index("NDVI")),
        ("2 ** -NDVI", lambda s2, clear: 2 ** -clear.index("NDVI")),
        (
            "NDVI.dates('2018-01-01', '2018-12-31')",
            lambda s2, clear: clear.index("NDVI").dates("2018-01-01", "2018-12-31"),
        ),
        ("NDVI.focal_mean(30, unit='m')", lambda s2, clear: clear.index("NDVI").focal_mean(30, unit="m")),
        ("wet * 2", lambda s2, clear: (s2.ndwi() > 0) * 2),
    ],
)
def test_a_text_is_the_chain_that_it_says_with_the_layer_s_masks(known, s2, clear, text, chain):
    found, expected = known.quantity(text).chain.series(LON, LAT), chain(s2, clear).series(LON, LAT)
    np.testing.assert_array_equal(found.array.values, expected.array.values)
    assert list(found.table["state"]) == list(expected.table["state"])
    assert list(found.table["mask_class"]) == list(expected.table["mask_class"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NDVJ", "there is no band, index or layer 'NDVJ'; did you mean NDVI"),
        ("NDVI +", "is no expression"),
        ("2 + 2", "it is the same on every date"),
        ("9 ** 9 ** 9", "too large"),
        ("1 / 0 + NDVI", "division by zero"),
        ("__import__('os').system('true')", "there is no operator 'system'|is not understood"),
        ("NDVI.published", "is not understood"),
        ("NDVI.to_json()", "there is no operator 'to_json'"),
        ("NDVI.focal_meen(2)", "did you mean 'focal_mean'"),
        ("NDVI.focal_mean('wide')", "radius"),
        ("NDVI.focal_mean(**{'radius': 5})", r"\* and \*\* are not understood"),
        ("NDVI.focal_mean(*[5])", r"\* and \*\* are not understood"),
        ("~1.5 * NDVI", "1.5: bad operand type"),
        ("(1 & 1.5) * NDVI", "1 and 1.5: unsupported operand"),
        ("(-8) ** 0.5 * NDVI", "is no real number"),
        ("NDVI.focal_mean(b'x')", "arguments are numbers, words, dates and lists"),
        ("[x for x in (1, 2)]", "is not understood"),
        ("Colour", "made of 3 series"),
        ("N" * 600, "the limit is 500"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_reason(known, text, why):
    with pytest.raises(MusesError, match=why):
        known.quantity(text).chain.series(LON, LAT)


@pytest.mark.parametrize("of", ["NDVI", "wet", "B08"])
@pytest.mark.parametrize(
    "call",
    [
        "run_udf('import os')", "run_udf('code')", "mask_polygon('fields.gpkg')", "mask_polygon('fields')",
        "filter_spatial('fields.gpkg')", "apply_polygon('fields')", "aggregate_spatial('fields', 'mean')",
        "random_forest('forest')", "ml_predict('forest')", "load_url('https://example.org/a.tif')",
        "load_ml_model('m')", "save_ml_model('m')", "twice()",
    ],
)  # fmt: skip
def test_no_expression_runs_code_or_reaches_a_file(known, own_operator, of, call):
    with pytest.raises(ArgumentError, match="is not understood in an expression|there is no operator"):
        known.quantity(f"{of}.{call}")


@pytest.fixture
def own_operator(monkeypatch) -> None:
    """An operator of a notebook, `twice`."""
    monkeypatch.setattr(registry, "_offered", dict(registry._offered))
    monkeypatch.setattr(registry, "_uses", [])
    exec("import muses_lab as ml\nfrom muses_lab.operators import Cube\n", notebook := {"__name__": "__main__"})
    exec("@ml.operator\ndef twice(data: Cube) -> Cube:\n    return data * 2\n", notebook)
    assert registry.of_method("twice")


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "../a", "~/a", "a.gpkg", "https://example.org", "C:a", "import os\nos", "f(x)", "+init=a"]
)
def test_texts_of_operators_are_words_and_dates(known, text):
    for call in (f"bands({text!r})", f"crop({text!r})", f"on_grid([{text!r}])", f"rename_bands({{{text!r}: 'a'}})"):
        with pytest.raises(ArgumentError, match="no paths, addresses or code"):
            known.quantity(f"NDVI.{call}")


def test_every_choice_of_an_operator_can_be_written():
    choices = set()

    def collect(schema: Any) -> None:
        if isinstance(schema, dict):
            choices.update(one for one in schema.get("enum", ()) if isinstance(one, str))
        for one in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
            collect(one)

    for op in registry:
        if op.method:
            collect(schemas_of(op.method))
    assert len(choices) > 30
    assert [one for one in choices if not _WORD.fullmatch(one)] == []


def test_a_layer_s_unit_is_that_of_its_series_and_of_nothing_else(known, clear):
    assert (known.quantity("NDVI 2018").label, known.quantity("NDVI 2018").unit) == ("NDVI", "1")
    assert (known.quantity("EVI").label, known.quantity("EVI").unit) == ("EVI", "")
    count = Expressions({"Count": clear.band("red").count("t").style(unit="dates")})
    assert count.quantity("Count").unit == ""


def test_choices_are_what_can_be_written(known):
    choices = [choice["value"] for choice in known.choices()]
    assert choices[:4] == ["Colour", "NDVI 2018", "wet", "B01"] and "EVI" in choices
    assert len(choices) == len(set(choices))
    for text in ("SCL", "EVI", "kNDVI"):
        assert known.quantity(text).chain.hash
    assert known.first() == "NDVI 2018"  # the colours are made of three series
    assert Expressions({}).first() == "" and Expressions({}).choices() == []


def test_without_a_layer_nothing_is_known():
    with pytest.raises(ArgumentError, match="there is no band, index or layer 'NDVI'"):
        Expressions({}).quantity("NDVI")

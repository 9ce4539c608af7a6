"""Forms of operators: inputs from the declaration, and the chain that they give."""

from __future__ import annotations

import ipywidgets
import pytest

import muses_lab as ml
from muses_lab.errors import ArgumentError
from muses_lab.operators import registry
from muses_lab.operators.methods import method_of
from muses_widgets import Form
from tests.helpers.operator_examples import call_of


@pytest.fixture(scope="module")
def image(s2: ml.Collection) -> ml.Chain:
    return s2.ndvi().median("t")


def inputs(form: Form) -> dict[str, ipywidgets.ValueWidget]:
    return {w.description: w for w in form.children if getattr(w, "description", "")}


def problem(form: Form) -> str:
    return form.children[-1].value


def test_a_form_gives_the_chain_that_its_method_would(image: ml.Chain) -> None:
    form = Form(image.focal_mean)
    assert form.chain.identical(image.focal_mean())
    inputs(form)["radius"].value = 5
    inputs(form)["unit"].value = "m"
    assert form.chain.identical(image.focal_mean(5, "m"))


def test_arguments_without_a_default_have_to_be_filled_in(image: ml.Chain) -> None:
    form = Form(image, "clip")
    assert form.chain is None
    assert "min, max" in problem(form)
    inputs(form)["min"].value, inputs(form)["max"].value = "0", "0.5"
    assert form.chain.identical(image.clip(0, 0.5))
    assert not problem(form)


def test_what_is_wrong_is_said_and_gives_no_chain(image: ml.Chain) -> None:
    form = Form(image.focal_mean)
    inputs(form)["radius"].value = -3
    assert form.chain is None
    assert "radius" in problem(form)
    inputs(form)["radius"].value = 3
    assert form.chain.identical(image.focal_mean(3))
    assert not problem(form)


def test_texts_are_read_as_values(image: ml.Chain) -> None:
    form = Form(image.isin)
    inputs(form)["values"].value = "(4, 5, 6)"
    assert form.chain.identical(image.isin([4, 5, 6]))
    inputs(form)["values"].value = "4, 5, 6"
    assert form.chain.identical(image.isin([4, 5, 6]))
    inputs(form)["values"].value = "four"
    assert form.chain is None
    assert "'four'" in problem(form)


def test_several_texts_are_written_with_commas(s2: ml.Collection) -> None:
    form = Form(s2.bands)
    assert form.chain is None
    inputs(form)["names"].value = "red, nir"
    assert form.chain.identical(s2.bands("red", "nir"))


def test_given_arguments_are_not_asked_for(image: ml.Chain) -> None:
    form = Form(image.mask, mask=image > 0.5)
    assert "mask" not in inputs(form)
    assert form.chain.identical(image.mask(image > 0.5))
    with pytest.raises(ArgumentError, match="no argument 'masque'; it has mask, replacement"):
        Form(image.mask, masque=1)


def test_changes_are_told_once_each(image: ml.Chain) -> None:
    form, told = Form(image.focal_mean), []
    form.on_change(told.append)
    inputs(form)["radius"].value = 2
    inputs(form)["unit"].value = "px"
    assert [chain.identical(image.focal_mean(r)) for chain, r in zip(told, (1, 2), strict=True)] == [True, True]


@pytest.mark.parametrize("method", [None, ml.collection, len])
def test_other_things_have_no_form(method: object) -> None:
    with pytest.raises(ArgumentError, match="a chain's method"):
        Form(method)


def test_other_methods_have_no_form(image: ml.Chain) -> None:
    with pytest.raises(ArgumentError, match="no operator"):
        Form(image.compute)


@pytest.mark.parametrize("op", [op for op in registry if method_of(op)], ids=lambda op: op.id)
def test_every_operator_has_a_form(op, s2: ml.Collection) -> None:
    """What the first example of an operator does, its form does with the same arguments."""
    chain, args, kwargs = call_of(op, s2)
    method = getattr(chain, op.method)
    parameters = method_of(op).signature.parameters
    if any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
        form = Form(method)
        inputs(form)[next(iter(parameters))].value = ", ".join(args)
    else:
        form = Form(method, **dict(zip(parameters, args, strict=False)), **kwargs)
    assert form.chain is not None, problem(form)
    assert form.chain.identical(method(*args, **kwargs))

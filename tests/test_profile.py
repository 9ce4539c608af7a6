"""The published profile says what the registry does."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import jsonschema
import pytest

import muses_lab as ml
from muses_lab.operators import registry
from muses_lab.operators.methods import examples
from muses_lab.operators.profile import markdown, profile
from muses_lab.products import page as products_page
from muses_lab.products import profile_of, profiles

DOCS = Path(__file__).resolve().parent.parent / "docs"
BUILDING = {"clouds", "from_json", "mask_clouds", "pin", "resolve", "with_artefacts_of", "with_parameters"}
"""Methods that give a chain and are no operator's."""


def test_the_page_has_every_process_with_its_python_beside_it() -> None:
    page = markdown()
    for op in registry:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{op.id}` |")]
        assert all(text.replace("|", "\\|") in row for text in examples(op.fn.__doc__ or "")), row
    assert '| `sd` | `ndvi.std("t")` | callback | `data`, `ignore_nodata`=True | Sample standard' in page


@pytest.mark.parametrize("kind", [ml.Chain, ml.Collection])
def test_every_method_that_makes_a_chain_is_on_the_page(kind: type) -> None:
    made = {
        name
        for name, method in inspect.getmembers(kind, callable)
        if not name.startswith("_") and inspect.signature(method).return_annotation in ("Chain", "Collection", "Self")
    }
    page = markdown()
    assert len(made) > 40
    assert [name for name in sorted(made - BUILDING) if f".{name}(" not in page] == []


def test_the_page_of_products_has_what_is_known() -> None:
    text = (DOCS / "products.md").read_text("utf-8")
    assert products_page.markdown() in text, "the sections are what `muses-lab products` prints"
    for known in profiles().values():
        assert text.count(f"### `{known.name}`") == 1
        assert profile_of({"id": known.name}) is known, "its own name is an id that it is found under"
        assert all(f"`{key}`" in text for band in known.bands for key in band.keys)


def test_every_operator_is_described() -> None:
    undocumented = [op.id for op in registry if not (op.fn.__doc__ or "").strip()]
    assert not undocumented
    assert len(profile()) == len(list(registry))


@pytest.mark.parametrize("description", profile(), ids=lambda d: d["id"])
def test_schemas_are_json_schemas_that_accept_their_defaults(description: dict) -> None:
    json.dumps(description)
    for parameter in description["parameters"]:
        schema = parameter["schema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        if parameter.get("optional") and parameter["default"] is not None:
            jsonschema.validate(parameter["default"], schema)

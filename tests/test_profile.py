"""The published profile says what the registry does."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from muses_lab.operators import registry
from muses_lab.operators.profile import markdown, profile

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operators.md"


def test_the_page_is_the_profile() -> None:
    assert PAGE.read_text("utf-8") == markdown(), "run: muses-lab operators > docs/operators.md"


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

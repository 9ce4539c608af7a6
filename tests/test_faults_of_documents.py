"""All that is wrong with a document is found, each fault at its node, and nothing that is right is complained of."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

import muses_lab as ml
from muses_lab.api.reading import faults
from muses_lab.operators import registry
from tests.helpers.examples import always
from tests.helpers.operator_examples import lines, run

ELSEWHERE = ("load_stac", "load_url")
"""Their examples are of addresses that are not here."""
OPERATORS = [op.id for op in registry if op.id not in ELSEWHERE and lines(op)]


def nodes_of(found: Any) -> set[str]:
    return {error.details.get("node", "").partition("/")[0] for error in found}


@pytest.mark.parametrize("id", always(OPERATORS, 24))
def test_a_faulty_node_is_the_only_one_that_is_complained_of(id: str, s2: ml.Collection):
    chain = run(lines(registry[id])[0], s2)
    if not isinstance(chain, ml.Chain):
        return
    document = chain.to_json()
    assert faults(document) == ()
    for name in document["process_graph"]:
        wrong = deepcopy(document)
        wrong["process_graph"][name]["process_id"] = "no_such_process"
        assert nodes_of(faults(wrong)) == {name}


def test_what_is_wrong_after_a_faulty_node_is_found_as_well(s2: ml.Collection):
    document = (s2.mask_clouds().ndvi().median("t").focal_mean(3) > 0.5).to_json()
    graph = document["process_graph"]
    graph["ndvi1"]["process_id"] = "ndvy"
    graph["focalmean1"]["arguments"]["radius"] = -2
    graph["apply1"]["arguments"]["process"]["process_graph"]["gt1"]["process_id"] = "greater"
    assert nodes_of(faults(document)) == {"ndvi1", "focalmean1", "apply1"}

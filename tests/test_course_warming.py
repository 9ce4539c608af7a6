"""The class's evaluator computes the chains of a course beforehand: `muses-lab course warm` on a hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import muses_lab as ml
from muses_lab import cli
from muses_lab.authoring.new import new_course
from muses_lab.authoring.publish import bundle
from muses_lab.authoring.warm import warm_for_class
from muses_lab.compute.class_executor import ClassExecutor
from muses_lab.compute.class_link import ClassLink
from muses_lab.compute.queue import Executor
from muses_lab.compute.threads import ThreadsBackend
from muses_lab.compute.windows import request_window
from muses_lab.courses import archive, copies
from muses_lab.errors import ComputeError
from tests.helpers import PYTHON_PATH, evaluators
from tests.helpers.evaluators import Running

AREA = [1.38, 43.57, 1.40, 43.585]


@pytest.fixture
def evaluator(fresh_home: Path, sample_catalog: Path, tmp_path: Path, monkeypatch) -> Iterator[Running]:
    """With a course whose scenes and chain are published."""
    fresh_home.mkdir()
    (fresh_home / "sample").symlink_to(sample_catalog)
    made = new_course("floods", tmp_path / "floods")
    text = yaml.safe_load((made / "course.yml").read_text())
    text |= {"area": AREA, "dates": ["2018-01-01", "2018-05-01"], "zoom": [11, 12]}
    text["chains"] = {"ndvi": "chains/ndvi.json"}
    (made / "course.yml").write_text(yaml.safe_dump(text))
    (made / "chains").mkdir()
    chain = ml.course(made).collection().mask_clouds().ndvi().median("t")
    (made / "chains" / "ndvi.json").write_text(json.dumps(chain.to_json()))
    archive.unpack(bundle(made, tmp_path / "floods.zip").archive, tmp_path / "hub")
    monkeypatch.setenv("MUSES_COURSES", str(tmp_path / "hub"))
    monkeypatch.setenv("PYTHONPATH", PYTHON_PATH)
    with evaluators.running() as running:
        yield running


@pytest.mark.slow
def test_what_is_computed_beforehand_is_what_participants_get(evaluator, tmp_path, monkeypatch):
    monkeypatch.setenv("MUSES_COURSE_URL", evaluator.url)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of-tom")
    done = CliRunner().invoke(cli.app, ["course", "warm", "floods"])
    assert done.exit_code == 0 and "ndvi: " in done.stdout and "are kept for the class" in done.stdout, done.output

    kept = evaluator.evaluator.warming.status("floods")
    assert kept["state"] == "done" and kept["chains"]["ndvi"]["of"] > 0
    one = kept["chains"]["ndvi"]
    assert one["blocks"] > 0 and one["bytes"] > 0 and not one["failed"] and len(one["levels"]) == 2

    copy, _ = copies.open_copy(copies.find("floods"), tmp_path / "mine")
    theirs = ml.course(copy.folder).collection().mask_clouds().ndvi().median("t")
    tile = ml.Window.from_bounds(AREA, resolution=40)
    own = Executor(ThreadsBackend(2))
    link = ClassExecutor(own, ClassLink(evaluator.url, lambda: "of-ada"))
    try:
        values = request_window(link, theirs.published, tile).result(280).values
    finally:
        link.close()
        own.close()
    counters = evaluator.evaluator.engine().counters()
    assert counters["materialized_blocks"] > 0 and counters["blocks_decoded"] == 0  # no scene was opened
    np.testing.assert_array_equal(np.squeeze(values), np.squeeze(theirs.compute(tile).values))


@pytest.mark.thorough
@pytest.mark.slow
def test_what_cannot_be_computed_says_why(evaluator, tmp_path):
    with pytest.raises(ComputeError, match="refuses: no course 'fields' is published"):
        warm_for_class(evaluator.url, "of-tom", "fields", lambda *one: None)
    version = copies.find("floods").folder
    (version / "chains").chmod(0o755)
    (version / "chains" / "ndvi.json").unlink()
    with pytest.raises(ComputeError, match="chains of floods were not all computed: .*chains/ndvi.json"):
        warm_for_class(evaluator.url, "of-tom", "floods", lambda *one: None)
    with pytest.raises(ComputeError, match="does not answer"):
        warm_for_class("http://127.0.0.1:9", "of-tom", "floods", lambda *one: None)

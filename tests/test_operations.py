"""Operating a hub: metrics, health, logs for machines, an orderly end."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from muses_lab import logs
from muses_lab.errors import MusesError
from muses_lab.service.metrics import outcome
from tests.helpers import REPOSITORY
from tests.helpers.service import Server


def metrics_of(server: Server) -> str:
    return server.session.get(f"{server.url}metrics", timeout=60).text


def samples(text: str) -> dict[str, list[Any]]:
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


def test_a_jupyter_server_tells_prometheus_of_its_tiles(server: Server, published: tuple[str, str]) -> None:
    chain, style = published
    before = samples(metrics_of(server))
    answers = [
        server.get(f"tiles/{chain}/{style}/12/2064/1496.png"),
        server.get(f"tiles/{'0' * 64}/{style}/12/2064/1496.png"),
        server.get("base/3/4/2.png"),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 200]
    after = samples(metrics_of(server))

    def counted(found: dict[str, list[Any]], kind: str, outcome: str) -> float:
        return sum(
            s.value for s in found.get("muses_tile_seconds", ()) if s.name.endswith("_count")
            and (s.labels["kind"], s.labels["outcome"]) == (kind, outcome)
        )  # fmt: skip

    for kind, what in (("picture", "ok"), ("picture", "failed"), ("base", "ok")):
        assert counted(after, kind, what) == counted(before, kind, what) + 1, (kind, what)
    assert after["muses_server_resident_bytes"][0].value > 50e6
    finished = {s.labels["outcome"]: s.value for s in after["muses_blocks_done"]}
    assert finished["finished"] >= 1
    assert server.token not in metrics_of(server)
    assert requests.get(f"{server.url}metrics", timeout=60).status_code == 403, "for those with a token of the server"


@pytest.mark.parametrize("status, told", [(200, "ok"), (304, "known"), (499, "left"), (404, "failed"), (503, "failed")])
def test_what_became_of_a_tile(status: int, told: str) -> None:
    assert outcome(status) == told


def test_logs_are_objects_where_machines_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import logging; from muses_lab import logs; logs.begin('muses'); log = logging.getLogger('muses_lab.hub');"
        "log.warning('a scene of %s\\nis gone', 'Żółw')\n"
        "try: 1 / 0\nexcept ZeroDivisionError: log.exception('it failed')"
    )
    environment = {**os.environ, "MUSES_LOG": "json", "JUPYTERHUB_USER": "alice", "PYTHONPATH": str(REPOSITORY)}
    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    first, second = map(json.loads, told.stderr.splitlines())
    assert first["message"] == "a scene of Żółw\nis gone" and first["level"] == "WARNING"
    assert (first["service"], first["user"], first["logger"]) == ("muses", "alice", "muses_lab.hub")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", first["time"])
    assert "ZeroDivisionError" in second["exc_info"]
    monkeypatch.delenv("MUSES_LOG", raising=False)
    assert logs.for_traitlets("hub") == {} and logs.kind() == "text"
    monkeypatch.setenv("MUSES_LOG", "xml")
    with pytest.raises(MusesError, match="MUSES_LOG='xml' is no way to log; there are 'text' and 'json'"):
        logs.kind()


def test_jupyter_s_programs_log_so_too(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from traitlets.config import Application, Config

    monkeypatch.setenv("MUSES_LOG", "json")
    application = Application(config=Config({"Application": {"logging_config": logs.for_traitlets("hub")}}))
    application.initialize([])
    application.log.warning("one of %d", 2)
    told = json.loads(capfd.readouterr().err.splitlines()[-1])
    assert told["message"] == "one of 2" and told["service"] == "hub"
    logging.getLogger("Application").handlers.clear()


MONITORING = REPOSITORY / "deploy" / "monitoring"
OF_JUPYTERHUB = {"jupyterhub_running_servers", "jupyterhub_active_users", "jupyterhub_server_spawn_duration_seconds"}


def test_the_dashboard_asks_for_what_there_is() -> None:
    board = json.loads((MONITORING / "grafana.json").read_text("utf-8"))
    asked = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for panel in board["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"\b(?:muses|jupyterhub)_\w+", target["expr"])
    }
    sources = "".join(
        path.read_text("utf-8") for part in ("service", "hub", "evaluator", "deployment")
        for path in (REPOSITORY / "muses_lab" / part).glob("*.py")
    )  # fmt: skip
    ours = {name for name in asked if name.startswith("muses_")}
    unknown = {
        name for name in ours
        if name not in sources and name.removesuffix("_total") not in sources
        and not re.fullmatch(r"muses_course_blocks_(served|evaluated)_total|muses_gateway_(clusters|workers)", name)
    }  # fmt: skip
    assert unknown == set() and asked - ours == OF_JUPYTERHUB
    places = [tuple(panel["gridPos"][key] for key in ("x", "y")) for panel in board["panels"]]
    assert len(places) == len(set(places)) and len({panel["id"] for panel in board["panels"]}) == len(board["panels"])

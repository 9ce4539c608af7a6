"""The class's evaluator for tests: in this process or in one of its own, with tokens that name their owner."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from tornado.httpserver import HTTPServer

from benchmarks.course_service import PREFIX, Tokens
from muses_lab.evaluator.app import application
from muses_lab.evaluator.state import Evaluator
from muses_lab.scenes.scene import Scenes
from tests.helpers import PYTHON_PATH
from tests.helpers.hubs import free_ports, until


def publish_course(folder: Path, scenes: Scenes, root: Path, course: str = "first-steps", version: str = "v1") -> Path:
    """A published course that pins these scenes, whose files are below `root`; the file that says so."""
    items = [
        {
            "type": "Feature", "stac_version": "1.0.0", "id": scene.id, "collection": scenes.collection,
            "geometry": None, "properties": {"datetime": scene.datetime}, "links": [],
            "assets": {name: {"href": str(root / asset.href)} for name, asset in scene.assets.items()},
        }
        for scene in scenes.scenes
    ]  # fmt: skip
    file = folder / course / version / "scenes.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return file


class Running:
    """An evaluator in a thread of this process."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}"
        self._ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.evaluator: Evaluator
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._listen())
        self.loop.run_forever()

    async def _listen(self) -> None:
        self.evaluator = Evaluator(Tokens())
        self.server = HTTPServer(application(self.evaluator, PREFIX), max_body_size=0)
        self.server.listen(self.port, "127.0.0.1")
        self._ready.set()

    @property
    def counts(self) -> Any:
        return self.evaluator.blocks.counts

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.server.stop)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.evaluator.close()


@contextmanager
def running() -> Iterator[Running]:
    """The settings are those of the environment now: `MUSES_COURSES`, `MUSES_COURSE_…`."""
    one = Running()
    try:
        yield one
    finally:
        one.stop()


class Process:
    """An evaluator in a process of its own, to be killed."""

    def __init__(self, home: Path, **environment: str) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}"
        self._environment = {**os.environ, "PYTHONPATH": PYTHON_PATH, "MUSES_LAB_HOME": str(home), **environment}
        self.log = home / "evaluator.log"
        self.process: subprocess.Popen | None = None

    def start(self) -> Process:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.course_service", f"http://127.0.0.1:{self.port}"],
                env=self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._answers, 120, lambda: self.log.read_text())
        return self

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()
        try:
            return requests.get(f"{self.url}/health", timeout=2).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process = None

    def metric(self, name: str) -> float:
        for line in requests.get(f"{self.url}/metrics", timeout=20).text.splitlines():
            if line.startswith(f"muses_course_{name} "):
                return float(line.split()[1])
        raise AssertionError(name)

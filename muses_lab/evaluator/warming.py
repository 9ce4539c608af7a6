"""The chains of a course are computed before the class comes, in a process of its own that gives way to all else.

What it keeps on disk is in the evaluator's own folder, where the engine finds it with the next block that is asked for.
It computes what published courses name and nothing else, and what is there already is not computed again: whoever asks
for it, and however often, the work is the same.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from muses_lab.courses import folder

PROGRAM = ("-m", "muses_lab.authoring.warm")
"""Its standard output has a JSON object on each line, see there."""


class Warming:
    """One course after the other; thread-safe."""

    def __init__(self, courses: Path, threads: int) -> None:
        self.courses, self.threads = courses, threads
        self._told: dict[str, dict[str, Any]] = {}
        self._waiting: queue.Queue[str | None] = queue.Queue()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self, course: str) -> dict[str, Any]:
        """Begins with a published course, or finds that it is under way; `CourseError` where there is none."""
        found = folder.find(course, self.courses)
        with self._lock:
            before = self._told.get(course)
            ended = before is not None and before["state"] in ("done", "failed")
            if before is None or ended and (before["state"], before["version"]) != ("done", found.version):
                self._told[course] = {"state": "waiting", "version": found.version, "chains": {}}
                self._waiting.put(course)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="muses-warming", daemon=True)
                self._thread.start()
        return self.status(course)

    def status(self, course: str) -> dict[str, Any]:
        """`state` (`none`, `waiting`, `running`, `done`, `failed`), `why` of a failure, and of each chain by its name
        `done` of `of` blocks, later `blocks`, `levels` and `bytes` that are kept, and `failed` scenes."""
        with self._lock:
            return json.loads(json.dumps(self._told.get(course, {"state": "none", "chains": {}})))

    def close(self) -> None:
        """Ends what is under way; what is done of it is kept."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.terminate()
        self._waiting.put(None)

    def _work(self) -> None:
        while (course := self._waiting.get()) is not None and not self._closed:
            try:
                self._run(course)
            except Exception as error:  # whatever it is, somebody waits for a word
                self._tell(course, state="failed", why=f"{type(error).__name__}: {error}")

    def _run(self, course: str) -> None:
        environment = {
            **os.environ, "MUSES_COURSES": str(self.courses), "MUSES_COMPUTE": "threads",
            "MUSES_THREADS": str(self.threads), "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        with self._lock:
            if self._closed:
                return
            self._process = subprocess.Popen(
                [sys.executable, *PROGRAM, course], env=environment, text=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        self._tell(course, state="running")
        with self._process as process:
            assert process.stdout is not None and process.stderr is not None
            errors: list[str] = []
            listening = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
            listening.start()
            for line in process.stdout:
                try:
                    told = json.loads(line)
                except ValueError:  # what a library prints
                    continue
                with self._lock:
                    self._told[course]["chains"].setdefault(told.pop("chain"), {}).update(told)
            code = process.wait()
            listening.join(5)
        why = errors[-1].strip() if errors else f"its process ended with {code}"
        self._tell(course, **({"state": "done"} if code == 0 else {"state": "failed", "why": why}))

    def _tell(self, course: str, **told: str) -> None:
        with self._lock:
            self._told[course].update(told)

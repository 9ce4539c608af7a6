"""`tools/step`: what `make` does is told while it is done."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

STEP = Path(__file__).resolve().parent.parent / "tools" / "step"


def step(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What it prints, to its very end: whoever still held the pipe would be waited for."""
    return subprocess.run(
        ["sh", str(STEP), *arguments],
        env={**os.environ, "STEP_SECONDS": "0.1"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_silent_command_gives_signs_of_life() -> None:
    done = step("Digging", "sleep", "1")
    first, *signs, last = done.stdout.splitlines()
    assert done.returncode == 0
    assert first == "── Digging" and last.startswith("   done after ")
    assert len(signs) >= 2 and all(sign.startswith("   … Digging: ") for sign in signs)
    assert step("--bar", "Digging", "sleep", "1").stdout.count("… Digging: ") >= 2  # no terminal: no bar to rely on


def test_the_commands_own_words_arguments_and_code_are_kept() -> None:
    done = step("Failing", "sh", "-c", 'echo "$1"; echo oh >&2; exit 3', "sh", "two words")
    assert done.returncode == 3
    assert done.stdout.splitlines() == ["── Failing", "two words"]
    assert done.stderr == "oh\n"

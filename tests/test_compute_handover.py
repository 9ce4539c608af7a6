"""Results left in memory that asker and worker share."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from muses_lab.compute import shared_memory
from muses_lab.compute.shared_memory import Mailbox, SharedFolder, leave

VALUES = np.arange(600_000, dtype=np.float32).reshape(3, 200, 1000)


@pytest.fixture(autouse=True)
def fresh() -> None:
    shared_memory._is_shared.cache_clear()


def test_what_is_left_is_taken_once(tmp_path: Path) -> None:
    box = Mailbox(tmp_path)
    assert box.place is not None
    assert os.stat(box.place.folder).st_mode & 0o777 == 0o700
    answer = {"values": VALUES, "more": [VALUES[0], b"x" * 13], "text": "one"}
    assert leave(box.place, "token", answer)
    found = box.take("token")
    np.testing.assert_array_equal(found["values"], VALUES)
    np.testing.assert_array_equal(found["more"][0], VALUES[0])
    assert (found["more"][1], found["text"]) == (b"x" * 13, "one")
    assert found["values"].flags.writeable
    assert box.take("token") is None and box.take("other") is None
    box.close()
    assert not list(tmp_path.iterdir())
    assert not leave(replace(box.place or SharedFolder(str(tmp_path), "x")), "late", answer)


def test_a_folder_that_is_not_the_askers_is_not_written_to(tmp_path: Path) -> None:
    box = Mailbox(tmp_path)
    assert box.place is not None
    assert not leave(replace(box.place, sign="0" * 32), "token", VALUES)
    assert not leave(SharedFolder(str(tmp_path / "elsewhere"), box.place.sign), "token", VALUES)
    assert [f.name for f in Path(box.place.folder).iterdir()] == ["sign"]
    box.close()


def test_a_full_memory_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    box = Mailbox(tmp_path)
    assert box.place is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        assert not leave(box.place, "token", VALUES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert [f.name for f in Path(box.place.folder).iterdir()] == ["sign"]
    box.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no memory is shared this way")
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from muses_lab.compute.shared_memory import Mailbox; "
        "print(Mailbox(Path(sys.argv[1])).place.folder, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=120)
    abandoned = Path(done.stdout.strip())
    assert abandoned.is_dir()
    mine = Mailbox(tmp_path)
    assert not abandoned.exists()
    other = Mailbox(tmp_path)
    assert mine.place and Path(mine.place.folder).is_dir()
    mine.close()
    other.close()

"""This checkout against an earlier one: `make bench ARGS="--against <git ref>"`.

The source of the ref lies in a folder of its own, with its kernels compiled, and is run in this environment by its own
`benchmarks.engine`; every round asks both for the same views. So the ref must be one whose contestants understand the
same requests.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from platformdirs import user_cache_path

from benchmarks.samples import Measured, Spread

HERE = Path(__file__).resolve().parent.parent
BEFORE = "muses before"


def checkout(ref: str) -> Path:
    """A folder with the source of a git ref; made once for each commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--verify", f"{ref}^{{commit}}"], cwd=HERE, check=True, capture_output=True, text=True
    ).stdout.strip()
    folder = Path(user_cache_path("muses-lab-benchmarks")) / "checkouts" / commit
    if not (folder / "compiled").exists():
        archive = subprocess.run(["git", "archive", commit], cwd=HERE, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        print(f"compiling {ref} in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "muses_lab.warm"], cwd=folder, check=True)
        (folder / "compiled").touch()
    return folder


def lines(found: Measured) -> list[list[str]]:
    """For each kind of view: both times, and the ratio of the two of a round, now to before."""
    out = []
    for who, workload, zoom, variant in found.cells():
        if not who.startswith("muses") or who.startswith(BEFORE):
            continue
        before = found.samples(who.replace("muses", BEFORE, 1), workload, zoom, variant)
        now = found.samples(who, workload, zoom, variant)
        rounds = sorted(before.keys() & now.keys())
        if not rounds or variant == "calls" or variant.startswith("beside"):
            continue
        pairs = [(now[n], before[n]) for n in rounds]
        seconds = Spread.of([a.seconds / b.seconds for a, b in pairs])
        used = Spread.of([a.cpu / max(b.cpu, 1e-6) for a, b in pairs])
        assert seconds and used
        a, b = pairs[-1]
        out.append([
            who, workload, f"z{zoom}", variant, f"{1000 * median(b.seconds for _, b in pairs):.0f}",
            f"{1000 * median(a.seconds for a, _ in pairs):.0f}", seconds.text(), used.text(),
            _change(b.counters.get("blocks"), a.counters.get("blocks")),
            _change(b.counters.get("pixels"), a.counters.get("pixels"), 1e6),
        ])  # fmt: skip
    return out


HEADER: Sequence[str] = (
    "", "", "", "", "ms before", "now", "now / before", "of CPU", "blocks", "Mpixel",
)  # fmt: skip


def _change(before: int | None, now: int | None, unit: float = 1) -> str:
    if before is None or now is None:
        return ""
    digits = 0 if unit == 1 else 1
    return f"{before / unit:.{digits}f} → {now / unit:.{digits}f}"

"""This engine as a contestant: workloads as users write them, a view as a map asks for it (15 tiles at once, PNG)."""

from __future__ import annotations

import datetime as dt
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

_HOME = tempfile.TemporaryDirectory(prefix="muses-lab-benchmarks-")
os.environ["MUSES_LAB_HOME"] = _HOME.name  # before anything is imported that looks there

import muses_lab as ml  # noqa: E402
from benchmarks.peers.contestant import View, day_of  # noqa: E402
from benchmarks.protocol import FOCAL, serve  # noqa: E402
from muses_lab import compute, engine, settings  # noqa: E402
from muses_lab.chain import Chain, Collection, Layer  # noqa: E402
from muses_lab.compute import evaluate  # noqa: E402
from muses_lab.engine import layout  # noqa: E402
from muses_lab.render import render  # noqa: E402

COLLECTION = "sentinel-2-l2a"


# ------------------------------------------------------------------------------------------------- the workloads


def ndvi_median(s2: Collection, classes: list[int]) -> Chain:
    return s2.mask_clouds(keep=classes).ndvi().median("t")


def ndvi_of_one_date(s2: Collection, classes: list[int]) -> Chain:
    return s2.ndvi().first("t")


def focal_mean(s2: Collection, classes: list[int]) -> Chain:
    return s2.ndvi().first("t").focal_mean(FOCAL)


def rgb_median(s2: Collection, classes: list[int]) -> Chain:
    return s2.mask_clouds(keep=classes).bands("red", "green", "blue").median("t")


def expression(s2: Collection, classes: list[int]) -> Chain:
    """Thirty operations on four bands for every date, then the median."""
    clear = s2.mask_clouds(keep=classes)
    blue, green, red, nir = (clear.band(name) for name in ("blue", "green", "red", "nir"))
    ndvi = (nir - red) / (nir + red)
    ndwi = (green - nir) / (green + nir)
    evi = (nir - red) * 2.5 / (nir + red * 6.0 - blue * 7.5 + 1.0)
    savi = (nir - red) * 1.5 / (nir + red + 0.5)
    brightness = (blue + green + red + nir) / 4
    vegetation = (ndvi > 0.2) & (ndwi < 0.1)
    dark = brightness < 0.03
    score = evi * 0.5 + savi * 0.3 + ndvi * 0.2
    return score.where(vegetation).where(~dark).median("t")


def quantiles(s2: Collection, classes: list[int]) -> Chain:
    ndvi = s2.mask_clouds(keep=classes).ndvi()
    return ml.rgb(ndvi.quantile(0.9), ndvi.quantile(0.5), ndvi.quantile(0.1))


NDVI = {"cmap": "RdYlGn", "vmin": 0.0, "vmax": 0.9}
WORKLOADS: dict[str, tuple[Callable[[Collection, list[int]], Chain], dict[str, Any]]] = {
    "W1": (ndvi_median, NDVI),
    "W2": (ndvi_of_one_date, NDVI),
    "W3": (focal_mean, NDVI),
    "W4": (rgb_median, {"vmin": 0.0, "vmax": 0.3}),
    "W5": (ndvi_median, NDVI),
    "W6": (expression, NDVI),
    "W7": (quantiles, {"vmin": 0.0, "vmax": 0.9}),
}


def thresholded(image: Chain, bands: tuple[str, ...] | None, threshold: float) -> Chain:
    """Without the pixels below; of several bands the first decides."""
    return image.where((image.band(bands[0]) if bands else image) >= threshold)


# ------------------------------------------------------------------------------------------------- the contestant


class Muses:
    name = "muses"
    version = ml.__version__

    def __init__(self) -> None:
        compute.use("threads")
        self._drawing = ThreadPoolExecutor(os.cpu_count())
        self._chain = lru_cache(maxsize=None)(self._resolved)

    def open(self, folder: Path, items: list[dict[str, Any]]) -> dict[str, Any]:
        start = time.perf_counter()
        catalog = ml.open_catalog(folder / "items.json")
        settings.register_catalog(catalog.id, catalog.root, roots=[str(folder.parent.resolve())])
        self._s2 = ml.collection(COLLECTION, catalog)
        self._items = items
        self._chain.cache_clear()
        self.forget()
        return {
            "seconds": time.perf_counter() - start,
            "dates": len({day_of(item) for item in items}),
            "rss": psutil.Process().memory_info().rss,
        }

    def forget(self) -> None:
        """No decoded block, no result, no open file, no header, no known window; chains stay published."""
        here = engine.worker_engine()
        here.reader.close()
        here.cache.clear()
        layout.forget()
        with evaluate._kept_lock:
            evaluate._kept.clear()

    def view(self, view: View) -> dict[str, Any]:
        layer, resolving = self._chain(
            view.workload, view.classes, view.threshold, tuple(day_of(item) for item in view.choose(self._items))
        )
        planning = _seconds(lambda: layer.chain.plan(ml.Window.tile(view.zoom, view.left, view.top)))
        executor = compute.executor()
        before = executor.counters()
        _reset_peak()
        start, used = time.perf_counter(), time.process_time()
        tickets = [
            evaluate.request_window(executor, layer.chain.resolved, ml.Window.tile(zoom, x, y))
            for x, y, zoom in view.tiles
        ]
        drawn = list(self._drawing.map(partial(_draw, layer), tickets))
        seconds, used = time.perf_counter() - start, time.process_time() - used
        after = executor.counters()
        pixels, images = [found for found, _ in drawn], [image for _, image in drawn]
        values = np.concatenate([found.values.ravel() for found in pixels])
        valid = np.isfinite(values)
        failed = {id: reason for found in pixels for id, reason in found.report.failed}
        if failed:
            raise SystemExit(f"scenes could not be read: {failed}")
        return {
            "seconds": seconds,
            "mean": float(values[valid].mean(dtype="f8")) if valid.any() else None,
            "valid": float(valid.mean()),
            "counters": {
                "blocks": after["blocks_decoded"] - before["blocks_decoded"],
                "bytes": after["bytes_decoded"] - before["bytes_decoded"],
                "evaluations": after["evaluations"] - before["evaluations"],
                "cpu_seconds": used,
                "cache_bytes": after["cache_bytes"],
                "png_bytes": sum(map(len, images)),
                "peak_rss": _peak(),
                "resolve_seconds": resolving,
                "plan_seconds": planning,
            },
        }

    def _resolved(
        self, workload: str, classes: tuple[int, ...], threshold: float | None, days: tuple[str, ...]
    ) -> tuple[Layer, float]:
        """The chain with its scenes, ready to be asked for, and how long that took."""
        start = time.perf_counter()
        make, style = WORKLOADS[workload]
        last = dt.date.fromisoformat(days[-1]) + dt.timedelta(1)
        chain = make(self._s2.dates(days[0], last.isoformat()), list(classes))
        bands = chain.resolved.program.output.meta.bands
        if threshold is not None:
            chain = thresholded(chain, bands, threshold)
        layer = chain.style(**style, **({} if bands is None else {"bands": bands}))
        layer.publish()
        return layer, time.perf_counter() - start


def _draw(layer: Layer, ticket: evaluate.WindowTicket) -> tuple[evaluate.Pixels, bytes]:
    """A tile as soon as its blocks are there, as the service draws it: beside others."""
    found = ticket.result(600)
    return found, render(found.values, layer.look, found.bands)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _reset_peak() -> None:
    """From here on the peak counts (Linux; elsewhere it is that of the process's life)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    serve(Muses())

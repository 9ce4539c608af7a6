"""What a tile service counts, for Prometheus: it is part of Jupyter Server's own page `/metrics`.

That page wants a login (`ServerApp.authenticate_prometheus`): Prometheus sends a token of the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from prometheus_client import REGISTRY, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from muses_lab.resources.memory import resident

TILES = Histogram(
    "muses_tile_seconds", "From a tile's request to its answer", ["kind", "outcome"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
)  # fmt: skip
"""`kind`: picture, values or base; `outcome`: ok, known (the browser had it), failed, left (nobody waited)."""


class Counting(Protocol):
    """What a `TileService` tells of itself."""

    def queue(self) -> dict[str, Any] | None: ...
    @property
    def lag(self) -> Any: ...
    @property
    def pools(self) -> Any: ...
    @property
    def stale(self) -> Any: ...


class TileServiceMetrics(Collector):
    """The numbers that a service has anyhow, read when they are asked for."""

    def __init__(self) -> None:
        self.service: Counting | None = None

    def describe(self) -> list[Metric]:
        """Nothing beforehand: reading what there is would start what is not needed yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        service = self.service
        if service is None:
            return
        yield GaugeMetricFamily("muses_server_resident_bytes", "Memory of the Jupyter server", resident())
        if (lag := service.lag.summary()["p95"]) is not None:
            yield GaugeMetricFamily("muses_server_loop_delay_seconds", "95 % of callbacks are not later", lag / 1000)
        stale = service.stale.summary()
        yield CounterMetricFamily("muses_tiles_left", "Tiles that nobody waited for any more", stale["requests"])
        yield CounterMetricFamily("muses_tiles_left_unbegun", "Those of which nothing was computed", stale["unbegun"])
        running = GaugeMetricFamily("muses_pool_threads", "Threads in use", labels=["pool", "state"])
        for pool, counts in service.pools.counts().items():
            for state, count in counts.items():
                running.add_metric([pool, state], count)
        yield running
        if (queue := service.queue()) is None:
            return
        yield GaugeMetricFamily("muses_cluster_workers", "Workers of the cluster", queue.get("workers") or 0)
        yield GaugeMetricFamily("muses_cluster_threads", "Threads of the cluster", queue.get("threads") or 0)
        blocks = GaugeMetricFamily("muses_blocks", "Blocks that are waited for", labels=["state"])
        for state in ("queued", "running"):
            blocks.add_metric([state], queue[state])
        yield blocks
        done = CounterMetricFamily("muses_blocks_done", "What became of blocks", labels=["outcome"])
        for outcome, count in queue["counts"].items():
            done.add_metric([outcome], count)
        yield done


_METRICS = TileServiceMetrics()
REGISTRY.register(_METRICS)


def offer(service: Counting) -> None:
    """The process's page tells of this service from now on."""
    _METRICS.service = service


def outcome(status: int) -> str:
    """What became of a tile, by the status of its answer."""
    return {304: "known", 499: "left"}.get(status, "ok" if status < 400 else "failed")

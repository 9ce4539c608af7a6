"""What the gateway counts, for Prometheus: clusters and workers by their state, memory of the workers' processes.

`GET /api/metrics` at the gateway's own port, for who asks there directly: what comes through a proxy is answered as if
there were nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import psutil
from aiohttp import web
from dask_gateway_server.routes import default_routes
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector


class GatewayMetrics(Collector):
    """The clusters that a backend has at the moment, without anybody's name."""

    def __init__(self, clusters: Iterable[Any]) -> None:
        self._clusters = list(clusters)

    def collect(self) -> Iterator[Metric]:
        workers = [worker for cluster in self._clusters for worker in cluster.active_workers()]
        yield GaugeMetricFamily(
            "muses_gateway_users", "Users with a cluster", len({c.username for c in self._clusters})
        )
        yield _by_state("clusters", "Clusters", self._clusters)
        yield _by_state("workers", "Workers", workers)
        sizes = [_resident(worker.state.get("pid")) for worker in workers]
        yield GaugeMetricFamily("muses_gateway_workers_resident_bytes", "Memory of the workers", sum(sizes))
        yield GaugeMetricFamily("muses_gateway_worker_resident_bytes_max", "Of the largest", max(sizes, default=0))


def _by_state(what: str, help: str, those: Iterable[Any]) -> Metric:
    family = GaugeMetricFamily(f"muses_gateway_{what}", help, labels=["state"])
    for state, count in sorted(Counter(one.status.name.lower() for one in those).items()):
        family.add_metric([state], count)
    return family


def _resident(pid: int | None) -> int:
    """Bytes of a worker and what it has started."""
    if not pid:
        return 0
    try:
        process = psutil.Process(pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0


@default_routes.get("/api/metrics")
async def metrics(request: web.Request) -> web.Response:
    if "X-Forwarded-For" in request.headers:
        raise web.HTTPNotFound
    registry = CollectorRegistry()
    registry.register(GatewayMetrics(request.app["backend"].db.active_clusters()))
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

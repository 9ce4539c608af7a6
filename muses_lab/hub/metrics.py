"""What the service counts, for Prometheus, at its own port; who comes through the hub's proxy finds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from muses_lab.errors import NotFound
from muses_lab.hub.api import Base
from muses_lab.resources.memory import resident
from muses_lab.store.totals import Totals, totals


class _Class(Collector):
    """What the store knows of courses, read once for an answer."""

    def __init__(self, found: Totals) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        found = self._found
        yield _by("muses_hub_participants", "Participants who are here", found.here)
        yield _by("muses_hub_participants_failing", "Those whose last cell failed", found.failing)
        clusters = GaugeMetricFamily("muses_hub_clusters", "Participants by their cluster", labels=["course", "state"])
        for labels, count in found.clusters.items():
            clusters.add_metric(list(labels), count)
        yield clusters
        answers = CounterMetricFamily("muses_hub_answers", "Answers to exercises", labels=["course", "state"])
        for labels, count in found.answers.items():
            answers.add_metric(list(labels), count)
        yield answers
        yield GaugeMetricFamily("muses_hub_resident_bytes", "Memory of the service", resident())


def _by(name: str, help: str, counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, help, labels=["course"])
    for course, count in counts.items():
        family.add_metric([course], count)
    return family


class MetricsHandler(Base):
    async def get(self) -> None:
        if "X-Forwarded-For" in self.request.headers:
            self.fail(NotFound("there is nothing at this address"))
            return
        found = await self.run(self._totals)
        once = CollectorRegistry()
        once.register(_Class(found))
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(generate_latest(self.service.counted.registry) + generate_latest(once))

    def _totals(self) -> Any:
        with self.service.store().database.connect() as connection:
            return totals(connection)

"""What the class's evaluator counts, for Prometheus, without anybody's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from muses_lab.evaluator.state import Evaluator
from muses_lab.resources.memory import resident


class _Counted(Collector):
    """The numbers that an evaluator has anyhow, read when they are asked for."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def collect(self) -> Iterator[Metric]:
        one = self._evaluator
        counts, engine = one.blocks.counts, Counter(one.engine_counters())
        for name in ("asked", "served", "evaluated", "shared", "left", "failed"):
            yield CounterMetricFamily(f"muses_course_blocks_{name}", f"Blocks {name}", counts[name])
        yield CounterMetricFamily("muses_course_sent_bytes", "Bytes of blocks that were sent", one.sent)
        yield CounterMetricFamily("muses_course_decoded_blocks", "Blocks of files", engine["blocks_decoded"])
        yield CounterMetricFamily(
            "muses_course_materialized_blocks", "Blocks that were on the disk", engine["materialized_blocks"]
        )
        yield GaugeMetricFamily("muses_course_blocks_waiting", "Blocks under way", one.blocks.status("")["blocks"])
        yield GaugeMetricFamily("muses_course_people", "Participants who wait for blocks", one.blocks.people())
        yield GaugeMetricFamily("muses_course_courses", "Courses that are published", len(one.chains.pinned.courses))
        yield GaugeMetricFamily("muses_course_result_bytes", "Finished blocks", one.blocks.results.bytes)
        yield GaugeMetricFamily("muses_course_cache_bytes", "The engine's cache", engine["cache_bytes"])
        yield GaugeMetricFamily("muses_course_resident_bytes", "Memory of the process", resident())
        refused = CounterMetricFamily("muses_course_refused", "Requests that were refused", labels=["code"])
        for code, count in sorted(one.refusals.items()):
            refused.add_metric([code], count)
        yield refused


def page(evaluator: Evaluator) -> bytes:
    """The page that Prometheus reads."""
    once = CollectorRegistry()
    once.register(_Counted(evaluator))
    return generate_latest(once)

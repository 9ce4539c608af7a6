"""Requests as they are counted for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram


class Counted:
    """One service's registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "muses_hub_request_seconds", "From a request to its answer", ["route", "outcome"], registry=self.registry,
            buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
        )  # fmt: skip

    def request(self, route: str, status: int, seconds: float) -> None:
        outcome = "ok" if status < 400 else "refused" if status < 500 else "failed"
        self._requests.labels(route, outcome).observe(seconds)

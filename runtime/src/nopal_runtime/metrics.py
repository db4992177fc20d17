# SPDX-License-Identifier: Apache-2.0
"""Figures of a process in Prometheus' format."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from nopal_runtime.kube.client import Request

_WRITES = frozenset({"create", "apply_status", "set_finalizers", "replace", "delete"})


class Metrics:
    """The figures that the operator and the node daemon have in common."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._depth = Gauge(
            "nopal_queue_depth", "Keys that are due or being worked on.", registry=self.registry
        )
        self._reconcile = Histogram(
            "nopal_reconcile_seconds",
            "Time that one look at one object took.",
            ["kind", "outcome"],
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60),
            registry=self.registry,
        )
        self._requests = Counter(
            "nopal_api_requests",
            "Requests to kube-apiserver; outcome is ok or the error's reason.",
            ["verb", "kind", "manager", "outcome"],
            registry=self.registry,
        )
        self._writes = Counter(
            "nopal_api_writes",
            "Writes that kube-apiserver accepted; Leases are the heartbeats.",
            ["verb", "kind", "manager"],
            registry=self.registry,
        )

    def watch_depth(self, depth: Callable[[], float]) -> None:
        """Show the depth of a queue, asked for at every scrape."""
        self._depth.set_function(depth)

    def request(self, request: Request) -> None:
        """Count a request; pass this to KubeClient as `observe`."""
        labels = (request.verb, request.kind, request.manager)
        self._requests.labels(*labels, request.outcome).inc()
        if request.outcome == "ok" and request.verb in _WRITES:
            self._writes.labels(*labels).inc()

    @contextmanager
    def reconcile(self, kind: str) -> Iterator[None]:
        """Time one look at one object of the kind."""
        began, outcome = time.monotonic(), "error"
        try:
            yield
            outcome = "ok"
        finally:
            self._reconcile.labels(kind, outcome).observe(time.monotonic() - began)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)

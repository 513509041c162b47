"""Counts for Prometheus what the provider does (names in ``docs/operations/provider.md``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "slsa_provider"
CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of the latencies that are told apart: what is kept takes one millisecond, a registry a hundred."""


class ProviderMetrics:
    """Counters of one server, in a registry of its own: several servers of one process do not mix (tests)."""

    def __init__(self) -> None:
        # When each counter began doubles what is scraped, and tells nothing that the process's start does not.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        count, show = partial(Counter, registry=self._registry), partial(Gauge, registry=self._registry)
        self.decisions = count(
            f"{PREFIX}_decisions",
            "Keys answered, by what was decided and the policy that did.",
            ["path", "decision", "reason", "policy"],
        )
        self.seconds = Histogram(
            f"{PREFIX}_decision_seconds",
            "Time from a key's arrival to its answer; lane says whether it was kept, seen before or new.",
            ["lane"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.requests = count(f"{PREFIX}_requests", "Requests, by path and status.", ["path", "status"])
        self.registry_errors = count(
            f"{PREFIX}_registry_errors", "Images that a registry did not deliver, by reason.", ["reason"]
        )
        self.reloads = count(
            f"{PREFIX}_reloads", "Files read anew, by what they are and how it went.", ["what", "outcome"]
        )
        self.stale = show(
            f"{PREFIX}_reload_failed", "1 while the newest files are broken and older ones count.", ["what"]
        )
        self.dropped = count(
            f"{PREFIX}_connections_dropped", "Connections ended for a limit, by which.", ["limit"]
        )
        self.connections = show(
            f"{PREFIX}_connections", "Open connections, by door and state.", ["door", "state"]
        )
        self.unlogged = count(f"{PREFIX}_log_lines_dropped", "Log lines that nobody took in time.")
        self.expiry = show(
            f"{PREFIX}_certificate_expiry_timestamp_seconds", "When a certificate ends (Unix time).", ["file"]
        )

    def follow(self, usage: Callable[[], Mapping[str, Any]]) -> None:
        """Show what the service keeps and the age of its trusted roots, asked for at each scrape."""
        self._registry.register(_ServiceUsage(usage))

    def certificates(self, expiries: Mapping[str, datetime]) -> None:
        """Show when the certificates in use end."""
        for name, moment in expiries.items():
            self.expiry.labels(name).set(moment.timestamp())

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _ServiceUsage(Collector):
    """Reads a service's own counts when Prometheus asks."""

    def __init__(self, usage: Callable[[], Mapping[str, Any]]) -> None:
        self._usage = usage

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry need not ask the service to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the caches' hits and misses and each root's age."""
        usage = self._usage()
        lookups = CounterMetricFamily(
            f"{PREFIX}_cache_lookups",
            "Lookups in a cache, by whether they found something.",
            labels=["cache", "outcome"],
        )
        kept = GaugeMetricFamily(f"{PREFIX}_cache_bytes", "Bytes that a cache keeps.", labels=["cache"])
        for name, counts in usage["caches"].items():
            # Both as counters, so that a rate of hits can be computed over any time.
            for outcome, key in (("hit", "hits"), ("miss", "misses")):
                lookups.add_metric([name, outcome], counts[key])
            kept.add_metric([name], counts["bytes"])
        age = GaugeMetricFamily(
            f"{PREFIX}_trusted_root_age_seconds",
            "Time since the newest part of a trusted root began to count.",
            labels=["source", "digest"],
        )
        for root in usage["loadedRoots"]:
            # Asked at each scrape: an age that was written down would stand still.
            since = datetime.now(UTC) - datetime.fromisoformat(f"{root['date']}T00:00:00+00:00")
            # Twelve digits of a digest tell the roots of one server apart.
            age.add_metric([root["source"], root["digest"][:12]], since.total_seconds())
        unusable = GaugeMetricFamily(f"{PREFIX}_trusted_roots_unusable", "Trusted roots that cannot be used.")
        unusable.add_metric([], len(usage["unusableRoots"]))
        yield from (lookups, kept, age, unusable)

"""What the daemon counts and measures, in a registry of its own, for Prometheus."""

from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
# One more sample for every counter and histogram, of when it was first counted: nobody asks.
disable_created_metrics()  # type: ignore[no-untyped-call] # prometheus-client's has no types
# Seconds: from an answer out of memory to the limit after which Docker has given up.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 25.0)
# A reflink takes milliseconds; a copy that takes longer than the usual limit is given up.
_FREEZE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)


class Metrics:
    """The metrics of one daemon; `render` gives them as text."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self._registry)
        self._operations = self._counter(
            "operations", "Calls served, by how they ended", "api", "operation", "result"
        )
        self._seconds = Histogram(
            "convoy_operation_seconds",
            "Time from a call's request to its answer",
            ["api", "operation"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._volumes = self._gauge("volumes", "Volumes by backend and state", "backend", "state")
        self._inodes = {
            state: self._gauge(f"volume_inodes_{state}", meaning, "volume")
            for state, meaning in (
                ("used", "Files of volumes whose filesystem or limit counts them"),
                ("available", "Files that volumes have room for yet"),
            )
        }
        self._references = self._gauge("references", "Counted mounts of all volumes")
        self._lingering = self._gauge("lingering", "Unmounts that something still holds up")
        self._leaked = self._counter("leaked_references", "References dropped as leaks")
        self._grown = self._counter(
            "grown", "Volumes that grew by themselves, or should have", "result"
        )
        self._frozen = Histogram(
            "convoy_freeze_seconds",
            "Time for which writers had to wait for a snapshot or clone",
            buckets=_FREEZE_BUCKETS,
            registry=self._registry,
        )
        self._proven = self._gauge(
            "backup_proven_timestamp_seconds",
            "When a backup was last restored and found as it should be, since 1970",
            "repository",
            "volume",
        )
        self._schedules = {
            name: self._gauge(f"schedule_{name}", meaning, "volume", "task", "repository")
            for name, meaning in (
                ("good_age_seconds", "Time since the last good run of a schedule began"),
                ("next_timestamp_seconds", "When it runs next"),
                ("failures", "Its failed runs in a row, up to the last"),
                ("seconds", "How long its last run took"),
                ("size_bytes", "Bytes of all files of its last run's backup"),
                ("added_bytes", "Bytes that the repository grew by with it"),
            )
        }
        self._problems = self._gauge("problems", "Reasons for which the daemon is not healthy")
        self._gauge("build_info", "The daemon's version", "version").labels(version).set(1)
        # Finding a labelled child takes a lock; there are few of them, so they are kept.
        self._counters: dict[tuple[str, str, str], Counter] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}

    def operation(self, api: str, operation: str, result: str, seconds: float) -> None:
        """Count one call; `result` is `ok`, an error's kind, or `internal`."""
        key = (api, operation, result)
        if (counter := self._counters.get(key)) is None:
            counter = self._counters[key] = self._operations.labels(*key)
        counter.inc()
        pair = (api, operation)
        if (histogram := self._histograms.get(pair)) is None:
            histogram = self._histograms[pair] = self._seconds.labels(*pair)
        histogram.observe(seconds)

    def volumes(
        self,
        by_state: Mapping[tuple[str, str], int],
        *,
        references: int,
        lingering: int,
        problems: int,
    ) -> None:
        """Set what is true of the volumes now; `by_state` counts by (backend, state)."""
        self._volumes.clear()
        for key, count in by_state.items():
            self._volumes.labels(*key).set(count)
        self._references.set(references)
        self._lingering.set(lingering)
        self._problems.set(problems)

    def proven(self, times: Iterable[tuple[str, str, float]]) -> None:
        """Set when backups were proven: of each repository and volume the last time."""
        self._proven.clear()
        for repository, volume, time in sorted(times):
            self._proven.labels(repository, volume).set(time)

    def inodes(self, counts: Mapping[str, tuple[int | None, int | None]]) -> None:
        """Set what the last samples found: by volume, inodes (used, available), where known."""
        for gauge, at in ((self._inodes["used"], 0), (self._inodes["available"], 1)):
            gauge.clear()
            for name, found in counts.items():
                if (value := found[at]) is not None:
                    gauge.labels(name).set(value)

    def schedules(self, found: Iterable[tuple[tuple[str, str, str], Mapping[str, float]]]) -> None:
        """Set what is known of schedules: by (volume, task, repository), values by name."""
        for gauge in self._schedules.values():
            gauge.clear()
        for labels, values in found:
            for name, value in values.items():
                self._schedules[name].labels(*labels).set(value)

    def leaked(self, references: int) -> None:
        """Count references that were dropped because nobody stood behind them."""
        self._leaked.inc(references)

    def grown(self, result: str) -> None:
        """Count a volume that grew because it was nearly full: `ok`, `pending` or `failed`."""
        self._grown.labels(result).inc()

    def froze(self, seconds: float) -> None:
        """Count one freeze of a volume, or of several at once, from its begin to the thaw."""
        self._frozen.observe(seconds)

    def render(self) -> bytes:
        """The metrics in Prometheus' text format, of the type CONTENT_TYPE."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"convoy_{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"convoy_{name}", meaning, labels, registry=self._registry)

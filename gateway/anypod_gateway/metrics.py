"""Prometheus metrics: what a gateway counts, and the gauges it reads off at a scrape.

Label values come from sets that a client cannot extend: pools that exist, problem types, route
templates, workers, reasons. There is never a label for a program or a session.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "anypod_requests",
            "Requests by pool and outcome",
            ["pool", "outcome"],
            registry=self.registry,
        )
        self._request_seconds = self._histogram(
            "anypod_request_seconds", "Time to answer a request", "route"
        )
        self._queue_seconds = self._histogram(
            "anypod_queue_wait_seconds", "Time an execution waited for an executor", "pool"
        )
        self._run_seconds = self._histogram("anypod_run_seconds", "Time an execution ran", "pool")
        self._store_seconds = Histogram(
            "anypod_store_seconds",
            "Time of a call to the store",
            ["operation", "outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._retries = Counter(
            "anypod_retries",
            "Executions placed again, by why",
            ["pool", "reason"],
            registry=self.registry,
        )
        self._sessions = Counter(
            "anypod_session_events",
            "Sessions that were created, moved or lost",
            ["pool", "event"],
            registry=self.registry,
        )
        self.in_flight: dict[str, int] = {}
        """Executions under way, by pool."""
        # Finding a labelled child costs more than counting with it.
        self._counted: dict[tuple[str, str], Callable[[], None]] = {}
        self._observed: dict[tuple[Histogram, str], Callable[[float], None]] = {}

    def _histogram(self, name: str, text: str, label: str) -> Histogram:
        return Histogram(name, text, [label], buckets=_SECONDS, registry=self.registry)

    def request(self, route: str, pool: str, outcome: str, seconds: float) -> None:
        count = self._counted.get((pool, outcome))
        if count is None:
            count = self._requests.labels(pool, outcome).inc
            self._counted[pool, outcome] = count
        count()
        self._observe(self._request_seconds, route, seconds)

    def execution(self, pool: str, queue_seconds: float, run_seconds: float) -> None:
        self._observe(self._queue_seconds, pool, queue_seconds)
        self._observe(self._run_seconds, pool, run_seconds)

    @contextmanager
    def running(self, pool: str) -> Iterator[None]:
        self.in_flight[pool] = self.in_flight.get(pool, 0) + 1
        try:
            yield
        finally:
            self.in_flight[pool] -= 1

    def _observe(self, histogram: Histogram, label: str, seconds: float) -> None:
        observe = self._observed.get((histogram, label))
        if observe is None:
            observe = histogram.labels(label).observe
            self._observed[histogram, label] = observe
        observe(seconds)

    def store_call(self, operation: str, seconds: float, answered: bool) -> None:
        """An ``anypod.store.observed.Observer``."""
        self._store_seconds.labels(operation, "ok" if answered else "unavailable").observe(seconds)

    def retried(self, pool: str, reason: str) -> None:
        self._retries.labels(pool, reason).inc()

    def session(self, pool: str, event: str) -> None:
        self._sessions.labels(pool, event).inc()

    def expose(self) -> bytes:
        return generate_latest(self.registry)

    def add_gauges(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """``collect`` is called at each scrape, on the loop."""
        self.registry.register(_Gauges(collect))


class _Gauges(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        return []

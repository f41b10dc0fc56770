"""Prometheus metrics: what a gateway counts, and the gauges it reads off at a scrape.

Label values come from sets that a client cannot extend: pools that exist, problem types, route
templates, workers, reasons. There is never a label for a program or a session.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from anypod.wire.messages import Usage
from anypod_gateway.histograms import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


AUTHENTICATIONS = ("key", "token", "missing", "unknown", "throttled", "forbidden", "unavailable")
"""Known by a key or a token; refused, and why."""


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.in_flight: Counter[str] = Counter()
        """Executions under way, by pool."""
        self._requests: Counter[tuple[str, str]] = Counter()
        self._lm_calls: Counter[tuple[str, str]] = Counter()
        self._lm_tokens: Counter[tuple[str, str, str]] = Counter()
        self._lm_cost: dict[tuple[str, str], float] = defaultdict(float)
        self._items: Counter[tuple[str, str]] = Counter()
        self._retries: Counter[tuple[str, str]] = Counter()
        self._sessions: Counter[tuple[str, str]] = Counter()
        self._jobs: Counter[tuple[str, str]] = Counter()
        self._webhooks: Counter[tuple[str, str]] = Counter()
        self._authentications: Counter[str] = Counter(dict.fromkeys(AUTHENTICATIONS, 0))
        self._request_seconds = Histogram(
            "anypod_request_seconds", "Time to answer a request", ("route",)
        )
        self._queue_seconds = Histogram(
            "anypod_queue_wait_seconds", "Time an execution waited for an executor", ("pool",)
        )
        self._run_seconds = Histogram("anypod_run_seconds", "Time an execution ran", ("pool",))
        self._store_seconds = Histogram(
            "anypod_store_seconds", "Time of a call to the store", ("operation", "outcome")
        )
        self.add_gauges(self._collect)

    def request(self, route: str, pool: str, outcome: str, seconds: float) -> None:
        self._requests[pool, outcome] += 1
        self._request_seconds.observe((route,), seconds)

    def item(self, pool: str, outcome: str) -> None:
        self._items[pool, outcome] += 1

    def under_way(self, pool: str, begins: bool) -> None:
        """An execution begins, or has ended."""
        self.in_flight[pool] += 1 if begins else -1

    def execution(self, pool: str, queue_seconds: float, run_seconds: float) -> None:
        self._queue_seconds.observe((pool,), queue_seconds)
        self._run_seconds.observe((pool,), run_seconds)

    def lm(self, pool: str, usage: Usage) -> None:
        """What an execution asked of an LM of the pool."""
        self._lm_calls[pool, usage.lm] += usage.calls
        self._lm_tokens[pool, usage.lm, "prompt"] += usage.prompt_tokens
        self._lm_tokens[pool, usage.lm, "completion"] += usage.completion_tokens
        self._lm_cost[pool, usage.lm] += usage.cost or 0.0

    def store_call(self, operation: str, seconds: float, answered: bool) -> None:
        """An ``anypod.store.observed.Observer``."""
        self._store_seconds.observe((operation, "ok" if answered else "unavailable"), seconds)

    def retried(self, pool: str, reason: str) -> None:
        self._retries[pool, reason] += 1

    def session(self, pool: str, event: str) -> None:
        self._sessions[pool, event] += 1

    def job(self, pool: str, state: str) -> None:
        """``state``: a final one of ``anypod.api.jobs.STATES``."""
        self._jobs[pool, state] += 1

    def webhook(self, pool: str, outcome: str) -> None:
        """``outcome``: ``delivered``, ``failed`` for now, or ``given-up``."""
        self._webhooks[pool, outcome] += 1

    def authentication(self, outcome: str) -> None:
        """``outcome``: one of AUTHENTICATIONS."""
        self._authentications[outcome] += 1

    def expose(self) -> bytes:
        return generate_latest(self.registry)

    def add_gauges(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """``collect`` is called at each scrape, on the loop."""
        self.registry.register(_Collected(collect))

    def _collect(self) -> Iterable[Metric]:
        yield _counter("anypod_requests", "Requests by pool and outcome", "outcome", self._requests)
        yield _counter(
            "anypod_batch_items", "Items of batches by pool and outcome", "outcome", self._items
        )
        yield _counter("anypod_retries", "Executions placed again, by why", "reason", self._retries)
        yield _counter(
            "anypod_session_events",
            "Sessions that were created, moved or lost",
            "event",
            self._sessions,
        )
        yield from self._of_lms()
        yield _counter(
            "anypod_jobs_finished", "Jobs that ended here, by state", "state", self._jobs
        )
        yield _counter(
            "anypod_webhook_attempts",
            "Attempts to tell of jobs' ends, by what came of them",
            "outcome",
            self._webhooks,
        )
        authentications = CounterMetricFamily(
            "anypod_authentications", "Callers known and refused", labels=["outcome"]
        )
        for outcome, count in self._authentications.items():
            authentications.add_metric([outcome], count)
        yield authentications
        yield from self._request_seconds.collect()
        yield from self._queue_seconds.collect()
        yield from self._run_seconds.collect()
        yield from self._store_seconds.collect()

    def _of_lms(self) -> Iterable[Metric]:
        yield _counter("anypod_lm_calls", "Calls of LMs, refused ones too", "lm", self._lm_calls)
        tokens = CounterMetricFamily(
            "anypod_lm_tokens", "Tokens of LMs' prompts and answers", labels=["pool", "lm", "kind"]
        )
        for labels, count in self._lm_tokens.items():
            tokens.add_metric(labels, count)
        yield tokens
        yield _counter(
            "anypod_lm_cost_dollars", "Cost of LMs whose prices are known", "lm", self._lm_cost
        )


def _counter(name: str, text: str, label: str, counts: Mapping[tuple[str, str], float]) -> Metric:
    metric = CounterMetricFamily(name, text, labels=["pool", label])
    for labels, count in counts.items():
        metric.add_metric(labels, count)
    return metric


class _Collected(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        return []

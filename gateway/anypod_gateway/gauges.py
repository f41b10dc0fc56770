"""What is read off the running side at each scrape, instead of being counted all the time."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from anypod.api.pools import WorkerDocument
from anypod_gateway.callers.keys import ApiKeys
from anypod_gateway.services import Pool


class Gauges:
    def __init__(self, pools: Callable[[], Iterable[Pool]], in_flight: dict[str, int]) -> None:
        self._pools = pools
        self._in_flight = in_flight
        self._links: dict[tuple[str, str], bool] = {}

    def link(self, pool: str, worker: str, up: bool) -> None:
        """The link to a worker is up, or down, now."""
        self._links[pool, worker] = up

    def collect(self) -> Iterable[Metric]:
        pools = [(pool, pool.workers()) for pool in self._pools()]
        self._forget({(pool.name, one.name) for pool, workers in pools for one in workers})
        yield self._gauge(
            "anypod_queue_depth",
            "Executions that wait for a worker",
            {pool.name: pool.queued() for pool, _ in pools},
        )
        yield self._gauge(
            "anypod_executions_in_flight",
            "Executions under way, waiting ones too",
            {pool.name: self._in_flight.get(pool.name, 0) for pool, _ in pools},
        )
        yield self._gauge(
            "anypod_executions_running",
            "Executions in shared executors, of all gateways",
            {pool.name: sum(one.running for one in workers) for pool, workers in pools},
        )
        yield self._gauge(
            "anypod_sessions",
            "Executors of sessions",
            {pool.name: sum(one.sessions for one in workers) for pool, workers in pools},
        )
        yield self._jobs(pools)
        yield self._workers(pools)
        yield self._executors(pools)
        yield self._restarts(pools)
        yield self._link_states()

    def _forget(self, known: set[tuple[str, str]]) -> None:
        for name in self._links.keys() - known:
            del self._links[name]

    def _gauge(self, name: str, text: str, values: dict[str, int]) -> Metric:
        metric = GaugeMetricFamily(name, text, labels=["pool"])
        for pool, value in values.items():
            metric.add_metric([pool], value)
        return metric

    def _jobs(self, pools: Sequence[tuple[Pool, Sequence[WorkerDocument]]]) -> Metric:
        metric = GaugeMetricFamily(
            "anypod_jobs", "Open jobs by state, of all gateways", labels=["pool", "state"]
        )
        for pool, _ in pools:
            view = pool.jobs.view
            metric.add_metric([pool.name, "queued"], len(view.open) - view.running)
            metric.add_metric([pool.name, "running"], view.running)
        return metric

    def _workers(self, pools: Sequence[tuple[Pool, Sequence[WorkerDocument]]]) -> Metric:
        metric = GaugeMetricFamily("anypod_workers", "Workers by state", labels=["pool", "state"])
        for pool, workers in pools:
            ready = sum(one.ready for one in workers)
            metric.add_metric([pool.name, "ready"], ready)
            metric.add_metric([pool.name, "not-ready"], len(workers) - ready)
        return metric

    def _executors(self, pools: Sequence[tuple[Pool, Sequence[WorkerDocument]]]) -> Metric:
        metric = GaugeMetricFamily(
            "anypod_executors", "Shared executors by state", labels=["pool", "state"]
        )
        for pool, workers in pools:
            metric.add_metric([pool.name, "busy"], sum(one.busy for one in workers))
            metric.add_metric([pool.name, "idle"], sum(one.idle for one in workers))
        return metric

    def _restarts(self, pools: Sequence[tuple[Pool, Sequence[WorkerDocument]]]) -> Metric:
        metric = CounterMetricFamily(
            "anypod_executor_restarts",
            "Executors replaced, by reason, since each worker's start",
            labels=["pool", "worker", "reason"],
        )
        for pool, workers in pools:
            for one in workers:
                for reason, count in sorted(one.restarts.items()):
                    metric.add_metric([pool.name, one.name, reason], count)
        return metric

    def _link_states(self) -> Metric:
        metric = GaugeMetricFamily(
            "anypod_link_up", "Whether the link to a worker is up", labels=["pool", "worker"]
        )
        for (pool, worker), up in sorted(self._links.items()):
            metric.add_metric([pool, worker], up)
        return metric


def key_gauges(keys: Callable[[], ApiKeys | None]) -> Callable[[], Iterable[Metric]]:
    def collect() -> Iterable[Metric]:
        found = keys()
        metric = GaugeMetricFamily("anypod_api_keys", "API keys by state", labels=["state"])
        metric.add_metric(["good"], found.good if found is not None else 0)
        metric.add_metric(["broken"], found.broken if found is not None else 0)
        yield metric

    return collect

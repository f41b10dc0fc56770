"""The operator's own metrics. No label grows with the number of pods or executions."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    def __init__(self) -> None:
        here = self._registry = CollectorRegistry()
        self.api_calls = Counter(
            "anypod_operator_api_calls",
            "Calls of the Kubernetes API.",
            ["method", "status"],
            registry=here,
        )
        self.reconciles = Counter(
            "anypod_operator_reconciles",
            "Looks at a pool, by how they ended.",
            ["outcome"],
            registry=here,
        )
        self.reconcile_seconds = Histogram(
            "anypod_operator_reconcile_seconds", "How long a look at a pool took.", registry=here
        )
        self.repairs = Counter(
            "anypod_operator_repairs", "Objects made or put right.", ["kind", "what"], registry=here
        )
        self.waiting = Gauge(
            "anypod_operator_waiting", "Pools that wait to be looked at.", registry=here
        )
        self.pools = Gauge("anypod_operator_pools", "Pools that there are.", registry=here)
        self.workers = Gauge(
            "anypod_operator_workers", "Workers of all pools.", ["state"], registry=here
        )
        self.degraded = Gauge(
            "anypod_operator_pools_degraded", "Pools that are degraded.", ["reason"], registry=here
        )
        self.events = Counter(
            "anypod_operator_watch_events", "What watches told.", ["kind"], registry=here
        )
        self.staleness = Gauge(
            "anypod_operator_watch_staleness_seconds",
            "For how long the oldest change that is known has not come by a watch.",
            registry=here,
        )

    def text(self) -> bytes:
        return generate_latest(self._registry)

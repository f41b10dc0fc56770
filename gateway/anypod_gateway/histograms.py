"""Histograms that cost a request little: counted in plain lists, put together at a scrape."""

from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client.core import HistogramMetricFamily, Metric

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_NAMES = [*(str(float(bound)) for bound in SECONDS), "+Inf"]


class Histogram:
    """Of seconds, by the values of its labels."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...]) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._counts: dict[tuple[str, ...], list[float]] = {}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            # One per bucket, the last one without a bound; then the sum.
            counts = self._counts[labels] = [0.0] * (len(SECONDS) + 2)
        counts[bisect_left(SECONDS, seconds)] += 1
        counts[-1] += seconds

    def collect(self) -> Iterable[Metric]:
        metric = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, counts in self._counts.items():
            total, buckets = 0.0, []
            for name, count in zip(_NAMES, counts, strict=False):
                total += count
                buckets.append((name, total))
            metric.add_metric(labels, buckets, counts[-1])
        yield metric

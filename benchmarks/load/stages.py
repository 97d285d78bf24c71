"""The stages of rounds between two readings of the coordinator's /metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from serve_apps.meter import BATCH, STAGE

ORDER = ("queue", "input", "fan_out", "pool", "gate", "commit", "round")


@dataclass(frozen=True)
class Histogram:
    """Cumulative counts by upper edge (the last is infinite), their sum and their number."""

    buckets: Mapping[float, float]
    total: float
    count: float

    def since(self, before: Histogram | None) -> Histogram:
        """What came after an earlier reading."""
        if before is None:
            return self
        buckets = {edge: n - before.buckets.get(edge, 0.0) for edge, n in self.buckets.items()}
        return Histogram(buckets, self.total - before.total, self.count - before.count)

    @property
    def mean(self) -> float:
        """NaN without an observation."""
        return self.total / self.count if self.count else float("nan")

    def quantile(self, share: float) -> float:
        """Linear inside of the bucket, as Prometheus' histogram_quantile does."""
        wanted, below, lower = share * self.count, 0.0, 0.0
        for edge in sorted(self.buckets):
            reached = self.buckets[edge]
            if reached >= wanted and reached > below:
                if edge == float("inf"):
                    return lower
                return lower + (edge - lower) * (wanted - below) / (reached - below)
            below, lower = reached, edge
        return float("nan")


def read(text: str) -> dict[str, Histogram]:
    """Each stage's histogram in seconds, and ``bars`` a round, from Prometheus text."""
    buckets: dict[str, dict[float, float]] = {}
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        if family.name not in {STAGE[0], BATCH[0]}:
            continue
        for sample in family.samples:
            name = sample.labels.get("stage", "bars")
            if sample.name.endswith("_bucket"):
                buckets.setdefault(name, {})[float(sample.labels["le"])] = sample.value
            elif sample.name.endswith("_sum"):
                sums[name] = sample.value
            elif sample.name.endswith("_count"):
                counts[name] = sample.value
    return {name: Histogram(buckets[name], sums[name], counts[name]) for name in buckets}


def between(before: str, after: str) -> dict[str, Histogram]:
    """What happened between two readings."""
    earlier = read(before)
    return {name: seen.since(earlier.get(name)) for name, seen in read(after).items()}


def rows(stages: Mapping[str, Histogram]) -> list[str]:
    """A Markdown table of the stages in milliseconds."""
    named: Sequence[str] = [name for name in ORDER if name in stages]
    named = [*named, *sorted(set(stages) - set(named) - {"bars"})]
    lines = ["| stage of a round | mean ms | p50 | p95 | p99 |", "|---|---|---|---|---|"]
    for name in named:
        seen = stages[name]
        cells = [seen.mean, *(seen.quantile(share) for share in (0.5, 0.95, 0.99))]
        lines.append(f"| {name} | " + " | ".join(f"{1e3 * value:.1f}" for value in cells) + " |")
    return lines

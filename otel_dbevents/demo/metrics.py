"""The metrics of a run as plain values, as the reader of the SDK collected them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.sdk.metrics.export import HistogramDataPoint, MetricsData


@dataclass(frozen=True, slots=True)
class Point:
    """One number, or one histogram, of one metric for one set of attributes."""

    metric: str
    unit: str
    attributes: dict[str, Any]
    value: float
    """The number; of a histogram the sum."""
    count: int = 0
    min: float = 0.0
    max: float = 0.0

    @property
    def mean(self) -> float:
        """The histogram's mean."""
        return self.value / self.count if self.count else 0.0

    def __add__(self, other: "Point") -> "Point":
        """Return both histograms as one."""
        return replace(
            self,
            value=self.value + other.value,
            count=self.count + other.count,
            min=min(self.min, other.min),
            max=max(self.max, other.max),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the point as plain values."""
        found = {"metric": self.metric, "unit": self.unit, "attributes": self.attributes}
        if not self.count:
            return found | {"value": self.value}
        return found | {"count": self.count, "sum": self.value, "min": self.min, "max": self.max}


def points(data: MetricsData | None) -> Iterator[Point]:
    """Yield the points of all metrics."""
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield _point(metric.name, metric.unit or "", point)


def _point(name: str, unit: str, point: Any) -> Point:
    attributes = dict(point.attributes or {})
    if isinstance(point, HistogramDataPoint):
        return Point(name, unit, attributes, point.sum, point.count, point.min, point.max)
    return Point(name, unit, attributes, point.value)

"""What a check amounts to: from how long it took to a status."""

from typing import NamedTuple

from otel_dbevents.events import HealthStatus


class Thresholds(NamedTuple):
    """From which round trip on a database is not healthy, in milliseconds.

    Raises nothing: that ``degraded_ms`` is not the larger is checked with the settings.
    """

    degraded_ms: float = 100.0
    unhealthy_ms: float = 200.0

    def judge(self, latency_ms: float, *, failed: bool = False) -> HealthStatus:
        """Return the status; a check that failed is unhealthy whatever it took."""
        if failed or latency_ms >= self.unhealthy_ms:
            return HealthStatus.UNHEALTHY
        return HealthStatus.DEGRADED if latency_ms >= self.degraded_ms else HealthStatus.HEALTHY

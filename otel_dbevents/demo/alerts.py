"""What the alert rules of deploy/prometheus would have said of the outage, from its own metrics.

No Prometheus runs here: each rule's condition is evaluated on what the run's metrics said, and for
how long it held. The numbers are those of the rules' files; a test compares them.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from otel_dbevents.demo.metrics import Point
from otel_dbevents.demo.outage import Outage

FAILURE_RATIO: Final = 0.05
LEAST_ATTEMPTS: Final = 10
UNHEALTHY_CHECKS: Final = 2
LOST_FOR_S: Final = 30.0
FAILURES_FOR_S: Final = 300.0


class Verdict(NamedTuple):
    """What one rule would have said."""

    rule: str
    condition: str
    """What it looks at, with what that was."""
    said: str
    """``firing``, ``pending`` (it held, and not for long enough) or ``silent``."""
    note: str


def verdicts(outage: Outage) -> list[Verdict]:
    """Return what each rule that is about this would have said while the database was away."""
    status = _sum(outage.away, "database.connection.status")
    attempts, failures = (
        _sum(outage.away, f"database.connection.{name}") for name in ("attempts", "failures")
    )
    ratio = failures / attempts if attempts else 0.0
    unhealthy = _count(outage.away, "database.health.latency", "unhealthy")
    recovered = outage.recovered
    away_s = recovered.duration_ns / 1e9 if recovered is not None else outage.killed_s
    return [
        _held(
            "DatabaseConnectionLost", f"status {status:g}, for {away_s:.1f} s", status == 0,
            away_s, LOST_FOR_S,
        ),
        _held(
            "DatabaseHealthCheckFailing", f"{unhealthy} checks unhealthy, limit {UNHEALTHY_CHECKS}",
            unhealthy >= UNHEALTHY_CHECKS, 0.0, 0.0,
        ),
        _held(
            "DatabaseConnectionFailureRateHigh",
            f"{failures:g} of {attempts:g} refused, limit {FAILURE_RATIO:.0%}",
            ratio > FAILURE_RATIO and attempts >= LEAST_ATTEMPTS, away_s, FAILURES_FOR_S,
        ),
    ]  # fmt: skip


def _held(rule: str, condition: str, holds: bool, held_s: float, needs_s: float) -> Verdict:
    if not holds:
        return Verdict(rule, condition, "silent", "")
    if held_s >= needs_s:
        return Verdict(rule, condition, "firing", "at once")
    return Verdict(rule, condition, "pending", f"fires after {needs_s:.0f} s of it")


def _sum(points: Sequence[Point], metric: str) -> float:
    return sum(point.value for point in points if point.metric == metric)


def _count(points: Sequence[Point], metric: str, status: str) -> int:
    return sum(
        point.count
        for point in points
        if point.metric == metric and point.attributes.get("dbevents.health.status") == status
    )

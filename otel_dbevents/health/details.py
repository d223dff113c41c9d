"""What a check's event says beyond its status: plain values under flat names."""

from collections.abc import Iterable, Iterator
from typing import Any

from otel_dbevents.events import PoolReading
from otel_dbevents.health.round import Outcome
from otel_dbevents.health.window import Reading
from otel_dbevents.sources.failure import describe, describe_connect

TIMEOUT = "timeout"


def details_of(
    outcome: Outcome,
    pools: Iterable[PoolReading],
    reading: Reading | None,
    slo_p95_ms: float,
    failed_checks: int,
) -> dict[str, Any]:
    """Return all of it. What is not known is left out."""
    found: dict[str, Any] = {"synthetic": True, "failed_checks": failed_checks}
    if outcome.connect_ns >= 0:
        found["connect_ms"] = _ms(outcome.connect_ns / 1e9)
    if outcome.error is not None:
        found |= _error(outcome)
    found.update(_pool([*pools]))
    if reading is not None:
        found.update(_window(reading, slo_p95_ms))
    return found


def _error(outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    if error is None or outcome.timed_out:
        return {"error.type": TIMEOUT, "error.stage": outcome.stage, "error.text": "timed out"}
    text = describe_connect(error)
    return {
        "error.type": describe(error).error_type,
        "error.stage": outcome.stage,
        "error.text": text,
    }


def _pool(pools: list[PoolReading]) -> Iterator[tuple[str, int]]:
    """Give the numbers of all pools of one database together."""
    if not pools:
        return
    yield "pool.used", sum(each.used for each in pools)
    yield "pool.idle", sum(each.idle for each in pools)
    yield "pool.waiting", sum(each.pending for each in pools)
    for name, limits in (
        ("pool.size", [each.idle_max for each in pools]),
        ("pool.max", [each.max for each in pools]),
    ):
        if min(limits) >= 0:
            yield name, sum(limits)


def _window(reading: Reading, slo_p95_ms: float) -> Iterator[tuple[str, Any]]:
    yield "window.s", reading.window_s
    yield "window.queries", reading.queries
    yield "window.errors", reading.errors
    yield "window.slo_p95_ms", slo_p95_ms
    if reading.error_rate is None or reading.p95_s is None:
        return
    yield "window.error_rate", round(reading.error_rate, 6)
    for name, value in (
        ("p50", reading.p50_s),
        ("p95", reading.p95_s),
        ("p99", reading.p99_s),
    ):
        yield f"window.{name}_ms", _ms(value or 0.0)
    yield "window.within_slo", reading.p95_s * 1e3 < slo_p95_ms


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)

"""The instruments for what the database did.

Names, units and buckets of ``db.*`` are the conventions' (docs/db/database-metrics.md 1.44).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

from opentelemetry.metrics import Histogram, Meter, Observation

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.objective import DURATION_BUCKETS, Objective
from otel_dbevents.bridge.observables import Observables
from otel_dbevents.events import PoolReading

_ROWS_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
"""Rows: the convention's for ``db.client.response.returned_rows``."""
_CONNECTION: Final = "db.client.connection."
_LIMITS: Final[tuple[tuple[str, str, str, Callable[[PoolReading], int]], ...]] = (
    ("idle.max", "{connection}", "The most idle connections allowed.", attrgetter("idle_max")),
    ("idle.min", "{connection}", "The fewest idle connections kept.", attrgetter("idle_min")),
    ("max", "{connection}", "The most open connections allowed.", attrgetter("max")),
    (
        "pending_requests",
        "{request}",
        "Requests that wait for a connection.",
        attrgetter("pending"),
    ),
)


class Instruments:
    """The histograms and counters that events are recorded in. All are made here, once."""

    def __init__(self, meter: Meter, objective: Objective) -> None:
        def seconds(name: str, text: str, buckets: Sequence[float] = DURATION_BUCKETS) -> Histogram:
            return meter.create_histogram(
                name, "s", text, explicit_bucket_boundaries_advisory=buckets
            )

        self.duration = seconds(
            "db.client.operation.duration",
            "Duration of database client operations.",
            objective.query_buckets,
        )
        self.rows = meter.create_histogram(
            "db.client.response.returned_rows",
            "{row}",
            "The number of rows that a query returned.",
            explicit_bucket_boundaries_advisory=_ROWS_BUCKETS,
        )
        self.create = seconds(_CONNECTION + "create_time", "Time to open a new connection.")
        self.wait = seconds(_CONNECTION + "wait_time", "Time to get a connection from the pool.")
        self.use = seconds(_CONNECTION + "use_time", "Time from taking to returning a connection.")
        self.timeouts = meter.create_counter(
            _CONNECTION + "timeouts", "{timeout}", "Waits for a connection that ran out of time."
        )
        self.attempts = meter.create_counter(
            "database.connection.attempts", "{attempt}", "Attempts to open a connection."
        )
        self.failures = meter.create_counter(
            "database.connection.failures", "{attempt}", "Attempts that gave no connection."
        )
        self.transactions = meter.create_counter(
            "dbevents.transactions", "{transaction}", "Transactions that ended, by outcome."
        )
        self.repetitions = meter.create_counter(
            "dbevents.repeated_queries", "{burst}", "Bursts of one statement under one span."
        )
        self.health = seconds(
            "database.health.latency", "Round trip of a health check.", objective.health_buckets
        )


def observe_pools(observed: Observables, read: Callable[[], Iterable[PoolReading]]) -> None:
    """Report the pools' numbers at each collection."""
    text = "The number of connections in a state."
    observed.up_down(_CONNECTION + "count", "{connection}", text, lambda: _counts(read()))
    for name, unit, text, field in _LIMITS:
        observed.up_down(_CONNECTION + name, unit, text, _limits_of(read, field))


def observe_losses(observed: Observables, read: Callable[[], Mapping[str, int]]) -> None:
    """Report at each collection what was lost until then, by reason."""
    observed.counter(
        "dbevents.events.lost",
        "{event}",
        "Events that did not become telemetry, by reason.",
        lambda: [Observation(n, {at.LOST_REASON: why}) for why, n in read().items()],
    )


def _counts(readings: Iterable[PoolReading]) -> Iterable[Observation]:
    for reading in readings:
        name = at.pool_name(reading.database)
        for state, number in (("idle", reading.idle), ("used", reading.used)):
            yield Observation(number, {at.POOL_NAME: name, at.CONNECTION_STATE: state})


def _limits_of(
    read_pools: Callable[[], Iterable[PoolReading]], field: Callable[[PoolReading], int]
) -> Callable[[], Iterable[Observation]]:
    """Return a source of one number per pool. -1 means there is no such limit: not reported."""

    def read() -> Iterable[Observation]:
        for reading in read_pools():
            if field(reading) >= 0:
                labels = {at.POOL_NAME: at.pool_name(reading.database)}
                yield Observation(field(reading), labels)

    return read

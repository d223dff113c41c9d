"""Metrics: every event counts, whatever becomes of its span.

Names, units and buckets of ``db.*`` are the conventions' (docs/db/database-metrics.md 1.44).
``db.client.operation.duration`` has queries, COMMITs and ROLLBACKs: what is a client span is a
record, of the same time. No attribute holds a query's text or anything else without bounds.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from opentelemetry.metrics import Counter, Histogram, Meter, MeterProvider, Observation

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.flow import ReadFlow, observe
from otel_dbevents.bridge.gathering import Connections, Pool, Queries, Query, Seen
from otel_dbevents.bridge.objective import DURATION_BUCKETS, Objective, ReadStandings
from otel_dbevents.bridge.objective import observe as observe_standings
from otel_dbevents.bridge.observables import Observables
from otel_dbevents.bridge.pointing import Place
from otel_dbevents.bridge.series import AllSeries, Series
from otel_dbevents.bridge.spans import NOWHERE
from otel_dbevents.bridge.turns import TurnNumbers
from otel_dbevents.events import (
    CheckoutTimedOut,
    CommitFailed,
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    Database,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseRecovered,
    Event,
    Failure,
    PoolReading,
    QueryExecuted,
    QueryFailed,
    RepeatedQueryDetected,
    RollbackFailed,
    Statement,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
)

ROWS_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
"""Rows: the convention's for ``db.client.response.returned_rows``."""

_MOST_DATABASES = 1000
_MOST_QUERIES: Final = 2048
_MOST_POOLS: Final = 256


class Metrics:
    """Records the metrics. All instruments are made here, once.

    ``read_pools`` is called at collection for the pools' numbers, ``read_lost`` for the events
    that were lost until then, by reason, ``read_flow``, if there is one, for how events flow out.
    ``seen`` takes the durations of all queries, many at a time where they come so. The histograms
    have the ``objective`` among their bounds; ``read_standings`` says how it is held, if anybody
    knows that here.
    """

    def __init__(
        self,
        meter_provider: MeterProvider,
        *,
        read_pools: Callable[[], Iterable[PoolReading]],
        read_lost: Callable[[], Mapping[str, int]],
        read_flow: ReadFlow | None = None,
        seen: Seen | None = None,
        objective: Objective = Objective(),  # noqa: B008 - it is immutable
        read_standings: ReadStandings | None = None,
    ) -> None:
        self._seen = seen
        meter = meter_provider.get_meter(at.SCOPE, at.VERSION, at.SCHEMA_URL)
        self.begin_anew()
        self._make_instruments(meter, objective)
        self.turns = TurnNumbers(meter)
        self._series = AllSeries()
        self._of = self._series.of
        self._queries: dict[tuple[int, int, bool], Query] = {}
        self._known_pools: dict[int, Pool] = {}
        self._pools = lru_cache(256)(self._pool_series)
        self._outcomes = lru_cache(256)(self._outcome_series)
        self._observed = Observables(meter)
        self._observe(read_pools, read_lost)
        if read_flow is not None:
            observe(self._observed, read_flow)
        if read_standings is not None:
            observe_standings(self._observed, objective, read_standings)
        self._recorders: dict[type[Event], Callable[[Any, Place], None]] = {
            QueryFailed: self._query_failed,
            TransactionCommitted: self._committed,
            CommitFailed: self._commit_failed,
            TransactionRolledBack: self._rolled_back,
            RollbackFailed: self._rollback_failed,
            TransactionReleased: self._released,
            ConnectionCheckedOut: self._checked_out,
            ConnectionCheckedIn: self._checked_in,
            CheckoutTimedOut: self._timed_out,
            DatabaseConnectionEstablished: self._established,
            DatabaseConnectionFailed: self._connect_failed,
            DatabaseRecovered: self._recovered,
            DatabaseHealthCheckCompleted: self._health_checked,
            RepeatedQueryDetected: self._repeated,
        }

    def begin_anew(self) -> None:
        """Know of no database yet, also in a forked child, which has asked none for a connection.

        What was measured before is forgotten elsewhere (`bridge.inherited`).
        """
        self._status: dict[str, tuple[at.Attributes, int]] = {}
        self._there: dict[int, Database] = {}
        """Those of which that says 1, as nothing else was heard of any since."""
        self._lock = threading.Lock()
        self._at_nothing = lru_cache(256)(self._begin_at_nothing)

    def record(self, event: Event, context: Place) -> None:
        """Record what the event measures; exemplars point to the span of ``context``.

        Part of it may wait for `settle`.
        """
        if type(event) is QueryExecuted:
            self._query_executed(event, context)
            return
        recorder = self._recorders.get(type(event))
        if recorder is not None:
            recorder(event, context)

    def queries(self) -> Queries:
        """Return what takes many queries at once, for one batch."""
        return Queries(self._known, self._seen)

    def connections(self) -> Connections:
        """Return what takes many connections' events at once, for one batch."""
        return Connections(self._pool, self._is_there)

    def settle(self, failed: Callable[[], None]) -> None:
        """Record what waits: the end of a batch. ``failed`` is called as an error is handled."""
        self._series.settle(failed)

    def close(self) -> None:
        """Report nothing more at collection, and let go of what was read there."""
        self._observed.close()
        self._queries.clear()
        self._known_pools.clear()
        self._pools.cache_clear()
        self._outcomes.cache_clear()
        self._at_nothing.cache_clear()
        self._series.clear()
        with self._lock:
            self._there.clear()
            self._status.clear()

    def _make_instruments(self, meter: Meter, objective: Objective) -> None:
        def seconds(name: str, text: str, buckets: Sequence[float] = DURATION_BUCKETS) -> Histogram:
            return meter.create_histogram(
                name, "s", text, explicit_bucket_boundaries_advisory=buckets
            )

        self._duration = seconds(
            "db.client.operation.duration",
            "Duration of database client operations.",
            objective.query_buckets,
        )
        self._rows = meter.create_histogram(
            "db.client.response.returned_rows",
            "{row}",
            "The number of rows that a query returned.",
            explicit_bucket_boundaries_advisory=ROWS_BUCKETS,
        )
        connection = "db.client.connection."
        self._create = seconds(connection + "create_time", "Time to open a new connection.")
        self._wait = seconds(connection + "wait_time", "Time to get a connection from the pool.")
        self._use = seconds(connection + "use_time", "Time from taking to returning a connection.")
        self._timeouts = meter.create_counter(
            connection + "timeouts", "{timeout}", "Waits for a connection that ran out of time."
        )
        self._attempts = meter.create_counter(
            "database.connection.attempts", "{attempt}", "Attempts to open a connection."
        )
        self._failures = meter.create_counter(
            "database.connection.failures", "{attempt}", "Attempts that gave no connection."
        )
        self._transactions = meter.create_counter(
            "dbevents.transactions", "{transaction}", "Transactions that ended, by outcome."
        )
        self._repetitions = meter.create_counter(
            "dbevents.repeated_queries", "{burst}", "Bursts of one statement under one span."
        )
        self._health = seconds(
            "database.health.latency", "Round trip of a health check.", objective.health_buckets
        )

    def _observe(
        self,
        read_pools: Callable[[], Iterable[PoolReading]],
        read_lost: Callable[[], Mapping[str, int]],
    ) -> None:
        observed, connection = self._observed, "db.client.connection."
        pools: tuple[tuple[str, str, str, Callable[[PoolReading], int]], ...] = (
            (
                "idle.max",
                "{connection}",
                "The most idle connections allowed.",
                attrgetter("idle_max"),
            ),
            (
                "idle.min",
                "{connection}",
                "The fewest idle connections kept.",
                attrgetter("idle_min"),
            ),
            ("max", "{connection}", "The most open connections allowed.", attrgetter("max")),
            (
                "pending_requests",
                "{request}",
                "Requests that wait for a connection.",
                attrgetter("pending"),
            ),
        )
        count = connection + "count"
        text = "The number of connections in a state."
        observed.up_down(count, "{connection}", text, lambda: _counts(read_pools()))
        for name, unit, text, field in pools:
            observed.up_down(connection + name, unit, text, _limits_of(read_pools, field))
        observed.counter(
            "dbevents.events.lost",
            "{event}",
            "Events that did not become telemetry, by reason.",
            lambda: [Observation(n, {at.LOST_REASON: why}) for why, n in read_lost().items()],
        )
        # No unit: Prometheus would append "_ratio" to the name of a gauge with unit 1.
        text = "1 when the database gave the last connection asked for or answered the last check."
        observed.gauge("database.connection.status", "", text, self._read_status)

    def _read_status(self) -> list[Observation]:
        with self._lock:
            return [Observation(up, labels) for labels, up in self._status.values()]

    def _query_executed(self, event: QueryExecuted, context: Place) -> None:
        duration, rows, *_ = self._known(event)
        duration.record(event.duration_ns / 1e9, context)
        if self._seen is not None:
            self._seen(event.database, (event.duration_ns / 1e9,), 0)
        if event.returned_rows >= 0:
            rows.record(event.returned_rows, context)

    def _known(self, event: QueryExecuted) -> Query:
        database, statement, is_batch = event.database, event.statement, event.batch_size != 1
        # Looked up by which objects these are: to compare what they hold would cost more than all
        # the rest. Each is kept here as long, so that no other can be taken for it.
        known = self._queries.get((id(database), id(statement), is_batch))
        return self._know(database, statement, is_batch) if known is None else known

    def _query_failed(self, event: QueryFailed, context: Place) -> None:
        labels = at.query_labels(event.database, event.statement, event.batch_size != 1)
        failed = self._of(self._duration, labels, at.failure_attributes(event.failure))
        failed.record(event.duration_ns / 1e9, context)
        if self._seen is not None:
            self._seen(event.database, (event.duration_ns / 1e9,), 1)

    def _committed(self, event: TransactionCommitted, context: Place) -> None:
        self._transaction(event, context, "COMMIT", "committed")

    def _commit_failed(self, event: CommitFailed, context: Place) -> None:
        self._transaction(event, context, "COMMIT", "commit_failed", event.failure)

    def _rolled_back(self, event: TransactionRolledBack, context: Place) -> None:
        self._transaction(event, context, "ROLLBACK", "rolled_back")

    def _rollback_failed(self, event: RollbackFailed, context: Place) -> None:
        self._transaction(event, context, "ROLLBACK", "rollback_failed", event.failure)

    def _released(self, event: TransactionReleased, context: Place) -> None:
        self._outcomes(event.database, "", "released")[0].record(1, context)

    def _transaction(
        self,
        event: TransactionCommitted | CommitFailed | TransactionRolledBack | RollbackFailed,
        context: Place,
        operation: str,
        outcome: str,
        failure: Failure | None = None,
    ) -> None:
        count, duration = self._outcomes(event.database, operation, outcome)
        count.record(1, context)
        if event.duration_ns < 0:  # it was part of a batch, or implied by a close
            return
        if failure is not None:
            labels = at.database_attributes(event.database)
            said = {at.DB_OPERATION_NAME: operation, **at.failure_attributes(failure)}
            duration = self._of(self._duration, labels, said)
        duration.record(event.duration_ns / 1e9, context)

    def _checked_out(self, event: ConnectionCheckedOut, context: Place) -> None:
        self._pools(self._wait, event.database).record(event.duration_ns / 1e9, context)

    def _checked_in(self, event: ConnectionCheckedIn, context: Place) -> None:
        self._pools(self._use, event.database).record(event.duration_ns / 1e9, context)

    def _timed_out(self, event: CheckoutTimedOut, context: Place) -> None:
        self._pools(self._timeouts, event.database).record(1, context)

    def _established(self, event: DatabaseConnectionEstablished, context: Place) -> None:
        labels = _whereabouts(event)
        self._of(self._attempts, labels).record(1, context)
        self._is_there(event)
        if event.database is None:
            self._of(self._failures, labels).record(0, context)  # as below
            return
        self._at_nothing(event.database)
        if event.duration_ns >= 0:
            self._pools(self._create, event.database).record(event.duration_ns / 1e9, context)

    def _connect_failed(self, event: DatabaseConnectionFailed, context: Place) -> None:
        labels = _whereabouts(event)
        self._of(self._attempts, labels).record(1, context)
        failed = self._of(self._failures, labels, at.failure_attributes(event.failure))
        failed.record(1, context)
        self._set_status(event, 0)

    def _recovered(self, event: DatabaseRecovered, _context: Place) -> None:
        self._set_status(event, 1)

    def _health_checked(self, event: DatabaseHealthCheckCompleted, context: Place) -> None:
        status = {at.HEALTH_STATUS: event.status.value}
        checked = self._of(self._health, _whereabouts(event), status)
        checked.record(event.latency_ms / 1e3, context)
        self._set_status(event, int(event.was_answered))

    def _repeated(self, event: RepeatedQueryDetected, context: Place) -> None:
        labels = at.query_labels(event.database, event.statement, is_batch=False)
        self._of(self._repetitions, labels).record(1, context)

    def _begin_at_nothing(self, database: Database) -> None:
        """Report zero of what should not happen: a total that begins at one has no rate."""
        self._of(self._failures, at.whereabouts(database)).record(0, NOWHERE)
        self._pools(self._timeouts, database).record(0, NOWHERE)
        self._outcomes(database, "COMMIT", "commit_failed")[0].record(0, NOWHERE)

    def _know(self, database: Database, statement: Statement, is_batch: bool) -> Query:
        labels = at.query_labels(database, statement, is_batch)
        duration, rows = self._of(self._duration, labels), self._of(self._rows, labels)
        if len(self._queries) >= _MOST_QUERIES:
            self._queries.clear()
        known = duration, rows, self._series.pair(duration, rows), database, statement
        self._queries[id(database), id(statement), is_batch] = known
        return known

    def _pool(self, database: Database) -> Pool:
        """Return the series of a database's connections. Looked up as in `_known`."""
        known = self._known_pools.get(id(database))
        if known is None:
            if len(self._known_pools) >= _MOST_POOLS:
                self._known_pools.clear()
            wait, use, create = (
                self._pools(each, database) for each in (self._wait, self._use, self._create)
            )
            attempts = self._of(self._attempts, at.whereabouts(database))
            known = self._known_pools[id(database)] = Pool(database, wait, use, create, attempts)
        return known

    def _pool_series(self, instrument: Histogram | Counter, database: Database) -> Series:
        return self._of(instrument, {at.POOL_NAME: at.pool_name(database)})

    def _outcome_series(
        self, database: Database, operation: str, outcome: str
    ) -> tuple[Series, Series]:
        known = at.database_attributes(database)
        count = self._of(self._transactions, {**known, at.TRANSACTION_OUTCOME: outcome})
        return count, self._of(self._duration, {**known, at.DB_OPERATION_NAME: operation})

    def _is_there(self, event: DatabaseConnectionEstablished) -> None:
        """Note that the database gave a connection, as it mostly did before."""
        database = event.database
        if database is None or self._there.get(id(database)) is not database:
            self._set_status(event, 1)
            if database is not None:
                self._at_nothing(database)
                self._there[id(database)] = database

    def _set_status(self, event: Event, up: int) -> None:
        """Keep the last outcome. A failure that named no database ends with any success there."""
        environment = at.environment_of(event)
        with self._lock:
            self._there.clear()
            if up and environment in self._status:
                self._status[environment] = (self._status[environment][0], 1)
            self._status[event.aggregate_id] = (_whereabouts(event), up)
            if len(self._status) > _MOST_DATABASES:
                del self._status[next(iter(self._status))]


def _whereabouts(event: Event) -> dict[str, at.Value]:
    database = at.database_of(event)
    known = at.database_attributes(database) if database is not None else {}
    return {
        **known,
        at.ENVIRONMENT: at.environment_of(event),
        at.AGGREGATE_ID: event.aggregate_id,
    }


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

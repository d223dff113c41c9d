"""Metrics: every event counts, whatever becomes of its span.

``db.client.operation.duration`` has queries, COMMITs and ROLLBACKs: what is a client span is a
record, of the same time. No attribute holds a query's text or anything else without bounds.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from opentelemetry.metrics import Counter, Histogram, MeterProvider

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.flow import ReadFlow
from otel_dbevents.bridge.flow import observe as observe_flow
from otel_dbevents.bridge.gathering import Connections, Pool, Queries, Query, Seen
from otel_dbevents.bridge.instruments import Instruments, observe_losses, observe_pools
from otel_dbevents.bridge.objective import Objective, ReadStandings
from otel_dbevents.bridge.objective import observe as observe_standings
from otel_dbevents.bridge.observables import Observables
from otel_dbevents.bridge.pointing import Place
from otel_dbevents.bridge.series import AllSeries, Series
from otel_dbevents.bridge.spans import NOWHERE
from otel_dbevents.bridge.status import Statuses
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

_MOST_QUERIES: Final = 2048
_MOST_POOLS: Final = 256


class Metrics:
    """Records the metrics. Its instruments are made with it, once.

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
        self._statuses = Statuses()
        self.begin_anew()
        self._into = Instruments(meter, objective)
        self.turns = TurnNumbers(meter)
        self._series = AllSeries()
        self._of = self._series.of
        self._queries: dict[tuple[int, int, bool], Query] = {}
        self._known_pools: dict[int, Pool] = {}
        self._pools = lru_cache(256)(self._pool_series)
        self._outcomes = lru_cache(256)(self._outcome_series)
        self._observed = Observables(meter)
        self._statuses.observe(self._observed)
        observe_pools(self._observed, read_pools)
        observe_losses(self._observed, read_lost)
        if read_flow is not None:
            observe_flow(self._observed, read_flow)
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
        self._statuses.begin_anew()
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
        return Connections(self._pool, self._there)

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
        self._statuses.clear()

    def _query_executed(self, event: QueryExecuted, context: Place) -> None:
        duration, rows, *_ = self._known(event)
        duration.record(event.duration_ns / 1e9, context)
        if self._seen is not None:
            self._seen(event.database, (event.duration_ns,), 0)
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
        failed = self._of(self._into.duration, labels, at.failure_attributes(event.failure))
        failed.record(event.duration_ns / 1e9, context)
        if self._seen is not None:
            self._seen(event.database, (event.duration_ns,), 1)

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
            duration = self._of(self._into.duration, labels, said)
        duration.record(event.duration_ns / 1e9, context)

    def _checked_out(self, event: ConnectionCheckedOut, context: Place) -> None:
        self._pools(self._into.wait, event.database).record(event.duration_ns / 1e9, context)

    def _checked_in(self, event: ConnectionCheckedIn, context: Place) -> None:
        self._pools(self._into.use, event.database).record(event.duration_ns / 1e9, context)

    def _timed_out(self, event: CheckoutTimedOut, context: Place) -> None:
        self._pools(self._into.timeouts, event.database).record(1, context)

    def _established(self, event: DatabaseConnectionEstablished, context: Place) -> None:
        labels = at.whereabouts_of(event)
        self._of(self._into.attempts, labels).record(1, context)
        self._there(event)
        if event.database is None:
            self._of(self._into.failures, labels).record(0, context)  # as below
            return
        self._at_nothing(event.database)
        if event.duration_ns >= 0:
            self._pools(self._into.create, event.database).record(event.duration_ns / 1e9, context)

    def _connect_failed(self, event: DatabaseConnectionFailed, context: Place) -> None:
        labels = at.whereabouts_of(event)
        self._of(self._into.attempts, labels).record(1, context)
        failed = self._of(self._into.failures, labels, at.failure_attributes(event.failure))
        failed.record(1, context)
        self._statuses.set(event, 0)

    def _recovered(self, event: DatabaseRecovered, _context: Place) -> None:
        self._statuses.set(event, 1)

    def _health_checked(self, event: DatabaseHealthCheckCompleted, context: Place) -> None:
        status = {at.HEALTH_STATUS: event.status.value}
        checked = self._of(self._into.health, at.whereabouts_of(event), status)
        checked.record(event.latency_ms / 1e3, context)
        self._statuses.set(event, int(event.was_answered))

    def _repeated(self, event: RepeatedQueryDetected, context: Place) -> None:
        labels = at.query_labels(event.database, event.statement, is_batch=False)
        self._of(self._into.repetitions, labels).record(1, context)

    def _begin_at_nothing(self, database: Database) -> None:
        """Report zero of what should not happen: a total that begins at one has no rate."""
        self._of(self._into.failures, at.whereabouts(database)).record(0, NOWHERE)
        self._pools(self._into.timeouts, database).record(0, NOWHERE)
        self._outcomes(database, "COMMIT", "commit_failed")[0].record(0, NOWHERE)

    def _know(self, database: Database, statement: Statement, is_batch: bool) -> Query:
        labels = at.query_labels(database, statement, is_batch)
        duration, rows = self._of(self._into.duration, labels), self._of(self._into.rows, labels)
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
            into = self._into
            wait, use, create = (
                self._pools(each, database) for each in (into.wait, into.use, into.create)
            )
            attempts = self._of(self._into.attempts, at.whereabouts(database))
            known = self._known_pools[id(database)] = Pool(database, wait, use, create, attempts)
        return known

    def _pool_series(self, instrument: Histogram | Counter, database: Database) -> Series:
        return self._of(instrument, {at.POOL_NAME: at.pool_name(database)})

    def _outcome_series(
        self, database: Database, operation: str, outcome: str
    ) -> tuple[Series, Series]:
        known = at.database_attributes(database)
        count = self._of(self._into.transactions, {**known, at.TRANSACTION_OUTCOME: outcome})
        return count, self._of(self._into.duration, {**known, at.DB_OPERATION_NAME: operation})

    def _there(self, event: DatabaseConnectionEstablished) -> None:
        """Note that the database gave a connection, as it mostly did before."""
        database = event.database
        if database is None or not self._statuses.is_known_there(database):
            self._statuses.is_there(event, database)
            if database is not None:
                self._at_nothing(database)

"""Events to tell of, and the SDK with exporters in memory."""

from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_dbevents.bridge import Bridge
from otel_dbevents.events import (
    CheckoutTimedOut,
    CommitFailed,
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    ConnectionClosed,
    ConnectionInvalidated,
    Database,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseRecovered,
    DatabaseType,
    Environment,
    Failure,
    Holder,
    QueryExecuted,
    QueryFailed,
    RepeatedQueryDetected,
    RollbackFailed,
    SlowQueryDetected,
    Statement,
    TraceParent,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
)

END = 1_700_000_000_123_456_789
MS = 1_000_000
DB = Database(
    Environment.PRODUCTION, DatabaseType.POSTGRESQL, "shop", "db.example.com", 5433, "orders"
)
DB_ATTRIBUTES = {
    "db.system.name": "postgresql",
    "db.namespace": "shop",
    "server.address": "db.example.com",
    "server.port": 5433,
}
SELECT = Statement("SELECT * FROM customers WHERE id = ?", "SELECT customers")
INSERT = Statement("INSERT INTO carts VALUES (?)", "INSERT carts", "INSERT", "carts")
DENIED = Failure("42501", "psycopg.errors.InsufficientPrivilege", "permission denied", "42501")
PARENT = TraceParent(bytes.fromhex("0af7651916cd43dd8448eb211c80319c"), b"\xb7\xad\x6b\x71" * 2)
HOLDERS = (Holder(PARENT, 3_000 * MS), Holder(None, 1_000 * MS))


def executed(**changed):
    given = {"duration_ns": 7 * MS, "statement": SELECT, **_fact(), **changed}
    return QueryExecuted(**given)


def failed(**changed):
    given = {"duration_ns": 7 * MS, "statement": SELECT, "failure": DENIED, **_fact(), **changed}
    return QueryFailed(**given)


def _fact():
    return {"database": DB, "parent": PARENT, "end_time_ns": END}


def _ended():
    return {**_fact(), "duration_ns": MS, "transaction_ns": 250 * MS, "statement_count": 3}


def committed(**changed):
    return TransactionCommitted(**{**_ended(), **changed})


def rolled_back(**changed):
    return TransactionRolledBack(**{**_ended(), **changed})


def released(**changed):
    return TransactionReleased(**{**_ended(), **changed})


def commit_failed(**changed):
    return CommitFailed(**{**_ended(), "failure": DENIED, **changed})


def rollback_failed(**changed):
    return RollbackFailed(**{**_ended(), "failure": DENIED, **changed})


def established(**changed):
    given = {"database": DB, "parent": PARENT, "end_time_ns": END, "duration_ns": 20 * MS}
    return DatabaseConnectionEstablished(
        environment="production",
        database_type="postgresql",
        connection_pool_size=5,
        **{**given, **changed},
    )


def connect_failed(**changed):
    given = {"database": DB, "parent": PARENT, "end_time_ns": END, "duration_ns": 20 * MS}
    given = {**given, "failure": DENIED, "error_message": "connection refused", **changed}
    return DatabaseConnectionFailed(environment="production", retry_count=2, **given)


def checked_out(**changed):
    return ConnectionCheckedOut(**{**_fact(), "duration_ns": 30 * MS, **changed})


def checked_in(**changed):
    return ConnectionCheckedIn(**{**_fact(), "duration_ns": 40 * MS, **changed})


def timed_out(**changed):
    given = {"duration_ns": 5_000 * MS, "used": 5, "max": 5, "holders": HOLDERS}
    return CheckoutTimedOut(**{**_fact(), **given, **changed})


def invalidated(**changed):
    return ConnectionInvalidated(**{**_fact(), "failure": DENIED, **changed})


def closed():
    return ConnectionClosed(**_fact(), duration_ns=90 * MS)


def health(status="healthy", **changed):
    given = {"latency_ms": 150.0, "database": DB, "end_time_ns": END, "environment": "production"}
    return DatabaseHealthCheckCompleted(status=status, **{**given, **changed})


def slow(query, **changed):
    return SlowQueryDetected(
        **{**_fact(), "duration_ns": query.duration_ns, "threshold_ns": MS, **changed},
        statement=query.statement,
        query_id=query.id,
    )


def repeated(**changed):
    given = {"duration_ns": 60 * MS, "count": 12, "statement": SELECT}
    return RepeatedQueryDetected(**{**_fact(), **given, **changed})


def recovered():
    return DatabaseRecovered(**_fact(), duration_ns=9_000 * MS, failed_attempts=3)


class Told:
    """A bridge with real providers, and what came out of them."""

    def __init__(self, *, sampler=None, **options):
        self.tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.exported = InMemorySpanExporter()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exported))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.loggers = LoggerProvider(shutdown_on_exit=False)
        self.emitted = InMemoryLogRecordExporter()
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self.emitted))
        self.bridge = Bridge(self.tracers, self.meters, self.loggers, **options)

    def tell(self, *events, context=None):
        self.bridge.consume([(event, context) for event in events])
        return self

    @property
    def spans(self):
        return self.exported.get_finished_spans()

    @property
    def span(self):
        (only,) = self.spans
        return only

    @property
    def records(self):
        return [each.log_record for each in self.emitted.get_finished_logs()]

    @property
    def metrics(self):
        """All metrics by name; their points are what was collected since the last look."""
        return metrics_of(self.reader)

    def points(self, name):
        return points_of(self.metrics, name)

    def point(self, name):
        (only,) = self.points(name)
        return only


def metrics_of(reader):
    data = reader.get_metrics_data()
    return {
        metric.name: metric
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def points_of(metrics, name):
    return list(metrics[name].data.data_points) if name in metrics else []


def values_of(metrics, name, *keys):
    """A metric's values by the values of these attributes."""
    return {
        tuple(point.attributes.get(key) for key in keys): point.value
        for point in points_of(metrics, name)
    }


NOTHING = Context()

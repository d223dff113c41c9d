"""The facts: what the database did, as small frozen values.

Every event carries values only: never a connection, cursor, engine or exception object, and never
a secret (no URL, user name, parameter value or driver message). Three of them have constructors
that are promised to users (`DatabaseConnectionEstablished`, `DatabaseConnectionFailed`,
`DatabaseHealthCheckCompleted`); the others are made by the sources and by the judges.

Fields with a semantic convention carry its name without ``db.`` (``query_text``, ``namespace``,
``server_address``, ``error_type``). Times are nanoseconds since the Unix epoch, UTC.
"""

import os
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from time import time_ns
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, TypeVar
from uuid import UUID

from msgspec import Meta, Struct, field, to_builtins
from msgspec.structs import force_setattr

from otel_dbevents.redaction import plain_text, redacted
from otel_dbevents.redaction import redact as redact  # noqa: PLC0414 - others take it from here

_rng = random.Random()  # noqa: S311 - identifiers, not secrets; its own, so an application's seed() does not repeat them
_random_bits = _rng.getrandbits
_UUID4_KEEP = ~((0xF << 76) | (0x3 << 62)) & ((1 << 128) - 1)
_UUID4_SET = (0x4 << 76) | (0x2 << 62)
if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has no fork
    os.register_at_fork(after_in_child=_rng.seed)

# What a decoder checks; making an event in the process costs nothing for it.
Id: TypeAlias = Annotated[bytes, Meta(min_length=16, max_length=16)]
SpanId: TypeAlias = Annotated[bytes, Meta(min_length=8, max_length=8)]
Flags: TypeAlias = Annotated[int, Meta(ge=0, le=255)]
TimeNs: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]


def new_id() -> bytes:
    """Return 16 random bytes that form a version 4 UUID (RFC 9562)."""
    return (_random_bits(128) & _UUID4_KEEP | _UUID4_SET).to_bytes(16)


def span_id_of(event_id: bytes) -> int:
    """Return the id of the span made of an event: its last 8 bytes."""
    return int.from_bytes(event_id[8:], "big")


def trace_id_of(event_id: bytes) -> int:
    """Return the trace id of a root span made of an event: its id, bytes 0 and 8 exchanged.

    Samplers take the last 8 bytes for random (W3C Trace Context level 2 the last 7). Two bits of
    a UUID's byte 8 are fixed: with them in place a ratio sampler would keep none or all.
    """
    return int.from_bytes(event_id[8:9] + event_id[1:8] + event_id[:1] + event_id[9:], "big")


class Environment(StrEnum):
    """Where the application runs. Read without regard to case; an unknown text is `LOCAL`."""

    PRODUCTION = "production"
    STAGING = "staging"
    LOCAL = "local"
    DEVELOPMENT = "development"

    @classmethod
    def _missing_(cls, value: object) -> "Environment | None":
        if not isinstance(value, str):
            return None
        return cls._value2member_map_.get(value.strip().lower(), cls.LOCAL)  # type: ignore[return-value]


class DatabaseType(StrEnum):
    """The database product: the values of ``db.system.name`` (semantic conventions 1.44).

    libSQL and Turso have no value there; theirs are the lower-case product names, as the
    convention asks.
    """

    TURSO = "turso"
    LIBSQL = "libsql"
    SQLITE = "sqlite"
    REDIS = "redis"
    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    MARIADB = "mariadb"
    MICROSOFT_SQL_SERVER = "microsoft.sql_server"
    ORACLE = "oracle.db"
    COCKROACHDB = "cockroachdb"
    CLICKHOUSE = "clickhouse"
    DUCKDB = "duckdb"
    SNOWFLAKE = "snowflake"
    REDSHIFT = "aws.redshift"
    SPANNER = "gcp.spanner"
    DB2 = "ibm.db2"
    HANA = "sap.hana"
    FIREBIRD = "firebirdsql"
    TRINO = "trino"
    TERADATA = "teradata"
    OTHER_SQL = "other_sql"

    @classmethod
    def _missing_(cls, value: object) -> "DatabaseType | None":
        if not isinstance(value, str):
            return None
        return cls._value2member_map_.get(value.strip().lower())  # type: ignore[return-value]


class HealthStatus(StrEnum):
    """How a database answered a health check."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"

    @classmethod
    def _missing_(cls, value: object) -> "HealthStatus | None":
        if not isinstance(value, str):
            return None
        return cls._value2member_map_.get(value.strip().lower())  # type: ignore[return-value]


class TraceParent(Struct, frozen=True, gc=False):
    """The span that was current when something happened (W3C Trace Context).

    ``trace_id`` has 16 bytes, ``span_id`` 8, ``trace_flags`` is 1 when the trace is sampled.
    """

    trace_id: Id
    span_id: SpanId
    trace_flags: Flags = 1
    trace_state: str = ""

    def __str__(self) -> str:
        """Return the ``traceparent`` header's value."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{self.trace_flags:02x}"


class Database(Struct, frozen=True, gc=False):
    """One database as the application reaches it. Made once per engine and shared by its events.

    ``namespace`` is the database's name at connect time; of an SQLite file it is the file's name
    without its folder, since paths tell user names. ``pool_name`` is unique in the application.
    """

    environment: Environment
    system_name: DatabaseType
    namespace: str = ""
    server_address: str = ""
    server_port: int = 0
    pool_name: str = ""
    location: str = ""
    """What tells two databases of one name apart where there is no server: a digest of a path."""

    @property
    def aggregate_id(self) -> str:
        """Return the database's name in the event stream, equal in every process.

        MariaDB is ``mysql`` there: only a process that has been connected knows them apart.
        """
        is_mariadb = self.system_name is DatabaseType.MARIADB
        system = DatabaseType.MYSQL if is_mariadb else self.system_name
        parts = [self.environment.value, system.value]
        if self.server_address:
            port = f":{self.server_port}" if self.server_port else ""
            parts.append(self.server_address.lower() + port)
        if self.namespace:
            parts.append(self.namespace + (f"#{self.location}" if self.location else ""))
        return "/".join(parts)


class Statement(Struct, frozen=True, gc=False):
    """What an SQL statement says. Made once per statement text and shared by its events.

    ``query_text`` has no literals. ``operation_name`` and ``collection_name`` are empty unless
    SQLAlchemy's statement tree has exactly one of each (they must not come from the text).
    ``stored_procedure_name`` is the one procedure that a CALL or EXEC names, as it is written;
    empty when the text does anything else too.
    """

    query_text: str
    query_summary: str = ""
    operation_name: str = ""
    collection_name: str = ""
    writes: bool = True
    stored_procedure_name: str = ""


class CodeLocation(Struct, frozen=True, gc=False):
    """A place in the application's own code, as far as it may be told: no folder above it.

    ``file_path`` is relative to the folder that Python imported it from or runs in, with ``/``.
    """

    file_path: str
    line_number: int
    function_name: str = ""


class Failure(Struct, frozen=True, gc=False):
    """Why something failed, without any value in it.

    ``error_type`` is the status code where the driver gave one, else the exception's qualified
    name; ``description`` is made of fixed words, never of the driver's message.
    """

    error_type: str
    exception_type: str
    description: str = ""
    status_code: str = ""
    is_disconnect: bool = False
    message: str = ""
    """The driver's own message; empty unless the user asked for it."""


class LlmContext(Struct, frozen=True, gc=False):
    """The part of an LLM trace that something happened in: which generation caused it.

    The generation is the one that was open, else the latest that had ended under the nearest span
    that both have in common: the model asks for a tool, ends, and the tool runs the SQL.
    ``generation_id`` is its span's id; None where there was none yet. The prompt and the session
    are those of that generation, empty unless the user asked for them. ``environment`` is what
    Langfuse files the LLM's spans under, empty where they do not say it.
    """

    generation_id: SpanId | None = None
    generation_name: str = ""
    prompt_name: str = ""
    prompt_version: str = ""
    session_id: str = ""
    environment: str = ""


class PoolReading(Struct, frozen=True, gc=False):
    """A pool's numbers at one moment, read from SQLAlchemy's records. -1: has no such limit.

    ``idle`` and ``used`` count open connections, also those that outlive ``dispose()``.
    """

    database: Database
    idle: int
    used: int
    pending: int
    max: int = -1
    idle_max: int = -1
    idle_min: int = -1


class Event(Struct, frozen=True, gc=False, tag_field="event_type", tag=True, kw_only=True):
    """What every event has. Not made itself."""

    about: ClassVar[frozenset[str]] = frozenset({"id", "parent", "timestamp", "end_time_ns"})
    """The fields that are not payload."""

    id: Id = field(default_factory=new_id)
    database: Database | None = None
    parent: TraceParent | None = None
    llm: LlmContext | None = None
    """None outside LLM traces."""

    @property
    def event_id(self) -> UUID:
        """The event's identity. Its last 8 bytes are the id of the span made of it."""
        return UUID(bytes=self.id)

    @property
    def event_type(self) -> str:
        """The class's name."""
        return type(self).__name__

    @property
    def aggregate_id(self) -> str:
        """Environment and database, the same for the same database in every process."""
        if self.database is not None:
            return self.database.aggregate_id
        return Environment.LOCAL.value

    @property
    def occurred_at(self) -> datetime:
        """When the fact was complete, UTC; microseconds are the finest a datetime can hold."""
        return _EPOCH + timedelta(0, 0, self.time_ns // 1_000)

    @property
    def time_ns(self) -> int:
        """When the fact was complete, in nanoseconds since the Unix epoch."""
        raise TypeError(f"{type(self).__name__} has no time")  # pragma: no cover - abstract

    @property
    def payload(self) -> dict[str, Any]:
        """What is particular to this event, as plain values. Empty values are left out."""
        plain: dict[str, Any] = to_builtins(self, builtin_types=(bytes,))
        absent: tuple[object, ...] = (None, "", {}, [])
        return {
            name: _plain(value)
            for name, value in plain.items()
            if name not in self.about and name != "event_type" and value not in absent
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the event as plain values that ``json.dumps`` takes."""
        found: dict[str, Any] = {
            "event_id": str(self.event_id),
            "event_type": self.event_type,
            "aggregate_id": self.aggregate_id,
            "timestamp": self.occurred_at.isoformat(),
            "payload": self.payload,
        }
        if self.parent is not None:
            found["traceparent"] = str(self.parent)
        return found


class Fact(Event, frozen=True, gc=False):
    """A fact of the wire, made by a source. ``database`` is the one it happened on."""

    database: Database
    parent: TraceParent | None
    end_time_ns: TimeNs

    @property
    def time_ns(self) -> int:
        """When the fact was complete."""
        return self.end_time_ns

    @property
    def timestamp(self) -> datetime:
        """When the fact was complete, UTC."""
        return self.occurred_at


class QueryExecuted(Fact, frozen=True, gc=False):
    """The driver executed a statement. Fires when its result is read to the end or closed.

    At the latest that is when the connection goes back to the pool. ``duration_ns`` is the
    driver's call as the caller saw it and ``end_time_ns`` its end; ``fetch_ns`` is the time from
    then until the result was done, of which ``reading_ns`` passed in the driver. ``first_row_ns``
    is the time until the first rows were there. Counts and times that nobody knows are -1.
    ``called_from`` is the application's line, and ``advice`` what would mend a repetition: filled
    only where the query was slow, or as often run under one span as makes it a repeated one.
    ``attributes`` are what the application's own hooks gave. ``propagated``: the id was made known
    before the query ended, in the SQL's comment or to another instrumentation.
    """

    about: ClassVar[frozenset[str]] = Event.about | {"propagated"}

    duration_ns: int
    statement: Statement
    batch_size: int = 1
    returned_rows: int = -1
    affected_rows: int = -1
    fetch_ns: int = 0
    reading_ns: int = 0
    first_row_ns: int = -1
    called_from: CodeLocation | None = None
    advice: str = ""
    attributes: dict[str, Any] | None = None
    propagated: bool = False

    @property
    def spent_ns(self) -> int:
        """The driver's call and what of its fetching was timed: by this a query is slow."""
        return self.duration_ns + self.reading_ns


class QueryFailed(Fact, frozen=True, gc=False):
    """The driver refused a statement, lost the connection in it, or was cancelled in it."""

    duration_ns: int
    statement: Statement
    failure: Failure
    batch_size: int = 1
    called_from: CodeLocation | None = None
    advice: str = ""
    attributes: dict[str, Any] | None = None

    @property
    def spent_ns(self) -> int:
        """The driver's call: by this a query is slow."""
        return self.duration_ns


class TransactionCommitted(Fact, frozen=True, gc=False):
    """The driver returned from COMMIT, and the server had committed.

    Never fires in autocommit, when nothing had been run, or when the driver has nothing open. A
    transaction that is lost with its connection (ended by the server, cancelled in a query,
    collected as garbage on an async engine) has no event of its end: nobody saw one.
    ``duration_ns`` is the COMMIT's own time, ``transaction_ns`` from the first statement's start.
    -1 is not known: the COMMIT was part of a client's batch. Such a ROLLBACK has -1 too, and one
    that closing a client's transaction implied.
    """

    duration_ns: int
    transaction_ns: int
    statement_count: int


class TransactionRolledBack(Fact, frozen=True, gc=False):
    """A transaction that had written or failed was rolled back, and the driver returned from that.

    By ROLLBACK, or by COMMIT where PostgreSQL answers that with a rollback, as a statement had
    failed. Never fires where the driver has nothing open, nor for a transaction that is lost with
    its connection.
    """

    duration_ns: int
    transaction_ns: int
    statement_count: int


class TransactionReleased(Fact, frozen=True, gc=False):
    """A transaction that only read ended by ROLLBACK: nothing to keep, nothing lost."""

    duration_ns: int
    transaction_ns: int
    statement_count: int


class CommitFailed(Fact, frozen=True, gc=False):
    """The driver raised in COMMIT: what the transaction wrote must be taken as lost."""

    duration_ns: int
    transaction_ns: int
    statement_count: int
    failure: Failure


class RollbackFailed(Fact, frozen=True, gc=False):
    """The driver raised in ROLLBACK; SQLAlchemy discards such a connection."""

    duration_ns: int
    transaction_ns: int
    statement_count: int
    failure: Failure


class ConnectionCheckedOut(Fact, frozen=True, gc=False):
    """The pool gave a connection.

    ``duration_ns`` is the whole wait; ``create_ns`` of it went into opening a new connection.
    """

    duration_ns: int
    create_ns: int = 0


class ConnectionCheckedIn(Fact, frozen=True, gc=False):
    """A connection came back. ``duration_ns`` is how long it was in use."""

    duration_ns: int


class ConnectionInvalidated(Fact, frozen=True, gc=False):
    """A connection was found unusable and will not be used again; ``soft``: after this use."""

    soft: bool = False
    failure: Failure | None = None


class ConnectionClosed(Fact, frozen=True, gc=False):
    """A connection of the pool was closed. ``duration_ns`` is how long it had lived."""

    duration_ns: int


class Holder(Struct, frozen=True, gc=False):
    """Who holds one of an exhausted pool's connections: its span and line, and since when.

    ``held_ns`` counts from when we began to listen, where the connection was out before: then
    nobody knows whose it is.
    """

    parent: TraceParent | None
    held_ns: int
    called_from: CodeLocation | None = None


class CheckoutTimedOut(Fact, frozen=True, gc=False):
    """The pool had no connection to give within its timeout. ``duration_ns`` is the wait."""

    duration_ns: int
    used: int
    max: int
    holders: tuple[Holder, ...] = ()


class SlowQueryDetected(Fact, frozen=True, gc=False):
    """A judgement: a query took at least the threshold, in the driver's call and in its fetches.

    ``query_id`` is the query event's id.
    """

    duration_ns: int
    threshold_ns: int
    statement: Statement
    query_id: Id
    called_from: CodeLocation | None = None


class QueryExplained(Fact, frozen=True, gc=False):
    """The database's plan of a query that was slow: EXPLAIN, which did not run the query again.

    Fires only where the user asked for it, after the query's own event, whose id is ``query_id``;
    not for statements that may write, nor again for one that was explained in the last ten minutes.
    ``plan`` has no literals. ``duration_ns`` is what the explaining took, connecting included.
    """

    duration_ns: int
    statement: Statement
    query_id: Id
    plan: str


class RepeatedQueryDetected(Fact, frozen=True, gc=False):
    """A judgement: one statement ran many times under one span (the N+1 pattern).

    Fires once per burst, when it has ended. ``duration_ns`` is the sum of the queries' times.
    ``called_from`` is the application's line that ran one of them, ``advice`` what would mend it.
    """

    duration_ns: int
    count: int
    statement: Statement
    called_from: CodeLocation | None = None
    advice: str = ""


class DatabaseRecovered(Fact, frozen=True, gc=False):
    """A judgement: a database that had refused connections gave one again."""

    duration_ns: int
    failed_attempts: int


class DatabaseConnectionEstablished(Event, frozen=True, gc=False):
    """A new connection to the database was opened (not merely taken from the pool).

    Raises `ValueError` for a value that is not allowed.
    """

    environment: Environment
    database_type: DatabaseType
    connection_pool_size: int
    timestamp: datetime | None = None
    end_time_ns: TimeNs = 0
    duration_ns: int = -1

    if TYPE_CHECKING:

        def __init__(
            self,
            environment: Environment | str,
            database_type: DatabaseType | str,
            connection_pool_size: int,
            timestamp: datetime | None = None,
            end_time_ns: int = 0,
            duration_ns: int = -1,
            *,
            id: bytes = ...,  # noqa: A002 - the field's name
            database: Database | None = None,
            parent: TraceParent | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        end = self.end_time_ns
        if (
            self.timestamp is None
            and type(self.environment) is Environment
            and type(self.database_type) is DatabaseType
            and type(self.connection_pool_size) is int
            and 0 <= self.connection_pool_size <= _LARGEST
            and type(end) is int
            and 0 < end <= _LARGEST
        ):  # as the sources make it: the same as below, without a call for each field
            force_setattr(self, "timestamp", _EPOCH + timedelta(0, 0, end // 1_000))
            return
        _settle(self, "environment", Environment, self.environment)
        _settle(self, "database_type", DatabaseType, self.database_type)
        _count("connection_pool_size", self.connection_pool_size)
        _date(self, self.timestamp)

    @property
    def time_ns(self) -> int:
        """When the connection was there."""
        return self.end_time_ns

    @property
    def aggregate_id(self) -> str:
        """Environment and database, the same for the same database in every process."""
        return (self.database or Database(self.environment, self.database_type)).aggregate_id


class DatabaseConnectionFailed(Event, frozen=True, gc=False):
    """The database could not be reached, or refused the connection.

    ``retry_count`` counts the failures since the last success. Credentials in ``error_message``
    are removed. Raises `ValueError` for a value that is not allowed.
    """

    environment: Environment
    error_message: str
    retry_count: int = 0
    timestamp: datetime | None = None
    end_time_ns: TimeNs = 0
    duration_ns: int = -1
    failure: Failure | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            environment: Environment | str,
            error_message: str,
            retry_count: int = 0,
            timestamp: datetime | None = None,
            end_time_ns: int = 0,
            duration_ns: int = -1,
            failure: Failure | None = None,
            *,
            id: bytes = ...,  # noqa: A002 - the field's name
            database: Database | None = None,
            parent: TraceParent | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        _settle(self, "environment", Environment, self.environment)
        if not isinstance(self.error_message, str):
            raise ValueError(f"error_message takes a text; got {_kind(self.error_message)}")
        force_setattr(self, "error_message", plain_text(redact(self.error_message)))
        _count("retry_count", self.retry_count)
        _date(self, self.timestamp)

    @property
    def time_ns(self) -> int:
        """When the attempt failed."""
        return self.end_time_ns

    @property
    def aggregate_id(self) -> str:
        """Environment and database, the same for the same database in every process."""
        return self.database.aggregate_id if self.database else self.environment.value


class DatabaseHealthCheckCompleted(Event, frozen=True, gc=False):
    """A health check ended. ``latency_ms`` is its round trip in milliseconds.

    Raises `ValueError` for a value that is not allowed.
    """

    status: HealthStatus
    latency_ms: float
    details: dict[str, Any] | None = None
    timestamp: datetime | None = None
    end_time_ns: TimeNs = 0
    environment: Environment = Environment.LOCAL

    if TYPE_CHECKING:

        def __init__(
            self,
            status: HealthStatus | str,
            latency_ms: float,
            details: Mapping[str, Any] | None = None,
            timestamp: datetime | None = None,
            end_time_ns: int = 0,
            environment: Environment | str = Environment.LOCAL,
            *,
            id: bytes = ...,  # noqa: A002 - the field's name
            database: Database | None = None,
            parent: TraceParent | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        _settle(self, "status", HealthStatus, self.status)
        _settle(self, "environment", Environment, self.environment)
        force_setattr(self, "latency_ms", _milliseconds("latency_ms", self.latency_ms))
        if self.details is not None:
            if not isinstance(self.details, Mapping):
                raise ValueError(f"details takes a mapping; got {_kind(self.details)}")
            force_setattr(self, "details", redacted(self.details))
        _date(self, self.timestamp)

    @property
    def time_ns(self) -> int:
        """When the check ended."""
        return self.end_time_ns

    @property
    def is_healthy(self) -> bool:
        """Whether the database answered as it should."""
        return self.status is HealthStatus.HEALTHY

    @property
    def was_answered(self) -> bool:
        """Whether the database answered at all, however slowly.

        Of one that the application made itself the status decides.
        """
        if self.details is not None and "synthetic" in self.details:
            return "error.type" not in self.details
        return self.status is not HealthStatus.UNHEALTHY

    @property
    def requires_alert(self) -> bool:
        """Whether somebody should be told: degraded or worse."""
        return self.status is not HealthStatus.HEALTHY

    @property
    def aggregate_id(self) -> str:
        """Environment and database, the same for the same database in every process."""
        return self.database.aggregate_id if self.database else self.environment.value


AnyEvent: TypeAlias = (
    QueryExecuted
    | QueryFailed
    | TransactionCommitted
    | TransactionRolledBack
    | TransactionReleased
    | CommitFailed
    | RollbackFailed
    | ConnectionCheckedOut
    | ConnectionCheckedIn
    | ConnectionInvalidated
    | ConnectionClosed
    | CheckoutTimedOut
    | SlowQueryDetected
    | QueryExplained
    | RepeatedQueryDetected
    | DatabaseRecovered
    | DatabaseConnectionEstablished
    | DatabaseConnectionFailed
    | DatabaseHealthCheckCompleted
)
"""Every event there is: what a decoder may meet."""


_E = TypeVar("_E", bound=StrEnum)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LARGEST = 2**63 - 1
"""The wire's and OpenTelemetry's largest integer."""


def _settle(event: Struct, name: str, kind: type[_E], value: object) -> None:
    """Put the enum's member for a member or its text, or refuse with the values it takes."""
    if isinstance(value, kind):
        return
    try:
        member = kind(value)  # type: ignore[arg-type]
    except ValueError:
        allowed = ", ".join(kind)
        raise ValueError(f"{name} takes one of {allowed}; got {_kind(value)}") from None
    force_setattr(event, name, member)


def _count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise ValueError(f"{name} takes a whole number, 0 or more; got {_kind(value)}")


def _milliseconds(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LARGEST:
        return float(value)
    raise ValueError(f"{name} takes milliseconds, 0 or more; got {_kind(value)}")


def _kind(value: object) -> str:
    """Describe a refused value in an error: short, and without a secret in it."""
    plain = isinstance(value, str | float) or (isinstance(value, int) and abs(value) <= _LARGEST)
    return redact(repr(value))[:100] if plain else type(value).__name__


def _date(event: Any, given: datetime | None) -> None:
    """Make ``timestamp`` and ``end_time_ns`` tell one moment; now, when neither is given.

    Where both are given and differ by more than what a `datetime` cannot hold, ``timestamp`` is
    right.
    """
    end: Any = event.end_time_ns
    _count("end_time_ns", end)
    if given is None:
        end = end or time_ns()
    elif not isinstance(given, datetime):
        raise ValueError(f"timestamp takes a datetime; got {_kind(given)}")
    elif given.utcoffset() is None:
        raise ValueError(f"timestamp takes a datetime with a time zone; got {given}: add tzinfo")
    else:
        microseconds = (given - _EPOCH) // _MICROSECOND
        if not 0 <= microseconds <= _LARGEST // 1_000:
            raise ValueError(f"timestamp takes a time from 1970 to 2262; got {given}")
        if microseconds != end // 1_000:
            end = microseconds * 1_000
    force_setattr(event, "end_time_ns", end)
    force_setattr(event, "timestamp", _EPOCH + timedelta(0, 0, end // 1_000))


def _plain(value: Any) -> Any:
    """Return bytes as hexadecimal digits, at any depth."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value

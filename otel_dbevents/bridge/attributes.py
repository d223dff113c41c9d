"""Attributes: the keys, and what an event's parts say in them.

Keys without the prefix ``dbevents.`` are those of the semantic conventions 1.44; the page each
comes from is named beside it. Durations that have no convention are in seconds.

The functions are pure and cached by value, because thousands of events share one `Database` and
one `Statement`. What they return is shared: copy it before adding to it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from msgspec import Struct

from otel_dbevents.events import (
    CodeLocation,
    Database,
    DatabaseConnectionEstablished,
    DatabaseType,
    Event,
    Failure,
    Statement,
)
from otel_dbevents.version import VERSION as _VERSION

Value: TypeAlias = str | bool | int | float | Sequence[str] | Sequence[float]
"""What an attribute may hold."""

Attributes: TypeAlias = Mapping[str, Value]
"""Keys and values, shared: not to be changed."""

SCOPE: Final = "otel_dbevents"
VERSION: Final = _VERSION
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

# Database client calls: docs/db/database-spans.md, sql.md
DB_SYSTEM_NAME: Final = "db.system.name"
DB_NAMESPACE: Final = "db.namespace"
DB_COLLECTION_NAME: Final = "db.collection.name"
DB_OPERATION_NAME: Final = "db.operation.name"
DB_OPERATION_BATCH_SIZE: Final = "db.operation.batch.size"
DB_QUERY_SUMMARY: Final = "db.query.summary"
DB_QUERY_TEXT: Final = "db.query.text"
DB_RESPONSE_RETURNED_ROWS: Final = "db.response.returned_rows"
DB_RESPONSE_STATUS_CODE: Final = "db.response.status_code"
DB_STORED_PROCEDURE_NAME: Final = "db.stored_procedure.name"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
# docs/db/database-metrics.md
POOL_NAME: Final = "db.client.connection.pool.name"
CONNECTION_STATE: Final = "db.client.connection.state"
# docs/general/recording-errors.md, docs/exceptions/exceptions-logs.md
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
# docs/registry/attributes/code.md
CODE_FILE_PATH: Final = "code.file.path"
CODE_LINE_NUMBER: Final = "code.line.number"
CODE_FUNCTION_NAME: Final = "code.function.name"
# docs/registry/attributes/deployment.md
ENVIRONMENT: Final = "deployment.environment.name"

# Ours
ADVICE: Final = "dbevents.advice"
AGGREGATE_ID: Final = "dbevents.aggregate_id"
DURATION: Final = "dbevents.duration"
CONNECTION_CREATE_DURATION: Final = "dbevents.connection.create_duration"
CONNECTION_SOFT: Final = "dbevents.connection.soft_invalidation"
ERROR_TEXT: Final = "dbevents.error_message"
EVENT_TYPE: Final = "dbevents.event.type"
FAILED_ATTEMPTS: Final = "dbevents.failed_attempts"
HEALTH_DETAIL: Final = "dbevents.health.detail."
HEALTH_LATENCY: Final = "dbevents.health.latency"
HEALTH_STATUS: Final = "dbevents.health.status"
LOST_REASON: Final = "dbevents.lost.reason"
FETCH_DURATION: Final = "dbevents.fetch.duration"
FIRST_ROW: Final = "dbevents.fetch.first_row"
FOLDED_COUNT: Final = "dbevents.folded.count"
FOLDED_DURATION: Final = "dbevents.folded.duration"
FOLDED_LONGEST: Final = "dbevents.folded.longest"
FOLDED_SHORTEST: Final = "dbevents.folded.shortest"
HOOK: Final = "dbevents.hook."
"""Before a key of the application's hooks that Langfuse would take for one of its own."""
LANGFUSE: Final = "dbevents.langfuse"
"""True on the spans that Langfuse is shown, and on no others."""
LLM: Final = "dbevents.llm"
POOL_HOLDER_CODE: Final = "dbevents.pool.holder.code"
POOL_HOLDER_HELD: Final = "dbevents.pool.holder.held"
POOL_HOLDER_SPANS: Final = "dbevents.pool.holder.spans"
POOL_MAX: Final = "dbevents.pool.max"
POOL_SIZE: Final = "dbevents.pool.size"
POOL_USED: Final = "dbevents.pool.used"
QUERY_COUNT: Final = "dbevents.query.count"
QUERY_PLAN: Final = "dbevents.query.plan"
QUERY_THRESHOLD: Final = "dbevents.query.threshold"
TRANSACTION_DURATION: Final = "dbevents.transaction.duration"
TRANSACTION_OUTCOME: Final = "dbevents.transaction.outcome"
TRANSACTION_STATEMENTS: Final = "dbevents.transaction.statement_count"

# Langfuse's: what a span says to it
LANGFUSE_ENVIRONMENT: Final = "langfuse.environment"
IS_APP_ROOT: Final = "langfuse.internal.is_app_root"
OBSERVATION_INPUT: Final = "langfuse.observation.input"
OBSERVATION_LEVEL: Final = "langfuse.observation.level"
OBSERVATION_OUTPUT: Final = "langfuse.observation.output"
OBSERVATION_STATUS: Final = "langfuse.observation.status_message"
OBSERVATION_TYPE: Final = "langfuse.observation.type"
METADATA_DURATION_MS: Final = "langfuse.observation.metadata.db_duration_ms"
METADATA_QUERY_COUNT: Final = "langfuse.observation.metadata.db_query_count"
METADATA_ROWS: Final = "langfuse.observation.metadata.db_rows"
METADATA_SYSTEM: Final = "langfuse.observation.metadata.db_system"
TRACE_METADATA: Final = "langfuse.trace.metadata."
LANGFUSE_METADATA: Final = "langfuse.observation.metadata."
CAUSED_BY: Final = LANGFUSE_METADATA + "db_caused_by_generation"
CAUSED_BY_NAME: Final = LANGFUSE_METADATA + "db_caused_by_generation_name"
PROMPT_NAME: Final = LANGFUSE_METADATA + "db_prompt_name"
PROMPT_VERSION: Final = LANGFUSE_METADATA + "db_prompt_version"
PROMPT_SESSION: Final = LANGFUSE_METADATA + "db_session_id"

OTHER_ERROR: Final = "_OTHER"
"""The convention's ``error.type`` where nothing better is known."""

TIMEOUT_ERROR: Final = "sqlalchemy.exc.TimeoutError"
"""What SQLAlchemy raises when a pool has no connection to give: its canonical name."""

_SUMMARY_LENGTH: Final = 255  # sql.md: at most 255 characters, never cut inside a name
_DEFAULT_PORTS: Final[Mapping[str, int]] = {
    DatabaseType.POSTGRESQL: 5432,
    DatabaseType.MYSQL: 3306,
    DatabaseType.MARIADB: 3306,
    DatabaseType.MICROSOFT_SQL_SERVER: 1433,
    DatabaseType.ORACLE: 1521,
    DatabaseType.REDIS: 6379,
    DatabaseType.COCKROACHDB: 26257,
    DatabaseType.REDSHIFT: 5439,
    DatabaseType.SNOWFLAKE: 443,
    DatabaseType.TURSO: 443,
    DatabaseType.DB2: 50000,
    DatabaseType.FIREBIRD: 3050,
    DatabaseType.TRINO: 8080,
    DatabaseType.TERADATA: 1025,
}


def database_of(event: Event) -> Database | None:
    """Return the database an event is about, as far as the event knows it."""
    if event.database is None and isinstance(event, DatabaseConnectionEstablished):
        return Database(event.environment, event.database_type)
    return event.database


def environment_of(event: Event) -> str:
    """Return the environment's name: an aggregate's id begins with it."""
    return event.aggregate_id.partition("/")[0]


def whereabouts(database: Database) -> dict[str, Value]:
    """Return what names a database in a metric of ours: where it runs, and which it is."""
    environment, identity = database.environment.value, database.aggregate_id
    return {**database_attributes(database), ENVIRONMENT: environment, AGGREGATE_ID: identity}


def whereabouts_of(event: Event) -> dict[str, Value]:
    """Return the same of what an event is about, as far as the event knows it."""
    database = database_of(event)
    known = database_attributes(database) if database is not None else {}
    return {**known, ENVIRONMENT: environment_of(event), AGGREGATE_ID: event.aggregate_id}


@lru_cache(maxsize=256)
def database_attributes(database: Database) -> Attributes:
    """Return what is true of every call to ``database``.

    ``server.port`` is left out when it is the system's default one (sql.md).
    """
    found: dict[str, Value] = {DB_SYSTEM_NAME: database.system_name.value}
    if database.namespace:
        found[DB_NAMESPACE] = database.namespace
    if database.server_address:
        found[SERVER_ADDRESS] = database.server_address
        if database.server_port not in (0, _DEFAULT_PORTS.get(database.system_name)):
            found[SERVER_PORT] = database.server_port
    return found


@lru_cache(maxsize=256)
def pool_name(database: Database) -> str:
    """Return the pool's name, else ``server.address:server.port/db.namespace`` as convention asks.

    (database-metrics.md; parts that are not known are left out.)
    """
    if database.pool_name:
        return database.pool_name
    parts = (_address(database), database.namespace)
    return "/".join(filter(None, parts)) or database.system_name.value


@lru_cache(maxsize=2048)
def query_labels(database: Database, statement: Statement, is_batch: bool) -> Attributes:
    """Return a query's attributes that have few values: those that a metric may carry.

    A batch's operation and summary begin with ``BATCH `` (database-spans.md).
    """
    prefix = "BATCH " if is_batch else ""
    found = dict(database_attributes(database))
    if statement.query_summary:
        found[DB_QUERY_SUMMARY] = _cut(prefix + statement.query_summary)
    if statement.operation_name:
        found[DB_OPERATION_NAME] = prefix + statement.operation_name
    if statement.collection_name:
        found[DB_COLLECTION_NAME] = statement.collection_name
    if statement.stored_procedure_name:
        found[DB_STORED_PROCEDURE_NAME] = statement.stored_procedure_name
    return found


@lru_cache(maxsize=2048)
def query_attributes(database: Database, statement: Statement, is_batch: bool) -> Attributes:
    """Return a query's attributes that all its executions share, its text among them."""
    found = dict(query_labels(database, statement, is_batch))
    if statement.query_text:
        found[DB_QUERY_TEXT] = statement.query_text
    return found


@lru_cache(maxsize=2048)
def query_name(database: Database, statement: Statement, is_batch: bool) -> str:
    """Return the span's name: the summary, else operation and target (database-spans.md)."""
    labels = query_labels(database, statement, is_batch)
    summary = labels.get(DB_QUERY_SUMMARY)
    if summary:
        return str(summary)
    operation = str(labels.get(DB_OPERATION_NAME, ""))
    target = statement.collection_name or statement.stored_procedure_name
    return operation_name(operation, database, target)


class Shared(Struct, frozen=True, gc=False):
    """Attributes that are the same on many spans, none of which the SDK would change."""

    attributes: Attributes
    longest: int
    """The length of the longest text among them."""


NOTHING_SHARED: Final = Shared({}, 0)
_MOST_KNOWN: Final = 2048
_known: Final[dict[tuple[int, int, bool], tuple[tuple[str, Shared], Database, Statement]]] = {}


def query_shared(database: Database, statement: Statement, is_batch: bool) -> tuple[str, Shared]:
    """Return a query's span name, and the attributes that all its executions share.

    They are looked up by which objects these are, not by what they hold: that would cost more than
    the rest of a span. Each is kept as long as it is looked up by, so that no other can be taken
    for it.
    """
    key = id(database), id(statement), is_batch
    known = _known.get(key)
    if known is None:
        about = database, statement, is_batch
        found = query_attributes(*about)
        texts = (len(value) for value in found.values() if isinstance(value, str))
        known = (query_name(*about), Shared(found, max(texts))), database, statement
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = known
    return known[0]


def operation_name(operation: str, database: Database | None, target: str = "") -> str:
    """Return ``{operation} {target}``; either alone, or the system's name, where one is unknown.

    The target is the one given (collection, else procedure), else the namespace, else
    ``address:port`` (database-spans.md).
    """
    if database is not None:
        target = target or database.namespace or _address(database)
    system = database.system_name.value if database is not None else ""
    return " ".join(filter(None, (operation, target))) or system


def failure_attributes(failure: Failure | None) -> Attributes:
    """Return ``error.type``, and the status code where there is one.

    ``error.type`` is the status code, else the exception's canonical name, the driver's rather
    than its wrapper's (sql.md, recording-errors.md).
    """
    if failure is None:
        return {ERROR_TYPE: OTHER_ERROR}
    code = failure.status_code
    kind = failure.error_type or code or failure.exception_type or OTHER_ERROR
    return {ERROR_TYPE: kind, DB_RESPONSE_STATUS_CODE: code} if code else {ERROR_TYPE: kind}


@lru_cache(maxsize=2048)
def code_attributes(location: CodeLocation | None) -> Attributes:
    """Return the place in the application's code, in the names of ``docs/registry`` (code.md)."""
    if location is None:
        return {}
    found: dict[str, Value] = {
        CODE_FILE_PATH: location.file_path,
        CODE_LINE_NUMBER: location.line_number,
    }
    if location.function_name:
        found[CODE_FUNCTION_NAME] = location.function_name
    return found


def _address(database: Database) -> str:
    if database.server_address and database.server_port:
        return f"{database.server_address}:{database.server_port}"
    return database.server_address


def _cut(summary: str) -> str:
    if len(summary) <= _SUMMARY_LENGTH:
        return summary
    return summary[: _SUMMARY_LENGTH + 1].rpartition(" ")[0]

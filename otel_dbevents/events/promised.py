"""The events whose constructors are promised to users: an application may make them itself.

What it gives is checked, and what may hold a credential is redacted.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import force_setattr

from otel_dbevents.events.checking import (
    LARGEST,
    check_count,
    checked_milliseconds,
    described,
    settle_kind,
    settle_time,
)
from otel_dbevents.events.event import EPOCH, Event, TimeNs
from otel_dbevents.events.kinds import DatabaseType, Environment, HealthStatus
from otel_dbevents.events.values import Database, Failure, TraceParent
from otel_dbevents.redaction import plain_text, redact, redacted


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
            and 0 <= self.connection_pool_size <= LARGEST
            and type(end) is int
            and 0 < end <= LARGEST
        ):  # as the sources make it: the same as below, without a call for each field
            force_setattr(self, "timestamp", EPOCH + timedelta(0, 0, end // 1_000))
            return
        settle_kind(self, "environment", Environment, self.environment)
        settle_kind(self, "database_type", DatabaseType, self.database_type)
        check_count("connection_pool_size", self.connection_pool_size)
        settle_time(self, self.timestamp)

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
        settle_kind(self, "environment", Environment, self.environment)
        if not isinstance(self.error_message, str):
            raise ValueError(f"error_message takes a text; got {described(self.error_message)}")
        force_setattr(self, "error_message", plain_text(redact(self.error_message)))
        check_count("retry_count", self.retry_count)
        settle_time(self, self.timestamp)

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
        settle_kind(self, "status", HealthStatus, self.status)
        settle_kind(self, "environment", Environment, self.environment)
        force_setattr(self, "latency_ms", checked_milliseconds("latency_ms", self.latency_ms))
        if self.details is not None:
            if not isinstance(self.details, Mapping):
                raise ValueError(f"details takes a mapping; got {described(self.details)}")
            force_setattr(self, "details", redacted(self.details))
        settle_time(self, self.timestamp)

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

"""What the database did, told truthfully: SQLAlchemy as OpenTelemetry spans, events and metrics.

`import otel_dbevents.auto` turns it on; `instrument()` does so with more say.
"""

from otel_dbevents.bus import EventBus
from otel_dbevents.config import Config, ConfigError
from otel_dbevents.events import (
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseType,
    Environment,
    Event,
    HealthStatus,
)
from otel_dbevents.pipeline import Pipeline, flush, instrument, uninstrument

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ConfigError",
    "DatabaseConnectionEstablished",
    "DatabaseConnectionFailed",
    "DatabaseHealthCheckCompleted",
    "DatabaseType",
    "Environment",
    "Event",
    "EventBus",
    "HealthStatus",
    "Pipeline",
    "flush",
    "instrument",
    "uninstrument",
]

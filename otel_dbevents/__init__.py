"""What the database did, told truthfully: SQLAlchemy as OpenTelemetry spans, events and metrics.

`import otel_dbevents.auto` turns it on; `instrument()` does so with more say.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otel_dbevents.version import VERSION

if TYPE_CHECKING:
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
    from otel_dbevents.health import check_database_health, check_database_health_async
    from otel_dbevents.pipeline import Pipeline, flush, instrument, uninstrument

__version__ = VERSION

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
    "check_database_health",
    "check_database_health_async",
    "flush",
    "instrument",
    "uninstrument",
]

_HOMES = {
    "Config": "config",
    "ConfigError": "config",
    "EventBus": "bus",
    "Pipeline": "pipeline",
    "check_database_health": "health",
    "check_database_health_async": "health",
    "flush": "pipeline",
    "instrument": "pipeline",
    "uninstrument": "pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for.

    So `otel_dbevents.auto` can say what is wrong where SQLAlchemy or OpenTelemetry is too old to
    be imported by the rest, and the application runs on.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOMES.get(name, 'events')}")
    value = globals()[name] = getattr(home, name)
    return value

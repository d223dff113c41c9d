"""The events: plain SELECTs as a source tells them, five under each span of the application."""

from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource

from otel_dbevents.config import Config
from otel_dbevents.events import (
    Database,
    DatabaseType,
    Environment,
    QueryExecuted,
    Statement,
    TraceParent,
)
from otel_dbevents.shipping import Description

PER_SPAN = 5
DATABASE = Database(
    Environment.PRODUCTION, DatabaseType.POSTGRESQL, "shop", "db.example.com", 5432, "shop"
)
_TABLES = ("items", "orders", "customers", "prices", "stocks", "carts", "payments", "shipments")
STATEMENTS = tuple(
    Statement(
        f"SELECT {table}.id, {table}.name, {table}.at FROM {table} WHERE {table}.id = %(id)s",
        f"SELECT {table}",
        "SELECT",
        table,
        writes=False,
    )
    for table in _TABLES
)
RESOURCE = Resource(
    {
        "service.name": "shop",
        "service.version": "2026.11",
        "service.instance.id": "shop-1",
        "deployment.environment.name": "production",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": "1.45.2",
    }
)
_BEGAN_NS = 1_790_000_000_000_000_000
_APART_NS = 100_000


def events_of(number: int, first: int = 0) -> Sequence[QueryExecuted]:
    """Return so many queries, 10,000 of them in a second."""
    found = []
    parent = None
    for each in range(first, first + number):
        if parent is None or each % PER_SPAN == 0:
            span = each // PER_SPAN + 1
            parent = TraceParent((span * 7_919 << 64 | span).to_bytes(16), span.to_bytes(8))
        found.append(
            QueryExecuted(
                DATABASE,
                parent,
                _BEGAN_NS + each * _APART_NS,
                300_000 + each % 1_000 * 997,
                STATEMENTS[each // PER_SPAN % len(STATEMENTS)],
                1,
                each % 20,
                -1,
                20_000 + each % 100 * 31,
                9_000 + each % 100 * 17,
            )
        )
    return found


class _Tracers:
    resource = RESOURCE
    sampler = None


def description() -> Description:
    """Return what the application says of itself."""
    return Description(Config(), None, lambda: {"tracer": _Tracers()})

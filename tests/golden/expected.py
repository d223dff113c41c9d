"""What the golden files of version 1 hold, and the script that made them.

``v1/<EventType>.msgpack`` and ``.json`` are events as an application wrote them on the day their
type was born. They are never made again: a test decodes them and compares with `V1`, so what was
once written stays readable. For a new event type add an event to `V1` and run

    python -m tests.golden.expected

which writes the files that do not exist yet and leaves the others alone. ``bodies/`` has the same
events as an entry on Redis holds them: each type in a body of its own, and ``all`` in one. A field
added later needs nothing here: its default is what old bytes mean. When the format must change,
begin ``v2`` beside it and keep ``v1``.
"""

from datetime import UTC, datetime
from pathlib import Path

from otel_dbevents import codec
from otel_dbevents.bus.redis.packing import encode_columns
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
    Event,
    Failure,
    HealthStatus,
    Holder,
    QueryExecuted,
    QueryExplained,
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

FOLDER = Path(__file__).parent / "v1"
BODIES = Path(__file__).parent / "bodies"

TIME = 1_760_000_000_123_456_789
DATABASE = Database(
    Environment.PRODUCTION,
    DatabaseType.POSTGRESQL,
    "shop",
    "db.example.com",
    5433,
    "db.example.com:5433/shop",
    "",
)
FILE = Database(
    Environment.LOCAL,
    DatabaseType.SQLITE,
    "shop.db",
    pool_name="shop.db",
    location="9f86d081",
)
PARENT = TraceParent(
    bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736"),
    bytes.fromhex("00f067aa0ba902b7"),
    1,
    "vendor=one,other=2",
)
UNSAMPLED = TraceParent(PARENT.trace_id, PARENT.span_id, 0)
STATEMENT = Statement(
    "SELECT * FROM größen WHERE id = ?", "SELECT größen", "SELECT", "größen", False
)
FAILURE = Failure(
    "40001",
    "psycopg.errors.SerializationFailure",
    "serialization failure",
    "40001",
    False,
    "could not serialize access",
)
LOST = Failure("builtins.OSError", "builtins.OSError", is_disconnect=True)


def _id(number: int) -> bytes:
    return bytes.fromhex("0199c0de000040008000") + number.to_bytes(6, "big")


_EVENTS: list[Event] = [
    QueryExecuted(DATABASE, PARENT, TIME, 1_500_000, STATEMENT, 3, 2, 7, 250, id=_id(1)),
    QueryFailed(DATABASE, PARENT, TIME, 1_500_000, STATEMENT, FAILURE, 2, id=_id(2)),
    TransactionCommitted(DATABASE, UNSAMPLED, TIME, 900, 5_000_000_000, 4, id=_id(3)),
    TransactionRolledBack(FILE, None, TIME, 900, 5_000, 1, id=_id(4)),
    TransactionReleased(FILE, PARENT, TIME, 900, 5_000, 2, id=_id(5)),
    CommitFailed(DATABASE, PARENT, TIME, 900, 5_000, 3, FAILURE, id=_id(6)),
    RollbackFailed(DATABASE, None, TIME, 900, 5_000, 3, LOST, id=_id(7)),
    ConnectionCheckedOut(DATABASE, PARENT, TIME, 12_000, 11_000, id=_id(8)),
    ConnectionCheckedIn(DATABASE, None, TIME, 70_000_000_000, id=_id(9)),
    ConnectionInvalidated(DATABASE, PARENT, TIME, True, LOST, id=_id(10)),
    ConnectionClosed(DATABASE, None, TIME, 3_600_000_000_000, id=_id(11)),
    CheckoutTimedOut(
        DATABASE,
        PARENT,
        TIME,
        30_000_000_000,
        2,
        2,
        (Holder(UNSAMPLED, 31_000_000_000), Holder(None, 5)),
        id=_id(12),
    ),
    SlowQueryDetected(
        DATABASE, PARENT, TIME, 2_000_000_000, 500_000_000, STATEMENT, _id(1), id=_id(13)
    ),
    QueryExplained(
        DATABASE,
        PARENT,
        TIME,
        3_000_000,
        STATEMENT,
        _id(1),
        "Seq Scan on größen  (cost=0.00..25.88 rows=6 width=36)\n  Filter: (id = ?)",
        id=_id(19),
    ),
    RepeatedQueryDetected(FILE, PARENT, TIME, 80_000_000, 41, STATEMENT, id=_id(14)),
    DatabaseRecovered(DATABASE, None, TIME, 60_000_000_000, 3, id=_id(15)),
    DatabaseConnectionEstablished(
        Environment.PRODUCTION,
        DatabaseType.POSTGRESQL,
        20,
        end_time_ns=TIME,
        duration_ns=4_000_000,
        id=_id(16),
        database=DATABASE,
        parent=PARENT,
    ),
    DatabaseConnectionFailed(
        Environment.STAGING,
        "connection to postgresql://db.example.com:5433/shop refused: password=[REDACTED]",
        2,
        end_time_ns=TIME,
        duration_ns=4_000_000,
        failure=FAILURE,
        id=_id(17),
        database=DATABASE,
        parent=PARENT,
    ),
    DatabaseHealthCheckCompleted(
        HealthStatus.DEGRADED,
        12.25,
        {"replicas": [1, 2], "lag": 0.5, "größe": None, "trace_id": "not hex", "ok": True},
        datetime(2025, 10, 9, 8, 53, 20, 123456, tzinfo=UTC),
        id=_id(18),
        environment=Environment.DEVELOPMENT,
    ),
]

V1 = {type(event).__name__: event for event in _EVENTS}


def main() -> None:
    """Write the golden files that do not exist yet."""
    for name, event in V1.items():
        made = {".msgpack": codec.encode(event), ".json": codec.encode_cloudevent(event) + b"\n"}
        for ending, content in made.items():
            path = FOLDER / (name + ending)
            if not path.exists():
                path.write_bytes(content)
    for name, events in {**{name: [event] for name, event in V1.items()}, "all": _EVENTS}.items():
        path = BODIES / f"{name}.msgpack"
        if not path.exists():
            path.write_bytes(encode_columns(events))


if __name__ == "__main__":
    main()

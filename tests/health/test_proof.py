"""What went wrong is told as what it was, and clears: a pool held empty, a lock, a server gone."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from sqlalchemy import Connection, Engine, create_engine, exc, text

from otel_dbevents.config import Config
from otel_dbevents.events import (
    CheckoutTimedOut,
    CommitFailed,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseRecovered,
    Event,
    HealthStatus,
    QueryFailed,
    SlowQueryDetected,
)
from otel_dbevents.pipeline import Pipeline
from tests.bridge.support import metrics_of, points_of, values_of
from tests.health.crashing import QUICK, crash, standing_still
from tests.services.postgresql import Postgresql
from tests.services.process import wait_until

WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
    "AND clock_timestamp() - query_start > interval '350 ms'"
)
CHANGE = text("UPDATE items SET price = price + 1")
SLOW_MS = 300
TROUBLE: tuple[type[Event], ...] = (
    CheckoutTimedOut,
    CommitFailed,
    DatabaseConnectionFailed,
    DatabaseRecovered,
    QueryFailed,
    SlowQueryDetected,
)
"""Whatever is told beside the daily work."""


class Application:
    """An engine on a real server under watch, with its events and metrics."""

    def __init__(self, server: Postgresql, slow_ms: float) -> None:
        self.server = server
        self.engine: Engine = create_engine(
            server.url(server.database()),
            pool_size=2,
            max_overflow=0,
            pool_timeout=0.2,
            connect_args={"connect_timeout": 60},
        )
        self.reader = InMemoryMetricReader()
        settings = {**QUICK, "metrics": True, "slow_query_ms": slow_ms}
        self.pipeline = Pipeline(
            config=Config(**settings), meter_provider=MeterProvider([self.reader])
        )
        self.pipeline.attach(self.engine)
        self.told: list[Event] = []
        self.pipeline.bus.handle(self.told.append, *TROUBLE)

    def trouble(self) -> list[str]:
        """Return what was told since this was last asked."""
        assert self.pipeline.flush(60)
        names = [type(event).__name__ for event in self.told]
        self.told.clear()
        return names

    def only(self, kind: type[Event]) -> Any:
        assert self.pipeline.flush(60)
        (event,) = self.told
        assert type(event) is kind
        return event

    def numbers(self, name: str, *keys: str) -> dict[tuple[Any, ...], Any]:
        return values_of(metrics_of(self.reader), name, *keys)

    def number(self, name: str) -> Any:
        (value,) = self.numbers(name).values()
        return value

    def failed_queries(self) -> set[Any]:
        assert self.pipeline.flush(60)
        points = points_of(metrics_of(self.reader), "db.client.operation.duration")
        return {point.attributes.get("error.type") for point in points} - {None}

    def check(self, timeout_ms: float | None = 60_000) -> DatabaseHealthCheckCompleted:
        return self.pipeline.health.checks.check(self.engine, timeout_ms)

    def work(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(CHANGE)

    def close(self) -> None:
        self.pipeline.close(60)
        self.engine.dispose()


@pytest.fixture
def server(mortal_postgresql: Postgresql) -> Postgresql:
    return mortal_postgresql


@pytest.fixture
def slow_ms() -> float:
    """From when on a query is slow: none is, however slow this machine is."""
    return 3_600_000


@pytest.fixture
def app(server: Postgresql, slow_ms: float) -> Iterator[Application]:
    made = Application(server, slow_ms)
    with made.engine.begin() as connection:
        connection.execute(text("CREATE TABLE items (price integer)"))
        connection.execute(text("INSERT INTO items VALUES (1)"))
    made.trouble()
    yield made
    made.close()


def held(app: Application) -> list[Connection]:
    return [app.engine.connect() for _ in range(2)]


def test_an_exhausted_pool_is_told_as_that_and_not_as_a_database_that_is_away(
    app: Application,
) -> None:
    holders = held(app)
    with pytest.raises(exc.TimeoutError):
        app.engine.connect()
    event = app.only(CheckoutTimedOut)
    assert (event.used, event.max, len(event.holders)) == (2, 2, 2)
    places = {each.called_from.function_name.rpartition(".")[2] for each in event.holders}
    assert len(places) == 1
    assert places < {"held", "<listcomp>"}
    assert app.number("db.client.connection.timeouts") == 1
    assert app.number("db.client.connection.max") == 2
    assert app.numbers("db.client.connection.count", "db.client.connection.state") == {
        ("idle",): 0,
        ("used",): 2,
    }
    check = app.check()
    assert check.was_answered
    assert check.details is not None
    assert [check.details[f"pool.{name}"] for name in ("used", "idle", "max")] == [2, 0, 2]
    assert app.number("database.connection.status") == 1
    assert app.pipeline.health.recovery is not None
    assert app.pipeline.health.recovery.states == {}

    for each in holders:
        each.close()
    app.told.clear()
    app.work()
    assert app.trouble() == []
    assert app.number("db.client.connection.timeouts") == 1
    assert app.numbers("db.client.connection.count", "db.client.connection.state") == {
        ("idle",): 2,
        ("used",): 0,
    }


def test_who_waits_for_a_connection_is_seen_while_waiting(app: Application) -> None:
    pending = "db.client.connection.pending_requests"
    holders = held(app)
    app.engine.pool._timeout = 30  # type: ignore[attr-defined]
    worker = threading.Thread(target=app.work)
    worker.start()
    wait_until(lambda: app.number(pending) == 1)
    check = app.check()
    assert check.was_answered
    assert check.details is not None
    assert check.details["pool.waiting"] == 1
    for each in holders:
        each.close()
    worker.join()
    assert app.number(pending) == 0
    assert app.trouble() == []


@pytest.mark.parametrize("slow_ms", [SLOW_MS])
def test_a_query_that_waits_for_a_lock_is_slow_and_no_failure_and_the_database_is_well(
    app: Application,
) -> None:
    with app.engine.connect() as holder:
        holder.execute(CHANGE)
        worker = threading.Thread(target=app.work)
        worker.start()
        try:
            wait_for_the_lock(app)
            assert app.check().was_answered
        finally:
            holder.commit()
        worker.join()
    assert app.pipeline.flush(60)
    assert {*map(type, app.told)} == {SlowQueryDetected}  # of others too, on a slow machine
    event: Any = next(each for each in app.told if each.called_from.function_name.endswith("work"))
    assert event.statement.query_text == CHANGE.text.replace("+ 1", "+ ?")
    assert event.duration_ns >= SLOW_MS * 1_000_000
    assert app.failed_queries() == set()
    app.told.clear()
    app.work()
    assert {*app.trouble()} <= {SlowQueryDetected.__name__}


def wait_for_the_lock(app: Application) -> None:
    """Look from outside, with another engine, until somebody has waited for long."""
    # Within a transaction PostgreSQL would tell the same of its sessions again and again.
    onlooker = create_engine(app.server.url("postgres"), isolation_level="AUTOCOMMIT")
    with onlooker.connect() as connection:
        wait_until(lambda: connection.execute(WAITING).scalar_one() > 0)
    onlooker.dispose()


def test_a_lock_that_is_not_had_in_time_is_a_query_that_failed_with_its_code(
    app: Application,
) -> None:
    with app.engine.connect() as holder, app.engine.connect() as other:
        holder.execute(CHANGE)
        other.execute(text("SET LOCAL lock_timeout = 20"))
        with pytest.raises(exc.OperationalError):
            other.execute(CHANGE)
        event = app.only(QueryFailed)
        assert event.failure.error_type == "55P03"
        assert not event.failure.is_disconnect
    assert app.failed_queries() == {"55P03"}
    app.told.clear()
    app.work()
    assert app.trouble() == []


def test_a_server_that_is_killed_and_comes_back_is_told_and_cleared(app: Application) -> None:
    with app.engine.connect() as connection:
        connection.execute(text("CHECKPOINT"))  # this server loses what it has not written
    app.trouble()
    crash(app.server)
    try:
        with pytest.raises(exc.OperationalError):
            app.work()
        with pytest.raises(exc.OperationalError):
            app.work()
        assert app.check().status is HealthStatus.UNHEALTHY
        wait_until(lambda: app.number("database.connection.status") == 0)
        told = app.trouble()
        assert told == ["QueryFailed", "DatabaseConnectionFailed"]
    finally:
        app.server.process.start()
    wait_until(lambda: "DatabaseRecovered" in [type(event).__name__ for event in app.told])
    assert app.trouble() == ["DatabaseRecovered"]
    assert app.number("database.connection.status") == 1
    app.work()
    assert app.trouble() == []
    assert app.check().was_answered


def test_a_server_that_stands_still_is_told_within_the_time_out_and_cleared(
    app: Application,
) -> None:
    with standing_still(app.server):
        check = app.check(timeout_ms=None)
        assert check.details is not None
        assert check.details["error.type"] == "timeout"
        assert app.pipeline.flush(60)
        assert app.number("database.connection.status") == 0
        app.work()  # the connection that there is goes on
    wait_until(lambda: "DatabaseRecovered" in [type(event).__name__ for event in app.told])
    assert app.trouble() == ["DatabaseRecovered"]
    assert app.number("database.connection.status") == 1

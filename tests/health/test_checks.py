"""A check asks a database once, and says what came of it."""

import gc
import sqlite3
import weakref

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from otel_dbevents import (
    Config,
    ConfigError,
    DatabaseHealthCheckCompleted,
    HealthStatus,
    check_database_health,
    check_database_health_async,
)
from otel_dbevents.health.status import Thresholds
from tests.services.process import wait_until


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "shop.db"
    sqlite3.connect(path).close()
    return path


@pytest.mark.usefixtures("patient")
def test_a_database_that_answers_is_healthy(file):
    engine = create_engine(f"sqlite:///{file}")
    event = check_database_health(engine)
    assert isinstance(event, DatabaseHealthCheckCompleted)
    assert event.status is HealthStatus.HEALTHY
    assert event.is_healthy
    assert event.details["synthetic"] is True
    assert event.details["failed_checks"] == 0
    assert event.details["connect_ms"] > 0
    assert event.database.namespace == "shop.db"


@pytest.mark.usefixtures("patient")
async def test_an_async_engine_is_checked_while_the_loop_goes_on(file):
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    assert (await check_database_health_async(engine)).status is HealthStatus.HEALTHY
    assert check_database_health(engine).status is HealthStatus.HEALTHY


def test_a_file_that_is_not_there_is_unhealthy_and_not_made(tmp_path):
    path = tmp_path / "gone.db"
    event = check_database_health(create_engine(f"sqlite:///{path}"))
    assert event.status is HealthStatus.UNHEALTHY
    assert event.details["error.type"] == "FileNotFoundError"
    assert event.details["error.stage"] == "connect"
    assert not path.exists()


def test_a_file_that_is_no_database_is_unhealthy(tmp_path):
    path = tmp_path / "text.db"
    path.write_bytes(b"no database" * 1000)
    event = check_database_health(create_engine(f"sqlite:///{path}"))
    assert event.status is HealthStatus.UNHEALTHY
    assert event.details["error.type"] == "SQLITE_NOTADB"
    assert event.details["error.stage"] == "statement"


def test_failures_in_a_row_are_counted_until_one_succeeds(tmp_path):
    path = tmp_path / "shop.db"
    engine = create_engine(f"sqlite:///{path}")
    assert check_database_health(engine).details["failed_checks"] == 1
    assert check_database_health(engine).details["failed_checks"] == 2
    sqlite3.connect(path).close()
    assert check_database_health(engine).details["failed_checks"] == 0


@pytest.mark.usefixtures("patient")
def test_a_check_takes_no_connection_of_the_pool(file):
    engine = create_engine(f"sqlite:///{file}", pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect() as held:
        held.execute(text("SELECT 1"))
        event = check_database_health(engine)
    assert event.is_healthy
    assert (event.details["pool.used"], event.details["pool.max"]) == (1, 1)
    assert engine.pool.checkedin() == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("path", ["shop.db", "nowhere.db"])
def test_an_engine_that_was_checked_is_not_kept(file, path):
    engine = create_engine(f"sqlite:///{file.with_name(path)}")
    assert check_database_health(engine).is_healthy is (path == file.name)
    gone = weakref.ref(engine)
    del engine
    wait_until(lambda: gc.collect() >= 0 and gone() is None)


@pytest.mark.usefixtures("patient")
async def test_an_async_engine_that_was_checked_is_not_kept(file):
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    assert (await check_database_health_async(engine)).is_healthy
    gone = weakref.ref(engine.sync_engine)
    del engine
    wait_until(lambda: gc.collect() >= 0 and gone() is None)


@pytest.mark.parametrize("thing", [3, "sqlite://", None, object()])
def test_what_cannot_be_checked_is_refused_by_name(thing):
    with pytest.raises(TypeError, match=type(thing).__name__):
        check_database_health(thing)


@pytest.mark.parametrize("timeout_ms", [0, -1, float("nan")])
def test_a_time_out_must_be_above_nothing(timeout_ms, file):
    with pytest.raises(ValueError, match="timeout_ms"):
        check_database_health(create_engine(f"sqlite:///{file}"), timeout_ms=timeout_ms)


@pytest.mark.parametrize(
    ("latency_ms", "status"),
    [
        (0, HealthStatus.HEALTHY),
        (99.999, HealthStatus.HEALTHY),
        (100, HealthStatus.DEGRADED),
        (199.999, HealthStatus.DEGRADED),
        (200, HealthStatus.UNHEALTHY),
        (2000, HealthStatus.UNHEALTHY),
    ],
)
def test_the_status_is_by_the_thresholds(latency_ms, status):
    assert Thresholds().judge(latency_ms) is status
    assert Thresholds().judge(latency_ms, failed=True) is HealthStatus.UNHEALTHY


def test_thresholds_in_the_wrong_order_are_refused_with_both_names(monkeypatch):
    monkeypatch.setenv("OTEL_DBEVENTS_HEALTH_DEGRADED_MS", "300")
    with pytest.raises(ConfigError) as refused:
        Config()
    assert "OTEL_DBEVENTS_HEALTH_DEGRADED_MS" in str(refused.value)
    assert "OTEL_DBEVENTS_HEALTH_UNHEALTHY_MS" in str(refused.value)
    assert Config(health_degraded_ms=200, health_unhealthy_ms=200)

"""A check of a real server ends in its time, whatever the server does, and says what that was."""

import signal
import socket
import threading
from contextlib import contextmanager

import pytest

from otel_dbevents import HealthStatus, check_database_health
from tests.health.targets import KINDS, close
from tests.services.ports import free_ports
from tests.services.process import wait_until
from tests.services.proxy import proxy

TIMEOUT_MS = 200
ONE_OF_EACH = [KINDS[name] for name in ("psycopg", "asyncpg", "pymysql", "redis", "libsql")]


@contextmanager
def made(kind, server, port):
    target = kind.make(server, port)
    try:
        yield target
    finally:
        close(target)


@contextmanager
def silence():
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def probes():
    return [t for t in threading.enumerate() if t.name == "otel-dbevents-health-probe"]


def test_a_server_that_answers_is_healthy(kind, server):
    with made(kind, server, server.port) as target:
        for _ in range(2):  # the first has SQLAlchemy ask what server it is
            event = check_database_health(target, timeout_ms=10_000)
    assert event.details.get("error.text") is None
    assert event.status is not HealthStatus.UNHEALTHY
    assert event.latency_ms > 0
    assert event.database.server_port == server.port


@pytest.mark.parametrize("kind", ONE_OF_EACH, ids=lambda kind: kind.server)
def test_a_slow_answer_degrades_it(kind, server):
    with proxy(server.port) as before, made(kind, server, before.port) as target:
        check_database_health(target, timeout_ms=10_000)
        before.delay_s = 0.12
        event = check_database_health(target, timeout_ms=20_000)
    assert "error.type" not in event.details
    assert event.latency_ms >= 120
    assert event.status is not HealthStatus.HEALTHY


def test_a_server_that_says_nothing_is_unhealthy_in_time(kind, server):
    with silence() as port, made(kind, server, port) as target:
        event = check_database_health(target, timeout_ms=TIMEOUT_MS)
        assert event.status is HealthStatus.UNHEALTHY
        assert event.details["error.type"] == "timeout"
        # the driver gives up a little later, while the server is still silent
        wait_until(lambda: not probes())


def test_a_server_that_stops_answering_is_unhealthy_in_time(kind, server):
    with proxy(server.port) as before, made(kind, server, before.port) as target:
        assert "error.type" not in check_database_health(target, timeout_ms=10_000).details
        before.ignore(kind.question)
        # Where the machine is too slow to connect within the first it is asked for longer.
        for timeout_ms in (3 * TIMEOUT_MS, 10_000, 60_000):
            event = check_database_health(target, timeout_ms=timeout_ms)
            if event.details["error.stage"] == "statement":
                break
            wait_until(lambda: not probes())
        assert event.status is HealthStatus.UNHEALTHY
        assert event.details["error.type"] == "timeout"
        assert event.details["error.stage"] == "statement"
        wait_until(lambda: not probes())


@pytest.mark.parametrize("kind", ONE_OF_EACH, ids=lambda kind: kind.server)
def test_a_port_where_nobody_listens_is_unhealthy(kind, server):
    (port,) = free_ports(1)
    with made(kind, server, port) as target:
        event = check_database_health(target, timeout_ms=10_000)
    assert event.status is HealthStatus.UNHEALTHY
    assert event.details["error.stage"] == "connect"
    assert event.details["error.type"] != "timeout"


@pytest.mark.parametrize("stopped", ["psycopg", "asyncpg"])
def test_a_postgresql_that_stands_still_is_unhealthy_until_it_goes_on(stopped, postgresql):
    with made(KINDS[stopped], postgresql, postgresql.port) as target:
        postgresql.process.send(signal.SIGSTOP)
        try:
            first = check_database_health(target, timeout_ms=TIMEOUT_MS)
            second = check_database_health(target, timeout_ms=TIMEOUT_MS)
        finally:
            postgresql.process.send(signal.SIGCONT)
        assert (first.details["error.type"], first.details["failed_checks"]) == ("timeout", 1)
        assert (second.details["error.type"], second.details["failed_checks"]) == ("timeout", 2)
        wait_until(lambda: check_database_health(target, timeout_ms=10_000).is_healthy)

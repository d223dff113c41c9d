"""Recovery with real servers: killed and started again, stopped and let go on."""

import asyncio
import logging
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from otel_dbevents.events import DatabaseConnectionFailed
from otel_dbevents.health.circuit import State
from tests.health.crashing import Watching, crash, standing_still, watching
from tests.services.mariadb import mariadb as run_mariadb
from tests.services.postgresql import Postgresql
from tests.services.process import wait_until

ONE = text("SELECT 1")
SESSION = text("SELECT pg_backend_pid()")


@pytest.fixture
def server(mortal_postgresql: Postgresql) -> Postgresql:
    return mortal_postgresql


@pytest.fixture
def engine(server: Postgresql) -> Iterator[Engine]:
    made = create_engine(
        server.url(server.database()),
        pool_size=3,
        max_overflow=1,
        connect_args={"connect_timeout": 2},
    )
    yield made
    made.dispose()


def filled(engine: Engine, number: int = 3) -> list[Connection]:
    """Return so many connections that have been used; they go back to the pool when closed."""
    connections = [engine.connect() for _ in range(number)]
    for each in connections:
        each.execute(ONE)
        each.rollback()
    return connections


def close(connections: list[Connection]) -> None:
    for each in connections:
        each.close()


def go_away(engine: Engine, server: Postgresql) -> None:
    """Kill the server while the pool is full, and ask for one connection more."""
    held = filled(engine)
    crash(server)
    with pytest.raises(exc.OperationalError):
        engine.connect()
    close(held)


def test_no_query_fails_after_the_restart_though_the_pool_was_full_of_dead_connections(
    server: Postgresql, engine: Engine
) -> None:
    with watching(engine) as seen:
        go_away(engine, server)
        seen.wait_for_checks(2)
        server.process.start()
        seen.wait_for_recovery()
        close(filled(engine))
        seen.pipeline.flush(10)
        (recovered,) = seen.recovered
        failed, *tries = seen.checks[::-1]
        assert failed.was_answered
        assert not any(each.was_answered for each in tries)
        (refused,) = seen.of(DatabaseConnectionFailed)
        assert recovered.failed_attempts == len(tries) + 1
        assert recovered.duration_ns == failed.end_time_ns - (
            refused.end_time_ns - refused.duration_ns
        )
        assert [each.details and each.details["recovery.try"] for each in seen.checks] == [
            *range(1, len(tries) + 2)
        ]


def test_without_recovery_the_first_query_after_the_restart_fails(
    server: Postgresql, engine: Engine
) -> None:
    """What SQLAlchemy does by itself: else the test above would show nothing."""
    with watching(engine, recovery=False) as seen:
        go_away(engine, server)
        server.process.start()
        with pytest.raises(exc.OperationalError), engine.connect() as connection:
            connection.execute(ONE)
        assert seen.checks == []


def test_a_connection_that_is_out_goes_on_and_is_replaced_when_it_has_come_back(
    server: Postgresql, engine: Engine
) -> None:
    with watching(engine) as seen:
        held, idle = filled(engine, 2)
        held_session = held.scalar(SESSION)
        idle_session = idle.scalar(SESSION)
        idle.close()
        with standing_still(server):
            with engine.connect(), pytest.raises(exc.OperationalError):
                engine.connect()
            seen.wait_for_checks(1)
            (check,) = seen.checks[:1]
            assert check.details is not None
            assert check.details["error.type"] == "timeout"
            held.scalar(SESSION)
        seen.wait_for_recovery()
        assert held.scalar(SESSION) == held_session
        held.close()
        later = filled(engine)
        sessions = {each.scalar(SESSION) for each in later}
        close(later)
        assert not sessions & {held_session, idle_session}
        assert len(seen.recovered) == 1


def test_a_lost_connection_alone_has_the_database_asked_and_is_no_outage(
    server: Postgresql, engine: Engine
) -> None:
    with watching(engine) as seen:
        (connection,) = filled(engine, 1)
        killer = create_engine(server.url("postgres"), poolclass=NullPool)
        with killer.connect() as other:
            session = connection.scalar(SESSION)
            other.execute(text(f"SELECT pg_terminate_backend({session})"))
        with pytest.raises(exc.OperationalError):
            connection.execute(ONE)
        connection.close()
        seen.wait_for_checks(1)
        wait_until(lambda: set(states(seen)) == {State.CLOSED})
        seen.pipeline.flush(10)
        assert seen.recovered == []
        killer.dispose()


def states(seen: Watching) -> list[State]:
    return (
        []
        if seen.pipeline.health.recovery is None
        else [*seen.pipeline.health.recovery.states.values()]
    )


def test_it_is_given_up_with_one_line_and_the_applications_success_ends_that(
    server: Postgresql, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.ERROR, "otel_dbevents"),
        watching(engine, recovery_tries=2) as seen,
    ):
        go_away(engine, server)
        wait_until(lambda: states(seen) == [State.GIVEN_UP])
        server.process.start()
        seen.pipeline.flush(10)
        assert len(seen.checks) == 2
        engine.dispose()  # so that the next is a new one
        close(filled(engine, 1))
        seen.wait_for_recovery()
        assert states(seen) == [State.CLOSED]
        assert len(seen.checks) == 2
        (line,) = [each for each in caplog.messages if "did not answer 2 times" in each]
        assert "Xq7password" not in line


class Asyncs:
    """An async engine on an event loop of the application's, which runs in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.engine: AsyncEngine = create_async_engine(
            url, pool_size=3, max_overflow=1, connect_args={"timeout": 1}
        )

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    async def filled(self, number: int = 3) -> list[Any]:
        connections = [await self.engine.connect() for _ in range(number)]
        for each in connections:
            await each.execute(ONE)
            await each.rollback()
        return connections

    async def close(self, connections: list[Any]) -> None:
        for each in connections:
            await each.close()

    async def session(self, connection: Any) -> Any:
        return await connection.scalar(SESSION)

    def end(self) -> None:
        self.run(self.engine.dispose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def asyncs(server: Postgresql) -> Iterator[Asyncs]:
    made = Asyncs(server.url(server.database(), "postgresql+asyncpg"))
    yield made
    made.end()


def test_of_an_async_engine_no_query_fails_after_the_restart_either(
    server: Postgresql, asyncs: Asyncs
) -> None:
    with watching(asyncs.engine) as seen:
        held = asyncs.run(asyncs.filled())
        crash(server)
        with pytest.raises(ConnectionRefusedError):
            asyncs.run(asyncs.engine.connect().start())
        asyncs.run(asyncs.close(held))
        seen.wait_for_checks(1)
        server.process.start()
        seen.wait_for_recovery()
        asyncs.run(asyncs.close(asyncs.run(asyncs.filled())))
        assert len(seen.recovered) == 1


def test_a_connection_of_an_async_engine_that_is_out_goes_on_too(
    server: Postgresql, asyncs: Asyncs
) -> None:
    with watching(asyncs.engine) as seen:
        held, idle = asyncs.run(asyncs.filled(2))
        before = {asyncs.run(asyncs.session(each)) for each in (held, idle)}
        with standing_still(server):
            with pytest.raises(TimeoutError):
                asyncs.run(asyncs.engine.connect().start())
            asyncs.run(asyncs.close([idle]))
            seen.wait_for_checks(1)
        seen.wait_for_recovery()
        assert asyncs.run(asyncs.session(held)) in before
        asyncs.run(asyncs.close([held]))
        later = asyncs.run(asyncs.filled(3))
        assert not {asyncs.run(asyncs.session(each)) for each in later} & before
        asyncs.run(asyncs.close(later))


def test_mariadb_comes_back_in_the_same_way() -> None:
    with run_mariadb() as mariadb:
        engine = create_engine(mariadb.url(mariadb.database()), pool_size=3, max_overflow=1)
        with watching(engine) as seen:
            held = filled(engine)
            mariadb.process.kill()
            with pytest.raises(exc.OperationalError):
                engine.connect()
            close(held)
            seen.wait_for_checks(1)
            mariadb.process.start()
            seen.wait_for_recovery()
            close(filled(engine))
            assert len(seen.recovered) == 1
        engine.dispose()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_looks_after_itself(server: Postgresql, engine: Engine) -> None:
    with watching(engine) as seen:
        go_away(engine, server)
        seen.wait_for_checks(1)
        child = os.fork()
        if child == 0:  # pragma: no cover - the child's coverage is not collected
            os._exit(_in_child(seen, engine))
        assert os.waitpid(child, 0)[1] == 0
        server.process.start()
        seen.wait_for_recovery()
        close(filled(engine))
        assert len(seen.recovered) == 1


def _in_child(seen: Watching, engine: Engine) -> int:  # pragma: no cover
    signal.alarm(60)
    try:
        seen.events.clear()
        recovery = seen.pipeline.health.recovery
        assert recovery is not None
        if recovery.states or workers():
            return 1
        engine.dispose(close=False)
        with pytest.raises(exc.OperationalError):
            engine.connect()
        seen.wait_for_checks(2)
        return 0 if len(workers()) == 1 else 2
    except BaseException:
        traceback.print_exc()
        return 3


def workers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "otel-dbevents-health-recovery"]

"""How connections come and go: pinged, recycled, invalidated, disposed of, or simply lost."""

import gc
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from sqlalchemy import Engine, event, func, select
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool, QueuePool

from otel_dbevents.events import (
    CommitFailed,
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    ConnectionClosed,
    ConnectionInvalidated,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    QueryExecuted,
    QueryFailed,
    RollbackFailed,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
)
from otel_dbevents.sources import engine as engines
from otel_dbevents.sources import seams
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.pool import checkin, unusable
from tests.sources.engines import Case, Told
from tests.sources.shop import add_users, metadata, users

ENDS = (
    TransactionCommitted,
    TransactionRolledBack,
    TransactionReleased,
    CommitFailed,
    RollbackFailed,
)
Make: TypeAlias = Callable[..., Engine]


@pytest.fixture
def make(case: Case, told: Told, source: EngineSource) -> Make:
    """Return what makes an engine with the tables; what that told is forgotten."""

    def made(**options: Any) -> Engine:
        engine = case.engine(**options)
        case.run(metadata.create_all, engine)
        told.forget()
        return engine

    return made


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(users)) or 0


def touch(engine: Engine) -> None:
    engine.connect().close()


def open_now(source: EngineSource) -> tuple[int, int]:
    """Return how many connections are idle and how many in use."""
    gc.collect()  # an engine that another test left is found by `attach` too until it is collected
    found = list(source.pools())
    return sum(each.idle for each in found), sum(each.used for each in found)


def test_a_ping_that_succeeds_is_nothing_to_tell(case: Case, told: Told, make: Make) -> None:
    engine = make(pool_pre_ping=True)
    case.run(touch, engine)
    case.run(touch, engine)
    assert told.names() == ["ConnectionCheckedOut", "ConnectionCheckedIn"] * 2


@pytest.mark.only("pysqlite")
@pytest.mark.parametrize("from_the_beginning", [False, True])
def test_what_the_application_keeps_with_a_connection_stays_as_long_as_that(
    make: Make, from_the_beginning: bool
) -> None:
    engine = make(poolclass=QueuePool, pool_size=1, max_overflow=0)
    if from_the_beginning:  # else we are the first who ask for it
        event.listen(engine, "connect", lambda _, record: record.info.update(first=1))
        engine.dispose()
    with engine.connect() as connection:
        connection.info["mine"] = 1
    with engine.connect() as connection:
        assert connection.info["mine"] == 1
        assert connection.info.get("first") == (1 if from_the_beginning else None)
        connection.invalidate()
    with engine.connect() as connection:
        assert "mine" not in connection.info


def test_what_a_ping_takes_is_no_wait_for_the_pool(case: Case, told: Told) -> None:
    engine = case.engine(pool_pre_ping=True)
    ping, wait = engine.dialect.do_ping, 0.005

    def far_away(connection: Any) -> bool:
        time.sleep(wait)
        return ping(connection)

    engine.dialect.do_ping = far_away  # type: ignore[method-assign]
    source = EngineSource(told)
    source.attach()
    try:
        for _ in range(3):
            case.run(touch, engine)
    finally:
        source.detach()
    _opened, *pinged = told.of(ConnectionCheckedOut)
    assert len(pinged) == 2
    assert all(wait * 1e9 <= each.create_ns <= each.duration_ns for each in pinged)


@pytest.mark.needs("sessions")
def test_a_failed_ping_tells_the_drivers_error_and_is_no_query(
    case: Case, told: Told, make: Make
) -> None:
    engine, other = make(pool_pre_ping=True), case.engine(isolation_level="AUTOCOMMIT")

    def scene() -> None:
        with engine.connect() as victim:
            session = case.session(victim)
        with other.connect() as connection:
            case.end(session, connection)
        told.forget()
        touch(engine)

    case.run(scene)
    assert told.names() == [
        "ConnectionInvalidated",
        "ConnectionClosed",
        "DatabaseConnectionEstablished",
        "ConnectionCheckedOut",
        "ConnectionCheckedIn",
    ]
    failure = told.one(ConnectionInvalidated).failure
    assert failure.is_disconnect
    assert "sqlalchemy" not in failure.exception_type
    assert not told.of(DatabaseConnectionFailed)


def test_a_recycled_connection_is_closed_and_another_one_opened(
    case: Case, told: Told, make: Make
) -> None:
    engine = make(pool_recycle=0)
    case.run(touch, engine)
    assert told.names() == [
        "ConnectionClosed",
        "DatabaseConnectionEstablished",
        "ConnectionCheckedOut",
        "ConnectionCheckedIn",
    ]
    assert told.one(ConnectionClosed).duration_ns > 0
    assert told.one(ConnectionCheckedOut).create_ns > 0


def test_a_hard_invalidation_closes_at_once_and_ends_no_transaction(
    case: Case, told: Told, make: Make, source: EngineSource
) -> None:
    engine = make()

    def scene() -> int:
        with engine.connect() as connection:
            add_users(connection, "ada")
            connection.invalidate(ValueError("it looked wrong"))
            assert open_now(source) == (0, 0)
        return count(engine)

    assert case.run(scene) == 0
    invalidated = told.one(ConnectionInvalidated)
    assert not invalidated.soft
    assert invalidated.failure.error_type == "ValueError"
    assert "wrong" not in str(invalidated.to_dict())
    assert told.one(ConnectionClosed)
    assert told.one(DatabaseConnectionEstablished)
    before = told.events[: told.names().index("DatabaseConnectionEstablished")]
    assert not [each for each in before if isinstance(each, ENDS)]


@pytest.mark.parametrize("case", ["pysqlite", "psycopg"], indirect=True)
def test_a_sqlalchemy_without_those_methods_tells_the_same_by_its_events(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told_of_it() -> list[str]:
        told = Told()
        source, engine = EngineSource(told), case.engine(pool_size=2)
        source.attach(engine)

        def scene() -> None:
            for soft in (False, True):
                with engine.connect() as connection:
                    connection.connection.invalidate(ValueError("it looked wrong"), soft=soft)
            with engine.connect() as connection:
                connection.detach()
            engine.dispose()

        case.run(scene)
        source.detach()
        return told.names()

    with_methods = told_of_it()
    for module in (seams, engines, checkin, unusable):
        monkeypatch.setattr(module, "CAN_FOLLOW", False)
    try:
        assert told_of_it() == with_methods
    finally:
        for name, listener in seams._LISTENERS.items():
            event.remove(Pool, name, listener)
    assert with_methods.count("ConnectionInvalidated") == 2


def test_a_soft_invalidation_lets_the_connection_go_on_until_it_is_back(
    case: Case, told: Told, make: Make, source: EngineSource
) -> None:
    engine = make()

    def scene() -> int:
        with engine.connect() as connection:
            add_users(connection, "ada")
            connection.connection.invalidate(soft=True)
            assert open_now(source) == (0, 1)
            connection.commit()
        assert not told.of(ConnectionClosed)
        time.sleep(0.02)  # SQLAlchemy compares times to tell which connections are too old
        return count(engine)

    assert case.run(scene) == 1
    assert told.one(ConnectionInvalidated).soft
    assert told.one(ConnectionInvalidated).failure is None
    assert told.one(TransactionCommitted)
    assert told.one(ConnectionClosed)
    assert told.one(DatabaseConnectionEstablished)
    assert open_now(source) == (1, 0)


def test_a_connection_that_is_out_when_the_engine_is_disposed_of_goes_on(
    case: Case, told: Told, make: Make, source: EngineSource
) -> None:
    engine = make(pool_size=2)

    def scene() -> int:
        with engine.connect() as connection:
            add_users(connection, "ada")
            former = engine.pool
            engine.dispose()
            add_users(connection, "bob")
            connection.commit()
            assert open_now(source) == (0, 1)
        found = count(engine)
        former.dispose()
        return found

    assert case.run(scene) == 2
    assert told.one(TransactionCommitted).statement_count == 2
    assert len(told.of(ConnectionCheckedIn)) == 2
    assert len(told.of(DatabaseConnectionEstablished)) == 1
    assert len(told.of(ConnectionClosed)) == 1
    assert open_now(source) == (1, 0)


@pytest.mark.needs("detach")
def test_what_a_detached_connection_does_is_told_and_its_return_is_not(
    case: Case, told: Told, make: Make, source: EngineSource
) -> None:
    engine = make()

    def scene() -> int:
        with engine.connect() as connection:
            connection.detach()
            add_users(connection, "ada")
            connection.commit()
            add_users(connection, "bob")
            assert open_now(source) == (0, 0)
        return count(engine)

    assert case.run(scene) == 1
    assert [type(each) for each in told.events if isinstance(each, ENDS)][:2] == [
        TransactionCommitted,
        TransactionRolledBack,
    ]
    assert len(told.of(ConnectionCheckedIn)) == 1  # the one that counted


@pytest.mark.parametrize("reset", ["rollback", "commit", None])
def test_whatever_the_pool_does_when_a_connection_is_back_an_end_is_told_once(
    case: Case, told: Told, make: Make, reset: Any
) -> None:
    engine = make(pool_reset_on_return=reset)

    def scene() -> int:
        with engine.connect() as connection:
            add_users(connection, "ada")
        return count(engine)

    assert case.run(scene) == 0
    ends = [type(each) for each in told.events if isinstance(each, ENDS)]
    assert ends[0] is TransactionRolledBack
    assert TransactionCommitted not in ends
    assert len(told.of(ConnectionCheckedIn)) == 2


@pytest.mark.parametrize("reset", ["rollback", "commit"])
def test_what_the_pool_ends_itself_is_told_as_it_ended(
    case: Case, told: Told, make: Make, reset: Any
) -> None:
    engine = make(pool_reset_on_return=reset)

    def scene() -> int:
        connection = engine.connect()
        add_users(connection, "ada")
        connection.connection.close()  # past SQLAlchemy's own end of the transaction
        return count(engine)

    assert case.run(scene) == (1 if reset == "commit" else 0)
    kind = TransactionCommitted if reset == "commit" else TransactionRolledBack
    assert told.one(kind).statement_count == 1
    others = {TransactionCommitted, TransactionRolledBack, CommitFailed, RollbackFailed} - {kind}
    assert not any(told.of(each) for each in others)


def test_a_connection_that_nobody_gave_back_is_told_as_what_the_collector_made_of_it(
    case: Case, told: Told, make: Make, source: EngineSource
) -> None:
    engine = make(poolclass=AsyncAdaptedQueuePool if case.is_async else QueuePool)

    def scene() -> None:
        connection = engine.connect()
        add_users(connection, "ada")
        del connection
        gc.collect()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        case.run(scene)
        gc.collect()
        assert open_now(source) == ((0, 0) if case.is_async else (1, 0))
    ends = [type(each) for each in told.events if isinstance(each, ENDS)]
    if case.is_async:
        # the driver cannot be asked from there: the connection is lost, and how it ended unknown
        assert any("garbage collector" in str(each.message) for each in warned)
        assert not ends
        assert not told.of(ConnectionCheckedIn)
    else:
        assert ends == [TransactionRolledBack]
        assert told.one(ConnectionCheckedIn).duration_ns > 0
    assert told.one(QueryExecuted)
    assert not told.of(QueryFailed)
    assert case.run(count, engine) == 0

"""What only libSQL and Turso do, through their dialects of SQLAlchemy."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import QueuePool

from otel_dbevents.events import (
    CommitFailed,
    DatabaseType,
    QueryExecuted,
    QueryFailed,
    TransactionCommitted,
    TransactionRolledBack,
)
from otel_dbevents.sources.engine import EngineSource
from tests.services.sqld import Sqld
from tests.sources.engines import Told

CREATE = text("CREATE TABLE users (name TEXT)")
ADD = text("INSERT INTO users VALUES ('hunter2')")
COUNT = text("SELECT count(*) FROM users")


def test_a_server_that_is_gone_fails_each_call_and_keeps_nothing(
    told: Told, source: EngineSource, sqld: Sqld
) -> None:
    engine = create_engine(sqld.url("sqlite+libsql"), poolclass=QueuePool)
    with engine.begin() as connection:
        connection.execute(CREATE)
    told.forget()
    with engine.connect() as connection:
        connection.execute(ADD)
        sqld.process.kill()
        with pytest.raises(ValueError, match="refused"):
            connection.execute(ADD)
        with pytest.raises(ValueError, match="refused"):
            connection.commit()
    engine.dispose()
    sqld.process.start()
    with engine.connect() as connection:
        assert connection.scalar(COUNT) == 0
    assert told.one(QueryFailed).failure.exception_type == "ValueError"
    assert told.one(CommitFailed).statement_count == 2
    assert not told.of(TransactionCommitted)
    assert not told.of(TransactionRolledBack)
    assert not any("hunter2" in str(event.to_dict()) for event in told.events)
    engine.dispose()


def test_an_embedded_replica_is_told_as_its_file(
    told: Told, source: EngineSource, sqld: Sqld, tmp_path: Path
) -> None:
    sync: Any = {"sync_url": sqld.url("http"), "auth_token": "hunter2"}
    replica = create_engine(f"sqlite+libsql:///{tmp_path}/replica.db", connect_args=sync)
    primary = create_engine(sqld.url("sqlite+libsql"), poolclass=QueuePool)
    with replica.begin() as connection:
        connection.execute(CREATE)
        connection.execute(ADD)
    with primary.connect() as connection:
        assert connection.scalar(COUNT) == 1
    here, there = (told.of(QueryExecuted)[number].database for number in (0, -1))
    assert here.system_name is there.system_name is DatabaseType.LIBSQL
    assert (here.namespace, here.server_address) == ("replica.db", "")
    assert (there.namespace, there.server_address) == ("", "127.0.0.1")
    assert told.one(TransactionCommitted).database == here
    assert not any("hunter2" in str(event.to_dict()) for event in told.events)
    replica.dispose()
    primary.dispose()


def test_where_the_driver_commits_by_itself_no_commit_is_told(
    told: Told, source: EngineSource, tmp_path: Path
) -> None:
    """SQLAlchemy's AUTOCOMMIT is not to be had with libSQL, its driver's own is."""
    own: Any = {"isolation_level": None}
    engine = create_engine(f"sqlite+libsql:///{tmp_path}/shop.db", connect_args=own)
    with engine.begin() as connection:
        connection.execute(CREATE)
        connection.execute(ADD)
    assert len(told.of(QueryExecuted)) == 2
    assert not told.of(TransactionCommitted)
    engine.dispose()


@pytest.mark.newest
def test_what_turso_commits_though_autocommit_was_asked_for_is_told(
    told: Told, source: EngineSource, tmp_path: Path
) -> None:
    """Its dialect ignores the setting: a transaction is open, and COMMIT ends it."""
    engine = create_engine(f"sqlite+turso:///{tmp_path}/shop.db")
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.begin() as connection:
        connection.execute(CREATE)
        connection.execute(ADD)
    with autocommit.connect() as connection:
        connection.execute(ADD)
        connection.rollback()
        assert connection.scalar(COUNT) == 1
    assert told.one(TransactionCommitted).database.system_name is DatabaseType.TURSO
    assert told.one(TransactionRolledBack)
    engine.dispose()

"""What an engine's URL and dialect say of its database, and what they must not say."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.pool import StaticPool

from otel_dbevents.events import DatabaseType, Environment
from otel_dbevents.sources.database import database_of, system_of


def engine_of(url: str, **options: object) -> object:
    """An engine that nobody connects, with any driver behind it."""
    return create_engine(url, **options)


@pytest.mark.parametrize(
    ("url", "address", "port", "namespace"),
    [
        ("postgresql+psycopg://bob:pw@db.example:6432/shop", "db.example", 6432, "shop"),
        ("postgresql+psycopg://bob:pw@db.example/shop", "db.example", 5432, "shop"),
        ("postgresql+psycopg:///shop?host=db.example:6432", "db.example", 6432, "shop"),
        ("postgresql+psycopg:///shop?host=a,b", "a", 5432, "shop"),
        ("postgresql+psycopg:///shop?host=a&host=b", "a", 5432, "shop"),
        ("postgresql+psycopg:///shop?host=/run/pg", "/run/pg", 5432, "shop"),
        ("postgresql+psycopg:///shop", "", 0, "shop"),
        ("postgresql+psycopg://[::1]:5433/shop", "::1", 5433, "shop"),
        ("postgresql+asyncpg://bob:pw@DB.Example/shop", "DB.Example", 5432, "shop"),
    ],
)
def test_server_and_name_come_from_the_url(
    url: str, address: str, port: int, namespace: str
) -> None:
    database = database_of(engine_of(url), Environment.PRODUCTION)
    assert (database.server_address, database.server_port) == (address, port)
    assert database.namespace == namespace
    assert database.system_name is DatabaseType.POSTGRESQL
    assert "bob" not in str(database)
    assert "pw" not in str(database)


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("sqlite+libsql://shop.example:8080/?authToken=hunter2", "shop.example", 8080),
        ("sqlite+libsql://shop.example/?authToken=hunter2&secure=true", "shop.example", 443),
        ("sqlite+libsql://bob:hunter2@shop.example/", "shop.example", 80),
    ],
)
def test_a_libsql_server_is_told_without_its_token(url: str, address: str, port: int) -> None:
    database = database_of(engine_of(url), Environment.LOCAL)
    assert database.system_name is DatabaseType.LIBSQL
    assert (database.server_address, database.server_port) == (address, port)
    assert database.namespace == ""
    assert "hunter2" not in str(database)
    assert "bob" not in str(database)


def test_an_sqlite_file_is_named_without_its_folder(tmp_path: Path) -> None:
    first = database_of(engine_of(f"sqlite:///{tmp_path}/shop.db"), Environment.LOCAL)
    other = database_of(engine_of(f"sqlite:///{tmp_path}/b/shop.db"), Environment.LOCAL)
    assert first.namespace == other.namespace == "shop.db"
    assert first.aggregate_id != other.aggregate_id
    assert str(tmp_path) not in str(first)
    assert first.pool_name == "shop.db"


def test_one_file_has_one_name_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {
        database_of(engine_of(url), Environment.LOCAL).aggregate_id
        for url in (
            "sqlite:///shop.db",
            "sqlite:///./shop.db",
            f"sqlite:///{tmp_path}/shop.db",
            f"sqlite:///file:{tmp_path}/shop.db?mode=ro&uri=true",
        )
    }
    assert len(names) == 1


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_a_database_in_memory_says_so(url: str) -> None:
    database = database_of(engine_of(url, poolclass=StaticPool), Environment.LOCAL)
    assert database.namespace == ":memory:"
    assert database.aggregate_id == "local/sqlite/:memory:"


def test_the_pool_keeps_the_name_that_it_was_given() -> None:
    named = engine_of("sqlite://", pool_logging_name="readers")
    assert database_of(named, Environment.LOCAL).pool_name == "readers"
    server = engine_of("postgresql+psycopg://h:1/d")
    assert database_of(server, Environment.LOCAL).pool_name == "h:1/d"


def test_the_product_is_told_apart_from_the_dialect() -> None:
    maria = mysql.dialect()
    maria.is_mariadb = True
    libsql, turso = sqlite.dialect(), sqlite.dialect()
    libsql.driver, turso.driver = "libsql", "turso"
    unknown = DefaultDialect()
    unknown.name = "mystery"
    assert system_of(mysql.dialect()) is DatabaseType.MYSQL
    assert system_of(maria) is DatabaseType.MARIADB
    assert system_of(postgresql.dialect()) is DatabaseType.POSTGRESQL
    assert system_of(libsql) is DatabaseType.LIBSQL
    assert system_of(turso) is DatabaseType.TURSO
    assert system_of(unknown) is DatabaseType.OTHER_SQL

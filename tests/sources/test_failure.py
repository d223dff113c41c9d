"""What may be told of a driver's exception: types and codes; never its words."""

import sqlite3
from types import SimpleNamespace

import pytest
from sqlalchemy import exc
from sqlalchemy.dialects import mysql

from otel_dbevents.sources.failure import describe, describe_connect, is_lost


class Coded(Exception):
    """A driver's error with an SQLSTATE, as psycopg and asyncpg have it."""

    sqlstate = "23505"


class Wrapped(Exception):
    """What SQLAlchemy's adapter of an async driver raises."""


Wrapped.__module__ = "sqlalchemy.dialects.postgresql.asyncpg"


class MySQLError(Exception):
    """Named by its number."""


MySQLError.__module__ = "pymysql.err"


def test_an_sqlstate_is_code_and_type() -> None:
    failure = describe(Coded("Key (email)=(eve@example.org) already exists"))
    assert failure.error_type == failure.status_code == "23505"
    assert failure.exception_type.endswith("Coded")
    assert "eve" not in str(failure)


def test_sqlite_tells_its_extended_result_code() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a UNIQUE)")
    connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError) as raised:
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()
    failure = describe(raised.value)
    assert failure.error_type == "SQLITE_CONSTRAINT_UNIQUE"
    assert failure.exception_type == "sqlite3.IntegrityError"


def test_mysql_tells_its_number() -> None:
    assert describe(MySQLError(1062, "Duplicate entry 'eve'")).error_type == "1062"
    assert describe(MySQLError()).error_type == "pymysql.err.MySQLError"


def test_mysqls_number_is_told_also_where_a_driver_gives_the_sqlstate_too() -> None:
    error = MySQLError(1062, "Duplicate entry 'eve'")
    error.sqlstate = "23000"  # type: ignore[attr-defined]
    assert describe(error).status_code == "1062"


@pytest.mark.swallows
def test_a_dialect_that_cannot_tell_knows_of_no_loss() -> None:
    dialect = mysql.dialect()
    dialect.dbapi = SimpleNamespace(Error=MySQLError)
    dialect.is_disconnect = lambda error, connection, cursor: connection.is_gone
    assert is_lost(dialect, MySQLError(2013), SimpleNamespace(is_gone=True))
    assert not is_lost(dialect, MySQLError(2013), None)
    assert not is_lost(dialect, ValueError(), SimpleNamespace(is_gone=True))


def test_without_a_code_the_type_is_the_exceptions_name() -> None:
    assert describe(ValueError("secret")).error_type == "ValueError"
    assert describe(ValueError("secret")).status_code == ""


def test_the_original_exception_is_told_and_not_the_adapters() -> None:
    wrapped = Wrapped("outer")
    wrapped.__cause__ = Coded("inner")
    failure = describe(wrapped)
    assert failure.exception_type.endswith("Coded")
    assert failure.error_type == "23505"


def test_the_message_is_told_only_when_asked_for_and_without_credentials() -> None:
    error = ValueError("cannot open postgresql://bob:hunter2@db/shop")
    assert describe(error).message == ""
    assert describe(error, messages=True).message == "cannot open postgresql://db/shop"


def test_a_refused_connection_is_told_by_the_systems_name() -> None:
    error = Exception("could not connect as bob")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert describe_connect(error) == "Exception: ECONNREFUSED"
    assert describe_connect(TimeoutError()) == "TimeoutError: timed out"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('FATAL: password authentication failed for user "bob"', "authentication failed"),
        ("connection to server failed: Connection refused", "connection refused"),
        ("unable to open database file", "unable to open database file"),
        ("something about bob that nobody foresaw", ""),
    ],
)
def test_a_drivers_words_become_fixed_words(said: str, told: str) -> None:
    reason = describe_connect(RuntimeError(said))
    assert reason == (f"RuntimeError: {told}" if told else "RuntimeError")
    assert "bob" not in reason


def test_a_ring_of_causes_ends() -> None:
    one, other = exc.SQLAlchemyError("one"), exc.SQLAlchemyError("other")
    one.__cause__, other.__cause__ = other, one
    assert describe(one).exception_type == "sqlalchemy.exc.SQLAlchemyError"


def test_a_loop_of_causes_ends() -> None:
    first, second = RuntimeError(), RuntimeError()
    first.__cause__, second.__cause__ = second, first
    assert describe_connect(first) == "RuntimeError"


def test_an_unnamed_system_error_is_told_by_its_type() -> None:
    assert describe_connect(OSError("no number")) == "OSError"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("UNIQUE constraint failed: users.email", "SQLITE_CONSTRAINT_UNIQUE"),
        ("no such column: hunter2", "SQLITE_ERROR"),
        ('near "hunter2": syntax error', "SQLITE_ERROR"),
        ("database is locked", "SQLITE_BUSY"),
        ("Remote SQlite failure: `3:2067:UNIQUE failed: t.a`", "SQLITE_CONSTRAINT_UNIQUE"),
        ("Remote SQlite failure: `3:5:database is locked`", "SQLITE_BUSY"),
        ("Remote SQlite failure: `3:12819:what nobody has a name for`", "SQLITE_CONSTRAINT"),
        ("Remote SQlite failure: `3:200:not a code`", ""),
        (
            'Hrana: `stream error: `Error { message: "code: \\"EVIL\\"", code: "SQLITE_BUSY" }``',
            "SQLITE_BUSY",
        ),
        ('Hrana: `stream error: `Error { message: "hunter2", code: "not a code" }``', ""),
        (
            "Failed to connect to database: `Unable to open connection to local database /x: 14`",
            "SQLITE_CANTOPEN",
        ),
        (
            'Write delegation: `status: PermissionDenied, message: "no such column: a in SELECT"`',
            "SQLITE_ERROR",
        ),
        ('Write delegation: `status: Unavailable, message: "hunter2"`', "Unavailable"),
        ('Hrana: `api error: `status=401 Unauthorized, body={"error":"hunter2"}``', "401"),
        ("invalid literal for int() with base 10: 'hunter2'", ""),
    ],
)
def test_a_code_is_found_in_what_libsql_says_and_nothing_else(said: str, code: str) -> None:
    failure = describe(ValueError(said))
    assert (failure.status_code, failure.error_type) == (code, code or "ValueError")
    assert "hunter2" not in str(failure)


def test_the_words_of_libsql_are_no_code_in_another_exception() -> None:
    assert describe(RuntimeError("UNIQUE constraint failed: a.b")).status_code == ""

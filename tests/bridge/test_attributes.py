"""Names and error types follow the conventions' own examples (database-spans.md, sql.md 1.44)."""

import pytest

from otel_dbevents.bridge import attributes as at
from otel_dbevents.events import Database, DatabaseType, Environment, Failure, Statement
from tests.bridge.support import DB, established, health


def database(system=DatabaseType.POSTGRESQL, namespace="", address="", port=0, pool=""):
    return Database(Environment.LOCAL, system, namespace, address, port, pool)


@pytest.mark.parametrize(
    ("statement", "where", "name"),
    [
        (Statement("", "SELECT wuser_table"), database(), "SELECT wuser_table"),
        (
            Statement("", "INSERT shipping_details SELECT orders", "INSERT", "shipping_details"),
            database(namespace="shop"),
            "INSERT shipping_details SELECT orders",
        ),
        (Statement("", "", "SELECT", "orders"), database(namespace="shop"), "SELECT orders"),
        (Statement("", "", "select", ""), database(namespace="shop"), "select shop"),
        (Statement("", "", "", "orders"), database(namespace="shop"), "orders"),
        (
            Statement("", "", "EXECUTE", ""),
            database(address="db.example.com", port=5433),
            "EXECUTE db.example.com:5433",
        ),
        (Statement(""), database(address="db.example.com"), "db.example.com"),
        (Statement(""), database(namespace="shop", address="x", port=1), "shop"),
        (Statement(""), database(), "postgresql"),
        (Statement("", "", "SELECT"), database(), "SELECT"),
        (
            Statement("", "", "CALL", stored_procedure_name="restock"),
            database(namespace="shop"),
            "CALL restock",
        ),
    ],
)
def test_the_name_is_the_summary_or_what_is_known(statement, where, name):
    assert at.query_name(where, statement, False) == name


def test_the_procedure_that_is_called_is_told_on_span_and_metric():
    called = Statement("CALL restock(?)", "CALL restock", stored_procedure_name="restock")
    assert at.query_attributes(DB, called, False)["db.stored_procedure.name"] == "restock"
    assert at.query_labels(DB, called, False)["db.stored_procedure.name"] == "restock"
    assert "db.stored_procedure.name" not in at.query_attributes(DB, Statement("SELECT ?"), False)


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (Statement("", "INSERT orders", "INSERT", "orders"), "BATCH INSERT orders"),
        (Statement("", "", "INSERT", "orders"), "BATCH INSERT orders"),
        (Statement(""), "shop"),
    ],
)
def test_a_batch_says_so(statement, name):
    assert at.query_name(DB, statement, True) == name


def test_a_summary_is_never_cut_inside_a_name():
    long = "SELECT " + " ".join(["orders"] * 40)
    cut = at.query_name(DB, Statement("", long), True)
    assert len(cut) <= 255
    assert cut.endswith(" orders")
    exact = "SELECT " + "o" * 248
    assert at.query_name(DB, Statement("", exact), False) == exact
    assert at.query_name(DB, Statement("", "SELECT " + "o" * 249), False) == "SELECT"


@pytest.mark.parametrize(
    ("system", "port", "told"),
    [
        (DatabaseType.POSTGRESQL, 5432, False),
        (DatabaseType.POSTGRESQL, 3306, True),
        (DatabaseType.MYSQL, 3306, False),
        (DatabaseType.MARIADB, 3307, True),
        (DatabaseType.MICROSOFT_SQL_SERVER, 1433, False),
        (DatabaseType.CLICKHOUSE, 8123, True),
        (DatabaseType.OTHER_SQL, 0, False),
    ],
)
def test_the_port_is_told_unless_it_is_the_default(system, port, told):
    attributes = at.database_attributes(database(system, address="h", port=port))
    assert ("server.port" in attributes) is told


def test_a_port_without_an_address_is_not_told():
    assert at.database_attributes(database(port=1)) == {"db.system.name": "postgresql"}


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (database(pool="main", namespace="shop"), "main"),
        (database(address="h", port=5432, namespace="shop"), "h:5432/shop"),
        (database(address="h"), "h"),
        (database(namespace="shop.db"), "shop.db"),
        (database(DatabaseType.SQLITE), "sqlite"),
    ],
)
def test_an_unnamed_pool_is_named_after_its_database(where, name):
    assert at.pool_name(where) == name


@pytest.mark.parametrize(
    ("failure", "error_type", "code"),
    [
        (Failure("08P01", "psycopg.errors.ProtocolViolation", "", "08P01"), "08P01", "08P01"),
        (Failure("", "psycopg.errors.X", "", "42P01"), "42P01", "42P01"),
        (Failure("builtins.TimeoutError", "builtins.TimeoutError"), "builtins.TimeoutError", None),
        (Failure("", "asyncio.CancelledError"), "asyncio.CancelledError", None),
        (Failure("", ""), "_OTHER", None),
        (None, "_OTHER", None),
    ],
)
def test_the_error_type_is_the_code_or_the_exceptions_name(failure, error_type, code):
    found = at.failure_attributes(failure)
    assert found["error.type"] == error_type
    assert found.get("db.response.status_code") == code


def test_a_text_is_never_among_a_metrics_labels():
    labels = at.query_labels(DB, Statement("SELECT ?", "SELECT", "SELECT", "t"), False)
    assert "db.query.text" not in labels


def test_an_event_of_the_users_own_knows_its_database_and_environment():
    event = established(database=None)
    assert at.database_of(event).system_name is DatabaseType.POSTGRESQL
    assert at.environment_of(event) == "production"
    assert at.database_of(health(database=None)) is None
    assert at.environment_of(health(database=None)) == "production"


def test_a_text_that_is_not_known_is_left_out():
    assert "db.query.text" not in at.query_attributes(DB, Statement("", "SELECT a"), False)


def test_a_statement_is_never_taken_for_one_that_was_where_it_is_now():
    for number in range(5000):
        statement = Statement(f"SELECT {number}", f"SELECT t{number}")
        name, shared = at.query_shared(DB, statement, False)
        assert name == f"SELECT t{number}"
        assert shared.attributes["db.query.text"] == f"SELECT {number}"
    assert len(at._known) <= 2048

r"""The servers themselves read literals and comments as the dialects say they do.

Each row is what a database is asked, the values that it answers with, and what is left of the text.
A reading that hid too little would show here as a value that the server has and we have not hidden.
"""

import pytest
import sqlalchemy as sa

from otel_dbevents.sources.text import analyze
from tests.services.mariadb import Mariadb
from tests.services.postgresql import Postgresql

POSTGRESQL = [
    (r"SELECT 'a\', 'b''c'", ["a\\", "b'c"], "SELECT ?, ?"),
    (r"SELECT E'a\'b', 'c'", ["a'b", "c"], "SELECT ?, ?"),
    ("SELECT E'a'\n  'it\\'s', 'c'", ["ait's", "c"], "SELECT ?, ?"),
    ("SELECT E'a' -- it's\n'it\\'s', 'c'", ["ait's", "c"], "SELECT ?, ?"),
    ("SELECT 'a'\n'b\\', 'c'", ["ab\\", "c"], "SELECT ? ?, ?"),
    ("SELECT $$it's$$, $q$a $$ b$q$", ["it's", "a $$ b"], "SELECT ?, ?"),
    ("SELECT 1 AS a$$b, $$c$$", [1, "c"], "SELECT ? AS a$$b, ?"),
    ("SELECT /* /* */ 'a */ 'b'", ["b"], "SELECT ?"),
    ("SELECT --'a\r'b\nc'", ["b\nc"], "SELECT ?"),
    ('SELECT \'a\' AS "b\'c", \'d\'', ["a", "d"], 'SELECT ? AS "b\'c", ?'),
    ("SELECT U&'d\\0061t', N'a', x'1F'::int, b'101'::int", ["dat", "a", 31, 5],
     "SELECT ?, ?, ?::int, ?::int"),
    ("SELECT ARRAY['a','b'], '{\"a\": \"b\"}'::jsonb->>'a'", [["a", "b"], "b"],
     "SELECT ARRAY[?,?], ?::jsonb->>?"),
]  # fmt: skip
MARIADB = [
    (r"SELECT 'a\'b', 'c'", ["a'b", "c"], "SELECT ?, ?"),
    ("SELECT 'a''b', \"c\"\"d\", \"e\\\"f\"", ["a'b", 'c"d', 'e"f'], "SELECT ?, ?, ?"),
    ("SELECT 5--3, 'a'", [8, "a"], "SELECT ?--?, ?"),
    ("SELECT 5--/* ' */3, 'a'", [8, "a"], "SELECT ?--?, ?"),
    ("SELECT 5 -- it's\n, 'a'", [5, "a"], "SELECT ? , ?"),
    ("SELECT 5 # it's\n, 'a'", [5, "a"], "SELECT ? , ?"),
    ("SELECT /* /* */ 'a'", ["a"], "SELECT ?"),
    ("SELECT /*!50000 '*/ a', */ 'b'", ["*/ a", "b"], "SELECT ?"),
    ("SELECT /*M! 'a', # '\n */ 'b'", ["a", "b"], "SELECT ?"),
    ("SELECT 'a' AS `b'c`, 'd'", ["a", "d"], "SELECT ? AS `b'c`, ?"),
    ("SELECT 'a' AS `b``'c`, 'd'", ["a", "d"], "SELECT ? AS `b``'c`, ?"),
    ("SELECT _utf8'a', N'b', 'c' 'd', \"e\" 'f'", ["a", "b", "cd", "ef"], "SELECT ?, ?, ? ?, ? ?"),
]  # fmt: skip
SQLITE = [
    ("SELECT 'a\\', 'b''c'", ["a\\", "b'c"], "SELECT ?, ?"),
    ("SELECT 'a' AS [b'c], 'd' AS `e'f`, 'g' AS \"h'i\"", ["a", "d", "g"],
     "SELECT ? AS [b'c], ? AS `e'f`, ? AS \"h'i\""),
    ("SELECT /* /* */ 'a' --'b'", ["a"], "SELECT ?"),
    ("SELECT --'a\r'b\n'c'", ["c"], "SELECT ?"),
    ("SELECT x'6162', 'a' || \"it's\", 'b' /* open", [b"ab", "ait's", "b"],
     "SELECT ?, ? || ?, ?"),
]  # fmt: skip


def _told(engine: sa.Engine, sql: str) -> list[object]:
    try:
        with engine.connect() as connection:
            return list(connection.exec_driver_sql(sql).one())
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def on_postgresql(postgresql: Postgresql) -> sa.Engine:
    return sa.create_engine(postgresql.url(postgresql.database()))


@pytest.fixture(scope="module")
def on_mariadb(mariadb: Mariadb) -> sa.Engine:
    return sa.create_engine(mariadb.url(mariadb.database()))


@pytest.mark.parametrize(("sql", "values", "left"), POSTGRESQL)
def test_postgresql_reads_as_we_do(on_postgresql, sql, values, left):
    assert _told(on_postgresql, sql) == values
    assert analyze(sql, dialect="postgresql").text == left


@pytest.mark.parametrize(("sql", "values", "left"), MARIADB)
def test_mariadb_reads_as_we_do(on_mariadb, sql, values, left):
    assert _told(on_mariadb, sql) == values
    assert analyze(sql, dialect="mysql").text == left


@pytest.mark.parametrize(("sql", "values", "left"), SQLITE)
def test_sqlite_reads_as_we_do(sql, values, left):
    assert _told(sa.create_engine("sqlite://"), sql) == values
    assert analyze(sql, dialect="sqlite").text == left


CHANGES = [
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "TRUNCATE t",
    "MERGE INTO t USING t s ON false WHEN MATCHED THEN DELETE",
    "WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x",
    "WITH x AS (SELECT 1 AS a) INSERT INTO t SELECT a FROM x",
    "SELECT a FROM t FOR UPDATE",
    "SELECT a FROM t FOR NO KEY UPDATE SKIP LOCKED",
    "SELECT a FROM t FOR KEY SHARE",
    "SELECT a INTO u FROM t",
    "CREATE TABLE u AS SELECT a FROM t",
    "CREATE VIEW v AS SELECT a FROM t",
    "CREATE INDEX ON t (a)",
    "ALTER TABLE t ADD b INT",
    "DROP TABLE t",
    "COMMENT ON TABLE t IS 'x'",
    "GRANT SELECT ON t TO PUBLIC",
    "REFRESH MATERIALIZED VIEW m",
    "EXPLAIN ANALYZE DELETE FROM t",
    "EXPLAIN (ANALYZE, COSTS off) DELETE FROM t",
    "PREPARE p AS DELETE FROM t; EXECUTE p",
    "DO $$ BEGIN DELETE FROM t; END $$",
    "CALL change()",
    "SELECT 1; DELETE FROM t",
    "-- only reads\nDELETE /* SELECT */ FROM t",
]
READS = [
    "SELECT a FROM t",
    "VALUES (1)",
    "TABLE t",
    "SHOW search_path",
    "SET search_path TO public",
    "EXPLAIN DELETE FROM t",
    "WITH x AS (SELECT a FROM t) SELECT 'DELETE FROM t', * FROM x",
    "SELECT $$DELETE FROM t$$",
    "DECLARE c CURSOR FOR SELECT a FROM t",
    "SAVEPOINT s",
]


def _is_refused(engine: sa.Engine, sql: str) -> bool:
    """Tell whether the server will not run this in a transaction that may only read."""
    with engine.connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        try:
            connection.exec_driver_sql(sql)
        except sa.exc.DBAPIError as error:
            if error.orig.sqlstate != "25006":
                raise
            return True
    return False


@pytest.fixture(scope="module")
def with_a_table(on_postgresql: sa.Engine) -> sa.Engine:
    with on_postgresql.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a INT)")
        connection.exec_driver_sql("CREATE MATERIALIZED VIEW m AS SELECT a FROM t")
        connection.exec_driver_sql(
            "CREATE PROCEDURE change() LANGUAGE plpgsql AS 'BEGIN DELETE FROM t; END'"
        )
    return on_postgresql


@pytest.mark.parametrize("sql", CHANGES + READS)
def test_what_postgresql_refuses_to_a_reader_is_a_change(with_a_table, sql):
    assert _is_refused(with_a_table, sql) is (sql in CHANGES)
    assert analyze(sql, dialect="postgresql").writes is (sql in CHANGES)
    with_a_table.dispose()

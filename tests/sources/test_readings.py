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

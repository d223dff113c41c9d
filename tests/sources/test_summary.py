"""What the text analyser tells of a statement: operations, targets, procedure, and changes."""

import pytest

from otel_dbevents.sources.summary import LIMIT as SUMMARY_LIMIT
from otel_dbevents.sources.text import analyze

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

SUMMARIES = [
    ("SELECT * FROM wuser_table WHERE a = ?", "SELECT wuser_table"),
    (
        "INSERT INTO shipping_details (a) SELECT a FROM orders",
        "INSERT shipping_details SELECT orders",
    ),
    ("SELECT * FROM songs, artists", "SELECT songs artists"),
    (
        "SELECT a FROM (SELECT * FROM orders o JOIN customers c ON 1)",
        "SELECT SELECT orders customers",
    ),
    ("sElEcT * from T", "sElEcT T"),
    ('SELECT * FROM "song list", `b`, c', 'SELECT "song list" `b` c'),
    ("SELECT * FROM 'secret'", "SELECT"),
    ("SELECT 1", "SELECT"),
    ("SELECT 1 FROM DUAL", "SELECT"),
    ('SELECT * FROM a . b, "c"."d", e.f.g', 'SELECT a.b "c"."d" e.f.g'),
    ("SELECT * FROM a AS x(p, q), b y", "SELECT a b"),
    ("SELECT * FROM a LEFT OUTER JOIN (b JOIN c ON 1) ON 1, d", "SELECT a b c d"),
    ("SELECT * FROM a CROSS JOIN b NATURAL JOIN c STRAIGHT_JOIN d", "SELECT a b c d"),
    ("SELECT * FROM a CROSS APPLY f(a.x)", "SELECT a f"),
    ("SELECT * FROM ONLY a, LATERAL (SELECT 1 FROM b) l", "SELECT a SELECT b"),
    ("SELECT * FROM generate_series(1, 10) g, t", "SELECT generate_series t"),
    ("SELECT EXTRACT(YEAR FROM d), TRIM(BOTH FROM e) FROM t", "SELECT t"),
    ("SELECT a IS DISTINCT FROM b FROM t", "SELECT t"),
    ("SELECT (SELECT 1 FROM b), c FROM a ORDER BY x, y", "SELECT SELECT b a"),
    (
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u) AND b IN (SELECT c FROM v)",
        "SELECT t SELECT u SELECT v",
    ),
    (
        "SELECT a FROM t UNION ALL (SELECT a FROM u) EXCEPT SELECT a FROM v",
        "SELECT t SELECT u SELECT v",
    ),
    ("SELECT t.select, t.from, x FROM t", "SELECT t"),
    ("SELECT replace(a, 'b', 'c'), insert(a) FROM t", "SELECT t"),
    ("WITH x AS (SELECT * FROM a) SELECT * FROM x, b", "SELECT a SELECT b"),
    (
        'WITH RECURSIVE x(n) AS (SELECT 1 FROM a UNION SELECT n FROM x), "y" AS MATERIALIZED'
        ' (SELECT 2) SELECT * FROM "Y"',
        "SELECT a SELECT SELECT SELECT",
    ),
    (
        "WITH x AS (INSERT INTO a SELECT * FROM b RETURNING c) UPDATE d SET e = 1",
        "INSERT a SELECT b UPDATE d",
    ),
    ("INSERT INTO a WITH x AS (SELECT * FROM b) SELECT * FROM x", "INSERT a SELECT b SELECT"),
    ("INSERT OR REPLACE INTO a DEFAULT VALUES", "INSERT a"),
    ("INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET c = 1, d = 2", "INSERT a"),
    ("INSERT INTO a SELECT 1 FROM b ON DUPLICATE KEY UPDATE c = 1, d = 2", "INSERT a SELECT b"),
    ("REPLACE INTO a VALUES (1)", "REPLACE a"),
    ("UPDATE a SET b = (SELECT 1 FROM c) FROM d WHERE e", "UPDATE a SELECT c"),
    ("UPDATE a, b SET a.c = 1", "UPDATE a"),
    ("DELETE FROM a USING b WHERE c IN (SELECT d FROM e)", "DELETE a SELECT e"),
    ("DELETE TOP (5) FROM a", "DELETE a"),
    (
        "MERGE INTO a USING (SELECT 1 FROM b) s ON 1 WHEN MATCHED THEN UPDATE SET c = 1 WHEN"
        " NOT MATCHED THEN INSERT VALUES (1)",
        "MERGE a SELECT b",
    ),
    ("CREATE TABLE IF NOT EXISTS a (b INT)", "CREATE TABLE a"),
    ("CREATE TEMPORARY TABLE a AS SELECT * FROM b", "CREATE TABLE a SELECT b"),
    ("CREATE UNIQUE INDEX CONCURRENTLY i ON a (b)", "CREATE INDEX i"),
    ("CREATE MATERIALIZED VIEW v AS SELECT * FROM a", "CREATE MATERIALIZED VIEW v SELECT a"),
    (
        "CREATE TRIGGER g AFTER UPDATE ON a BEGIN DELETE FROM b; SELECT 1 FROM c; END",
        "CREATE TRIGGER g",
    ),
    ("CREATE USER bob IDENTIFIED BY 'x'", "CREATE USER"),
    ("ALTER TABLE a DROP COLUMN b, DROP COLUMN c", "ALTER TABLE a"),
    ("DROP TABLE IF EXISTS a, s.b CASCADE", "DROP TABLE a s.b"),
    ("DROP INDEX i", "DROP INDEX i"),
    ("TRUNCATE TABLE a, b", "TRUNCATE TABLE a b"),
    ("TRUNCATE a", "TRUNCATE a"),
    ("COMMENT ON TABLE a IS 'x'", "COMMENT ON TABLE a"),
    ("GRANT SELECT, INSERT ON a TO b", "GRANT"),
    ("CALL s.proc(?, ?)", "CALL s.proc"),
    ("{call proc(?)}", "call proc"),
    ("EXEC proc @a = 1", "EXEC proc"),
    ("BEGIN IMMEDIATE", "BEGIN"),
    ("START TRANSACTION READ ONLY", "START TRANSACTION"),
    ("COMMIT", "COMMIT"),
    ("ROLLBACK", "ROLLBACK"),
    ("SAVEPOINT sp_1", "SAVEPOINT"),
    ("RELEASE SAVEPOINT sp_1", "RELEASE SAVEPOINT"),
    ("ROLLBACK TO SAVEPOINT sp_1", "ROLLBACK TO SAVEPOINT"),
    ("SHOW CREATE TABLE a", "SHOW"),
    ("SET a = 1", "SET"),
    ("EXPLAIN SELECT * FROM a", "EXPLAIN SELECT a"),
    ("EXPLAIN (ANALYZE, FORMAT JSON) DELETE FROM a", "EXPLAIN DELETE a"),
    ("PRAGMA main.table_info(t)", "PRAGMA main.table_info"),
    ("ATTACH 'f' AS a", "ATTACH"),
    ("DETACH DATABASE a", "DETACH a"),
    ("VALUES (1), (2)", "VALUES"),
    ("SELECT 1 FROM a; UPDATE b SET c = 1;", "SELECT a UPDATE b"),
    ("-- DELETE\nSELECT * FROM a /* DROP TABLE b */", "SELECT a"),
    ("COPY a FROM 'file'", "COPY a"),
    ("COPY (SELECT * FROM a) TO STDOUT", "COPY SELECT a"),
    ("VACUUM", "VACUUM"),
    ("ANALYZE a", "ANALYZE a"),
    ("LOCK TABLE a IN EXCLUSIVE MODE", "LOCK TABLE a"),
    ("CREATE (a TABLE b", "CREATE TABLE"),
    ("SELECT 1 FROM (WITH x AS (SELECT 1 FROM a) SELECT 2 FROM x), x", "SELECT SELECT a SELECT x"),
    ("PREPARE p AS DELETE FROM t", "PREPARE DELETE t"),
    ("hunter2 is no statement", ""),
    ("42", ""),
    ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), SUMMARIES, ids=[sql[:60] for sql, _ in SUMMARIES])
def test_the_summary_names_operations_and_targets_in_order(sql, expected):
    assert analyze(sql).summary == expected


def test_a_cte_hides_a_table_of_its_name_only_behind_itself_where_the_dialect_says_so():
    sql = "WITH a AS (SELECT * FROM a) SELECT * FROM a"
    assert analyze(sql, dialect="postgresql").summary == "SELECT a SELECT"
    assert analyze(sql, dialect="mssql").summary == "SELECT SELECT"


def test_a_string_of_mysql_is_no_target():
    assert analyze('SELECT * FROM "secret"', dialect="mysql").summary == "SELECT"


def test_the_summary_is_cut_between_names():
    tables = [f"a_table_with_a_long_name_{number}" for number in range(40)]
    summary = analyze(f"SELECT * FROM {', '.join(tables)}").summary
    assert len(summary) <= SUMMARY_LIMIT
    assert summary.split()[1:] == tables[: len(summary.split()) - 1]
    assert analyze("SELECT * FROM " + "x" * 300).summary == "SELECT"


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1", "SELECT a FROM t", "VALUES (1)", "SHOW TABLES", "EXPLAIN DELETE FROM t",
     "EXPLAIN ANALYZE SELECT 1", "PRAGMA table_info(t)", "PRAGMA journal_mode", "SAVEPOINT a",
     "RELEASE a", "ROLLBACK TO a", "BEGIN", "COMMIT", "SET a = 1", "USE a", "", "-- x",
     "WITH x AS (SELECT 1) SELECT * FROM x", "SELECT replace(a, b, c) FROM t",
     "SELECT 'DELETE FROM t'", 'SELECT "delete" FROM t', "(SELECT 1) UNION (SELECT 2)"],
)  # fmt: skip
def test_what_only_reads_is_told(sql):
    assert not analyze(sql, dialect="sqlite").writes


@pytest.mark.parametrize(
    "sql",
    ["INSERT INTO t VALUES (1)", "update t set a = 1", "DELETE FROM t", "CREATE TABLE t (a INT)",
     "SELECT a FROM t FOR UPDATE", "SELECT a FROM t FOR NO KEY UPDATE", "SELECT a INTO b FROM t",
     "SELECT a FROM t LOCK IN SHARE MODE", "EXPLAIN ANALYZE DELETE FROM t", "CALL p()",
     "EXPLAIN (ANALYZE) DELETE FROM t", "PRAGMA journal_mode = WAL", "PRAGMA wal_checkpoint",
     "PRAGMA user_version(5)", "WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x",
     "SELECT 1; DROP TABLE t", "GRANT SELECT ON t TO u", "FROBNICATE t", "VACUUM",
     "SELECT 'never ends", "MERGE INTO t USING s ON 1", "DO $$ x $$", "/*!50000 DELETE FROM t */",
     "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x"],
)  # fmt: skip
def test_what_may_change_something_is_told_also_in_doubt(sql):
    assert analyze(sql).writes


@pytest.mark.parametrize(
    ("dialect", "sql", "expected"),
    [
        ("oracle", "SELECT * FROM s.users@remote u", "SELECT s.users@remote"),
        ("oracle", 'SELECT * FROM a@"L".x, b', 'SELECT a@"L".x b'),
        ("oracle", "INSERT ALL INTO a VALUES (1) INTO b VALUES (2) SELECT 1 FROM dual",
         "INSERT a b SELECT"),
        ("oracle", "SELECT * FROM TABLE(f(1)) x, c", "SELECT f c"),
        ("oracle", "BEGIN p(1); END;", "BEGIN"),
        ("oracle", "DECLARE x NUMBER := 5; BEGIN p(x); END;", "DECLARE BEGIN"),
        ("oracle", "CREATE PUBLIC DATABASE LINK l CONNECT TO u IDENTIFIED BY p",
         "CREATE DATABASE LINK l"),
        ("oracle", "CREATE OR REPLACE PACKAGE BODY p AS x", "CREATE PACKAGE BODY p"),
        ("mssql", "SELECT * FROM [O'Brien] o, [a.b].[c] JOIN #t ON 1 = 1",
         "SELECT [O'Brien] [a.b].[c] #t"),
        ("mssql", "INSERT INTO t (a) EXEC dbo.p @a = 1", "INSERT t EXEC dbo.p"),
        ("mssql", "EXEC @rc = dbo.p @a = 1", "EXEC dbo.p"),
        ("mssql", "EXEC @name @a = b", "EXEC"),
        ("mssql", "EXECUTE AS USER = 'u'", "EXECUTE"),
        ("mssql", "SET NOCOUNT ON UPDATE t SET a = 1 SELECT a FROM t",
         "SET UPDATE t SELECT t"),
        ("mssql", "DECLARE @a INT = 1 EXEC p @a DELETE FROM t", "DECLARE EXEC p DELETE t"),
        ("mssql", "MERGE t USING s ON 1 = 1 WHEN MATCHED THEN UPDATE SET a = 1"
         " WHEN NOT MATCHED THEN INSERT VALUES (1);", "MERGE t"),
        ("mssql", "CREATE TRIGGER g ON t AFTER INSERT, UPDATE AS UPDATE t SET a = 1",
         "CREATE TRIGGER g"),
        ("mssql", "DENY SELECT ON t TO u", "DENY"),
        ("mssql", "CREATE DATABASE SCOPED CREDENTIAL c WITH IDENTITY = 'x'",
         "CREATE DATABASE SCOPED CREDENTIAL c"),
        ("postgresql", "SELECT * FROM LATERAL ROWS FROM (f(1), g(2)) x", "SELECT f g"),
        ("postgresql", "CREATE CAST (a AS b) WITHOUT FUNCTION", "CREATE CAST"),
        ("postgresql", "CREATE USER MAPPING FOR u SERVER s", "CREATE USER MAPPING"),
        ("postgresql", "ALTER DEFAULT PRIVILEGES FOR ROLE u GRANT SELECT ON TABLES TO v",
         "ALTER PRIVILEGES"),
        ("postgresql", "VACUUM (ANALYZE) a", "VACUUM a"),
        ("postgresql", "CREATE DATABASE link WITH OWNER u", "CREATE DATABASE link"),
        ("postgresql", "BEGIN ISOLATION LEVEL SERIALIZABLE; END", "BEGIN END"),
        ("mysql", "SELECT * FROM `my``table`, `a`.`b`", "SELECT `my``table` `a`.`b`"),
        ("mysql", "INSERT INTO TABLE t VALUES (1)", "INSERT t"),
        ("sqlite", 'SELECT * FROM "a b".[c d], `e`', 'SELECT "a b".[c d] `e`'),
        ("", "SELECT * FROM table WHERE a IN (1, 2)", "SELECT table"),
        ("", "{? = call s.proc(?)}", "call s.proc"),
        ("", "call next value for numbers", "call numbers"),
        ("", "COPY INTO t FROM x", "COPY t"),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_each_dialect_names_its_targets_in_its_own_way(dialect, sql, expected):
    assert analyze(sql, dialect=dialect).summary == expected


@pytest.mark.parametrize(
    ("dialect", "sql", "expected"),
    [
        ("mysql", "CALL shop.restock(@a, 'x')", "shop.restock"),
        ("postgresql", 'CALL "Shop".restock(1)', '"Shop".restock'),
        ("", "call restock", "restock"),
        ("", "{? = call s.proc(?, 'x')}", "s.proc"),
        ("oracle", "CALL pkg.proc(:a) INTO :b", "pkg.proc"),
        ("mssql", "EXEC dbo.[my proc] @a = N'x'", "dbo.[my proc]"),
        ("mssql", "EXECUTE @rc = dbo.proc 'x'", "dbo.proc"),
        ("mssql", "SET NOCOUNT ON; DECLARE @x INT; EXEC proc @x OUTPUT", "proc"),
    ],
)
def test_the_one_procedure_that_is_called_is_named_as_written(dialect, sql, expected):
    assert analyze(sql, dialect=dialect).procedure == expected


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        ("postgresql", "EXECUTE prepared(1)"),
        ("mysql", "EXECUTE prepared USING @a"),
        ("", "EXECUTE prepared"),
        ("mssql", "EXEC ('SELECT 1')"),
        ("mssql", "EXEC @name 'x'"),
        ("mssql", "EXEC a; EXEC b"),
        ("mssql", "EXEC a; SELECT 1"),
        ("mssql", "INSERT INTO t EXEC a"),
        ("", "call next value for numbers"),
        ("postgresql", "SELECT restock(1)"),
        ("mysql", "EXPLAIN SELECT 1; CALL a"),
        ("oracle", "BEGIN restock(1); END;"),
        ("", "CALL 'secret'"),
        ("", "CALL :name"),
    ],
)
def test_what_calls_no_procedure_or_more_than_one_names_none(dialect, sql):
    assert analyze(sql, dialect=dialect).procedure == ""


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        ("oracle", "BEGIN restock(1); END;"),
        ("mssql", "BEGIN TRY UPDATE t SET a = 1 END TRY BEGIN CATCH END CATCH"),
        ("mssql", "SET NOCOUNT ON DELETE FROM t"),
        ("mssql", "SELECT a FROM t DELETE FROM t"),
        ("oracle", "DECLARE a NUMBER := 1; BEGIN p(a); END;"),
        ("postgresql", "DECLARE c CURSOR FOR SELECT a FROM t FOR UPDATE"),
        ("", "{? = call proc(?)}"),
    ],
)
def test_a_change_within_a_block_or_batch_is_told(dialect, sql):
    assert analyze(sql, dialect=dialect).writes


@pytest.mark.parametrize(
    "sql", ["BEGIN TRANSACTION READ ONLY", "BEGIN TRAN a", "BEGIN IMMEDIATE", "BEGIN WORK"]
)
def test_to_begin_a_transaction_is_no_change(sql):
    assert not analyze(sql).writes


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        ("mssql", "DECLARE @a INT = 1; SELECT b FROM t WHERE a = @a"),
        ("postgresql", "DECLARE c CURSOR FOR SELECT a FROM t"),
    ],
)
def test_to_declare_is_no_change(dialect, sql):
    assert not analyze(sql, dialect=dialect).writes

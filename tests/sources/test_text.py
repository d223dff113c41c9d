"""What the text analyser keeps, what it hides, and what it tells of a statement."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_dbevents.sources.masker import LIMIT
from otel_dbevents.sources.summary import LIMIT as SUMMARY_LIMIT
from otel_dbevents.sources.text import analyze
from otel_dbevents.sources.tokens import lexicon

FAMILIES = ("", "postgresql", "mysql", "sqlite", "mssql", "oracle")
DIALECTS = ("", "postgresql", "mysql", "mariadb", "sqlite", "libsql", "mssql", "oracle")

SANITISED = [
    pytest.param("SELECT 'it''s' , 1", "", "SELECT ? , ?", id="doubled quote"),
    pytest.param(r"SELECT 'a\'b', c", "mysql", "SELECT ?, c", id="mysql backslash"),
    pytest.param(r"SELECT 'a\', c", "postgresql", "SELECT ?, c", id="standard backslash"),
    pytest.param(r"SELECT E'a\'b', c", "postgresql", "SELECT ?, c", id="E string"),
    pytest.param(r"SELECT 'a\', c", "", "SELECT ?", id="backslash in doubt hides the rest"),
    pytest.param(r"SELECT 'a\\', c", "", "SELECT ?, c", id="escaped backslash is no doubt"),
    pytest.param("SELECT N'a', B'01', x'ff', U&'a'", "", "SELECT ?, ?, ?, ?", id="prefixes"),
    pytest.param("SELECT _utf8mb4'a'", "mysql", "SELECT ?", id="introducer"),
    pytest.param("SELECT q'[it's]', c", "oracle", "SELECT ?, c", id="oracle q string"),
    pytest.param("SELECT q'!it's!', c", "oracle", "SELECT ?, c", id="oracle q delimiter"),
    pytest.param("SELECT $$a'b$$, $t$c$$d$t$", "postgresql", "SELECT ?, ?", id="dollar strings"),
    pytest.param(
        "SELECT 1, 1.5, .5, 5., 1e-5, 1_000", "", "SELECT " + "?, " * 5 + "?",
        id="numbers",
    ),
    pytest.param("SELECT 0xDEAD, 0b101, 0o17", "", "SELECT ?, ?, ?", id="number bases"),
    pytest.param("SELECT -5, a -5, a - 5", "", "SELECT ?, a -?, a - ?", id="sign"),
    pytest.param("SELECT $12.50, $p", "mssql", "SELECT ?, $p", id="money"),
    pytest.param("SELECT TRUE, false, NULL", "", "SELECT ?, ?, NULL", id="booleans go, NULL stays"),
    pytest.param("SELECT t.true FROM t", "", "SELECT t.true FROM t", id="column named true"),
    pytest.param("DATE '2020-01-01'", "", "DATE ?", id="date"),
    pytest.param("INTERVAL '1 day'", "", "INTERVAL ?", id="interval"),
    pytest.param("SELECT t2.c3 FROM table1", "", "SELECT t2.c3 FROM table1", id="digits in names"),
    pytest.param(
        "a = ? AND b = %s AND c = %(c)s AND d = :d AND e = $1 AND f = @p1 AND g = :1",
        "",
        "a = ? AND b = %s AND c = %(c)s AND d = :d AND e = $1 AND f = @p1 AND g = :1",
        id="placeholders",
    ),
    pytest.param("a % (5)", "", "a % (?)", id="modulo is no placeholder"),
    pytest.param("x[1:2]", "postgresql", "x[?:?]", id="slice is no placeholder"),
    pytest.param(
        "a::int, b->'k', c->>'k', d ?| e, f ? 'k', g @> '{}'",
        "postgresql",
        "a::int, b->?, c->>?, d ?| e, f ? ?, g @> ?",
        id="operators",
    ),
    pytest.param("ARRAY[1,2]", "postgresql", "ARRAY[?,?]", id="array"),
    pytest.param('SELECT "a b" FROM "t"', "postgresql", 'SELECT "a b" FROM "t"', id="quoted names"),
    pytest.param('SELECT "a b" FROM t', "mysql", "SELECT ? FROM t", id="quoted strings"),
    pytest.param('SELECT "a" FROM "t"."u" AS "v"', "", 'SELECT ? FROM "t"."u" AS "v"', id="doubt"),
    pytest.param('SELECT "a" FROM t', "sqlite", 'SELECT "a" FROM t', id="sqlite name"),
    pytest.param('a = "b" AND t."c" = ?', "sqlite", 'a = ? AND t."c" = ?', id="sqlite string"),
    pytest.param('VALUES ("a", "b")', "sqlite", "VALUES (?, ?)", id="sqlite row"),
    pytest.param('a IN ("b", "c")', "sqlite", "a IN (?)", id="sqlite list"),
    pytest.param("SELECT `a``b` FROM `t`", "mysql", "SELECT `a``b` FROM `t`", id="backticks"),
    pytest.param("SELECT [a]]b] FROM [t 1]", "mssql", "SELECT [a]]b] FROM [t 1]", id="brackets"),
    pytest.param(
        "/* s */ SELECT /* s */ a -- s\n FROM\t t /*s='1'*/", "", "SELECT a FROM t", id="comments"
    ),
    pytest.param("a /* /* s */ s */ b", "postgresql", "a b", id="nested comment"),
    pytest.param("a /* /* s */ b", "mysql", "a b", id="flat comment"),
    pytest.param("a # s\nb", "mysql", "a b", id="hash comment"),
    pytest.param("5--3", "mysql", "?--?", id="mysql minus minus"),
    pytest.param("a #> b", "", "a #> b", id="hash operator"),
    pytest.param("a IN (1, 'b', -3)", "", "a IN (?)", id="list"),
    pytest.param("a NOT IN ( %(a_1)s,%(a_2)s )", "", "a NOT IN (?)", id="list of placeholders"),
    pytest.param("a IN ($1::INT, $2::INT)", "postgresql", "a IN (?)", id="list with casts"),
    pytest.param("(a, b) IN ((?, ?), (?, ?))", "", "(a, b) IN ((?, ?))", id="list of rows"),
    pytest.param("a IN (?, b)", "", "a IN (?, b)", id="list with a name"),
    pytest.param("a IN (SELECT b FROM c)", "", "a IN (SELECT b FROM c)", id="list is a select"),
    pytest.param("f(1, 2)", "", "f(?, ?)", id="arguments stay"),
    pytest.param("VALUES (1, 'a'), (2, 'b'),(3,'c') x", "", "VALUES (?, ?) x", id="rows"),
    pytest.param("VALUES (1, now()), (2, now())", "", "VALUES (?, now())", id="rows with calls"),
    pytest.param(
        "VALUES (?), ((SELECT a FROM b))", "", "VALUES (?), ((SELECT a FROM b))", id="row selects"
    ),
    pytest.param("VALUES (%(a__0)s), (%(a__1)s)", "", "VALUES (%(a__0)s)", id="insertmanyvalues"),
    pytest.param("UPDATE t SET a = 'x", "", "UPDATE t SET a = ?", id="unterminated string"),
    pytest.param("SELECT a /* x", "", "SELECT a", id="unterminated comment"),
    pytest.param("SELECT $x$ y", "", "SELECT ?", id="unterminated dollar string"),
    pytest.param('SELECT "x y', "postgresql", "SELECT ?", id="unterminated name"),
    pytest.param("SELECT [x y", "mssql", "SELECT ?", id="unterminated bracket"),
    pytest.param(
        "CREATE USER bob IDENTIFIED BY pw", "", "CREATE USER ? IDENTIFIED BY ?", id="bare password"
    ),
    pytest.param(
        "ALTER ROLE bob WITH PASSWORD 'x'", "", "ALTER ROLE ? WITH PASSWORD ?", id="role password"
    ),
    pytest.param(
        "CREATE USER 'a'@'%' IDENTIFIED BY 'x'", "mysql", "CREATE USER ? IDENTIFIED BY ?",
        id="mysql account",
    ),
    pytest.param("GRANT SELECT ON t TO bob", "", "GRANT SELECT ON t TO ?", id="grant"),
    pytest.param(
        "CREATE OR REPLACE VIEW user AS SELECT a", "", "CREATE OR REPLACE VIEW user AS SELECT a",
        id="view named user",
    ),
    pytest.param("SET PASSWORD FOR bob = x", "", "SET PASSWORD FOR ?", id="set password"),
    pytest.param(
        "SET search_path TO a, b; SELECT c", "", "SET search_path TO ?; SELECT c",
        id="set to",
    ),
    pytest.param("SET x = :v", "", "SET x = :v", id="set placeholder"),
    pytest.param("ALTER SYSTEM SET a = b", "", "ALTER SYSTEM SET a = ?", id="alter system"),
    pytest.param("PRAGMA key = s3cret", "sqlite", "PRAGMA key = ?", id="pragma bare key"),
    pytest.param("PRAGMA key=\"x'00'\"", "sqlite", "PRAGMA key=?", id="pragma blob key"),
    pytest.param("PRAGMA rekey(s3cret)", "sqlite", "PRAGMA rekey(?)", id="pragma call"),
    pytest.param(
        'PRAGMA main.table_info("t")', "sqlite", 'PRAGMA main.table_info("t")',
        id="pragma table",
    ),
    pytest.param("ATTACH 'f.db' AS a KEY k", "sqlite", "ATTACH ? AS ? KEY ?", id="attach"),
    pytest.param("EXEC dbo.p pw, @a = 5", "mssql", "EXEC dbo.p ?, @a = ?", id="bare arguments"),
    pytest.param("", "", "", id="empty"),
    pytest.param(" -- x", "", "", id="only a comment"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "dialect", "expected"), SANITISED)
def test_a_statement_is_kept_without_its_literals(sql, dialect, expected):
    assert analyze(sql, dialect=dialect).text == expected


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


def test_a_long_text_is_cut_between_tokens():
    text = analyze("SELECT " + ", ".join(f"a_column_{n}" for n in range(9_000))).text
    assert len(text) <= LIMIT
    assert re.search(r"(a_column_\d+|,) \.\.\.$", text)
    assert all(re.fullmatch(r"a_column_\d+", name) for name in text[7:-4].strip(", ").split(", "))


@pytest.mark.parametrize("count", [1, 2, 500])
def test_texts_that_differ_only_in_how_many_values_they_hold_become_one(count):
    values = ", ".join(["%s"] * count)
    assert (
        analyze(f"SELECT a FROM t WHERE b IN ({values})").text == "SELECT a FROM t WHERE b IN (?)"
    )
    rows = ", ".join(f"(%(a__{n})s::INTEGER, 'x', {n})" for n in range(count))
    facts = analyze(f"INSERT INTO t (a) VALUES {rows} RETURNING t.id", dialect="postgresql")
    assert facts.text == "INSERT INTO t (a) VALUES (%(a__0)s::INTEGER, ?, ?) RETURNING t.id"
    assert facts.summary == "INSERT t"


MARKER = "zq9secret"

_inner = st.sampled_from(
    [MARKER, f"a {MARKER} b", f"{MARKER}, 1); DROP TABLE x; --", f"%{MARKER}%"]
)


def _literals(dialect):
    forms = [
        _inner.map(lambda text: f"'{text}'"),
        _inner.map(lambda text: f"'it''s {text}'"),
        _inner.map(lambda text: f"N'{text}'"),
        _inner.map(lambda text: f"$tag${text} ' $tag$"),
        _inner.map(lambda text: f"$${text} ' $$"),
        _inner.map(lambda text: f"DATE '{text}'"),
        _inner.map(lambda text: f"INTERVAL '{text}'"),
        st.sampled_from(["9876543", "-98765.43", ".98765", "9876e-5", "0x98765", "98765"]),
    ]
    if dialect in ("mysql", "mariadb"):
        forms.append(_inner.map(lambda text: f'"{text}"'))
        forms.append(_inner.map(lambda text: rf"'it\'s {text}'"))
        forms.append(_inner.map(lambda text: f"_utf8'{text}'"))
    if dialect in ("postgresql", ""):
        forms.append(_inner.map(lambda text: rf"'it\\{text}'"))
    if dialect == "postgresql":
        forms.append(_inner.map(lambda text: rf"E'it\'s {text}'"))
        forms.append(_inner.map(lambda text: f"'{text}\\'"))
    if dialect == "oracle":
        forms.append(_inner.map(lambda text: f"q'[it's {text}]'"))
    return st.one_of(forms)


def _expressions(dialect):
    literal = _literals(dialect)
    lists = st.lists(literal, min_size=1, max_size=4).map(", ".join)
    return st.one_of(
        literal,
        literal.map(lambda text: f"lower({text})"),
        literal.map(lambda text: f"(a || {text})"),
        literal.map(lambda text: f"CASE WHEN a = {text} THEN {text} ELSE b END"),
        lists.map(lambda text: f"(a IN ({text}))"),
        _inner.map(lambda text: f"a /* {text} */"),
        _inner.map(lambda text: f"a -- {text}\n"),
    )


@st.composite
def _statements(draw):
    dialect = draw(st.sampled_from(DIALECTS))
    expression = _expressions(dialect)
    one, two, three = draw(expression), draw(expression), draw(expression)
    statement = draw(
        st.sampled_from(
            [
                f"SELECT {one} AS a, {two} FROM t1 JOIN t2 ON t1.a = {three} LIMIT 10",
                f"INSERT INTO t1 (a, b) VALUES ({one}, {two}), ({two}, {three}), ({one}, {one})",
                f"UPDATE t1 SET a = {one}, b = {two} WHERE c = {three}",
                f"DELETE FROM t1 WHERE a BETWEEN {one} AND {two} OR b LIKE {three}",
                f"WITH x AS (SELECT {one}) SELECT * FROM x WHERE a = {two} UNION SELECT {three}",
                f"SET a = {one}, {two}",
                f"PRAGMA key = {one}",
                f"CALL p({one}, {two})",
                f"SELECT * FROM t1 WHERE a = {one}; DELETE FROM t2 WHERE b = {two}",
                f"CREATE TABLE t1 (a INT DEFAULT {one}, CHECK (a <> {two}))",
                f"CREATE USER u IDENTIFIED BY {MARKER} {one}",
                f"PRAGMA rekey({MARKER})",
                f"SELECT * FROM {one}, t2",
                f"SELECT a FROM t1 WHERE b = {one} AND c = '{MARKER}",
                f"SELECT a FROM t1 WHERE b = {one} /* {MARKER}",
            ]
        )
    )
    return dialect, statement


@given(_statements())
def test_no_literal_survives(generated):
    dialect, sql = generated
    facts = analyze(sql, dialect=dialect)
    assert MARKER not in facts.text
    assert "9876" not in facts.text
    assert MARKER not in facts.summary
    assert "9876" not in facts.summary


_fragments = st.lists(
    st.sampled_from(
        """SELECT FROM WHERE IN VALUES ROW ( ) , ; . ' " ` [ ] $ $$ $t$ -- /* */ # \\ \n ? ?| :a ::
        : @a @ % %s %(a)s $1 - + = := < > || -> #> { } 1 1.5 .5 e1 0x1 a b.c "d" 'e' N E' q'[ TRUE
        NULL AS WITH INSERT INTO UPDATE SET DELETE PRAGMA key ATTACH USER CREATE GRANT TO EXEC
        EXPLAIN ANALYZE FOR UNION RECURSIVE JOIN ON TABLE DROP dual TOP""".split(" ")  # noqa: SIM905
    ),
    max_size=25,
)
_texts = st.one_of(
    st.text(max_size=80),
    _fragments.map(" ".join),
    _fragments.map("".join),
    st.text(alphabet="'\"`\\$-/*#[]()?:;,.%@qEN01a\n ", max_size=40),
)


@given(_texts, st.sampled_from(DIALECTS))
@example("\x00\ud800'", "")
def test_any_text_is_taken_and_sanitising_it_twice_changes_nothing(sql, dialect):
    facts = analyze(sql, dialect=dialect)
    assert analyze(facts.text, dialect=dialect).text == facts.text
    assert len(facts.summary) <= SUMMARY_LIMIT


@pytest.mark.parametrize("dialect", FAMILIES)
@pytest.mark.parametrize(
    "unit",
    ["'", '"', "`", "(", "[", "-", "--", "/*", "/", "$", "$a", "$a$", "q'[", "_", "_'", "a.", ":",
     "\\'", "%(", "%(a", "0x", ".", "1e", "@", "#", "N'", "E'", "E'\\", "IN (1,", "VALUES (1),(",
     " ", "a ", "a,b ", "SELECT ", "WITH a AS (", "{", "\x00"],
)  # fmt: skip
def test_a_megabyte_of_anything_is_taken(unit, dialect):
    analyze(unit * (1_000_000 // len(unit)), dialect=dialect)


@pytest.mark.parametrize("last", ["1)", "a)", "/* x */ 1)", "(1))", "f(1))", ""])
def test_a_long_list_is_taken_whatever_ends_it(last):
    for opened in ("a IN (", "VALUES (", "VALUES (1), ("):
        assert MARKER not in analyze(opened + f"'{MARKER}', " * 60_000 + last).text


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_token_is_matched_once_so_that_work_grows_with_length(dialect, monkeypatch):
    words, seen = lexicon(dialect), []
    whole = words.token

    def counted(sql, at):
        found = whole(sql, at)
        seen.append((at, found[2]))
        return found

    monkeypatch.setattr(words, "token", counted)
    analyze("SELECT a, 'b' FROM t WHERE c IN (1, 2) AND d = $1 -- e\n" * 50, dialect=dialect)
    assert all(start < end for start, end in seen[:-1])
    assert all(before[1] <= after[0] for before, after in pairwise(seen))

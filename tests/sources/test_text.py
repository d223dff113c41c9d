"""What the text analyser keeps of a statement, and what it hides."""

import re

import pytest

from otel_dbevents.sources.text import analyze
from otel_dbevents.sources.text.masker import LIMIT

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

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
    pytest.param(
        'a = "x@y.z" OR a IN ("1-2", b) OR a LIKE "%x" OR "a-b" = t."c-d"', "postgresql",
        'a = ? OR a IN (?, b) OR a LIKE ? OR "a-b" = t."c-d"', id="quotes that were mistaken",
    ),
    pytest.param('a = "b" OR a = "B c"."d-e"', "oracle", 'a = "b" OR a = "B c"."d-e"', id="names"),
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
    pytest.param(
        r"SELECT a FROM t WHERE b = 'O\'Brien, Jane' AND c = 1",
        "postgresql",
        "SELECT a FROM t WHERE b = ?",
        id="escaped as for MySQL",
    ),
    pytest.param(
        r"INSERT INTO t VALUES ('O\'Brien', 'x')",
        "sqlite",
        "INSERT INTO t VALUES (?",
        id="escaped as for MySQL, in a list",
    ),
    pytest.param(
        r"SELECT a FROM t WHERE b = 'O\'Brien' AND c = 'D\'Arcy'",
        "postgresql",
        "SELECT a FROM t WHERE b = ?",
        id="escaped as for MySQL, twice",
    ),
    pytest.param(
        r"SELECT a FROM t WHERE b = 'C:\' AND c = 'D'",
        "postgresql",
        "SELECT a FROM t WHERE b = ? AND c = ?",
        id="a path that ends in a backslash",
    ),
    pytest.param("SELECT ARRAY['a', 'b']", "sqlite", "SELECT ARRAY?", id="PostgreSQL's array"),
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
    pytest.param(
        "SELECT E'a'\n  'it\\'s', c", "postgresql", "SELECT ?, c", id="E string on the next line"
    ),
    pytest.param(
        "SELECT E'a' -- it's\n'it\\'s', c", "postgresql", "SELECT ?, c", id="E string, comment"
    ),
    pytest.param("SELECT 'a'\n'b', c", "postgresql", "SELECT ? ?, c", id="string on two lines"),
    pytest.param("SELECT 0xAB\\\nCD, c", "mssql", "SELECT ?, c", id="binary on two lines"),
    pytest.param("/*!50000 '*/ s' + */ a", "mysql", "a", id="comment that is run"),
    pytest.param('a /*M! "*/ s" `*/` ', "mariadb", "a", id="comment that is run, not closed"),
    pytest.param("a /*! 's */ b", "mysql", "a", id="comment that is run, string not closed"),
    pytest.param("SELECT $12.50, $1", "", "SELECT ?, $1", id="money in doubt"),
    pytest.param("SELECT E'a\\'s", "postgresql", "SELECT ?", id="unterminated E string"),
    pytest.param(
        "SELECT E'a'\n'b\\'s", "postgresql", "SELECT ?", id="unterminated on the next line"
    ),
    pytest.param("SELECT 5E'a\\'s', c", "postgresql", "SELECT ??, c", id="E string at a number"),
    pytest.param("SELECT $1E'a\\'s', c", "postgresql", "SELECT $1?, c", id="E string at $1"),
    pytest.param("SELECT @E'a\\'s', c", "postgresql", "SELECT @?, c", id="E string at operator"),
    pytest.param("a[b :E'a\\'s']", "postgresql", "a[b :?]", id="E string in a slice"),
    pytest.param("IN (:q'')", "mysql", "IN (?)", id="placeholder before a string"),
    pytest.param("%s$t$-$t$s", "postgresql", "?", id="dollars behind a placeholder"),
    pytest.param(":a$$ $$s", "postgresql", "?", id="dollars behind a colon and a word"),
    pytest.param("1.:2", "mysql", "?:?", id="slice behind a number"),
    pytest.param("a[$$b$$:1]", "postgresql", "a[?:?]", id="slice behind dollars"),
    pytest.param("SELECT 0x$t$($t$s", "postgresql", "SELECT ?", id="dollars at a number"),
    pytest.param("SELECT 0xq'!'!''\'s", "oracle", "SELECT ??!?", id="no q string in a word"),
    pytest.param("SELECT 5q'[it's]', c", "oracle", "SELECT ??, c", id="q string at a number"),
    pytest.param("a --x\rb", "postgresql", "a b", id="carriage return ends a comment"),
    pytest.param("a --x\r's\ns'", "postgresql", "a ?", id="string behind a carriage return"),
    pytest.param("a --x\r's\ns'", "mssql", "a ?", id="carriage return in doubt"),
    pytest.param("a ` 's' `", "postgresql", "a ` ? `", id="backticks are no quotes"),
    pytest.param("a `it's` b 's'", "", "a ?", id="backticks in doubt"),
    pytest.param("a `b c-d` e", "", "a `b c-d` e", id="backticks without doubt"),
    pytest.param("a $$it's$$ b", "", "a ?", id="dollar string in doubt"),
    pytest.param("a $x$ 'b $x$ s'", "mysql", "a ?", id="dollar string by mistake"),
    pytest.param('a "b\\" s" c', "", "a ?", id="double quotes and backslash in doubt"),
    pytest.param("a # 's\ns'", "", "a ?", id="hash comment in doubt"),
    pytest.param("a --'s\ns'", "", "a ?", id="minus minus in doubt"),
    pytest.param("a /* /* */ 's */ s'", "", "a ?", id="nested comment in doubt"),
    pytest.param("5--/* s */3--/* s */", "mysql", "?--?", id="mysql minus minus and a comment"),
    pytest.param("--/**/-/*", "mysql", "", id="mysql minus minus at the end"),
    pytest.param("a --/**/- b", "mysql", "a ---b", id="mysql minuses and a comment"),
    pytest.param("a - /**/ - -b", "", "a - - -b", id="minuses make no comment"),
    pytest.param("a\x00b --/**/\x7fc", "mysql", "a b --c", id="control characters"),
    pytest.param("/*! /* ' */ 's' */ a", "mysql", "a", id="comment in a comment that is run"),
    pytest.param("/*! # '\n 's' */ a", "mysql", "a", id="line in a comment that is run"),
    pytest.param("IN ('a' 'b', ('c'))", "", "IN (? ?, (?))", id="values and rows mixed"),
    pytest.param("VALUES (1), -2 (3)", "", "VALUES (?), ? (?)", id="no row"),
    pytest.param("SELECT * FROM a@b", "oracle", "SELECT * FROM a@b", id="database link"),
    pytest.param("", "", "", id="empty"),
    pytest.param(" -- x", "", "", id="only a comment"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "dialect", "expected"), SANITISED)
def test_a_statement_is_kept_without_its_literals(sql, dialect, expected):
    assert analyze(sql, dialect=dialect).text == expected


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

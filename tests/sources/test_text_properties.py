"""What holds for every text: no literal survives, nothing raises, twice is once, work is linear."""

import sys
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_dbevents.sources.summary import LIMIT as SUMMARY_LIMIT
from otel_dbevents.sources.text import analyze
from otel_dbevents.sources.text.tokens import lexicon

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

FAMILIES = ("", "postgresql", "mysql", "sqlite", "mssql", "oracle")
DIALECTS = ("", "postgresql", "mysql", "mariadb", "sqlite", "libsql", "mssql", "oracle")

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


UNITS = [
    "'", '"', "`", "(", "[", "-", "--", "/*", "/", "$", "$a", "$a$", "q'[", "_", "_'", "a.", ":",
    "\\'", "%(", "%(a", "0x", ".", "1e", "@", "#", "N'", "E'", "E'\\", "IN (1,", "VALUES (1),(",
    " ", "a ", "a,b ", "SELECT ", "WITH a AS (", "{", "\x00", "(SELECT a FROM t, ", "E'a' --\n",
    "WITH a AS (SELECT b FROM c, ", "IN (1, ", "E'a'\n", "/*! ' ", "/*!\\'", "IN ((1),(", "a::b ",
    "VALUES (1, f(2)),", "CREATE a PASSWORD b ", "CREATE USER a, b ", "CREATE OPTIONS (a (b ",
    "#a\n", "--a\r", "SET a = b ", "EXEC p a, ", "x'1' ", "(1), ",
]  # fmt: skip


def steps(sql, dialect):
    """Return how many functions are called, and called back by the interpreter, for a text."""
    taken = 0

    def count(_frame, _event, _argument):
        nonlocal taken
        taken += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        analyze(sql, dialect=dialect)
    finally:
        sys.setprofile(before)
    return taken


@pytest.mark.parametrize("dialect", FAMILIES)
@pytest.mark.parametrize("unit", UNITS)
def test_twice_the_text_is_at_most_twice_the_work(unit, dialect):
    assert steps(unit * 160, dialect) <= 2.1 * steps(unit * 80, dialect) + 100


@pytest.mark.parametrize("unit", UNITS)
def test_twenty_thousand_characters_of_anything_are_taken(unit):
    for dialect in FAMILIES:
        analyze(unit * (20_000 // len(unit)), dialect=dialect)


@pytest.mark.parametrize("last", ["1)", "a)", "/* x */ 1)", "(1))", "f(1))", ""])
def test_a_long_list_is_taken_whatever_ends_it(last):
    for opened in ("a IN (", "VALUES (", "VALUES (1), ("):
        assert MARKER not in analyze(opened + f"'{MARKER}', " * 20_000 + last).text


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

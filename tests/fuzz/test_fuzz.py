"""The fuzzer itself: it finds what is planted, and finds nothing in a short search."""

import pytest

from otel_dbevents.sources.text import TextFacts, analyze
from tests.fuzz import checks, reference
from tests.fuzz.__main__ import search
from tests.sources.test_text import SANITISED

pytestmark = pytest.mark.newest  # once is enough, whatever the versions


def test_a_short_search_finds_nothing():
    assert search(20251125, texts=4_000) == (4_000, [])


def _broken(said):
    return lambda sql, *, dialect: TextFacts(said(sql, dialect), "", writes=True)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (lambda sql, dialect: sql, "a literal or comment survives"),
        (lambda sql, dialect: sql + "x", "sanitising twice changes the text"),
        (lambda sql, dialect: "x" * 40_000, "too long"),
        (lambda sql, dialect: {}["x"], "raised KeyError"),
    ],
)
def test_a_mistake_of_the_analyser_is_found_and_made_small(monkeypatch, said, wrong):
    monkeypatch.setattr(checks, "analyze", _broken(said))
    sql = "SELECT a, b FROM t WHERE c = E'it\\'s zq1q' AND d = 5"
    assert checks.complaint(sql, "postgresql") == wrong
    small = checks.smallest(sql, "postgresql", wrong)
    assert len(small) < len("E'zq1q'")


@pytest.mark.parametrize(
    ("sql", "dialect", "spans"),
    [
        ("a 'b''c' -- d\ne", "sqlite", ["'b''c'", "-- d"]),
        (r"E'a\'b' 'c\' /* /* d */ e */", "postgresql", [r"E'a\'b'", r"'c\'", "/* /* d */ e */"]),
        ("$a$ b $$ c $a$ d$e$f", "postgresql", ["$a$ b $$ c $a$"]),
        ("'a\\'b' \"c\" --d\n# e\n-- f", "mysql", ["'a\\'b'", '"c"', "# e", "-- f"]),
        ("/*!50000 'a */ b' */ `'` /* /* */ 'c'", "mysql", ["'a */ b'", "/* /* */", "'c'"]),
        ("[a'b] 'c' [d]] 'e']", "mssql", ["'c'"]),
        ("q'[it's]' nq'!a!' 'b' \"'\"", "oracle", ["q'[it's]'", "nq'!a!'", "'b'"]),
    ],
)
def test_the_second_reading_knows_literals_and_comments(sql, dialect, spans):
    found = reference.literals_and_comments(sql, dialect)
    assert [sql[begin:end] for begin, end in found] == spans


@pytest.mark.parametrize("dialect", reference.DIALECTS)
def test_both_readings_agree_on_what_the_suite_already_knows(dialect):
    for case in SANITISED:
        assert checks.complaint(case.values[0], dialect) == ""
        assert analyze(case.values[0], dialect=dialect) is not None

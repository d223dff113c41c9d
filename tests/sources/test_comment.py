"""The comment that carries the trace: where it stands, and that it changes nothing else."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_dbevents.sources.comment import commented
from tests.any_event import TEXTS, unhurried

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
WRITTEN = "/*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", f"SELECT 1 {WRITTEN}"),
        ("SELECT 1;", f"SELECT 1 {WRITTEN};"),
        ("SELECT 1 ; \n", f"SELECT 1 {WRITTEN};"),
        ("SELECT 1 -- the last word", f"SELECT 1 -- the last word\n{WRITTEN}"),
        ("SELECT 1 # the last word", f"SELECT 1 # the last word\n{WRITTEN}"),
        ("SELECT 1; -- done", f"SELECT 1; -- done\n{WRITTEN}"),
        ("SELECT 1 -- first\n+ 1", f"SELECT 1 -- first\n+ 1 {WRITTEN}"),
        ("SELECT '--'", f"SELECT '--'\n{WRITTEN}"),
        ("SELECT /*+ HINT(x) */ 1", f"SELECT /*+ HINT(x) */ 1 {WRITTEN}"),
        ("SELECT 1 /* plain words */", f"SELECT 1 /* plain words */ {WRITTEN}"),
    ],
)
def test_it_stands_at_the_end(sql, expected):
    assert commented(sql, TRACE) == expected


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT 1 {WRITTEN}",
        f"SELECT 1 {WRITTEN};",
        f"{WRITTEN} SELECT 1",
        "SELECT 1 /*application='shop',route='%2Fpay'*/",
        "/*dddbs='shop',ddps='web'*/ SELECT 1",
    ],
)
def test_what_has_one_gets_no_second(sql):
    assert commented(sql, TRACE) == sql


def test_twice_is_once():
    once = commented("SELECT a FROM b WHERE c='d'", TRACE)
    assert commented(once, TRACE) == once != "SELECT a FROM b WHERE c='d'"


@pytest.mark.parametrize("carried", [{}, {"tracestate": ""}, {"baggage": "x" * 5000}])
def test_without_anything_to_carry_or_with_too_much_the_text_stays(carried):
    assert commented("SELECT 1", carried) == "SELECT 1"


@pytest.mark.parametrize("style", ["format", "pyformat"])
def test_no_percent_sign_is_taken_for_a_placeholder(style):
    told = commented("SELECT %s", {"tracestate": "a=1%2,b=?:x"}, style)
    assert told % "x" == "SELECT x /*tracestate='a%3D1%252%2Cb%3D%3F%3Ax'*/"


def test_other_drivers_get_no_doubled_sign():
    assert "%3D" in commented("SELECT ?", {"tracestate": "a=1"}, "qmark")


@unhurried
@given(st.dictionaries(TEXTS.filter(bool), TEXTS, min_size=1, max_size=3))
def test_nothing_that_is_carried_can_end_the_comment(carried):
    told = commented("SELECT 1", carried)
    comment = told.removeprefix("SELECT 1").strip()
    if not comment:
        assert not any(carried.values())
        return
    assert comment.startswith("/*")
    assert comment.index("*/") == len(comment) - 2
    assert comment.isascii()
    for value in filter(None, carried.values()):
        assert value in unquote(comment)

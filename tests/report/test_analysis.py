"""From turns to a report: groups, medians, verdicts, what changed since when, what is bounded."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_dbevents.report import analysis, report
from otel_dbevents.report.analysis import Analysis
from otel_dbevents.report.changes import changes
from otel_dbevents.report.findings import Repeated, Report, Spread, TopQuery, Verdict
from otel_dbevents.report.model import Part, Prompt, Query, Repetition, Turn, Work
from otel_dbevents.report.sample import Row, Sample
from otel_dbevents.report.tops import MOST, Tops
from otel_dbevents.report.traces import Traces
from tests.report.making import MS, START_NS, generation, query, span

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

V6, V7 = Prompt("support", "6", "m"), Prompt("support", "7", "m")


def turn(
    busy_ms=10.0, model_ms=50.0, whole_ms=100.0, prompt=V6, at=0, count=3, errors=0, **more
) -> Turn:
    """Return a turn of one prompt."""
    done = None
    if busy_ms is not None:
        done = Work(round(busy_ms * MS), round(busy_ms * MS), count, errors)
    found = more.pop("queries", ()), more.pop("repetitions", ())
    return Turn(
        trace_id="t",
        start_ns=START_NS + at * 1_000 * MS,
        duration_ns=round(whole_ms * MS),
        model_ns=round(model_ms * MS),
        work=done,
        parts=(Part(prompt, round(model_ms * MS), done, *found),),
        queries=found[0],
        repetitions=found[1],
        rolled_up=done is not None,
        **more,
    )


def report_of(*turns, **more) -> Report:
    found = Analysis(lambda turn, prompt: True, **more)
    for each in turns:
        found.add(each)
    return found.report("tests")


def test_each_prompt_version_and_model_is_a_group():
    found = report_of(turn(prompt=V6), turn(prompt=V7), turn(prompt=V7), turn(prompt=Prompt()))
    assert [(each.prompt, each.turns) for each in found.groups] == [(V6, 1), (V7, 2), (Prompt(), 1)]
    assert found.total is not None
    assert found.total.turns == 4


def test_prompts_stand_by_their_database_time_and_versions_by_their_start():
    light = Prompt("light", "1", "m")
    found = report_of(
        turn(prompt=light),
        turn(500, prompt=V7, at=60),
        turn(20, prompt=V6, at=0),
        turn(prompt=light),
    )
    assert [each.prompt for each in found.groups] == [V6, V7, light]


def test_medians_and_p95_are_those_of_the_turns():
    found = report_of(*(turn(busy_ms=n, count=n, whole_ms=200, model_ms=50) for n in range(1, 101)))
    (group,) = found.groups
    assert group.database == Spread(50.5, 95)
    assert group.queries == Spread(50.5, 95)
    assert group.rest == Spread(99.5, 144)
    assert group.share == Spread(0.2525, 0.475)


def test_a_share_that_was_told_is_the_share():
    found = report_of(turn(busy_ms=0.4, whole_ms=1, share=0.31))
    assert found.groups[0].share == Spread(0.31, 0.31)


def test_a_turn_without_numbers_counts_as_a_turn_and_not_in_the_database():
    found = report_of(turn(40), turn(None), turn(None))
    (group,) = found.groups
    assert (group.turns, group.known, found.rolled_up) == (3, 1, 1)
    assert group.database == Spread(40, 40)
    assert report_of(turn(None)).groups[0].database is None
    assert report_of(turn(None)).groups[0].typical is None


def test_failures_are_counted_with_their_turns():
    (group,) = report_of(turn(errors=3), turn(errors=1), turn()).groups
    assert (group.failures, group.failed_turns) == (4, 2)


@pytest.mark.parametrize(
    ("model_ms", "busy_ms", "part", "share"),
    [(60, 20, "model", 0.6), (20, 70, "database", 0.7), (20, 30, "rest", 0.5)],
)
def test_the_verdict_is_what_took_the_most(model_ms, busy_ms, part, share):
    (group,) = report_of(turn(busy_ms, model_ms)).groups
    assert group.typical == group.slow == Verdict(part, share)


def test_slow_turns_have_a_verdict_of_their_own():
    usual = [turn(10, 80, 100, at=n) for n in range(95)]
    slow = [turn(900, 80, 1_000, at=100 + n) for n in range(5)]
    (group,) = report_of(*usual, *slow).groups
    assert group.typical == Verdict("model", 0.8)
    assert group.slow is not None
    assert group.slow.part == "database"


def test_of_turns_that_took_no_time_there_is_no_verdict():
    (group,) = report_of(turn(0, 0, 0)).groups
    assert (group.typical, group.slow, group.share) == (None, None, Spread(0, 0))


def test_work_and_model_at_once_leave_no_time_below_nothing():
    (group,) = report_of(turn(busy_ms=80, model_ms=80, whole_ms=100)).groups
    assert group.rest == Spread(0, 0)


def test_a_new_version_that_is_slower_is_told_with_its_first_turn():
    turns = [turn(20 + n % 3, prompt=V6, at=n) for n in range(10)]
    turns += [turn(200 + n % 3, prompt=V7, at=50 + n) for n in range(10)]
    random.Random(1).shuffle(turns)
    (change,) = report_of(*turns).changes
    assert (change.before, change.after, change.slower) == (V6, V7, True)
    assert change.since_ns == START_NS + 50_000 * MS
    assert (change.before_ms, change.after_ms) == (21, 201)


def test_a_new_version_that_is_faster_is_told_too():
    turns = [turn(200, prompt=V6, at=n) for n in range(5)]
    turns += [turn(20, prompt=V7, at=50 + n) for n in range(5)]
    assert [each.slower for each in report_of(*turns).changes] == [False]


@pytest.mark.parametrize(
    ("before", "after", "turns"), [(20, 200, 4), (1, 5.9, 9), (20, 24.9, 9), (100, 149, 9)]
)
def test_few_turns_or_small_differences_are_no_change(before, after, turns):
    made = [turn(before, prompt=V6, at=n) for n in range(turns)]
    made += [turn(after, prompt=V7, at=50 + n) for n in range(turns)]
    assert report_of(*made).changes == ()


def test_a_shift_within_one_version_is_told_to_the_turn():
    turns = [turn(20 + n % 5, at=n) for n in range(37)]
    turns += [turn(160 + n % 5, at=n) for n in range(37, 60)]
    (change,) = report_of(*turns).changes
    assert (change.kind, change.before, change.after) == ("shift", V6, V6)
    assert change.since_ns == START_NS + 37_000 * MS
    assert (change.before_ms, change.after_ms) == (22, 162)


def test_turns_that_differ_all_the_time_are_no_shift():
    noise = random.Random(3)
    turns = [turn(noise.choice([10, 12, 200, 220]), at=n) for n in range(120)]
    assert report_of(*turns).changes == ()


@given(st.lists(st.integers(0, 10**9), max_size=80))
def test_a_shift_always_parts_turns_that_are_twofold_apart(busy):
    rows = [Row(n, 10**9, 0, each, 0, 1) for n, each in enumerate(busy)]
    for each in changes([(V6, rows)]):
        assert max(each.before_ms, each.after_ms) >= 2 * min(each.before_ms, each.after_ms)
        assert 5 <= each.since_ns <= len(rows) - 5


def test_queries_add_up_over_turns():
    slow, plain = Query("SELECT  a\nFROM b", 9 * MS, 2, 10 * MS), Query("SELECT 2", 3 * MS)
    found = report_of(turn(queries=(slow, plain)), turn(queries=(slow,)))
    assert found.groups[0].top_queries == (
        TopQuery("SELECT a FROM b", 2, 9, 4, 20),
        TopQuery("SELECT 2", 1, 3, None, None),
    )


def test_repetitions_are_told_by_statement_and_place():
    here, there = Repetition("q", 40, "a.py:1"), Repetition("q", 12, "b.py:2")
    found = report_of(turn(repetitions=(here,)), turn(repetitions=(here, there)))
    assert found.groups[0].repeated == (
        Repeated("q", "a.py:1", 2, 40),
        Repeated("q", "b.py:2", 1, 12),
    )


def test_statements_without_end_are_bounded_and_the_heaviest_stay():
    tops = Tops()
    for number in range(MOST * 3):
        made = Query(f"SELECT {number}", number, 1, number)
        tops.add(Part(V6, 0, None, (made,), (Repetition(f"SELECT {number}", number),)))
    assert len(tops._queries) <= MOST
    assert len(tops._repeated) <= MOST
    assert tops.queries(1)[0].text == tops.repeated(1)[0].text == f"SELECT {MOST * 3 - 1}"


def test_prompts_without_end_are_bounded_and_counted(monkeypatch):
    monkeypatch.setattr(analysis, "MOST_GROUPS", 3)
    found = report_of(*(turn(prompt=Prompt(f"p{n}")) for n in range(5)))
    assert (len(found.groups), found.not_told) == (3, 2)
    assert found.total is not None
    assert found.total.turns == 5


def test_turns_without_end_are_sampled_and_it_says_so():
    found = report_of(*(turn(busy_ms=n % 100) for n in range(2_000)), most_rows=200)
    (group,) = found.groups
    assert (group.turns, group.sampled) == (2_000, True)
    assert group.database is not None
    assert 35 < group.database.median < 65


def test_a_sample_keeps_each_row_with_the_same_chance():
    sample = Sample(100)
    for number in range(1_000):
        sample.put(Row(number, 0, 0, 0, 0, 0))
    kept = [row.start for row in sample.rows()]
    assert len(kept) == 100
    assert kept == sorted(kept)
    assert sum(each < 500 for each in kept) in range(30, 71)


def test_spans_of_too_many_traces_are_not_held():
    traces = Traces(most=10)
    spans = [span(f"s{n}", 0, 1, trace=f"t{n}") for n in range(1_000)]
    held = []
    for trace in traces.gather(spans):
        held.append(traces._count)
        assert len(trace) == 1
    assert max(held) <= 10
    assert traces.spans == len(held) == 1_000


def test_a_trace_without_end_is_not_held_and_its_late_spans_are_counted():
    traces = Traces(most=10)
    found = [*traces.gather(span(f"s{n}", 0, 1) for n in range(100))]
    assert [len(each) for each in found] == [11]
    assert (traces.spans, traces.late) == (100, 89)


def test_a_span_that_was_sent_twice_counts_once():
    spans = [generation("a", 0, 50, "turn"), span("turn", 0, 60, "", {"gen_ai.x": 1})]
    spans.append(query("q", 10, 20, "turn"))
    found = report([*spans, *spans])
    assert found.total is not None
    assert (found.total.turns, found.total.queries) == (1, Spread(1, 1))


def test_traces_that_are_mixed_up_are_told_apart():
    spans = []
    for number in range(20):
        spans += [
            generation("a", number, number + 50, "turn", trace=f"t{number}"),
            query("q", number, number + 5, "a", trace=f"t{number}"),
            span("turn", number, number + 60, "", {"gen_ai.x": 1}, trace=f"t{number}"),
        ]
    random.Random(2).shuffle(spans)
    found = report(spans)
    assert found.total is not None
    assert (found.total.turns, found.total.database) == (20, Spread(5, 5))


def test_turns_outside_the_period_do_not_count():
    spans = [generation(f"g{n}", n, n + 5, trace=f"t{n}") for n in range(10)]
    found = report(spans, since_ns=3 * MS, until_ns=7 * MS)
    assert found.total is not None
    assert (found.total.turns, found.seen) == (4, 10)
    assert (found.total.first_ns, found.total.last_ns) == (3 * MS, 6 * MS)


def test_prompts_that_are_not_wanted_do_not_count():
    spans = [generation(f"g{n}", n, n + 5, trace=f"t{n}", prompt=f"p{n % 2}") for n in range(10)]
    found = report(spans, wanted=lambda prompt: prompt.name == "p1")
    assert [each.prompt.name for each in found.groups if each.prompt] == ["p1"]
    assert found.total is not None
    assert (found.total.turns, found.seen, found.names) == (5, 10, ("p0", "p1"))

"""From spans to turns: what is a turn, what its database did, and which prompt caused it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_dbevents.report import keys
from otel_dbevents.report.model import Part, Prompt, Query, Repetition, Turn, Work
from otel_dbevents.report.turns import turns_of
from tests.report.making import MS, generation, query, roll_up, span

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

AGENT = {keys.TYPE: "agent"}
TOOL = {keys.TYPE: "tool"}
ASK = Prompt("ask", "1", "m")
ANSWER = Prompt("answer", "2", "n")


def turn_of(*spans) -> Turn:
    (turn,) = turns_of(spans)
    return turn


def work(busy_ms, count, time_ms=None, errors=0) -> Work:
    return Work(round(busy_ms * MS), round((time_ms or busy_ms) * MS), count, errors)


def part(turn: Turn, prompt: Prompt) -> Part:
    return next(each for each in turn.parts if each.prompt == prompt)


def test_a_turn_is_the_outermost_llm_span():
    turn = turn_of(
        span("request", 0, 900, scope="http"),
        span("turn", 10, 800, "request", AGENT),
        span("between", 20, 700, "turn", scope="app"),
        generation("model", 30, 400, "between"),
    )
    assert (turn.start_ns, turn.duration_ns, turn.model_ns) == (10 * MS, 790 * MS, 370 * MS)


def test_two_llm_spans_side_by_side_are_two_turns():
    spans = [
        span("request", 0, 900, scope="http"),
        generation("one", 10, 100, "request", prompt="a"),
        generation("two", 10, 300, "request", prompt="b"),
    ]
    assert [turn.parts[0].prompt.name for turn in turns_of(spans)] == ["b", "a"]


def test_a_trace_without_llm_spans_has_no_turn():
    assert not [*turns_of([span("request", 0, 9, scope="http"), query("q", 1, 2, "request")])]


def test_a_generation_whose_parent_was_not_kept_belongs_to_the_turn_around_it():
    turn = turn_of(
        span("turn", 0, 800, "", AGENT),
        generation("model", 100, 300, "not-kept"),
        generation("again", 300, 310, "neither"),
    )
    assert (turn.duration_ns, turn.model_ns) == (800 * MS, 210 * MS)


def test_turns_under_one_span_that_was_not_kept_stay_apart():
    spans = [generation("long", 0, 900, "request"), generation("short", 100, 200, "request")]
    assert len([*turns_of(spans)]) == 2


def test_a_moment_alone_is_no_turn():
    assert not [*turns_of([span("feedback", 5, 5, "", {keys.TYPE: "event"})])]


def test_a_circle_of_parents_is_read_to_its_end():
    spans = [span("a", 0, 9, "b", AGENT), span("b", 0, 9, "a", AGENT), query("q", 1, 2, "a")]
    assert sum(1 for _ in turns_of(spans)) <= 2


def test_generations_at_once_count_once():
    turn = turn_of(
        span("turn", 0, 100, "", AGENT),
        generation("one", 10, 60, "turn"),
        generation("two", 20, 80, "turn"),
    )
    assert turn.model_ns == 70 * MS


@pytest.mark.parametrize(
    ("attributes", "is_one"),
    [
        ({"gen_ai.operation.name": "chat"}, True),
        ({"gen_ai.operation.name": "execute_tool"}, False),
        ({"openinference.span.kind": "LLM"}, True),
        ({"openinference.span.kind": "CHAIN"}, False),
        ({"llm.request.type": "chat", "traceloop.span.kind": "task"}, True),
        ({keys.TYPE: "embedding"}, True),
        ({keys.TYPE: "tool", keys.MODEL: "m"}, False),
        ({keys.MODEL: "m"}, True),
    ],
)
def test_each_convention_says_what_a_generation_is(attributes, is_one):
    turn = turn_of(span("it", 0, 50, "", attributes, scope="some.library"))
    assert turn.model_ns == (50 * MS if is_one else 0)


def test_the_roll_up_of_the_turn_is_its_database_work():
    turn = turn_of(
        span("turn", 0, 100, "", {**AGENT, **roll_up(4, 30.5, 41, errors=2, share=0.31)}),
        generation("model", 0, 50, "turn", "ask", "1"),
        span("tool", 50, 90, "turn", {**TOOL, **roll_up(4, 30.5, 41, errors=2)}),
    )
    assert turn.work == work(30.5, 4, 41, 2)
    assert turn.parts == (Part(ASK, 50 * MS, work(30.5, 4, 41, 2)),)
    assert turn.share == 0.31
    assert turn.rolled_up


@pytest.mark.parametrize("as_told", [str, lambda value: f'"{value}"'])
def test_numbers_that_became_texts_are_numbers_still(as_told):
    told = {key: as_told(value) for key, value in roll_up(4, 30.5, share=0.305).items()}
    turn = turn_of(span("turn", 0, 100, "", {**AGENT, **told}))
    assert (turn.work, turn.share) == (work(30.5, 4), 0.305)


@pytest.mark.parametrize("nonsense", ["many", "NaN", "-1", "Infinity", True, None, []])
def test_a_count_that_is_none_is_no_roll_up(nonsense):
    turn = turn_of(span("turn", 0, 100, "", {**AGENT, keys.QUERY_COUNT: nonsense}))
    assert turn.work is None


def test_without_roll_up_and_spans_the_work_is_not_known():
    turn = turn_of(span("turn", 0, 100, "", AGENT), generation("model", 0, 50, "turn"))
    assert (turn.work, turn.parts[0].work) == (None, None)


def test_without_a_roll_up_the_spans_say_it():
    turn = turn_of(
        span("turn", 0, 100, "", AGENT),
        query("one", 10, 30, "turn"),
        query("two", 20, 40, "turn", failed=True),
        span("commit", 50, 55, "turn", {keys.SYSTEM_NAME: "sqlite"}, scope="otel_dbevents"),
    )
    assert turn.work == work(35, 2, 45, 1)
    assert (turn.rolled_up, turn.complete) == (False, True)


def test_reading_the_rows_is_database_time():
    turn = turn_of(
        span("turn", 0, 100, "", AGENT),
        query("one", 10, 30, "turn", also={keys.FETCH_DURATION: 0.015}),
    )
    assert turn.work == work(35, 1)


def test_a_folded_span_is_as_many_statements_as_it_says():
    folded = {keys.FOLDED_COUNT: 50, keys.FOLDED_DURATION: 0.02, keys.FOLDED_LONGEST: 0.003}
    turn = turn_of(
        span("turn", 0, 100, "", AGENT), query("q", 10, 90, "turn", text="SELECT 2", also=folded)
    )
    assert turn.work == work(20, 50)
    assert turn.queries == (Query("SELECT 2", 3 * MS, 50, 20 * MS),)
    assert turn.repetitions == (Repetition("SELECT 2", 50),)


def test_langfuses_milliseconds_give_way_to_the_exact_time():
    turn = turn_of(
        span("turn", 0, 100, "", AGENT), query("q", 10, 10, "turn", also={keys.EXACT_MS: "0.482"})
    )
    assert turn.work == work(0.482, 1)


def test_spans_that_saw_more_than_the_roll_up_are_believed():
    # another process worked for the turn: its spans are there, its work is in no roll-up
    turn = turn_of(
        span("turn", 0, 100, "", {**AGENT, **roll_up(1, 5)}),
        query("here", 10, 15, "turn"),
        span("server", 20, 90, "turn", scope="http"),
        query("there", 30, 50, "server"),
    )
    assert turn.work == work(25, 2)


def test_roll_ups_of_two_services_add_up():
    turn = turn_of(
        span("turn", 0, 100, "", AGENT),
        span("one", 0, 50, "turn", {**TOOL, **roll_up(2, 20, errors=1)}),
        span("two", 50, 90, "turn", {**TOOL, **roll_up(3, 30)}),
    )
    assert turn.work == work(50, 5, errors=1)


def test_a_database_span_names_its_cause():
    turn = turn_of(
        span("turn", 0, 400, "", AGENT),
        generation("a", 0, 50, "turn", "ask", "1"),
        span("tool", 50, 100, "turn", TOOL),
        query("q1", 50, 80, "tool", cause="a"),
        generation("b", 100, 200, "turn", "answer", "2", "n"),
        query("q2", 210, 220, "turn", text="SELECT 2", cause="b"),
    )
    assert part(turn, ASK).work == work(30, 1)
    assert part(turn, ANSWER).work == work(10, 1)
    assert [each.text for each in part(turn, ANSWER).queries] == ["SELECT 2"]


def test_work_before_any_generation_is_no_prompts():
    turn = turn_of(
        span("turn", 0, 400, "", AGENT),
        query("q0", 5, 9, "turn"),
        generation("a", 10, 50, "turn", "ask", "1"),
        query("q1", 50, 80, "turn", cause="a"),
        generation("b", 100, 200, "turn", "answer", "2", "n"),
    )
    assert turn.work == work(34, 2)
    assert part(turn, ASK).work == work(30, 1)
    assert part(turn, ANSWER).work == work(0, 0)


def test_where_others_name_theirs_a_span_without_a_cause_has_none():
    turn = turn_of(
        span("turn", 0, 400, "", AGENT),
        generation("a", 0, 50, "turn", "ask", "1"),
        query("q1", 50, 80, "turn", cause="a"),
        query("elsewhere", 85, 90, "turn"),  # in a process that knows of no generation
        generation("b", 100, 200, "turn", "answer", "2", "n"),
    )
    assert turn.work == work(35, 2)
    assert part(turn, ASK).work == work(30, 1)


def test_where_no_span_names_its_cause_the_order_does():
    turn = turn_of(
        span("turn", 0, 400, "", AGENT),
        generation("a", 0, 50, "turn", "ask", "1"),
        query("q1", 50, 80, "turn"),
        generation("b", 100, 200, "turn", "answer", "2", "n"),
        query("inside", 120, 130, "b"),
        query("q2", 210, 215, "turn"),
    )
    assert part(turn, ASK).work == work(30, 1)
    assert part(turn, ANSWER).work == work(15, 2)


def test_parallel_agents_do_not_blame_each_other():
    turn = turn_of(
        span("turn", 0, 400, "", AGENT),
        span("left", 0, 300, "turn", AGENT),
        span("right", 0, 300, "turn", AGENT),
        generation("a", 0, 100, "left", "ask", "1"),
        generation("b", 0, 120, "right", "answer", "2", "n"),
        query("q", 130, 150, "left"),  # the last one that ended was the right agent's
    )
    assert part(turn, ASK).work == work(20, 1)
    assert part(turn, ANSWER).work == work(0, 0)


def test_a_tools_roll_up_is_the_work_of_the_generation_before_it():
    slow = (25.0, "SELECT 1")
    turn = turn_of(
        span("turn", 0, 400, "", {**AGENT, **roll_up(5, 40)}),
        generation("a", 0, 50, "turn", "ask", "1"),
        span("tool", 50, 100, "turn", {**TOOL, **roll_up(5, 40, slowest=slow)}),
        generation("b", 100, 200, "turn", "answer", "2", "n"),
    )
    assert part(turn, ASK).work == work(40, 5)
    assert part(turn, ASK).queries == (Query("SELECT 1", 25 * MS),)
    assert part(turn, ANSWER).work == work(0, 0)


def test_what_cannot_be_told_apart_is_not_told():
    # the queries ran in the turn itself, before or after the second generation: nobody knows
    turn = turn_of(
        span("turn", 0, 400, "", {**AGENT, **roll_up(5, 40)}),
        generation("a", 0, 50, "turn", "ask", "1"),
        generation("b", 100, 200, "turn", "answer", "2", "n"),
    )
    assert turn.work == work(40, 5)
    assert [each.work for each in turn.parts] == [None, None]


def test_a_part_of_the_spans_does_not_tell_whose_the_whole_is():
    turn = turn_of(
        span("turn", 0, 400, "", {**AGENT, **roll_up(50, 40)}),
        generation("a", 0, 50, "turn", "ask", "1"),
        query("q1", 50, 80, "turn", cause="a"),  # the other 49 were not kept
        generation("b", 100, 200, "turn", "answer", "2", "n"),
    )
    assert [each.work for each in turn.parts] == [None, None]
    assert not turn.complete


def test_the_roll_up_knows_where_a_repetition_was():
    told = roll_up(200, 50, repeated="200 x SELECT a AT b at app/retrieval.py:88")
    turn = turn_of(span("turn", 0, 100, "", {**AGENT, **told}))
    assert turn.repetitions == (Repetition("SELECT a AT b", 200, "app/retrieval.py:88"),)


def test_a_repetition_without_a_place_has_none():
    told = roll_up(200, 50, repeated="200 x SELECT 1")
    turn = turn_of(span("turn", 0, 100, "", {**AGENT, **told}))
    assert turn.repetitions == (Repetition("SELECT 1", 200),)


def test_a_text_that_was_encoded_as_json_is_decoded():
    told = roll_up(1, 50, slowest=(9.0, '"SELECT \\"a\\"\\nFROM b"'))
    turn = turn_of(span("turn", 0, 100, "", {**AGENT, **told}))
    assert turn.queries == (Query('SELECT "a"\nFROM b', 9 * MS),)


def test_a_quoted_name_is_no_json():
    assert keys.text({"k": '"a" = "b"'}, "k") == '"a" = "b"'


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30)), min_size=1, max_size=12))
def test_busy_time_is_never_more_than_the_turn_nor_than_all_added_up(queries):
    made = [query(f"q{n}", at, at + took, "turn") for n, (at, took) in enumerate(queries)]
    turn = turn_of(span("turn", 0, 120, "", AGENT), *made)
    assert turn.work is not None
    assert turn.work.busy_ns <= min(turn.work.time_ns, 121 * MS)
    assert turn.work.time_ns == sum(took for _, took in queries) * MS


@given(st.permutations(range(6)))
def test_the_order_in_which_spans_come_does_not_matter(order):
    spans = [
        span("turn", 0, 400, "", AGENT),
        generation("a", 0, 50, "turn", "ask", "1"),
        span("tool", 50, 100, "turn", TOOL),
        query("q1", 50, 80, "tool"),
        generation("b", 100, 200, "turn", "answer", "2", "n"),
        query("q2", 210, 220, "turn"),
    ]
    shuffled = turn_of(*(spans[place] for place in order))
    assert {each.prompt: each.work for each in shuffled.parts} == {
        ASK: work(30, 1),
        ANSWER: work(10, 1),
    }

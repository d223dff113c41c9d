"""What Langfuse is shown of single queries: which, and what it would make of them."""

import json
from functools import wraps

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import SpanProcessor, Tracer

from otel_dbevents.bridge import Shown
from otel_dbevents.bridge.quota import Grant, Quota
from otel_dbevents.events import (
    CodeLocation,
    Failure,
    LlmContext,
    QueryExplained,
    SlowQueryDetected,
    Statement,
    TraceParent,
)
from tests.bridge.support import (
    DB,
    END,
    MS,
    PARENT,
    SELECT,
    Told,
    checked_out,
    commit_failed,
    committed,
    connect_failed,
    executed,
    failed,
    recovered,
    repeated,
    rollback_failed,
    slow,
    timed_out,
)
from tests.langfuse.observation import observations_of

LLM = LlmContext(b"\x01" * 8, "chat", environment="dev")
SLOW = 600 * MS
FAILURES = [failed, commit_failed, rollback_failed, connect_failed, timed_out]


def told(queries="slow_and_errors", *, events=False, most=50, **options):
    return Told(shown=Shown(queries, events, most), slow_query_ns=500 * MS, **options)


def seen(told):
    """What Langfuse would show: the spans that any of the ways to it lets pass."""
    chosen = [span for span in told.spans if span.attributes.get("dbevents.langfuse") is True]
    return observations_of(encode_spans(chosen))


def only(told):
    (shown,) = seen(told)
    return shown


_start_span = Tracer.start_span


def _wrapped(self, *arguments, **options):
    """Start a span the long way, as whoever wraps it has us do."""
    return _start_span(self, *arguments, **options)


class Copying(SpanProcessor):
    """Writes on spans that start, as Langfuse's processor does."""

    def __init__(self, **attributes):
        self.attributes = attributes
        self.seen = []

    def on_start(self, span, parent_context=None):
        self.seen.append(dict(span.attributes))
        span.set_attributes(self.attributes)


def test_a_slow_query_is_a_warning_with_its_text_rows_and_exact_time():
    query = executed(duration_ns=SLOW, reading_ns=250_000, returned_rows=3, llm=LLM)
    shown = only(told().tell(query))
    assert (shown.type, shown.level, shown.name) == ("SPAN", "WARNING", "SELECT customers")
    assert shown.input == "SELECT * FROM customers WHERE id = ?"
    assert json.loads(shown.output) == {"rows": 3}
    assert shown.status_message == "took 600.2 ms; slow from 500 ms on"
    assert shown.metadata["db_duration_ms"] == "600.25"
    assert (shown.metadata["db_rows"], shown.metadata["db_system"]) == ("3", "postgresql")
    assert (shown.environment, shown.parent_id) == ("dev", PARENT.span_id.hex())


def test_a_query_shorter_than_a_millisecond_keeps_its_exact_time():
    shown = only(told("all").tell(executed(duration_ns=512_345, llm=LLM)))
    assert shown.metadata["db_duration_ms"] == "0.512345"
    assert shown.level == "DEFAULT"
    assert shown.status_message is None


@pytest.mark.parametrize("make", FAILURES)
@pytest.mark.parametrize("queries", ["slow_and_errors", "all"])
def test_what_failed_is_an_error_that_says_why_in_fixed_words(make, queries):
    shown = only(told(queries).tell(make(llm=LLM)))
    assert (shown.type, shown.level) == ("SPAN", "ERROR")
    expected = (
        "sqlalchemy.exc.TimeoutError: no connection became free within the pool's timeout"
        if make is timed_out
        else "psycopg.errors.InsufficientPrivilege (42501): permission denied"
    )
    assert shown.status_message == expected


def test_a_drivers_message_is_not_told_even_where_it_was_asked_for():
    failure = Failure("23505", "x.UniqueViolation", "duplicate key", "23505", message="key Xq7")
    query = failed(failure=failure, llm=LLM)
    shown = only(told(logs=False).tell(query))
    assert shown.status_message == "x.UniqueViolation (23505): duplicate key"


def test_fast_queries_are_shown_when_all_are_asked_for_and_only_then():
    query = executed(llm=LLM)
    assert seen(told().tell(query)) == []
    assert seen(told("none").tell(query)) == []
    assert only(told("all").tell(query)).level == "DEFAULT"


def test_outside_an_llm_trace_nothing_is_shown():
    events = [executed(duration_ns=SLOW), failed(), timed_out()]
    assert seen(told("all", events=True).tell(*events, slow(events[0]))) == []


def test_commits_and_waits_are_shown_only_when_slow():
    quick = [committed(llm=LLM), checked_out(llm=LLM)]
    assert seen(told("all").tell(*quick)) == []
    dragging = [committed(llm=LLM, duration_ns=SLOW), checked_out(llm=LLM, duration_ns=SLOW)]
    assert [each.level for each in seen(told().tell(*dragging))] == ["WARNING", "WARNING"]


def test_nothing_is_slow_where_no_threshold_is():
    bridge = Told(shown=Shown("slow_and_errors"), slow_query_ns=0)
    assert seen(bridge.tell(executed(duration_ns=SLOW, llm=LLM))) == []


def test_what_a_statement_changed_is_its_output_where_no_rows_were_read():
    query = executed(returned_rows=-1, affected_rows=7, llm=LLM)
    assert json.loads(only(told("all").tell(query)).output) == {"affected_rows": 7}


def test_a_trace_has_no_more_than_its_quota_of_which_the_many_take_but_a_part():
    bridge = told("all", most=10)
    bridge.tell(*(executed(llm=LLM) for _ in range(1000)))
    usual = seen(bridge)
    assert len(usual) == 8
    assert [each.status_message for each in usual[:-1]] == [None] * 7
    assert usual[-1].status_message == (
        "further ones are shown only if slow or failed; db_query_count above counts all"
    )
    bridge.tell(*(failed(llm=LLM) for _ in range(1000)))
    assert len(seen(bridge)) == 10
    assert seen(bridge)[-1].status_message.endswith(
        "; the last of 10 that are shown of this trace; db_query_count above counts all"
    )
    assert bridge.bridge.lost == {"langfuse_quota": 1990}
    assert len(bridge.spans) == 2000


def test_each_trace_has_a_quota_of_its_own_and_old_ones_are_forgotten():
    quota = Quota(1)
    for number in range(3_000):
        assert quota.take(number.to_bytes(16), True) is Grant.LAST
        assert quota.take(number.to_bytes(16), True) is Grant.NONE
    assert len(quota._taken) == 1_000
    assert quota.refused == 3_000


def test_a_folded_burst_is_one_observation_that_says_how_many():
    bridge = told("all", fold_after=1)
    bridge.tell(*(executed(returned_rows=2, llm=LLM, end_time_ns=END + n * MS) for n in range(12)))
    bridge.bridge.settle()
    first, folded = seen(bridge)
    assert first.status_message is None
    assert folded.status_message == "11 runs of this query: 77.0 ms in all, the longest 7.0 ms"
    assert folded.metadata["db_query_count"] == "11"
    assert folded.metadata["db_duration_ms"] == "77.0"
    assert json.loads(folded.output) == {"rows": 22}


def test_a_folded_burst_of_fast_queries_is_not_slow_however_long_it_lasts():
    bridge = told(fold_after=1)
    bridge.tell(*(executed(llm=LLM, end_time_ns=END + n * 100 * MS) for n in range(20)))
    bridge.bridge.settle()
    assert seen(bridge) == []


FOREIGN = {
    "model": "User",
    "input": "i",
    "output": "o",
    "prompt": "p",
    "events": "[]",
    "user.id": "row-99",
    "session.id": "s",
    "gen_ai.tool.name": "run_sql",
    "gen_ai.conversation.id": "c",
    "tag.tags": "t",
    "logfire.msg": "m",
    "deployment.environment.name": "elsewhere",
}


def test_what_a_hook_gives_is_not_taken_for_langfuses_own():
    given = {**FOREIGN, "app.tenant": "acme"}
    shown = only(told().tell(executed(duration_ns=SLOW, attributes=given, llm=LLM)))
    assert (shown.type, shown.name, shown.model) == ("SPAN", "SELECT customers", None)
    assert (shown.user_id, shown.session_id, shown.tags) == (None, None, ())
    assert shown.input == "SELECT * FROM customers WHERE id = ?"
    assert shown.environment == "dev"
    kept = shown.metadata["attributes"]
    assert kept["app.tenant"] == "acme"
    assert {key: kept[f"dbevents.hook.{key}"] for key in FOREIGN} == FOREIGN
    assert not FOREIGN.keys() & kept.keys()


def test_what_a_hook_gives_stays_as_it_is_outside_an_llm_trace_and_without_details():
    for bridge, llm in ((told(), None), (told("none"), LLM)):
        span = bridge.tell(executed(attributes={"user.id": "u"}, llm=llm)).span
        assert span.attributes["user.id"] == "u"


def test_a_hook_may_say_in_langfuses_words_what_a_query_is():
    given = {"langfuse.observation.type": "retriever", "langfuse.observation.input": "the question"}
    shown = only(told().tell(executed(duration_ns=SLOW, attributes=given, llm=LLM)))
    assert (shown.type, shown.input) == ("RETRIEVER", "the question")


@pytest.mark.parametrize("tracers", ["the SDK's", "somebody's"])
def test_what_is_copied_to_a_starting_span_reads_there_as_on_langfuses_own(monkeypatch, tracers):
    if tracers == "somebody's":
        monkeypatch.setattr(Tracer, "start_span", wraps(Tracer.start_span)(_wrapped))
    copying = Copying(**{"langfuse.trace.metadata.tenant": '"acme"', "user.id": "u1"})
    copying.attributes |= {"langfuse.trace.metadata.n": "7", "langfuse.trace.metadata.q": '"'}
    copying.attributes["langfuse.internal.is_app_root"] = True
    bridge = told()
    bridge.tracers.add_span_processor(copying)
    shown = only(bridge.tell(executed(duration_ns=SLOW, llm=LLM)))
    assert [shown.metadata[key] for key in ("tenant", "n", "q")] == ["acme", "7", '"']
    assert shown.user_id == "u1"
    assert not shown.is_app_root


def test_all_that_decides_is_on_the_span_when_it_starts():
    copying = Copying()
    bridge = told()
    bridge.tracers.add_span_processor(copying)
    bridge.tell(executed(duration_ns=SLOW, llm=LLM), executed(llm=LLM))
    chosen, other = copying.seen
    assert chosen["dbevents.langfuse"] is True
    assert chosen["langfuse.observation.type"] == "span"
    assert "dbevents.langfuse" not in other


PLACE = CodeLocation("shop/cart.py", 88, "load")
MOMENTS = [
    (slow(executed(), llm=LLM, called_from=PLACE), "WARNING"),
    (repeated(llm=LLM, called_from=PLACE, advice="selectinload()"), "WARNING"),
    (QueryExplained(DB, PARENT, END, MS, SELECT, b"i" * 16, "Seq Scan", llm=LLM), "DEFAULT"),
    (recovered(), "DEFAULT"),
    *((make(llm=LLM), "ERROR") for make in FAILURES[1:]),
]


@pytest.mark.parametrize(
    ("event", "level"), MOMENTS, ids=lambda each: getattr(each, "event_type", "")
)
def test_a_domain_event_is_a_moment_on_request(event, level):
    if event.llm is None:
        event = type(event)(
            event.database, event.parent, event.end_time_ns, event.duration_ns, 3, llm=LLM
        )
    shown = only(told("none", events=True).tell(event))
    assert (shown.type, shown.name, shown.level) == ("EVENT", event.event_type, level)
    assert shown.span.start_time_unix_nano == shown.span.end_time_unix_nano == event.time_ns
    assert shown.id == event.id[8:].hex()
    assert (shown.parent_id, shown.environment) == (PARENT.span_id.hex(), "dev")
    assert seen(told("none").tell(event)) == []
    assert seen(told("none", events=True).tell(type(event)(**_plain(event)))) == []


def _plain(event):
    """The event's own fields, outside an LLM trace."""
    return {name: getattr(event, name) for name in event.__struct_fields__ if name != "llm"}


def test_a_moment_tells_its_facts_without_values():
    event = repeated(llm=LLM, called_from=PLACE, advice="selectinload()")
    shown = only(told("none", events=True).tell(event))
    assert json.loads(shown.input) == {
        "count": 12,
        "duration_ms": 60.0,
        "query": "SELECT * FROM customers WHERE id = ?",
        "called_from": "shop/cart.py:88",
        "advice": "selectinload()",
    }


def test_a_drivers_message_is_in_no_moment():
    failure = Failure("08001", "x.OperationalError", "no connection", message="host Xq7")
    event = connect_failed(llm=LLM, error_message="to Xq7", failure=failure)
    shown = only(told("none", events=True, logs=False).tell(event))
    facts = {"duration_ms": 20.0, "retry_count": 2, "error_type": "08001"}
    assert json.loads(shown.input) == facts


def test_what_failed_is_not_told_twice():
    bridge = told(events=True).tell(connect_failed(llm=LLM), timed_out(llm=LLM))
    assert [each.type for each in seen(bridge)] == ["SPAN", "SPAN"]


def test_moments_count_in_a_traces_quota():
    bridge = told("none", events=True, most=5)
    bridge.tell(*(repeated(llm=LLM) for _ in range(20)))
    assert len(seen(bridge)) == 5


def test_a_moment_has_keys_that_langfuse_takes_for_nothing_else():
    statement = Statement("SELECT model, input FROM prompts", "SELECT prompts")
    event = SlowQueryDetected(DB, PARENT, END, SLOW, MS, statement, b"i" * 16, llm=LLM)
    shown = only(told("none", events=True).tell(event))
    assert (shown.type, shown.model, shown.user_id) == ("EVENT", None, None)
    allowed = ("langfuse.", "dbevents.")
    assert all(key.startswith(allowed) for key in shown.metadata["attributes"])


def test_an_unsampled_trace_uses_up_nothing():
    unsampled = TraceParent(PARENT.trace_id, PARENT.span_id, 0)
    bridge = told("all", most=2)
    bridge.tell(*(executed(llm=LLM, parent=unsampled) for _ in range(20)))
    assert bridge.bridge.lost == {}

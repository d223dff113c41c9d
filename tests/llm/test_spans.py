"""Which spans are known, on which providers, and that nothing of them stays."""

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langfuse import observe, propagate_attributes
from opentelemetry import context, trace
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import create_engine

from otel_dbevents import llm
from otel_dbevents.events import Database, DatabaseType, Environment, QueryExecuted, Statement
from otel_dbevents.llm import Ledger, Turns
from otel_dbevents.llm.processor import Watching
from tests.llm.conftest import App, written
from tests.llm.test_cause import generate, observed


def agent(provider: TracerProvider, name: str = "agent") -> Any:
    return provider.get_tracer("langfuse-sdk", "4").start_as_current_span(name)


def under(span: trace.Span) -> context.Context:
    return trace.set_span_in_context(span, context.Context())


def watching(provider: Any) -> list[object]:
    there = provider._active_span_processor._span_processors
    return [each for each in there if isinstance(each, Watching)]


def test_nothing_is_kept_of_ten_thousand_traces(app: App) -> None:
    app.observe(history=0)  # which would keep the contexts of what it still has to make
    tracer = app.provider.get_tracer("langfuse-sdk", "4")
    kept = []
    for number in range(10_000):
        with tracer.start_as_current_span("agent") as span:
            if number % 1000 == 0:
                kept.append(weakref.ref(span))
                app.query()
    assert len(llm.shared) == 0
    app.flush()
    app.spans.clear()
    del span
    gc.collect()
    assert not [each for each in kept if each() is not None]


@pytest.fixture
def turns() -> Iterator[Turns]:
    made, looking = Turns(most=10), Looking()
    made.join(looking.again, TracerProvider())
    yield made
    made.leave(looking.again)


def test_spans_that_never_end_are_forgotten_when_they_are_too_many(turns: Turns) -> None:
    provider = TracerProvider()
    turns.follow(provider)
    tracer = provider.get_tracer("langfuse-sdk")
    spans = [tracer.start_span(f"agent {number}") for number in range(25)]
    assert len(turns) == 10
    assert turns.forgotten == 15
    for each in spans:
        each.end()
    assert len(turns) == 0


def test_while_llm_work_is_open_only_what_is_below_it_has_a_ledger(turns: Turns) -> None:
    provider = TracerProvider()
    turns.follow(provider)
    ledger = turns.ledgers()
    elsewhere = trace.SpanContext(1, 2, False, trace.TraceFlags(1))
    with agent(provider) as span:
        its_own = span.get_span_context()
        contexts = [
            context.get_current(),
            under(trace.NonRecordingSpan(its_own)),  # of which only the id is known
            under(trace.NonRecordingSpan(elsewhere)),
            under(trace.NonRecordingSpan(trace.SpanContext(7, its_own.span_id, is_remote=True))),
            context.Context(),
        ]
        found = [isinstance(ledger(each), Ledger) for each in contexts]
    assert found == [True, True, False, False, False]
    assert not any(map(ledger, contexts[1:]))


def test_nothing_is_lost_while_no_worker_adds_up_and_what_waits_stays_bounded(turns: Turns) -> None:
    provider = TracerProvider()
    turns.follow(provider)
    database = Database(Environment.LOCAL, DatabaseType.SQLITE)
    with agent(provider) as span:
        ledger = turns.ledger(context.get_current())
        assert isinstance(ledger, Ledger)
        most = 0
        for _ in range(30_000):
            query = QueryExecuted(database, None, 10, 5, Statement("SELECT ?"))
            cause = ledger.cause()
            ledger.enter(query, cause)
            most = max(most, len(ledger._tree.pending))
    assert written(span)["db_query_count"] == 30_000
    assert most < 6_000


def test_a_span_that_was_dropped_unended_is_forgotten(turns: Turns) -> None:
    provider = TracerProvider()
    turns.follow(provider)
    span = provider.get_tracer("langfuse-sdk").start_span("agent")
    assert len(turns) == 1
    del span
    gc.collect()
    assert len(turns) == 0


def test_a_span_that_has_ended_is_in_no_cycle(turns: Turns) -> None:
    provider = TracerProvider()
    turns.follow(provider)
    span = provider.get_tracer("langfuse-sdk").start_span("agent")
    seen = weakref.ref(span)
    span.end()
    gc.disable()
    try:
        del span
        assert seen() is None
    finally:
        gc.enable()


def test_an_end_that_was_taken_from_the_span_keeps_it_alive(turns: Turns) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    turns.follow(provider)
    end = provider.get_tracer("langfuse-sdk").start_span("agent").end
    gc.collect()
    end(end_time=5)
    assert [each.end_time for each in spans.get_finished_spans()] == [5]


def test_spans_outside_llm_work_are_not_taken_note_of(app: App, langfuse: Any) -> None:
    with app.tracer().start_as_current_span("request") as span:
        app.query()
        assert "end" not in vars(span)
        assert len(llm.shared) == 0
    with observed(langfuse, "agent", "agent"):
        other = app.tracer().start_span("elsewhere", context=context.Context())
        assert "end" not in vars(other)
        assert len(llm.shared) == 1
        other.end()


def test_our_processor_leaves_the_short_way_to_our_spans_open(app: App, langfuse: Any) -> None:
    app.provider = TracerProvider()
    app.provider.add_span_processor(SimpleSpanProcessor(app.spans))
    bridge: Any = app.observe().bridge
    app.query()
    app.flush()
    assert bridge._spans._shortcut._view.is_quiet


def test_an_end_that_raises_does_so_still(app: App, langfuse: Any) -> None:
    class Failing(SpanProcessor):
        def on_end(self, span: object) -> None:
            raise OSError("of the application's own processor")

    app.provider.add_span_processor(Failing())
    span = app.tracer("langfuse-sdk").start_span("agent")
    with pytest.raises(OSError, match="own processor"):
        span.end()
    assert len(llm.shared) == 0


def test_what_an_end_does_not_take_is_refused_as_ever(app: App, langfuse: Any) -> None:
    span: Any = app.tracer("langfuse-sdk").start_span("agent")
    with pytest.raises(TypeError):
        span.end(end_time=None, nothing_such=1)


def test_an_end_past_the_span_s_own_method_is_seen_too(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        span: Any = langfuse.start_observation(name="plan", as_type="generation")._otel_span
        type(span).end(span)
        app.query()
    assert app.causes() == ["plan"]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_client_with_a_provider_of_its_own_is_followed(app: App, is_first: bool) -> None:
    isolated = TracerProvider()
    isolated.add_span_processor(SimpleSpanProcessor(app.spans))
    if not is_first:
        app.observe()
    langfuse = app.langfuse(tracer_provider=isolated)
    if is_first:
        app.observe()
    with observed(langfuse, "agent", "agent"):
        generate(langfuse, "plan")
        with observed(langfuse, "tool", "tool"):
            app.query()
    assert app.written("agent")["db_query_count"] == 1
    assert app.written("tool")["db_query_count"] == 1
    assert app.causes() == ["plan"]
    isolated.shutdown()


def test_a_provider_that_nobody_knew_of_is_followed_from_the_first_query_on(app: App) -> None:
    hidden = TracerProvider()
    hidden.add_span_processor(SimpleSpanProcessor(app.spans))
    app.observe()
    with agent(hidden, "first"), agent(hidden, "tool"):
        app.query()
    with agent(hidden, "second"), agent(hidden, "other tool"):
        app.query()
    assert app.written("first") == {}
    assert app.written("tool")["db_query_count"] == 1
    assert app.written("second")["db_query_count"] == 1


def test_letting_go_leaves_nothing_behind(app: App) -> None:
    before = TracerProvider.add_span_processor
    isolated = TracerProvider()
    pipeline = app.observe()
    app.langfuse(tracer_provider=isolated)
    assert len(watching(app.provider)) == len(watching(isolated)) == 1
    pipeline.attach()
    assert len(watching(app.provider)) == 1
    with agent(app.provider) as span:
        pipeline.close()
        assert len(llm.shared) == 0
    assert watching(app.provider) == watching(isolated) == []
    assert TracerProvider.add_span_processor is before
    assert written(span) == {}  # type: ignore[arg-type]


def test_the_spans_of_a_processor_on_threads_find_their_parents(app: App) -> None:
    app.provider = TracerProvider(
        active_span_processor=ConcurrentMultiSpanProcessor(2), shutdown_on_exit=False
    )
    app.provider.add_span_processor(SimpleSpanProcessor(app.spans))
    app.observe()
    with agent(app.provider), agent(app.provider, "tool"):
        app.query()
    assert app.written("agent")["db_query_count"] == 1


def test_a_context_that_is_given_by_hand_is_the_one_that_counts(app: App, langfuse: Any) -> None:
    tracer = app.provider.get_tracer("langfuse-sdk", "4")
    with agent(app.provider, "current"):
        other = tracer.start_span("other", context=context.Context())
        below = tracer.start_span("below", context=trace.set_span_in_context(other))
        with trace.use_span(below, end_on_exit=True):
            app.query()
        other.end()
    assert app.written("other")["db_query_count"] == 1
    assert app.written("current") == {}


def test_a_decorated_function_is_rolled_up_and_propagated_attributes_stay(
    app: App, langfuse: Any
) -> None:
    @observe(name="answer", as_type="agent")
    def answer() -> None:
        with observed(langfuse, "inner", "tool"):
            app.query()

    with propagate_attributes(user_id="u-1", session_id="s-1"):
        answer()
    assert app.written("answer")["db_query_count"] == 1
    assert app.written("inner")["db_query_count"] == 1
    assert (app.span("answer").attributes or {})["session.id"] == "s-1"


async def test_a_decorated_coroutine_is_rolled_up(app: App, langfuse: Any) -> None:
    @observe(name="answer", as_type="agent")
    async def answer() -> None:
        app.query()

    await answer()
    assert app.written("answer")["db_query_count"] == 1


def test_a_span_that_takes_no_attributes_of_ours_is_left_alone(app: App, langfuse: Any) -> None:
    class Narrow(trace.NonRecordingSpan):
        __slots__ = ()

        @property
        def attributes(self) -> dict[str, str]:
            return {"gen_ai.system": "x"}

        def is_recording(self) -> bool:
            return True

        @property
        def end(self) -> Any:
            return lambda: None

        def set_attributes(self, attributes: Any) -> None:
            said.update(attributes)

    said: dict[str, Any] = {}
    span = Narrow(trace.SpanContext(1, 2, False, trace.TraceFlags(1)))
    token = context.attach(trace.set_span_in_context(span, context.Context()))
    try:
        app.query()
        app.flush()
    finally:
        context.detach(token)
    assert said["langfuse.observation.metadata.db_query_count"] == 1
    llm.shared._open.clear()


def test_a_processor_that_queries_at_a_span_s_start_is_rolled_up_once(app: App) -> None:
    class Querying(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            if span.name == "agent":
                with trace.use_span(span):
                    app.query()

    app.provider.add_span_processor(Querying())
    app.observe()
    with agent(app.provider):
        app.query()
    assert app.written("agent")["db_query_count"] == 2


def test_threads_that_meet_one_span_share_its_numbers(app: App, tmp_path: Path) -> None:
    hidden = TracerProvider()
    hidden.add_span_processor(SimpleSpanProcessor(app.spans))
    app.engine = create_engine(f"sqlite:///{tmp_path / 'met.db'}")  # a connection for each
    app.observe()
    both = threading.Barrier(4, timeout=60)
    with agent(hidden) as span:
        here = trace.set_span_in_context(span)

        def ask() -> None:
            context.attach(here)
            both.wait()
            app.query()

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert app.written("agent")["db_query_count"] == 4


def test_the_global_provider_is_followed_as_soon_as_it_is_set() -> None:
    assert run(_PROXY) == "['agent', 'tool'] 1 1"


_PROXY = """
import otel_dbevents
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import create_engine, text
otel_dbevents.instrument()
spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("langfuse-sdk", "4")
engine = create_engine("sqlite://")
with tracer.start_as_current_span("agent"), tracer.start_as_current_span("tool"):
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
otel_dbevents.flush()
found = {each.name: each.attributes for each in spans.get_finished_spans()}
key = "langfuse.observation.metadata.db_query_count"
print(sorted(found)[-2:], found["agent"][key], found["tool"][key])
"""


def test_a_forked_child_s_ledger_begins_at_nothing_and_knows_the_cause() -> None:
    assert run(_FORK) == "parent 3 child 1 plan 0"


_FORK = """
import os
import otel_dbevents
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_dbevents.llm import roll_up, shared
from sqlalchemy import create_engine, text
spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
pipeline = otel_dbevents.instrument(tracer_provider=provider)
tracer = provider.get_tracer("langfuse-sdk", "4")
engine = create_engine("sqlite://")
def query():
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
key = "langfuse.observation.metadata.db_query_count"
reading, writing = os.pipe()
with tracer.start_as_current_span("agent") as agent:
    kind = {"langfuse.observation.type": "generation"}
    with tracer.start_as_current_span("plan", attributes=kind):
        pass
    with tracer.start_as_current_span("tool"):
        query()
        query()
        child = os.fork()
        query()
        if not child:
            pipeline.flush()
            event = [each for each in pipeline.bus.history if "Query" in each.event_type][-1]
            found = roll_up()
            said = f"{agent.attributes[key]} {event.llm.generation_name}"
            os.write(writing, said.encode())
    if not child:
        agent.end()
        os.write(writing, f" {len(shared)}".encode())
        os._exit(0)
os.waitpid(child, 0)
pipeline.flush()
(found,) = [each for each in spans.get_finished_spans() if each.name == "agent"]
print("parent", found.attributes[key], "child", os.read(reading, 100).decode())
"""


def run(program: str) -> str:
    """Run it in a process of its own, and return the last line that it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.strip().splitlines()[-1]


class Looking:
    """Somebody who looks anew."""

    def again(self) -> None:
        """Do nothing."""


def test_processors_of_other_kinds_are_followed_once(app: App) -> None:
    class Own(SpanProcessor):
        """One that passes on to others, without saying to whom."""

        def __init__(self) -> None:
            self.others = SynchronousMultiSpanProcessor()
            self.add_span_processor = self.others.add_span_processor
            self.on_start = self.others.on_start  # type: ignore[method-assign]
            self.on_end = self.others.on_end  # type: ignore[method-assign]

    own: Any = Own()
    app.provider = TracerProvider(active_span_processor=own)
    app.provider.add_span_processor(SimpleSpanProcessor(app.spans))
    pipeline = app.observe()
    pipeline.attach()
    with agent(app.provider):
        app.query()
    assert app.written("agent")["db_query_count"] == 1
    assert sum(isinstance(each, Watching) for each in own.others._span_processors) == 1

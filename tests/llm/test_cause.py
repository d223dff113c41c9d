"""Which generation caused a query."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

import otel_dbevents
from tests.llm.conftest import METADATA, App

GENERATIONS: list[tuple[str, dict[str, str]]] = [
    ("opentelemetry.instrumentation.openai_v2", {"gen_ai.operation.name": "chat"}),
    ("somebody", {"gen_ai.operation.name": "embeddings", "gen_ai.provider.name": "x"}),
    ("openinference.instrumentation.openai", {"openinference.span.kind": "LLM"}),
    ("openinference.instrumentation.llama_index", {"openinference.span.kind": "EMBEDDING"}),
    ("opentelemetry.instrumentation.anthropic", {"llm.request.type": "completion"}),
    ("langfuse-sdk", {"langfuse.observation.type": "embedding"}),
]
OTHERS: list[tuple[str, dict[str, str]]] = [
    ("opentelemetry.instrumentation.langchain", {"traceloop.span.kind": "tool"}),
    ("somebody", {"gen_ai.operation.name": "execute_tool"}),
    ("openinference.instrumentation.langchain", {"openinference.span.kind": "RETRIEVER"}),
    ("langfuse-sdk", {"langfuse.observation.type": "tool", "gen_ai.operation.name": "chat"}),
]


def observed(langfuse: Any, name: str, kind: str = "span") -> Any:
    return langfuse.start_as_current_observation(name=name, as_type=kind)


def generate(langfuse: Any, name: str) -> None:
    with observed(langfuse, name, "generation"):
        pass


def test_a_query_of_a_tool_is_caused_by_the_generation_that_had_ended(
    app: App, langfuse: Any
) -> None:
    with observed(langfuse, "agent", "agent"):
        generate(langfuse, "plan")
        with observed(langfuse, "tool", "tool"):
            app.query()
    said = app.span("SELECT").attributes or {}
    exported = {each.name: each.get_span_context() for each in app.exported.get_finished_spans()}
    assert said[METADATA + "db_caused_by_generation"] == f"{exported['plan'].span_id:016x}"
    assert said[METADATA + "db_caused_by_generation_name"] == "plan"
    assert said["dbevents.llm"] is True


def test_a_query_within_a_generation_is_caused_by_it(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        generate(langfuse, "earlier")
        with observed(langfuse, "now", "generation"), observed(langfuse, "inner"):
            app.query()
    assert app.causes() == ["now"]


def test_before_the_first_generation_nothing_is_the_cause(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        app.query()
        generate(langfuse, "late")
    assert app.causes() == ["None"]
    assert (app.span("SELECT").attributes or {})["dbevents.llm"] is True


def test_the_cause_is_the_latest_generation_though_the_context_stays(
    app: App, langfuse: Any
) -> None:
    with observed(langfuse, "agent", "agent"), app.engine.connect() as connection:
        for name in ("first", "second", "third"):
            generate(langfuse, name)
            connection.execute(text("SELECT 1")).all()
    assert app.causes() == ["first", "second", "third"]


def test_a_result_that_is_read_later_keeps_the_cause_of_its_query(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"), app.engine.connect() as connection:
        generate(langfuse, "asked")
        result = connection.execute(text("SELECT 1"))
        generate(langfuse, "later")
        result.all()
    assert app.causes() == ["asked"]


def test_two_agents_in_threads_are_not_blamed_for_each_other(app: App, langfuse: Any) -> None:
    app.engine = create_engine("sqlite://")
    app.pipelines[0].attach(app.engine)
    both = threading.Barrier(2, timeout=60)

    def agent(name: str) -> None:
        with observed(langfuse, name, "agent"):
            both.wait()
            generate(langfuse, name + " plans")
            both.wait()  # the other's generation has ended too
            with observed(langfuse, name + " tool", "tool"):
                app.query(sql=f"SELECT 1 AS {name}")
            both.wait()

    with observed(langfuse, "root"), ThreadPoolExecutor(2) as pool:
        contexts = [contextvars.copy_context() for _ in range(2)]
        for each in [
            pool.submit(contexts[number].run, agent, name) for number, name in enumerate("ab")
        ]:
            each.result()
    app.flush()
    spans = [each for each in app.spans.get_finished_spans() if each.name == "SELECT"]
    found = {
        (str(each.attributes["db.query.text"])[-1], each.attributes[METADATA + key])
        for each in spans
        if each.attributes
        for key in ["db_caused_by_generation_name"]
    }
    assert found == {("a", "a plans"), ("b", "b plans")}


async def test_an_agent_that_has_not_asked_yet_is_not_blamed_on_one_beside_it(
    app: App, langfuse: Any
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def one() -> None:
        with observed(langfuse, "one", "agent"):
            await begun.wait()
            generate(langfuse, "of one")
            ended.set()

    async def other() -> None:
        with observed(langfuse, "other", "agent"):
            begun.set()
            await ended.wait()
            app.query()

    with observed(langfuse, "root"):
        await asyncio.gather(one(), other())
    assert app.causes() == ["None"]


def test_a_tool_is_not_blamed_on_a_generation_within_the_tool_beside_it(
    app: App, langfuse: Any
) -> None:
    with observed(langfuse, "agent", "agent"):
        generate(langfuse, "plan")
        first = langfuse.start_observation(name="first", as_type="tool")
        with trace.use_span(first._otel_span):
            pass
        second = langfuse.start_observation(name="second", as_type="tool")
        with trace.use_span(second._otel_span):
            generate(langfuse, "of the second")
        with trace.use_span(first._otel_span):
            app.query()
        second.end()
        first.end()
    assert app.causes() == ["plan"]


def test_a_sub_agent_is_caused_by_its_own_generation_and_then_the_outer_one_again(
    app: App, langfuse: Any
) -> None:
    with observed(langfuse, "agent", "agent"):
        generate(langfuse, "outer")
        with observed(langfuse, "sub", "agent"):
            app.query()
            generate(langfuse, "inner")
            app.query()
        generate(langfuse, "outer again")
        app.query()
    assert app.causes() == ["outer", "inner", "outer again"]


@pytest.mark.parametrize(("scope", "attributes"), GENERATIONS)
@pytest.mark.parametrize("late", [False, True])
def test_a_generation_is_known_by_its_attributes(
    app: App, scope: str, attributes: dict[str, str], late: bool
) -> None:
    app.observe()
    with app.tracer("traceloop.tracer").start_as_current_span("agent"):
        given = {} if late else attributes
        with app.tracer(scope).start_as_current_span("the model", attributes=given) as span:
            span.set_attributes(attributes)
        app.query()
    assert app.causes() == ["the model"]
    assert app.written("agent")["db_query_count"] == 1


@pytest.mark.parametrize(("scope", "attributes"), OTHERS)
def test_what_is_no_generation_causes_nothing(
    app: App, scope: str, attributes: dict[str, str]
) -> None:
    app.observe()
    with app.tracer("traceloop.tracer").start_as_current_span("agent"):
        with app.tracer(scope).start_as_current_span("tool", attributes=attributes):
            app.query()
        app.query()
    assert app.causes() == ["None", "None"]
    assert app.written("tool")["db_query_count"] == 1


def test_a_generation_right_below_the_applications_own_span_causes_what_follows_there(
    app: App,
) -> None:
    app.observe()
    with (
        app.tracer().start_as_current_span("request"),
        app.engine.connect() as connection,  # a session that the whole request holds
    ):
        connection.execute(text("SELECT 1")).all()
        chat = {"gen_ai.operation.name": "chat"}
        with app.tracer("somebody").start_as_current_span("chat", attributes=chat):
            pass
        connection.execute(text("SELECT 1")).all()
        with app.tracer().start_as_current_span("below"):
            app.query()
    assert app.causes() == ["None", "chat", "chat"]
    first, *_ = app.named("SELECT")
    assert "dbevents.llm" not in (first.attributes or {})
    assert app.written("request") == {}


def test_a_generation_is_found_by_ids_alone(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent") as agent:
        ids = {"trace_id": agent.trace_id, "parent_span_id": agent.id}
        token = context.attach(context.Context())
        try:
            with langfuse.start_as_current_observation(
                name="plan", as_type="generation", trace_context=ids
            ):
                pass
            with langfuse.start_as_current_observation(
                name="tool", as_type="tool", trace_context=ids
            ):
                app.query()
        finally:
            context.detach(token)
    assert app.causes() == ["plan"]
    assert app.written("agent")["db_query_count"] == 1


def test_a_thread_without_the_context_is_attributed_to_nobody(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        generate(langfuse, "plan")
        thread = threading.Thread(target=app.query)
        thread.start()
        thread.join()
    assert app.causes() == ["None"]
    assert "dbevents.llm" not in (app.span("SELECT").attributes or {})
    assert app.written("agent") == {}


def test_a_service_further_down_knows_by_baggage_that_it_is_within_llm_work(app: App) -> None:
    app.observe()
    for trace_id, is_within in ((7, True), (8, False)):
        above = NonRecordingSpan(SpanContext(trace_id, 5, True, TraceFlags(1)))
        here = baggage.set_baggage("langfuse_trace_id", f"{7:032x}")
        token = context.attach(trace.set_span_in_context(above, here))
        try:
            with app.tracer().start_as_current_span("request"):
                app.query()
        finally:
            context.detach(token)
        found = app.named("SELECT")[-1].attributes or {}
        assert found.get("dbevents.llm", False) is is_within
        assert METADATA + "db_caused_by_generation" not in found


def test_prompt_and_session_are_said_where_it_was_asked_for(app: App) -> None:
    app.observe(langfuse_prompt=True)
    long = "p" * 300
    with app.tracer("langfuse-sdk").start_as_current_span("agent"):
        said = {
            "langfuse.observation.type": "generation",
            "langfuse.observation.prompt.name": long,
            "langfuse.observation.prompt.version": 3,
            "session.id": "s-1",
        }
        with app.tracer("langfuse-sdk").start_as_current_span("plan", attributes=said):
            pass
        app.query()
    found = app.span("SELECT").attributes or {}
    assert found[METADATA + "db_prompt_name"] == long[:200]
    assert found[METADATA + "db_prompt_version"] == "3"
    assert found[METADATA + "db_session_id"] == "s-1"


def test_prompt_and_session_are_not_said_unless_asked_for(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        with observed(langfuse, "plan", "generation") as plan:
            plan._otel_span.set_attribute("langfuse.observation.prompt.name", "secret plan")
            plan._otel_span.set_attribute("session.id", "s-1")
        app.query()
    found = app.span("SELECT").attributes or {}
    assert not any("prompt" in key or "db_session" in key for key in found)
    assert "secret plan" not in str(found)


def test_each_kind_of_span_and_judgement_says_its_cause(app: App, langfuse: Any) -> None:
    (pipeline,) = app.pipelines
    engine = create_engine("sqlite://")
    pipeline.attach(engine)
    with observed(langfuse, "agent", "agent"):
        generate(langfuse, "plan")
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE t (a INTEGER)"))
            connection.execute(text("INSERT INTO t VALUES (1)"))
        with engine.connect() as connection, pytest.raises(OperationalError):
            connection.execute(text("SELECT * FROM missing"))
        app.query(30)
    app.flush()
    found = {
        each.name: (each.attributes or {}).get(METADATA + "db_caused_by_generation_name")
        for each in app.spans.get_finished_spans()
        if each.instrumentation_scope and each.instrumentation_scope.name == "otel_dbevents"
    }
    names = ["CONNECT :memory:", "CREATE TABLE t", "INSERT t", "COMMIT :memory:", "SELECT missing"]
    assert found == dict.fromkeys([*names, "SELECT"], "plan")
    repeated = [each for each in pipeline.bus.history if "Repeated" in each.event_type]
    assert [each.llm and each.llm.generation_name for each in repeated] == ["plan"]


def test_the_parent_s_provider_decides_nothing(app: App) -> None:
    other = TracerProvider()
    app.observe()
    with other.get_tracer("langfuse-sdk").start_as_current_span("agent"):
        kind = {"langfuse.observation.type": "generation"}
        with app.tracer("langfuse-sdk").start_as_current_span("plan", attributes=kind):
            pass
        app.query()
    assert app.causes() == ["plan"]


def test_without_langfuse_wanted_nothing_of_it_is_there(app: App) -> None:
    before = TracerProvider.add_span_processor
    app.observe(langfuse=otel_dbevents.config.Langfuse.OFF)
    langfuse = app.langfuse()
    with observed(langfuse, "agent", "agent"):
        generate(langfuse, "plan")
        app.query()
    assert app.written("agent") == {}
    found = app.span("SELECT").attributes or {}
    assert not any(key.startswith(("dbevents.llm", "langfuse.observation")) for key in found)
    assert TracerProvider.add_span_processor is before


def test_a_burst_that_two_generations_caused_is_two_folds(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"), app.engine.connect() as connection:
        for name in ("first", "second"):
            generate(langfuse, name)
            for _ in range(15):
                connection.execute(text("SELECT 1")).all()
    app.flush()
    said = [each.attributes or {} for each in app.named("SELECT")]
    folded = {
        str(each[METADATA + "db_caused_by_generation_name"]): each["dbevents.folded.count"]
        for each in said
        if "dbevents.folded.count" in each
    }
    assert folded == {"first": 5, "second": 15}


@pytest.mark.parametrize("is_asked", [True, False])
def test_events_say_what_langfuse_files_the_trace_under(
    app: App, langfuse: Any, is_asked: bool
) -> None:
    with observed(langfuse, "agent", "agent"):
        if is_asked:
            generate(langfuse, "plan")
        with app.tracer().start_as_current_span("http"):
            app.query()
    app.flush()
    told = [each for each in app.pipelines[0].bus.history if each.event_type == "QueryExecuted"]
    assert [each.llm and each.llm.environment for each in told] == ["test"]

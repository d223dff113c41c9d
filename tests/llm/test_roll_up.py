"""What the database did stands on the LLM spans that it was done below."""

import asyncio
import json
import logging
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

from otel_dbevents import llm
from otel_dbevents.llm import RollUp
from tests.llm.conftest import METADATA, App, written
from tests.llm.test_cause import generate, observed

IS_V5 = int(version("langfuse").partition(".")[0]) >= 5
MS = 1_000_000


def test_a_query_is_rolled_up_on_each_open_observation_above_it(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"), observed(langfuse, "tool", "tool"):
        app.query()
    for name in ("agent", "tool"):
        said = app.written(name)
        assert said["db_query_count"] == 1
        assert said["db_slowest_query"] == ('"SELECT ?"' if IS_V5 else "SELECT ?")
        assert said["db_time_ms"] >= said["db_busy_ms"] > 0
        assert said["db_time_ms"] >= said["db_slowest_ms"] > 0
        assert 0 < said["db_share"] <= 1
        assert {type(said[key]) for key in ("db_time_ms", "db_busy_ms", "db_share")} == {float}


def test_by_default_langfuse_gets_the_roll_up_and_no_database_span(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        generate(langfuse, "plan")
        with observed(langfuse, "tool", "tool"):
            app.query(3)
    app.flush()
    exported = {each.name: each for each in app.exported.get_finished_spans()}
    assert {*exported} == {"agent", "plan", "tool"}
    assert written(exported["tool"])["db_query_count"] == 3
    assert written(exported["agent"])["db_query_count"] == 3
    assert written(exported["plan"]) == {}


def test_outside_llm_work_nothing_is_written(app: App, langfuse: Any) -> None:
    with app.tracer().start_as_current_span("request"):
        app.query()
    assert app.written("request") == {}
    assert "dbevents.llm" not in (app.span("SELECT").attributes or {})


def test_a_span_in_between_that_is_no_llm_span_is_left_alone(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"), app.tracer().start_as_current_span("http"):
        app.query()
        app.flush()
    assert app.written("http") == {}
    assert app.written("agent")["db_query_count"] == 1


def test_each_observation_has_what_was_below_it_alone(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        app.query(1)
        with observed(langfuse, "first", "tool"):
            app.query(2)
        with observed(langfuse, "second", "tool"), observed(langfuse, "inner"):
            app.query(4)
    counts = {n: app.written(n)["db_query_count"] for n in ("agent", "first", "second", "inner")}
    assert counts == {"agent": 7, "first": 2, "second": 4, "inner": 4}


def test_the_totals_of_a_thousand_queries_are_exact(app: App) -> None:
    pipeline, langfuse = app.observe(history=5000), app.langfuse()
    with observed(langfuse, "agent", "agent"):
        app.query(1000)
    said = app.written("agent")
    told = [each for each in pipeline.bus.history if each.event_type == "QueryExecuted"]
    assert said["db_query_count"] == len(told) == 1000
    slowest = max(each.duration_ns + min(each.reading_ns, each.fetch_ns) for each in told)
    assert said["db_slowest_ms"] == round(slowest / MS, 3)
    others = ("DatabaseConnectionEstablished", "TransactionReleased")
    told += [each for each in pipeline.bus.history if each.event_type in others]
    spent = sum(each.duration_ns + getattr(each, "reading_ns", 0) for each in told)
    assert said["db_time_ms"] == round(spent / MS, 3)


def test_what_ran_at_the_same_time_is_busy_once(app: App, langfuse: Any) -> None:
    anywhere = {"check_same_thread": False}
    engine = create_engine("sqlite://", poolclass=QueuePool, connect_args=anywhere)
    app.pipelines[0].attach(engine)
    together = threading.Barrier(4, timeout=60)

    def wait(connection: Any, _: Any) -> None:
        def meet() -> int:
            together.wait()
            time.sleep(0.02)
            return 1

        connection.create_function("meet", 0, meet)

    event.listen(engine, "connect", wait)

    async def tool(number: int) -> None:
        with observed(langfuse, f"tool {number}", "tool"):
            await asyncio.to_thread(ask)

    def ask() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT meet()")).all()

    async def agent() -> None:
        with observed(langfuse, "agent", "agent"):
            await asyncio.gather(*map(tool, range(4)))

    asyncio.run(agent())
    span = app.span("agent")
    said = written(span)
    assert said["db_query_count"] == 4
    assert said["db_time_ms"] - said["db_busy_ms"] >= 3 * 20 - 1  # all four sleep at one moment
    assert span.start_time is not None
    assert span.end_time is not None
    assert 20 <= said["db_busy_ms"] <= (span.end_time - span.start_time) / MS
    engine.dispose()


async def test_an_async_engine_is_rolled_up_too(app: App, langfuse: Any) -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    app.pipelines[0].attach(engine)

    async def ask() -> None:
        async with engine.connect() as connection:
            (await connection.execute(text("SELECT 1"))).all()

    with observed(langfuse, "agent", "agent"):
        await ask()
        await asyncio.create_task(ask())
    assert app.written("agent")["db_query_count"] == 2
    await engine.dispose()


def test_commits_rollbacks_and_connecting_are_database_time_but_no_queries(
    app: App, langfuse: Any
) -> None:
    (pipeline,) = app.pipelines
    engine = create_engine("sqlite://")
    pipeline.attach(engine)
    with observed(langfuse, "agent", "agent"):
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE t (a INTEGER)"))
            connection.execute(text("INSERT INTO t VALUES (1)"))
        with engine.connect() as connection:
            connection.execute(text("INSERT INTO t VALUES (2)"))
    said = app.written("agent")
    told = [each for each in pipeline.bus.history if getattr(each, "duration_ns", 0)]
    names = "QueryExecuted DatabaseConnectionEstablished TransactionCommitted TransactionRolledBack"
    counted = [each for each in told if each.event_type in names.split()]
    assert {each.event_type for each in counted} == {*names.split()}
    spent = sum(each.duration_ns + getattr(each, "reading_ns", 0) for each in counted)
    assert said["db_time_ms"] == round(spent / MS, 3)
    assert said["db_query_count"] == 3


def test_waiting_for_the_pool_is_database_time_and_a_timeout_an_error(
    app: App, langfuse: Any
) -> None:
    engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0)
    app.pipelines[0].attach(engine)
    with engine.connect() as held, observed(langfuse, "agent", "agent"):
        timer = threading.Timer(0.05, held.close)
        timer.start()
        with engine.connect():
            timer.join()
    assert app.written("agent")["db_time_ms"] > 10
    assert app.written("agent")["db_query_count"] == 0
    assert "db_error_count" not in app.written("agent")
    impatient = create_engine(
        "sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05
    )
    app.pipelines[0].attach(impatient)
    with (
        impatient.connect(),
        observed(langfuse, "refused", "tool"),
        pytest.raises(NoConnection),
    ):
        impatient.connect()
    assert app.written("refused")["db_error_count"] == 1
    assert app.written("refused")["db_time_ms"] >= 49


def test_failed_queries_are_counted_as_errors(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        app.query()
        for _ in range(2):
            with pytest.raises(OperationalError):
                app.query(sql="SELECT * FROM missing WHERE secret = 'xyzzy'")
    said = app.written("agent")
    assert (said["db_query_count"], said["db_error_count"]) == (3, 2)
    assert "xyzzy" not in str(said)


def test_a_statement_that_ran_often_under_one_span_is_named_with_its_place(
    app: App, langfuse: Any
) -> None:
    with observed(langfuse, "agent", "agent"):
        app.query(9, "SELECT 'few'")
        with observed(langfuse, "tool", "tool"):
            app.query(12, "SELECT 'many', 1")
    said = app.written("agent")["db_repeated_query"]
    said = json.loads(said) if IS_V5 else said
    told = said.rpartition(":")
    assert told[0] == "12 x SELECT ?, ? at tests/llm/conftest.py"
    assert int(told[2]) > 0
    assert "db_repeated_query" in app.written("tool")


def test_what_ran_under_several_spans_is_not_repeated(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        for number in range(12):
            with observed(langfuse, f"tool {number}", "tool"):
                app.query()
    assert "db_repeated_query" not in app.written("agent")


@pytest.mark.parametrize(
    ("scope", "number", "is_encoded"),
    [
        ("langfuse-sdk", "5.0.4", True),
        ("langfuse-sdk", "4.7.0", False),
        ("langfuse-sdk", "", False),
        ("openinference.instrumentation.openai", "5.1", False),
    ],
)
def test_texts_are_json_only_where_langfuse_decodes_them(
    app: App, scope: str, number: str, is_encoded: bool
) -> None:
    app.observe()
    with app.tracer(scope, number).start_as_current_span("agent"):
        app.query(sql='SELECT 1 AS "x"')
    plain = 'SELECT ? AS "x"'
    wanted = json.dumps(plain) if is_encoded else plain
    assert app.written("agent")["db_slowest_query"] == wanted
    assert app.written("agent")["db_query_count"] == 1


def test_a_long_query_is_cut(app: App) -> None:
    app.observe()
    with app.tracer("openinference").start_as_current_span("agent"):
        app.query(12, "SELECT " + ", ".join(f"1 AS column_{n}" for n in range(100)))
    said = app.written("agent")
    assert len(said["db_slowest_query"]) == 500
    assert said["db_slowest_query"].endswith("…")
    assert len(said["db_repeated_query"]) < 300


def test_the_numbers_are_there_while_the_span_is_open(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent") as agent:
        app.query(2)
        app.flush()
        assert written(agent._otel_span)["db_query_count"] == 2
        app.query(1)
    assert app.written("agent")["db_query_count"] == 3


def test_the_worker_writes_them_without_being_asked(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent") as agent:
        app.query(2)
        for _ in range(1000):
            if written(agent._otel_span):
                break
            time.sleep(0.01)
        assert written(agent._otel_span)["db_query_count"] == 2


def test_in_synchronous_mode_they_are_written_at_once(app: App) -> None:
    app.observe(synchronous=True)
    langfuse = app.langfuse()
    with observed(langfuse, "agent", "agent") as agent:
        app.query(2)
        assert written(agent._otel_span)["db_query_count"] == 2


def test_what_is_added_up_at_its_end_is_not_the_spans_time(
    app: App, langfuse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(*given: Any) -> Any:
        began.append(time.time_ns())
        return close(*given)

    began: list[int] = []
    close = llm.shared._close
    monkeypatch.setattr(llm.shared, "_close", noted)
    langfuse.start_observation(name="agent", as_type="agent").end()
    ended = app.span("agent").end_time
    assert ended is not None
    assert ended <= began[0]


def test_the_share_is_of_the_time_until_the_end_that_was_given(app: App, langfuse: Any) -> None:
    span = langfuse.start_observation(name="agent", as_type="agent")
    with observed_again(span):
        app.query()
    end = span._otel_span.start_time + 10_000 * MS
    span.end(end_time=end)
    said = app.written("agent")
    assert said["db_share"] == round(said["db_busy_ms"] / 10_000, 3)
    assert app.span("agent").end_time == end


def test_nobody_elses_attribute_gives_way(app: App) -> None:
    provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=20))
    provider.add_span_processor(SimpleSpanProcessor(app.spans))
    app.provider = provider
    app.observe()
    others = {f"a{number}": number for number in range(19)}
    with app.tracer("langfuse-sdk").start_as_current_span("full", attributes=others):
        app.query()
    with app.tracer("langfuse-sdk").start_as_current_span("nearly", attributes={"a": 1}):
        app.query()
    assert dict(app.span("full").attributes or {}) == others
    assert {*app.written("nearly")} == {"db_query_count", "db_time_ms", "db_busy_ms"}


def test_no_more_than_eight_keys_are_written(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        app.query(12)
        with pytest.raises(OperationalError):
            app.query(sql="SELECT * FROM missing")
    assert len(app.written("agent")) == 8


def test_a_span_that_is_ended_twice_warns_as_ever(
    app: App, langfuse: Any, caplog: pytest.LogCaptureFixture
) -> None:
    span = langfuse.start_observation(name="agent", as_type="agent")
    with observed_again(span):
        app.query()
    span.end()
    assert "end" not in vars(span._otel_span)
    assert not caplog.records
    span.end()
    assert [each.message for each in caplog.records] == ["Calling end() on an ended span."]
    assert app.written("agent")["db_query_count"] == 1


def test_what_runs_after_the_end_is_not_written_and_warns_nobody(
    app: App, langfuse: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        with observed(langfuse, "agent", "agent"):
            tool = langfuse.start_observation(name="tool", as_type="tool")
            tool.end()
            with observed_again(tool):
                app.query()
                app.flush()
        app.flush()
    assert not caplog.records
    assert app.written("tool") == {}
    assert app.written("agent")["db_query_count"] == 1


def test_threads_that_end_spans_while_others_query_and_the_worker_writes_warn_nobody(
    app: App, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app.engine = create_engine(f"sqlite:///{tmp_path / 'turns.db'}")  # a connection for each
    app.observe()
    langfuse, counts = app.langfuse(), list[int]()

    def turns(number: int) -> None:
        for turn in range(30):
            with observed(langfuse, f"agent {number} {turn}", "agent"):
                with observed(langfuse, "tool", "tool"):
                    app.query(3)
                app.pipelines[0].flush()
                app.query(2)
            counts.append(turn)

    threads = [threading.Thread(target=turns, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    app.flush()
    agents = [each for each in app.spans.get_finished_spans() if each.name.startswith("agent")]
    assert {written(each)["db_query_count"] for each in agents} == {5}
    assert len(agents) == len(counts) == 120
    assert not [each for each in caplog.records if "ended span" in each.message]


@pytest.mark.swallows(sometimes=True)  # a worker that waits for long gives up, and says so
def test_what_a_worker_had_added_up_is_not_written_after_the_exact_number(
    app: App, langfuse: Any, caplog: pytest.LogCaptureFixture
) -> None:
    span: Any = langfuse.start_observation(name="agent", as_type="agent")._otel_span
    node = llm.shared._open.of(span)
    assert node is not None
    with trace.use_span(span):
        app.query()
        with node.tree.writing:
            app.query()
            worker = threading.Thread(target=llm.shared.settle)
            worker.start()
            for _ in range(100):
                if not (node.tree.is_dirty or node.tree.touched):
                    break
                time.sleep(0.001)
            span.end()  # while whoever has added up waits to write
        worker.join()
    assert app.written("agent")["db_query_count"] == 2
    assert not [each for each in caplog.records if "ended span" in each.message]


def test_several_pipelines_write_one_number(app: App) -> None:
    app.observe()
    other = create_engine("sqlite://")
    first = app.engine
    app.engine = other
    app.observe()
    langfuse = app.langfuse()
    with observed(langfuse, "agent", "agent"):
        app.query(2)
        app.engine = first
        app.query(3)
        app.flush()
        app.query(1)
    assert app.written("agent")["db_query_count"] == 6
    app.pipelines[0].close()
    app.engine = other
    with observed(langfuse, "after", "agent"), observed(langfuse, "tool", "tool"):
        app.query(2)
    assert app.written("after")["db_query_count"] == 2


def test_without_keys_and_without_tracing_the_application_works(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    app.observe()
    for number, options in enumerate(({"tracing_enabled": False}, {"tracing_enabled": True})):
        client = app.langfuse(f"pk-{number}", **options)
        with observed(client, f"agent {number}", "agent"):
            app.query()
    assert not app.named("agent 0")
    assert app.written("agent 1")["db_query_count"] == 1
    assert not [each for each in caplog.records if each.name.startswith("otel_dbevents")]


def test_the_application_can_ask_for_the_roll_up_meanwhile(app: App, langfuse: Any) -> None:
    assert llm.roll_up() is None
    with observed(langfuse, "agent", "agent"):
        assert llm.roll_up() == RollUp()
        generate(langfuse, "plan")
        with app.tracer().start_as_current_span("below"):
            app.query(2)
            found = llm.roll_up()
        assert found is not None
        assert found.query_count == 2
        assert found.time_ns >= found.busy_ns > 0
        ((caused, (count, spent, _)),) = found.by_generation.items()
    assert caused.hex() == f"{app.span('plan').get_span_context().span_id:016x}"
    assert count == 2
    assert 0 < spent <= found.time_ns
    assert llm.roll_up() is None


def test_the_end_of_a_turn_is_told_once_with_its_roll_up(app: App, langfuse: Any) -> None:
    told: list[tuple[bytes, RollUp]] = []
    cancel = llm.shared.on_turn_end(lambda trace_id, found: told.append((trace_id, found)))
    try:
        with app.tracer().start_as_current_span("request"):
            with observed(langfuse, "agent", "agent") as agent, observed(langfuse, "tool", "tool"):
                app.query(2)
            assert [(each.hex(), found.query_count) for each, found in told] == [
                (agent.trace_id, 2)
            ]
    finally:
        cancel()
    with observed(langfuse, "again", "agent"):
        app.query()
    assert len(told) == 1


@pytest.mark.swallows
def test_a_listener_that_raises_harms_nobody(app: App, langfuse: Any) -> None:
    def fail(*_: object) -> None:
        raise ValueError

    cancel = llm.shared.on_turn_end(fail)
    try:
        with observed(langfuse, "agent", "agent"):
            app.query()
    finally:
        cancel()
    assert app.written("agent")["db_query_count"] == 1


def observed_again(observation: Any) -> Any:
    return trace.use_span(observation._otel_span)


def test_the_keys_are_those_that_langfuse_shows_as_metadata(app: App, langfuse: Any) -> None:
    with observed(langfuse, "agent", "agent"):
        app.query()
    keys = [key for key in app.span("agent").attributes or {} if "db_" in key]
    assert keys
    assert all(key.startswith(METADATA) for key in keys)

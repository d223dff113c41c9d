"""What is told of each prompt is what its spans say, and what they say is so."""

import io
import statistics
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import use_span
from rich.console import Console

from otel_dbevents.demo.prompt_panel import verdicts
from otel_dbevents.demo.prompts import Prompt, prompts_of
from otel_dbevents.demo.scenes import Exchange
from otel_dbevents.demo.terminal import TerminalView
from otel_dbevents.llm.keys import METADATA
from tests.demo.running import Document
from tests.demo.test_scenes import AGENT, CHAT, folded

pytestmark = pytest.mark.newest  # once is enough, whatever the versions


@pytest.fixture(scope="session")
def prompts(told: Document) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told.whole["prompts"]
    return found


def spans_of(told: Document, prompt: dict[str, Any]) -> list[dict[str, Any]]:
    return [span for span in told.all_spans if span["trace_id"] == prompt["trace_id"]]


def one(prompts, words: str) -> dict[str, Any]:
    found, *_ = [each for each in prompts if words in each["question"]]
    return found


def test_every_question_is_told_with_its_roll_up(told, prompts):
    asked = [
        exchange["question"]
        for scene in told.scenes.values()
        for exchange in scene["exchanges"]
        if exchange["question"]
    ]
    assert [prompt["question"] for prompt in prompts] == asked
    assert all(prompt["roll_up"] for prompt in prompts)


def test_the_roll_up_is_the_agents_own_attributes(told, prompts):
    for prompt in prompts:
        (agent,) = [span for span in spans_of(told, prompt) if span["name"] == AGENT]
        said = {
            key.removeprefix(METADATA): value
            for key, value in agent["attributes"].items()
            if key.startswith(METADATA)
        }
        assert prompt["roll_up"] == said
        assert prompt["duration_ms"] == agent["duration_ns"] / 1e6


def test_it_counts_the_queries_that_the_spans_tell_of(told, prompts):
    for prompt in prompts:
        counted = sum(
            folded(span)
            for span in spans_of(told, prompt)
            if "db.query.summary" in span["attributes"]
        )
        assert prompt["roll_up"]["db_query_count"] == counted, prompt["question"]


def test_the_share_is_of_the_answers_whole_time(prompts):
    shorter = [
        each["roll_up"]["db_share"] - each["roll_up"]["db_busy_ms"] / each["duration_ms"]
        for each in prompts
    ]
    # It is written right before the end, so the answer was a little shorter then; more than that
    # where a slow machine stood still between the two.
    assert min(shorter) > -0.001
    assert statistics.median(shorter) < 0.02


def test_the_verdict_is_on_who_had_most_of_the_time(told, prompts):
    for prompt in prompts:
        chats = [span for span in spans_of(told, prompt) if span["name"] == CHAT]
        model = sum(span["duration_ns"] for span in chats) / 1e6
        database = prompt["roll_up"]["db_busy_ms"]
        parts = {
            "database": database,
            "model": model,
            "rest": prompt["duration_ms"] - model - database,
        }
        assert parts[prompt["verdict"]] == max(parts.values())


def test_a_slow_query_and_a_wait_are_the_databases_and_a_plain_answer_is_the_models(prompts):
    for words, verdict in (
        ("similar taste", "database"),
        ("How many customers", "database"),  # the first of the two, which got no connection
        ("three cities", "model"),
    ):
        assert one(prompts, words)["verdict"] == verdict


def test_what_repeated_is_told_with_its_place_and_what_failed_is_counted(prompts):
    repeated = one(prompts, "arrive broken")["roll_up"]["db_repeated_query"]
    assert repeated.startswith("200 x SELECT messages.id")
    assert "otel_dbevents/demo/retrieval.py:" in repeated
    assert one(prompts, "average order")["roll_up"]["db_error_count"] == 1
    assert "db_error_count" not in one(prompts, "three cities")["roll_up"]


def test_the_cause_is_the_call_of_the_model_that_wrote_the_query(told, prompts):
    for prompt in prompts:
        spans = spans_of(told, prompt)
        (cause,) = [each for each in spans if each["span_id"] == prompt["caused_by"]["generation"]]
        assert cause["name"] == prompt["caused_by"]["name"] == CHAT
        before = [each for each in spans if each["start_ns"] > cause["start_ns"]]
        assert before[0]["name"].startswith("execute_tool")
        assert cause["start_ns"] + cause["duration_ns"] <= before[0]["start_ns"]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("langfuse-sdk", "5.0.4")
    provider.shutdown()


def prompt_of(tracer, exporter, **roll_up) -> Prompt:
    """A prompt of one second whose spans say this of the database."""
    said = {METADATA + key: value for key, value in roll_up.items()}
    second = 1_000_000_000
    operation = "gen_ai.operation.name"
    agent = tracer.start_span("agent", attributes={operation: "invoke_agent"} | said, start_time=1)
    trace_id = f"{agent.get_span_context().trace_id:032x}"
    agent.end(second + 1)
    (prompt,) = prompts_of([Exchange("Why?", "So.", trace_id)], exporter.get_finished_spans())
    return prompt


def test_the_cause_is_the_call_that_most_of_the_time_came_of(tracer, exporter):
    operation = "gen_ai.operation.name"
    agent = tracer.start_span("agent", attributes={operation: "invoke_agent"}, start_time=1)
    with use_span(agent):
        chats = [
            tracer.start_span(f"chat {number}", attributes={operation: "chat"}, start_time=number)
            for number in (10, 20, 30)
        ]
        for chat, took in zip(chats, (5, 9, 0), strict=True):
            cause = f"{chat.get_span_context().span_id:016x}"
            caused = {METADATA + "db_caused_by_generation": cause}
            tracer.start_span("SELECT", attributes=caused, start_time=50).end(50 + took)
            chat.end(40)
    agent.end(99)
    trace_id = f"{agent.get_span_context().trace_id:032x}"
    (prompt,) = prompts_of([Exchange("Why?", "So.", trace_id)], exporter.get_finished_spans())
    assert prompt.cause is not None
    assert (prompt.cause.name, prompt.cause.turn, prompt.cause.of) == ("chat 20", 2, 3)
    assert prompt.cause.generation == f"{chats[1].get_span_context().span_id:016x}"


def shown(*prompts: Prompt) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        for line in verdicts(prompts):
            console.print(line)
    return capture.get().splitlines()


def test_texts_on_langfuses_own_spans_are_decoded_and_numbers_left(tracer, exporter):
    prompt = prompt_of(tracer, exporter, db_slowest_query='"SELECT 1"', db_query_count=3)
    assert prompt.roll_up == {"db_slowest_query": "SELECT 1", "db_query_count": 3}


def test_where_nothing_is_told_nobody_is_blamed(tracer, exporter, monkeypatch):
    monkeypatch.setenv("OTEL_DBEVENTS_LANGFUSE", "off")
    agent = tracer.start_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"})
    agent.end()
    trace_id = f"{agent.get_span_context().trace_id:032x}"
    exchange = Exchange("Why?", "So.", trace_id)
    spans = exporter.get_finished_spans()
    assert list(prompts_of([exchange], spans)) == []
    console = Console(file=io.StringIO(), width=100)
    view = TerminalView(console)
    with console.capture() as capture:
        view.scene_ends([exchange], spans)
        view.metrics([], lost=0)
    assert "Model or database?" not in capture.get()
    assert "held by" not in capture.get()


def test_a_prompt_without_database_work_says_so(tracer, exporter):
    heading, line = shown(prompt_of(tracer, exporter))
    assert "held by" in heading
    assert "REST" in line
    assert "no database work" in line


def test_a_prompt_that_the_database_held_up_says_why_and_fits_the_line(tracer, exporter):
    long = "SELECT " + ", ".join(f"column_{number}" for number in range(50))
    said = {"db_query_count": 1, "db_busy_ms": 900.0, "db_share": 0.9, "db_slowest_ms": 800.0}
    slow = prompt_of(tracer, exporter, **said, db_slowest_query=f'"{long}"')
    exporter.clear()
    repeated = prompt_of(
        tracer, exporter, **said, db_repeated_query=f'"40 x {long} at app/retrieval.py:88"'
    )
    lines = shown(slow, repeated)
    assert max(map(len, lines)) <= 100
    assert sum("DATABASE" in line for line in lines) == 2
    assert any("slowest 800 ms: SELECT column_0" in line for line in lines)
    assert any("40 x SELECT" in line and "at app/retrieval.py:88" in line for line in lines)


def test_a_wait_for_a_connection_is_told_as_one(tracer, exporter):
    waited = prompt_of(tracer, exporter, db_query_count=0, db_busy_ms=700.0, db_share=0.7)
    assert any("getting a connection" in line for line in shown(waited))


def test_those_that_the_database_held_up_most_come_first(tracer, exporter):
    prompts = []
    for share in (0.1, 0.9, 0.6):
        exporter.clear()
        said = {"db_query_count": 1, "db_busy_ms": share * 1000, "db_share": share}
        prompts.append(prompt_of(tracer, exporter, **said))
    shares = [line.split()[2] for line in shown(*prompts) if "DATABASE" in line or "REST" in line]
    assert shares == ["90%", "60%", "10%"]

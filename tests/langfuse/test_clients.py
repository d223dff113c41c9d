"""Langfuse's client as it really is used: the application works, and nobody sees more of us.

In each: what the database did stands on the observations that were open, no span of the database
goes to Langfuse, nothing goes there outside LLM work, and we say nothing.
"""

import asyncio
import contextvars
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langfuse import get_client, observe, propagate_attributes
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, StaticSampler, TraceIdRatioBased

from tests.langfuse.application import Application, nothing_said
from tests.langfuse.server import LangfuseServer, langfuse_server


@pytest.fixture
def app(
    langfuse: LangfuseServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Application]:
    for name in ("PUBLIC_KEY", "SECRET_KEY", "BASE_URL", "HOST", "TRACING_ENABLED"):
        monkeypatch.delenv(f"LANGFUSE_{name}", raising=False)
    with nothing_said(caplog), Application(langfuse) as made:
        yield made


def answer(app: Application, client: Any) -> None:
    """Do a usual turn: the model is asked, wants a tool, and the tool asks the database."""
    with client.start_as_current_observation(name="agent", as_type="agent"):
        with client.start_as_current_observation(name="chat", as_type="generation", model="m"):
            pass
        with client.start_as_current_observation(name="tool", as_type="tool"):
            app.query(3)


ANSWERED = {"chat": None, "tool": 3, "agent": 3}


def test_a_turn_shows_what_the_database_did_and_no_span_of_it(app: Application) -> None:
    app.observe()
    client = app.client()
    answer(app, client)
    app.query()
    assert app.counts() == ANSWERED
    assert app.kept_names().count("SELECT") == 4


def test_the_pipeline_may_be_there_before_the_client_or_after_it(app: Application) -> None:
    client = app.client()
    app.observe()
    answer(app, client)
    assert app.counts() == ANSWERED


def test_what_was_open_before_us_is_written_on_too(app: Application) -> None:
    client = app.client()
    with client.start_as_current_observation(name="agent", as_type="agent"):
        app.query(2)
        app.observe()
        app.query(3)
    assert app.counts() == {"agent": 3}


async def test_async_tasks_and_gather(app: Application) -> None:
    app.observe()
    client = app.client()

    async def tool(number: int) -> None:
        with client.start_as_current_observation(name=f"tool {number}", as_type="tool"):
            await app.query_async(number)

    with client.start_as_current_observation(name="agent", as_type="agent"):
        await asyncio.gather(*map(tool, (1, 2, 3)))
    assert app.counts() == {"tool 1": 1, "tool 2": 2, "tool 3": 3, "agent": 6}


def test_threads_with_the_context_count_and_a_bare_one_is_outside(app: Application) -> None:
    app.observe()
    client = app.client()
    with client.start_as_current_observation(name="agent", as_type="agent"):
        with ThreadPoolExecutor(2) as several:
            for _ in range(4):
                several.submit(contextvars.copy_context().run, app.query).result()
        bare = threading.Thread(target=app.query)
        bare.start()
        bare.join()
    assert app.counts() == {"agent": 4}


def test_the_decorator(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    app.observe()
    app.client()

    @observe(as_type="tool")
    def find(number: int) -> int:
        app.query(number)
        return number

    @observe(as_type="generation")
    def ask() -> str:
        return "find"

    @observe()
    def turn() -> int:
        return find(len(ask()))

    assert turn() == 4
    assert app.counts() == {"ask": None, "find": 4, "turn": 4}


async def test_the_decorator_on_coroutines_and_generators(app: Application) -> None:
    app.observe()
    app.client()

    @observe(as_type="retriever")
    async def find() -> int:
        await app.query_async(2)
        return 2

    @observe()
    def tokens() -> Iterator[int]:
        for number in range(3):
            app.query()
            yield number

    assert await find() == 2
    assert list(tokens()) == [0, 1, 2]
    assert app.counts() == {"find": 2, "tokens": 3}


def test_propagated_attributes_reach_langfuse_as_without_us(app: Application) -> None:
    app.observe()
    client = app.client()
    with propagate_attributes(user_id="u1", session_id="s1", metadata={"tenant": "acme"}):
        answer(app, client)
    assert app.counts() == ANSWERED
    for seen in app.server.observations:
        assert (seen.user_id, seen.session_id, seen.metadata["tenant"]) == ("u1", "s1", "acme")


def test_an_isolated_provider_gets_the_totals_and_the_applications_the_spans(
    app: Application,
) -> None:
    pipeline = app.observe()
    client = app.client(tracer_provider=app.new_provider())
    for _ in range(2):
        answer(app, client)
    assert pipeline.flush()
    assert app.counts() == ANSWERED
    assert len(app.server.observations) == 6
    assert app.kept_names().count("SELECT") == 6


@pytest.mark.parametrize(
    "options",
    [{"public_key": None}, {"secret_key": None}, {"tracing_enabled": False}],
    ids=lambda options: next(iter(options)),
)
def test_a_client_that_does_nothing(app: Application, options: dict[str, Any]) -> None:
    app.observe()
    client = app.client(**options)
    with app.provider.get_tracer("application").start_as_current_span("request"):
        answer(app, client)
    assert app.counts() == {}
    assert app.kept_names().count("SELECT") == 3


def test_tracing_turned_off_by_the_variable(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGFUSE_TRACING_ENABLED", "false")
    app.observe()
    answer(app, app.client())
    assert app.counts() == {}
    assert app.kept_names().count("SELECT") == 3


def test_a_second_client_with_the_same_key_is_the_first(app: Application) -> None:
    app.observe()
    first, second = app.client(), app.client()
    with first.start_as_current_observation(name="agent", as_type="agent"):
        with get_client().start_as_current_observation(name="tool", as_type="tool"):
            app.query(2)
        with second.start_as_current_observation(name="other", as_type="tool"):
            app.query(1)
    assert app.counts() == {"tool": 2, "other": 1, "agent": 3}


def test_two_clients_with_two_keys_get_each_its_own(app: Application) -> None:
    app.observe()
    with langfuse_server() as other:
        other.public_key = "pk-lf-other"
        mine, theirs = app.client(), app.client(other)
        with mine.start_as_current_observation(name="mine", as_type="agent"):
            with theirs.start_as_current_observation(name="theirs", as_type="tool"):
                app.query(2)
            app.query(1)
        assert app.counts() == {"mine": 3}
        assert app.counts(other) == {"theirs": 2}
        app.close()  # before that server ends


@pytest.mark.parametrize(
    "sampler", [ALWAYS_OFF, TraceIdRatioBased(0), StaticSampler(Decision.RECORD_ONLY)]
)
def test_of_traces_that_are_not_sampled_nothing_goes_anywhere(
    app: Application, sampler: Any
) -> None:
    app.provider = app.new_provider(sampler=sampler)
    pipeline = app.observe(langfuse_scores=True)
    client = app.client()
    answer(app, client)
    assert app.counts() == {}
    assert (app.server.scores, pipeline.lost()) == ([], {})
    assert app.kept_names() == []


def test_a_client_that_is_shut_down_before_us(app: Application) -> None:
    pipeline = app.observe()
    client = app.client()
    answer(app, client)
    client.shutdown()
    assert {each.name for each in app.server.observations} == {*ANSWERED}
    answer(app, client)
    assert pipeline.close(60)


def test_a_pipeline_that_is_closed_first_leaves_the_client_alone(app: Application) -> None:
    pipeline = app.observe()
    client = app.client()
    with client.start_as_current_observation(name="agent", as_type="agent"):
        app.query()
        assert pipeline.close(60)
        app.query()
    assert [*app.counts()] == ["agent"]


def test_two_pipelines_on_one_provider_count_once(app: Application) -> None:
    app.observe()
    app.observe()
    answer(app, app.client())
    assert app.counts() in (ANSWERED, {"chat": None, "tool": 6, "agent": 6})


def test_outside_llm_work_nothing_goes_to_langfuse(app: Application) -> None:
    app.observe()
    app.client()
    with app.provider.get_tracer("application").start_as_current_span("request"):
        app.query(2)
    app.query()
    assert app.counts() == {}
    assert app.kept_names().count("SELECT") == 3


def test_a_forked_child_tells_of_its_own_turn_and_the_parent_of_its_own(app: Application) -> None:
    app.observe()
    client = app.client()
    with client.start_as_current_observation(name="before", as_type="agent"):
        app.query(1)
    client.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with client.start_as_current_observation(name="child", as_type="agent"):
                app.query(3)
            app.provider.force_flush()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with client.start_as_current_observation(name="parent", as_type="agent"):
        app.query(2)
    assert app.counts() == {"before": 1, "child": 3, "parent": 2}


def test_an_error_in_the_turn_is_the_applications_own(app: Application) -> None:
    app.observe()
    client = app.client()

    def turn() -> None:
        with client.start_as_current_observation(name="agent", as_type="agent"):
            app.query(2)
            raise ValueError("the application's own")

    with pytest.raises(ValueError, match="the application's own"):
        turn()
    assert app.counts() == {"agent": 2}


def test_an_observation_that_is_not_current_is_not_blamed(app: Application) -> None:
    app.observe()
    client = app.client()
    loose = client.start_observation(name="loose", as_type="generation")
    app.query(2)
    with trace.use_span(loose._otel_span, end_on_exit=False):
        app.query(1)
    loose.end()
    assert app.counts() == {"loose": 1}

"""Turns with scores: at the end of each its generations have the numbers of what they caused."""

import threading
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import Tracer

from tests.langfuse.application import Application, nothing_said
from tests.langfuse.server import LangfuseServer, langfuse_server

COUNT, TIME = "db_query_count", "db_time_ms"


@pytest.fixture
def app(langfuse: LangfuseServer, caplog: pytest.LogCaptureFixture) -> Iterator[Application]:
    with nothing_said(caplog), Application(langfuse) as made:
        made.observe(langfuse_scores=True)
        yield made


def scores(app: Application, server: LangfuseServer | None = None) -> dict[tuple[str, str], float]:
    """Return what was sent: the observation's name, the score's, and its last value."""
    app.flush()
    server = server or app.server
    names = {each.id: each.name for each in server.observations}
    return {(names[each["observationId"]], each["name"]): each["value"] for each in server.scores}


def test_each_generation_is_scored_with_what_it_caused(app: Application) -> None:
    client = app.client()
    with client.start_as_current_observation(name="agent", as_type="agent"):
        for number in (1, 2):
            client.start_observation(name=f"ask {number}", as_type="generation").end()
            with client.start_as_current_observation(name=f"tool {number}", as_type="tool"):
                app.query(number)
        client.start_observation(name="answer", as_type="generation").end()
    sent = scores(app)
    assert {key: value for key, value in sent.items() if key[1] == COUNT} == {
        ("ask 1", COUNT): 1,
        ("ask 2", COUNT): 2,
    }
    assert {name for name, _ in sent} == {"ask 1", "ask 2"}  # the answer caused nothing
    total = float(app.server.observation("agent").metadata[TIME])
    assert sent["ask 1", TIME] + sent["ask 2", TIME] == pytest.approx(total, abs=0.002)
    assert len(app.server.scores) == 4


def test_nothing_is_sent_before_the_turn_ends(app: Application) -> None:
    client = app.client()
    with client.start_as_current_observation(name="agent", as_type="agent"):
        client.start_observation(name="ask", as_type="generation").end()
        with client.start_as_current_observation(name="tool", as_type="tool"):
            app.query()
        assert scores(app) == {}
    assert [*scores(app)] == [("ask", TIME), ("ask", COUNT)]


def test_what_comes_after_the_turn_under_the_same_request_updates_its_scores(
    app: Application,
) -> None:
    client = app.client()
    with app.provider.get_tracer("application").start_as_current_span("request"):
        with client.start_as_current_observation(name="agent", as_type="agent"):
            client.start_observation(name="ask", as_type="generation").end()
            app.query(1)
        assert scores(app)["ask", COUNT] == 1
        app.query(2)
    assert scores(app)["ask", COUNT] == 3
    assert len(app.server.scores) == 4
    assert len({each["id"] for each in app.server.scores}) == 2


def test_a_request_after_whose_turn_nothing_came_is_not_scored_again(app: Application) -> None:
    client = app.client()
    with (
        app.provider.get_tracer("application").start_as_current_span("request"),
        client.start_as_current_observation(name="agent", as_type="agent"),
    ):
        client.start_observation(name="ask", as_type="generation").end()
        app.query()
    assert scores(app)["ask", COUNT] == 1
    assert len(app.server.scores) == 2


def test_a_model_asked_by_another_instrumentation_without_an_agent_is_scored_at_the_requests_end(
    app: Application,
) -> None:
    app.client()
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    tracer: Tracer = app.provider.get_tracer("opentelemetry.instrumentation.openai_v2")
    with app.provider.get_tracer("application").start_as_current_span("request"):
        tracer.start_span("chat m", attributes=chat).end()
        app.query(2)
    assert scores(app)["chat m", COUNT] == 2


def test_a_generation_of_another_project_is_scored_there(app: Application) -> None:
    with langfuse_server() as other:
        other.public_key = "pk-lf-other"
        mine, theirs = app.client(), app.client(other)
        with mine.start_as_current_observation(name="agent", as_type="agent"):
            theirs.start_observation(name="ask there", as_type="generation").end()
            app.query(2)
            mine.start_observation(name="ask here", as_type="generation").end()
            app.query(1)
        assert scores(app)["ask here", COUNT] == 1
        assert scores(app, other)["ask there", COUNT] == 2
        assert (len(app.server.scores), len(other.scores)) == (2, 2)
        app.close()  # before that server ends


def test_our_flush_gives_them_to_the_client_and_its_own_sends_them(app: Application) -> None:
    client = app.client()
    with client.start_as_current_observation(name="agent", as_type="agent"):
        client.start_observation(name="ask", as_type="generation").end()
        app.query()
    (pipeline,) = app.pipelines
    assert pipeline.flush()
    assert pipeline.lost() == {}
    client._resources._stop_and_join_consumer_threads()  # sends what it was given
    assert len(app.server.scores) == 2


def test_a_pipeline_that_was_closed_scores_no_more_and_leaves_no_thread(app: Application) -> None:
    client = app.client()
    (pipeline,) = app.pipelines
    for count in (1, 1):
        with client.start_as_current_observation(name="agent", as_type="agent"):
            client.start_observation(name="ask", as_type="generation").end()
            app.query()
        assert scores(app)["ask", COUNT] == count
        assert len(app.server.scores) == 2
        assert pipeline.close(60)
        app.observe()
    ours = [each for each in threading.enumerate() if each.name == "otel-dbevents-langfuse-scores"]
    for thread in ours:
        thread.join(60)
        assert not thread.is_alive()

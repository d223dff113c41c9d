"""From an engine to what Langfuse shows, all of it real but Langfuse itself."""

import json

import pytest
from langfuse import propagate_attributes
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from otel_dbevents.langfuse import langfuse_filter
from tests.langfuse.support import Application

TINY = 0.000_001
"""From so many milliseconds on everything is slow."""


@pytest.fixture(params=["filter", "exporter"])
def application(request, langfuse, monkeypatch):
    for name, value in langfuse.variables.items():
        monkeypatch.setenv(name, value)
    with Application(langfuse) as made:
        by_filter = request.param == "filter"
        options = {"should_export_span": langfuse_filter()} if by_filter else {}
        made.langfuse = made.client(**options)
        made.wanted = {"langfuse_export": not by_filter}
        yield made


def begin(application, **settings):
    return application.engine(application.pipeline(**application.wanted, **settings))


def named(langfuse, name):
    return [each for each in langfuse.observations if each.name == name]


def test_a_tools_slow_query_says_which_generation_caused_it(application, langfuse):
    engine = begin(application, slow_query_ms=TINY)
    client = application.langfuse
    with (
        client.start_as_current_observation(name="answer", as_type="agent"),
        propagate_attributes(user_id="u1", metadata={"tenant": "acme"}),
    ):
        client.start_observation(name="chat", as_type="generation").end()
        with (
            client.start_as_current_observation(name="search", as_type="tool"),
            engine.connect() as connection,
        ):
            connection.execute(text("SELECT 1 AS one WHERE 'Xq7literal' != ''")).all()
    application.flush()
    (shown,) = named(langfuse, "SELECT")
    tool, chat = langfuse.observation("search"), langfuse.observation("chat")
    assert (shown.type, shown.level, shown.parent_id) == ("SPAN", "WARNING", tool.id)
    assert (shown.user_id, shown.environment) == ("u1", "dev")
    assert shown.input == "SELECT ? AS one WHERE ? != ?"
    assert json.loads(shown.output) == {"rows": 1}
    assert shown.metadata["db_caused_by_generation"] == chat.id
    assert shown.metadata["db_caused_by_generation_name"] == "chat"
    assert shown.metadata["tenant"] == "acme"
    assert shown.metadata["db_system"] == "sqlite"
    exact = float(shown.metadata["db_duration_ms"])
    assert exact % 1 != 0
    assert tool.metadata["db_query_count"] == "1"
    assert float(tool.metadata["db_time_ms"]) >= round(exact, 3)


def test_no_value_of_a_failing_insert_is_in_what_is_sent(application, langfuse):
    engine = begin(application)
    with application.langfuse.start_as_current_observation(name="answer"):
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE users (mail TEXT UNIQUE)"))
        for _ in range(2):
            try:
                with engine.begin() as connection:
                    connection.execute(
                        text("INSERT INTO users VALUES (:mail)"), {"mail": "Xq7@example.org"}
                    )
            except IntegrityError:
                pass
    application.flush()
    (shown,) = named(langfuse, "INSERT users")
    assert shown.level == "ERROR"
    assert shown.status_message.startswith("sqlite3.IntegrityError")
    sent = b"".join(request.SerializeToString() for request in langfuse.requests)
    assert b"INSERT INTO users" in sent
    assert b"Xq7" not in sent


def test_outside_of_llm_work_nothing_is_sent(application, langfuse):
    engine = begin(application, slow_query_ms=TINY, langfuse="all", langfuse_events=True)
    with (
        application.provider.get_tracer("web").start_as_current_span("GET /"),
        engine.connect() as connection,
    ):
        connection.execute(text("SELECT 1")).all()
    application.flush()
    assert langfuse.observations == []


def test_a_turns_thousand_queries_cost_no_more_than_the_quota_and_the_totals_are_exact(
    application, langfuse
):
    engine = begin(application, langfuse="all", fold_after=0, langfuse_spans_per_trace=20)
    with (
        application.langfuse.start_as_current_observation(name="answer"),
        engine.connect() as connection,
    ):
        for _ in range(1000):
            connection.execute(text("SELECT 1")).all()
    application.flush()
    assert len(named(langfuse, "SELECT")) == 16
    assert langfuse.observation("answer").metadata["db_query_count"] == "1000"


def test_judgements_about_queries_of_llm_work_arrive_as_events(application, langfuse):
    wanted = {"langfuse": "summary", "langfuse_events": True}
    engine = begin(application, **wanted, slow_query_ms=TINY, repeated_queries=5)
    with (
        application.langfuse.start_as_current_observation(name="answer"),
        engine.connect() as connection,
    ):
        for _ in range(6):
            connection.execute(text("SELECT 1")).all()
    application.flush()
    assert len(named(langfuse, "SELECT")) == 0
    assert len(named(langfuse, "SlowQueryDetected")) == 6
    (repeated,) = named(langfuse, "RepeatedQueryDetected")
    assert (repeated.type, repeated.environment) == ("EVENT", "dev")
    assert json.loads(repeated.input)["count"] == 6


@pytest.mark.parametrize("inner", ["staging", "prod"])
def test_the_environment_is_that_of_the_llm_span_above(application, langfuse, inner):
    if not _propagates_environment():
        inner = "dev"
    engine = begin(application, slow_query_ms=TINY)
    with (
        propagate_attributes(**({"environment": inner} if _propagates_environment() else {})),
        application.langfuse.start_as_current_observation(name="answer"),
        application.provider.get_tracer("app").start_as_current_span("helper"),
        engine.connect() as connection,
    ):
        connection.execute(text("SELECT 1")).all()
    application.flush()
    (shown,) = named(langfuse, "SELECT")
    assert shown.environment == langfuse.observation("answer").environment == inner


def _propagates_environment():
    from inspect import signature

    return "environment" in signature(propagate_attributes).parameters

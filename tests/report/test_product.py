"""What the product writes the report reads: Langfuse's real client and a real database."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from sqlalchemy import text

from otel_dbevents.report import report, spans_of_finished, table
from otel_dbevents.report.findings import Group, Report
from otel_dbevents.report.langfuse import client, spans_of_langfuse
from otel_dbevents.report.model import Prompt
from tests.langfuse.server import langfuse_server
from tests.llm.conftest import App
from tests.report.test_langfuse import BEGIN

ASK, ANSWER = Prompt("ask", "3", "gpt-4o-mini"), Prompt("answer", "1", "gpt-4o")


def generation(langfuse: Any, prompt: Prompt) -> None:
    """Make a generation that is linked to a prompt."""
    with langfuse.start_as_current_observation(
        name=prompt.name, as_type="generation", model=prompt.model
    ):
        trace.get_current_span().set_attributes(
            {
                "langfuse.observation.prompt.name": prompt.name,
                "langfuse.observation.prompt.version": int(prompt.version),
            }
        )


def converse(app: App, langfuse: Any) -> None:
    """Make a turn: a generation, a tool with an N+1 and a failure, a generation, two queries."""
    with langfuse.start_as_current_observation(name="turn", as_type="agent"):
        generation(langfuse, ASK)
        with langfuse.start_as_current_observation(name="tool", as_type="tool"):
            app.query(30, "SELECT 1 AS customer")
            with app.engine.connect() as connection, pytest.raises(Exception, match="no such"):
                connection.execute(text("SELECT name FROM nowhere"))
        generation(langfuse, ANSWER)
        app.query(2, "SELECT 2 AS note")


def group(found: Report, prompt: Prompt) -> Group:
    return next(each for each in found.groups if each.prompt == prompt)


def test_the_spans_of_a_process_say_which_prompt_did_what(app: App) -> None:
    app.observe()
    langfuse = app.langfuse()
    for _ in range(3):
        converse(app, langfuse)
    app.flush()
    found = report(spans_of_finished(app.spans.get_finished_spans()))
    assert found.total is not None
    assert (found.total.turns, found.total.known, found.rolled_up) == (3, 3, 3)
    assert found.total.queries is not None
    assert (found.total.queries.median, found.total.failures) == (33, 3)
    asked, answered = group(found, ASK), group(found, ANSWER)
    assert asked.queries is not None
    assert answered.queries is not None
    assert (asked.queries.median, answered.queries.median) == (31, 2)
    assert (asked.failures, answered.failures) == (3, 0)
    assert {each.text: each.count for each in asked.top_queries} == {
        "SELECT ? AS customer": 90,
        "SELECT name FROM nowhere": 3,
    }
    (repeated,) = asked.repeated
    assert (repeated.text, repeated.turns, repeated.most) == ("SELECT ? AS customer", 3, 30)
    assert answered.repeated == ()
    assert "ask v3" in table(found)


@pytest.mark.parametrize("shown", ["summary", "slow_and_errors", "all"])
def test_what_langfuse_was_sent_says_the_same_totals(app: App, shown: str) -> None:
    from otel_dbevents.langfuse import langfuse_filter

    app.observe(langfuse=shown)
    options = {} if shown == "summary" else {"should_export_span": langfuse_filter()}
    langfuse = app.langfuse(**options)
    for _ in range(3):
        converse(app, langfuse)
    app.flush()
    app.provider.force_flush()
    with langfuse_server() as server:
        server.requests.append(encode_spans(app.exported.get_finished_spans()))
        api, _ = client(server.variables)
        found = report(spans_of_langfuse(api, BEGIN))
    assert found.total is not None
    assert found.total.queries is not None
    assert found.total.database is not None
    exact = report(spans_of_finished(app.spans.get_finished_spans())).total
    assert exact is not None
    assert (found.total.turns, found.total.queries.median, found.total.failures) == (3, 33, 3)
    assert found.total.database == exact.database
    (repeated,) = found.total.repeated
    assert (repeated.text, repeated.most) == ("SELECT ? AS customer", 30)
    # only where each query was shown can it be told which of the two generations caused it
    known = group(found, ASK).known
    assert known == (3 if shown == "all" else 0)
    if shown == "all":
        asked = group(found, ASK).queries
        assert asked is not None
        assert asked.median == 31

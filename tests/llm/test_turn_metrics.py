"""What the database did for turns of LLM work, as metrics."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from sqlalchemy.exc import OperationalError

import otel_dbevents
from tests.llm.conftest import App

AGENT = {"gen_ai.operation.name": "invoke_agent"}
TOOL = {"gen_ai.operation.name": "execute_tool"}


@pytest.fixture
def reader(app: App) -> Iterator[InMemoryMetricReader]:
    found = InMemoryMetricReader()
    provider = MeterProvider([found])
    pipeline = otel_dbevents.Pipeline(tracer_provider=app.provider, meter_provider=provider)
    pipeline.attach(app.engine)
    app.pipelines.append(pipeline)
    yield found
    provider.shutdown()


def turns(reader: InMemoryMetricReader) -> dict[str, Any]:
    """Return the only point of each metric of turns, by the name's end."""
    data = reader.get_metrics_data()
    found = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name.startswith("dbevents.llm.turn."):
                    (point,) = metric.data.data_points
                    assert not point.attributes
                    found[metric.name.rpartition(".")[2]] = point
    return found


def test_a_turn_is_counted_with_its_queries_errors_and_time(
    app: App, reader: InMemoryMetricReader
) -> None:
    tracer = app.tracer()
    with tracer.start_as_current_span("agent", attributes=AGENT):
        app.query(2)
        with tracer.start_as_current_span("tool", attributes=TOOL):
            with suppress(OperationalError):
                app.query(sql="SELECT nothing FROM nowhere")
            app.query()
    found = turns(reader)
    assert (found["queries"].count, found["queries"].sum) == (1, 4)
    assert found["errors"].value == 1
    assert found["duration"].count == found["database_time"].count == 1
    span = app.span("agent")
    assert span.end_time is not None
    assert span.start_time is not None
    assert found["duration"].sum == pytest.approx((span.end_time - span.start_time) / 1e9)
    busy_ms = app.written("agent")["db_busy_ms"]  # rounded
    assert found["database_time"].sum * 1e3 == pytest.approx(busy_ms, abs=0.001)


def test_a_turn_without_database_work_is_counted_as_one(
    app: App, reader: InMemoryMetricReader
) -> None:
    with app.tracer().start_as_current_span("agent", attributes=AGENT):
        pass
    found = turns(reader)
    assert (found["queries"].count, found["queries"].sum) == (1, 0)
    assert found["database_time"].sum == found["errors"].value == 0


def test_what_is_no_llm_work_is_no_turn(app: App, reader: InMemoryMetricReader) -> None:
    with app.tracer().start_as_current_span("request"):
        app.query()
    app.flush()
    assert turns(reader) == {}


def test_an_exemplar_leads_from_a_turns_number_to_its_trace(
    app: App, reader: InMemoryMetricReader
) -> None:
    with app.tracer().start_as_current_span("agent", attributes=AGENT) as span:
        app.query()
    (exemplar,) = turns(reader)["duration"].exemplars
    assert exemplar.trace_id == span.get_span_context().trace_id


def test_a_closed_pipeline_counts_no_more_turns(app: App, reader: InMemoryMetricReader) -> None:
    app.observe()  # another one, so that turns are still followed
    app.pipelines[0].close()
    with app.tracer().start_as_current_span("agent", attributes=AGENT):
        app.query()
    assert turns(reader) == {}

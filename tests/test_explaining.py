"""Explaining in the pipeline: the setting turns it on, the plan is told beside the slow query."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from otel_dbevents import Config, Pipeline
from otel_dbevents.config import ConfigError
from otel_dbevents.events import QueryExplained, span_id_of
from tests.test_pipeline import Telemetry

SQL = "SELECT name FROM people WHERE name = 'xq-secret'"


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.shutdown()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path}/shop.db")
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE people (name)"))
    yield made
    made.dispose()


def pipeline_of(telemetry: Telemetry, engine: Engine, **settings: Any) -> Pipeline:
    config = Config(slow_query_ms=0.000001, **settings)
    made = Pipeline(**telemetry.providers, config=config)
    made.attach(engine)
    return made


def query(engine: Engine, sql: str = SQL) -> None:
    with engine.connect() as connection:
        connection.execute(text(sql)).all()


@pytest.mark.parametrize("parent", [True, False])
def test_the_plan_is_a_log_record_under_the_slow_querys_span(
    telemetry: Telemetry, engine: Engine, parent: bool
) -> None:
    pipeline = pipeline_of(telemetry, engine, explain_slow_queries=True)
    if parent:
        with telemetry.tracers.get_tracer("app").start_as_current_span("request"):
            query(engine)
    else:
        query(engine)
    assert pipeline.flush(30)
    (span,) = [each for each in telemetry.spans() if each.name.startswith("SELECT")]
    (record,) = [e for e in telemetry.records if e.event_name == "database.query.explained"]
    assert (record.trace_id, record.span_id) == (span.context.trace_id, span.context.span_id)
    assert record.attributes is not None
    assert record.attributes["dbevents.query.plan"] == "SCAN people"
    assert "xq-secret" not in repr(dict(record.attributes))
    (explained,) = [e for e in pipeline.bus.history if isinstance(e, QueryExplained)]
    assert span_id_of(explained.query_id) == span.context.span_id
    assert pipeline.lost() == {}
    pipeline.close()


def test_it_is_off_unless_asked_for(telemetry: Telemetry, engine: Engine) -> None:
    pipeline = pipeline_of(telemetry, engine)
    query(engine)
    assert pipeline.flush()
    assert pipeline.explainer is None
    assert [e for e in pipeline.bus.history if isinstance(e, QueryExplained)] == []
    pipeline.close()


def test_what_could_not_be_explained_is_counted_as_lost(
    telemetry: Telemetry, engine: Engine
) -> None:
    pipeline = pipeline_of(telemetry, engine, explain_slow_queries=True)
    query(engine, "SELECT ';' FROM people")
    assert pipeline.flush(30)
    assert pipeline.lost() == {"explain_refused": 1}
    (point,) = telemetry.metrics()["dbevents.events.lost"].data_points
    assert (point.value, *point.attributes.values()) == (1, "explain_refused")
    pipeline.close()


def test_the_settings_reach_the_explainer(telemetry: Telemetry, engine: Engine) -> None:
    pipeline = pipeline_of(telemetry, engine, explain_slow_queries=True, explain_per_minute=1)
    query(engine)
    query(engine, "SELECT 1 FROM people")
    pipeline.flush(30)
    assert len([e for e in pipeline.bus.history if isinstance(e, QueryExplained)]) == 1
    pipeline.close()


def test_explaining_what_is_never_slow_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_DBEVENTS_EXPLAIN_SLOW_QUERIES", "true")
    with pytest.raises(ConfigError) as raised:
        Config(slow_query_ms=0)
    assert str(raised.value) == (
        "OTEL_DBEVENTS_EXPLAIN_SLOW_QUERIES is on, but no query is slow while slow_query_ms is 0: "
        "set slow_query_ms to a number of milliseconds, for example slow_query_ms=500, or turn "
        "OTEL_DBEVENTS_EXPLAIN_SLOW_QUERIES off"
    )


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("explain_timeout_ms", 0, "a number of milliseconds from 1 to 60000"),
        ("explain_per_minute", 0, "a whole number from 1 to 600"),
        ("explain_slow_queries", "perhaps", "true or false"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_takes(name: str, value: Any, takes: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} takes {takes}, but got "):
        Config(**{name: value})


PROGRAM = """
import sqlite3, sys, time
import otel_dbevents
from otel_dbevents import Config
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from sqlalchemy import create_engine, text

opened = []
def creator():
    opened.append(1)
    if len(opened) > 1:
        print("stuck\\n", end="", flush=True)  # in one piece, as other threads write too
        time.sleep(600)
    return sqlite3.connect(sys.argv[1], check_same_thread=False)

provider = TracerProvider()
exporter = ConsoleSpanExporter(formatter=lambda span: span.name + "\\n")
provider.add_span_processor(SimpleSpanProcessor(exporter))
engine = create_engine("sqlite:///" + sys.argv[1], creator=creator)
config = Config(slow_query_ms=0.000001, explain_slow_queries=True, flush_timeout_ms=500)
otel_dbevents.instrument(engine, tracer_provider=provider, config=config)
with engine.connect() as connection:
    connection.execute(text("SELECT 1")).all()
    connection.execute(text("SELECT 2 AS two")).all()
if sys.argv[2] == "uninstrument":
    pipeline = otel_dbevents.instrument(engine)
    otel_dbevents.uninstrument()
    print(pipeline.lost(), flush=True)
"""


@pytest.mark.parametrize("how", ["uninstrument", "exit"])
def test_a_session_that_hangs_holds_up_neither_the_end_nor_the_spans(
    tmp_path: Path, how: str
) -> None:
    """The creator would sleep for ten minutes."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "a.db"), how],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0
    said = ended.stdout.splitlines()
    assert "stuck" in said
    assert said.count("SELECT") == 2
    if how == "uninstrument":
        assert "{'explain_closed': 2}" in said
        told = "A slow query was not explained: the pipeline was closed (explain_closed: 1 so far)"
        assert ended.stderr.splitlines() == [told]
    else:
        assert ended.stderr == ""

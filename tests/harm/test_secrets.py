"""No secret leaves, whatever is done and whatever fails; and one that does leave is found."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import Engine, create_engine, exc, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import greenlet_spawn

from otel_dbevents import Config, Pipeline
from otel_dbevents.events import Event, QueryFailed
from tests import canaries
from tests.harm import scenario
from tests.services.postgresql import Postgresql


class Forgetful:
    """An exporter of log records that keeps none."""

    def export(self, batch: Any) -> None:
        return None

    def shutdown(self) -> None:
        return None


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


def observing(reader: InMemoryMetricReader, **settings: Any) -> Pipeline:
    tracers, loggers = TracerProvider(), LoggerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(Forgetful()))  # type: ignore[arg-type]
    made = Pipeline(
        tracer_provider=tracers,
        meter_provider=MeterProvider([reader], shutdown_on_exit=False),
        logger_provider=loggers,
        config=Config(slow_query_ms=0.000_001, repeated_queries=2, fold_after=2, **settings),
    )
    made.attach()
    return made


@pytest.fixture
def pipeline(reader: InMemoryMetricReader) -> Iterator[Pipeline]:
    made = observing(reader, explain_slow_queries=True)
    yield made
    made.close()


def application(path: Path) -> list[str]:
    """Play the scenario, on a database whose folder and URL hold secrets too."""
    made: list[Engine] = []

    def make(*, nobody: bool = False, **options: Any) -> Engine:
        folder = path / ("Xq7nobody" if nobody else "Xq7folder")
        url = f"sqlite:///file:{folder}/app.db?uri=true&key=Xq7query"
        made.append(create_engine(url, poolclass=QueuePool, **options))
        return made[-1]

    (path / "Xq7folder").mkdir()
    scenario.prepare(make())
    seen = scenario.play(make, two_phase=False)
    for engine in made:
        engine.dispose()
    return seen


def test_an_application_that_does_everything_lets_no_secret_out(
    pipeline: Pipeline, reader: InMemoryMetricReader, tmp_path: Path
) -> None:
    with pipeline.tracer_provider.get_tracer("app").start_as_current_span("request"):
        seen = application(tmp_path)
    assert pipeline.flush(30)
    reader.collect()
    assert any("Xq7literal" in each for each in seen), "the application sees them"
    assert {"QueryFailed", "QueryExplained", "DatabaseConnectionFailed", "CommitFailed"} <= {
        each.event_type
        for each in pipeline.bus.history  # type: ignore[attr-defined]
    }


SAID_BY_POSTGRESQL: list[tuple[str, dict[str, Any]]] = [
    ("COPY people (name) FROM '/Xq7file'", {}),
    ("COPY people (name) FROM PROGRAM 'Xq7program --password Xq7argument'", {}),
    ("SELECT CAST(:a AS jsonb)", {"a": '{"token": "Xq7json'}),
    ("SELECT CAST(:a AS bytea)", {"a": b"Xq7bytes"}),
    ("SELECT CAST(:a AS text[])", {"a": ["Xq7array", "Xq7other"]}),
    ("SELECT CAST(CAST(:a AS text) AS int[])", {"a": "{Xq7element}"}),
    ("CALL nosuch('Xq7argument', $a$Xq7dollar$a$)", {}),
    ("SELECT 1 /* Xq7comment */ -- Xq7line", {}),
    ("ALTER ROLE nosuch PASSWORD 'Xq7password'", {}),
    ("CREATE SUBSCRIPTION s CONNECTION 'password=Xq7password' PUBLICATION p", {}),
    ("SET app.token = Xq7bare", {}),
    (r"SELECT 'O\'Xq7Brien' AND 'D\'Xq7Arcy'", {}),
    ("INSERT INTO people (id, name) VALUES (7, :a), (7, :a)", {"a": "Xq7twice"}),
    (
        "DO $$ BEGIN RAISE EXCEPTION 'Xq7raised'"
        " USING DETAIL = 'Xq7detail', HINT = 'Xq7hint', COLUMN = 'Xq7column'; END $$",
        {},
    ),
]
"""Statements whose values stand in what the server answers: in its message, DETAIL or CONTEXT."""


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_what_postgresql_says_of_values_stays_with_the_application(
    pipeline: Pipeline, reader: InMemoryMetricReader, postgresql: Postgresql, driver: str
) -> None:
    url = postgresql.url(postgresql.database(), f"postgresql+{driver}")
    engine: Any = create_async_engine(url) if driver == "asyncpg" else create_engine(url)
    said: list[str] = []

    def application(engine: Engine) -> None:
        scenario.prepare(engine)
        for sql, values in SAID_BY_POSTGRESQL:
            with suppress(exc.DBAPIError), engine.begin() as connection:
                try:
                    connection.execute(text(sql), values)
                except exc.DBAPIError as error:
                    said.append(str(error.orig))
                    raise
        with suppress(Exception):  # whatever the driver raises, also unwrapped: nobody's password
            create = create_engine if driver == "psycopg" else create_async_engine
            other: Any = create(make_url(url).set(username="Xq7user", password="Xq7/:@word"))
            getattr(other, "sync_engine", other).connect()

    async def awaited() -> None:
        await greenlet_spawn(application, engine.sync_engine)
        await engine.dispose()

    if driver == "asyncpg":
        asyncio.run(awaited())
    else:
        application(engine)
        engine.dispose()
    assert pipeline.flush(30)
    reader.collect()
    assert sum("Xq7" in each for each in said) >= 4, "the application sees them"
    kinds = [each.event_type for each in pipeline.bus.history]  # type: ignore[attr-defined]
    assert kinds.count("QueryFailed") >= 8


@pytest.mark.swallows
def test_an_error_of_a_handlers_own_takes_no_drivers_words_into_our_log(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """It is raised while the driver's error is being handled, which holds the statement."""

    def broken(event: Event, _context: object) -> None:
        raise LookupError("Xq7handler")

    pipeline.bus.subscribe_inline(broken, QueryFailed)
    engine = create_engine("sqlite://")
    with (
        caplog.at_level(logging.DEBUG, "otel_dbevents"),
        engine.connect() as connection,
        pytest.raises(exc.OperationalError, match="Xq7literal"),
    ):
        connection.execute(text("SELECT 'Xq7literal' FROM nosuch WHERE a = :a"), {"a": "Xq7"})
    assert "LookupError" in caplog.text
    assert "Xq7" not in "".join(map(logging.Formatter().format, caplog.records))
    engine.dispose()


def test_no_object_of_ours_shows_a_secret(pipeline: Pipeline, tmp_path: Path) -> None:
    application(tmp_path)
    pipeline.flush(30)
    shown: list[str] = []
    waiting, known = [pipeline], set[int]()
    while waiting:
        thing: Any = waiting.pop()
        if id(thing) in known or not type(thing).__module__.startswith("otel_dbevents"):
            continue
        known.add(id(thing))
        shown += (repr(thing), str(thing))
        for inner in getattr(thing, "__dict__", {}).values():
            waiting += inner if isinstance(inner, (list, tuple)) else [inner]
    shown += map(repr, pipeline.bus.history)
    assert len(known) > 8
    assert [each for each in shown if "Xq7" in each] == []


@pytest.mark.shows
def test_what_was_let_out_is_found(reader: InMemoryMetricReader) -> None:
    """The user asks for the driver's messages, which hold what they may."""
    pipeline, engine = observing(reader, capture_error_messages=True), create_engine("sqlite://")
    with canaries.watching() as tap:
        with engine.connect() as connection, pytest.raises(exc.OperationalError):
            connection.execute(text("SELECT Xq7nosuch"))
        pipeline.flush(30)
        logging.getLogger("otel_dbevents").debug("a line with Xq7debug")
        found = tap.found()
    assert {each.partition(":")[0] for each in found} >= {"event", "log"}, found
    pipeline.close()
    engine.dispose()

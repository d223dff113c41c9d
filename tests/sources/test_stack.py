"""The stack of what failed: where it came through, in the log record alone, and no value in it."""

import asyncio
import gc
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import Connection, create_engine, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from otel_dbevents import Config, Pipeline, codec
from otel_dbevents.events import DatabaseConnectionFailed
from otel_dbevents.sources import stack
from tests.services.ports import free_ports

STACK = "exception.stacktrace"


class Seen:
    """A pipeline, and what it told."""

    def __init__(self, **settings: Any) -> None:
        self._records, self.spans = InMemoryLogRecordExporter(), InMemorySpanExporter()
        loggers, tracers = LoggerProvider(shutdown_on_exit=False), TracerProvider()
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self._records))
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.tracer = tracers.get_tracer("application")
        self.pipeline = Pipeline(
            tracer_provider=tracers, logger_provider=loggers, config=Config(**settings)
        )
        self.pipeline.attach()

    def records(self, name: str) -> list[dict[str, Any]]:
        assert self.pipeline.flush(30)
        found: Any = [
            getattr(each, "log_record", each) for each in self._records.get_finished_logs()
        ]
        return [dict(each.attributes) for each in found if each.event_name == name]


@pytest.fixture
def seen() -> Iterator[Seen]:
    made = Seen()
    yield made
    made.pipeline.close()


def refused_to_ada() -> None:
    engine = create_engine("sqlite:////nowhere/Xq7path/at/all.db")
    with pytest.raises(exc.OperationalError):
        engine.connect()


def test_a_failed_connect_says_which_way_it_came_from_the_application_to_the_driver(
    seen: Seen,
) -> None:
    refused_to_ada()
    (record,) = seen.records("database.connection.failed")
    first, *frames, last = record[STACK].splitlines()
    assert first == "Traceback (most recent call last):"
    assert last == record["exception.type"] == "sqlite3.OperationalError"
    places = [each.partition('", line ')[0].partition('"')[2] for each in frames]
    ours = [each for each in frames if each.endswith(", in refused_to_ada")]
    assert len(ours) == 1
    line = refused_to_ada.__code__.co_firstlineno + 3
    assert ours[0] == f'  File "tests/sources/test_stack.py", line {line}, in refused_to_ada'
    assert places.index("tests/sources/test_stack.py") < places.index("sqlalchemy/pool/base.py")
    assert not any(place.startswith("otel_dbevents/") for place in places)


def test_it_has_no_source_line_no_message_and_no_folder_above(seen: Seen) -> None:
    refused_to_ada()
    (record,) = seen.records("database.connection.failed")
    assert "Xq7" not in record[STACK]
    assert "create_engine(" not in record[STACK]
    assert "unable to open" not in record[STACK]
    assert not [each for each in record[STACK].splitlines() if 'File "/' in each]


def test_neither_event_nor_span_has_it(seen: Seen) -> None:
    handled: list[DatabaseConnectionFailed] = []
    seen.pipeline.bus.handle(handled.append, DatabaseConnectionFailed)
    with seen.tracer.start_as_current_span("request"):
        refused_to_ada()
    (record,) = seen.records("database.connection.failed")
    assert "refused_to_ada" in record[STACK]
    history = seen.pipeline.bus.history  # an engine that another test left may be told of, too
    assert handled == [each for each in history if isinstance(each, DatabaseConnectionFailed)]
    assert all(b"refused_to_ada" not in codec.encode_cloudevent(each) for each in history)
    spans = seen.spans.get_finished_spans()
    assert {each.name for each in spans} >= {"request"}
    told = [span.to_json() for span in spans]
    assert all("refused_to_ada" not in each and "stacktrace" not in each for each in told)


def test_an_async_engines_way_begins_in_the_coroutine_that_awaits(seen: Seen) -> None:
    (port,) = free_ports(1)

    async def handle_request() -> None:
        engine = create_async_engine(f"postgresql+asyncpg://u:hunter2@127.0.0.1:{port}/x")
        with pytest.raises(ConnectionRefusedError):
            await use(engine)

    async def use(engine: AsyncEngine) -> None:
        async with engine.connect():
            pass

    asyncio.run(handle_request())
    (record,) = seen.records("database.connection.failed")
    lines = record[STACK].splitlines()
    here = next(number for number, line in enumerate(lines) if "handle_request" in line)
    assert any("asyncpg/" in line for line in lines[here:])


def test_a_checkout_that_timed_out_says_where_it_was_asked_for(seen: Seen, tmp_path: Path) -> None:
    engine = create_engine(
        f"sqlite:///{tmp_path}/app.db",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.01,
    )

    def ask_for_another() -> None:
        with pytest.raises(exc.TimeoutError):
            engine.connect()

    with engine.connect():
        ask_for_another()
    (record,) = seen.records("database.checkout.timed_out")
    assert "ask_for_another" in record[STACK]
    assert record[STACK].splitlines()[-1] == record["exception.type"]
    engine.dispose()


def test_a_failed_commit_says_where(seen: Seen) -> None:
    engine = create_engine("sqlite://")

    statements = (
        "PRAGMA foreign_keys=ON",
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO c VALUES (1)",
    )

    def pay_nobody(connection: Connection) -> None:
        with pytest.raises(exc.IntegrityError):
            connection.commit()

    with engine.connect() as connection:
        for statement in statements:
            connection.commit()
            connection.execute(text(statement))
        pay_nobody(connection)
    (record,) = seen.records("database.commit.failed")
    assert "pay_nobody" in record[STACK]
    engine.dispose()


def test_a_failed_query_has_none(seen: Seen) -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(exc.OperationalError):
        connection.execute(text("SELECT nosuch"))
    (record,) = seen.records("db.client.operation.exception")
    assert STACK not in record
    engine.dispose()


def deep(levels: int, call: Callable[[], None]) -> None:
    if levels:
        deep(levels - 1, call)
    else:
        call()


def test_of_a_very_deep_one_the_nearest_is_told_and_that_there_is_more(seen: Seen) -> None:
    deep(200, refused_to_ada)
    (record,) = seen.records("database.connection.failed")
    lines = record[STACK].splitlines()
    assert lines[1] == "  ..."
    assert len(lines) <= 83
    assert any("in refused_to_ada" in line for line in lines)


def test_a_storm_of_failures_holds_one_stack(seen: Seen) -> None:
    stack._known.clear()
    for _ in range(50):
        refused_to_ada()
    records = seen.records("database.connection.failed")
    assert len(records) == 50
    assert len(stack._known) == 1
    gc.collect()
    assert sum(isinstance(each, stack.Trace) for each in gc.get_objects()) <= 1


def test_without_log_records_nobody_looks_at_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Seen(logs=False)
    stack._known.clear()
    refused_to_ada()
    assert made.pipeline.flush(30)
    assert stack._known == {}
    made.pipeline.close()


def test_what_is_known_is_bounded(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "_MOST_KNOWN", 5)
    stack._known.clear()
    made: dict[str, Any] = {"refused": refused_to_ada}
    for number in range(12):
        exec(f"def way_{number}(): refused()", made)
        made[f"way_{number}"]()
    assert len(stack._known) <= 5
    assert len(seen.records("database.connection.failed")) == 12


def test_a_client_of_libsql_says_who_called_it_though_it_works_in_another_thread(
    seen: Seen,
) -> None:
    import libsql_client

    (port,) = free_ports(1)
    client = libsql_client.create_client_sync(f"http://127.0.0.1:{port}")

    def ask_the_client() -> None:
        with pytest.raises(OSError, match="connect"):
            client.execute("SELECT 1")

    ask_the_client()
    client.close()
    (record,) = seen.records("database.connection.failed")
    lines = record[STACK].splitlines()
    assert "ask_the_client" in lines[1]
    assert any("libsql_client/" in line for line in lines)


def test_sqlites_own_words_are_not_in_it() -> None:
    """The message of an error that nobody wraps stays out of what is written."""
    from opentelemetry.context import Context

    from otel_dbevents.stacks import stack_of

    try:
        raise sqlite3.OperationalError("Xq7message")
    except sqlite3.OperationalError as error:
        told = stack_of(stack.traced(Context(), error))
    assert told.endswith("\nsqlite3.OperationalError")
    assert "Xq7" not in told
    assert stack_of(Context()) == stack_of(None) == ""

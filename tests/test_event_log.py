"""Domain events as log lines: the same as their log records, on stdout or in `logging`."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import create_engine, exc, text

from otel_dbevents import Config, ConfigError, Pipeline
from otel_dbevents.bus.limiter import Limiter
from otel_dbevents.event_log import LOGGER, EventLog
from tests.bridge import support

TOLD = [
    support.established(),
    support.connect_failed(),
    support.health("degraded", details={"pool.used": 3}),
    support.recovered(),
    support.invalidated(),
    support.timed_out(),
    support.commit_failed(),
    support.rollback_failed(),
    support.failed(),
    support.slow(support.executed()),
    support.repeated(),
]


def lines(written: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.splitlines()]


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """Take what the logger gets, as a handler of the application's would."""
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("event", TOLD, ids=lambda event: event.event_type)
def test_a_line_says_what_the_events_log_record_says(
    event: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    EventLog("stdout", service=lambda: "shop").consume([(event, None)])
    (told,) = lines(capsys.readouterr().out)
    (record,) = support.Told().tell(event).records
    assert told.pop("event_name") == record.event_name
    assert told.pop("level") == record.severity_text
    assert told.pop("message") == record.body
    assert told.pop("time") == "2023-11-14T22:13:20.123456789Z"
    assert told.pop("logger") == "otel_dbevents.events"
    assert told.pop("service.name") == "shop"
    if event.parent is not None:
        ids = told.pop("trace_id"), told.pop("span_id"), told.pop("trace_flags")
        assert "-".join(("00", *ids)) == str(event.parent)
    assert told == json.loads(json.dumps(dict(record.attributes), default=list))


def test_stderr_is_another_place(capsys: pytest.CaptureFixture[str]) -> None:
    EventLog("stderr").consume([(support.recovered(), None)])
    out, err = capsys.readouterr()
    assert out == ""
    assert [each["event_name"] for each in lines(err)] == ["database.recovered"]


def test_a_logger_gets_a_record_at_the_events_level_and_time_with_its_attributes(
    records: list[logging.LogRecord],
) -> None:
    written = [support.established(), support.invalidated(), support.connect_failed()]
    EventLog("logging").consume([(event, None) for event in written])
    assert [each.levelno for each in records] == [logging.INFO, logging.WARNING, logging.ERROR]
    when = datetime.fromtimestamp(records[0].created, UTC)
    assert f"{when:%Y-%m-%dT%H:%M:%S}" == "2023-11-14T22:13:20"
    assert vars(records[2])["dbevents.error_message"] == "connection refused"
    assert records[2].getMessage() == "The database gave no connection"


def test_a_logger_that_is_asked_for_errors_alone_gets_no_others(
    records: list[logging.LogRecord],
) -> None:
    logging.getLogger(LOGGER).setLevel(logging.ERROR)
    EventLog("logging").consume([(support.established(), None), (support.connect_failed(), None)])
    assert [each.levelno for each in records] == [logging.ERROR]


@pytest.mark.swallows
def test_what_cannot_be_written_is_counted_and_hurts_no_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog("stdout")
    assert log.lost == {}
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", None)
        log.consume([(support.recovered(), None), (support.recovered(), None)])
    log.consume([(support.recovered(), None)])
    assert log.lost == {"event_log_error": 2}
    assert len(lines(capsys.readouterr().out)) == 1


def test_what_a_rate_leaves_out_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log = EventLog("stdout", limiter=Limiter({"DatabaseRecovered": 2}, clock=lambda: 0.0))
    log.consume([(support.recovered(), None)] * 9)
    assert len(lines(capsys.readouterr().out)) == 2


def fail_to_connect() -> None:
    with pytest.raises(exc.OperationalError):
        create_engine("sqlite:////nowhere/Xq7path/at/all.db").connect()


def test_a_pipeline_writes_what_happens_with_the_stack_and_the_services_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loggers, kept = LoggerProvider(shutdown_on_exit=False), InMemoryLogRecordExporter()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(kept))
    tracers = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    config = Config(event_log="stdout", logs=False)
    pipeline = Pipeline(tracer_provider=tracers, logger_provider=loggers, config=config)
    pipeline.attach()
    with tracers.get_tracer("shop").start_as_current_span("sale") as span:
        fail_to_connect()
        with create_engine("sqlite://").connect() as connection:
            connection.execute(text("SELECT 1")).all()
    assert pipeline.flush(30)
    pipeline.close()
    written = capsys.readouterr().out
    assert "Xq7" not in written
    failed, opened = lines(written)
    assert "fail_to_connect" in failed["exception.stacktrace"]
    assert (failed["level"], opened["level"]) == ("ERROR", "INFO")
    assert failed["service.name"] == "shop"
    assert failed["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert kept.get_finished_logs() == ()


def test_nothing_is_written_unless_it_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = Pipeline(config=Config())
    pipeline.attach()
    fail_to_connect()
    pipeline.close()
    assert pipeline.event_log is None
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ConfigError, match="event_log takes one of off, stdout, stderr, logging"):
        Config(event_log="json")


_MANY = """
import os, sys, time
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import create_engine
import otel_dbevents
spans, tracers = InMemorySpanExporter(), TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(spans))
pipeline = otel_dbevents.instrument(tracer_provider=tracers)
for _ in range(60):
    try:
        create_engine("sqlite:////nowhere/at/all.db").connect()
    except Exception:
        pass
"""
_STUCK = (
    _MANY
    + """
while len(spans.get_finished_spans()) < 60:
    time.sleep(0.01)
sys.stderr.write("all spans are made\\n")
sys.stderr.flush()
sys.stdin.read(1)
os._exit(0)
"""
)


def test_a_pipe_that_takes_nothing_holds_up_neither_application_nor_telemetry() -> None:
    """60 lines are twice what a pipe holds, and nobody reads it."""
    environment = {"OTEL_DBEVENTS_EVENT_LOG": "stdout", "PYTHONPATH": ":".join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", _STUCK],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"all spans are made\n"
    process.communicate(b".", timeout=60)


def test_lines_come_whole_from_a_process_and_all_of_them_before_it_ends() -> None:
    environment = {"OTEL_DBEVENTS_EVENT_LOG": "stdout", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _MANY], env=environment, capture_output=True, text=True, check=True
    )
    told = lines(done.stdout)
    assert len(told) == 60
    assert {each["event_name"] for each in told} == {"database.connection.failed"}
    assert done.stderr == ""

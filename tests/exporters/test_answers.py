"""What a collector answers beside yes and no is heard, over HTTP and gRPC, of each signal."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from threading import Event, Thread
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_dbevents import unreachable
from otel_dbevents.exporters.answers import Answer, Listening, endure_closing, listen
from otel_dbevents.exporters.direct import encode_directly
from otel_dbevents.exporters.outbox import Limits
from otel_dbevents.exporters.processors import CountingLogRecordProcessor, CountingSpanProcessor
from otel_dbevents.exporters.reconnecting import reconnect

PARTS = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
}
MODULES = {"traces": "trace_exporter", "metrics": "metric_exporter", "logs": "_log_exporter"}
KINDS = {"traces": "Span", "metrics": "Metric", "logs": "Log"}
SERVICES = {
    "traces": "trace.v1.TraceService",
    "metrics": "metrics.v1.MetricsService",
    "logs": "logs.v1.LogsService",
}
CODES = {429: grpc.StatusCode.RESOURCE_EXHAUSTED, 503: grpc.StatusCode.UNAVAILABLE}


@dataclass
class Collector:
    """Answers as it is told, and keeps how often it was asked."""

    signal: str
    status: int = 200
    rejected: int = 0
    words: str = ""
    wait: str = ""
    asked: int = 0
    url: str = ""
    half: bool = False
    exporters: list[Any] = field(default_factory=list)

    def body(self) -> bytes:
        """Return the answer's body."""
        self.asked += 1
        kind, name = PARTS[self.signal]
        part: dict[str, Any] = {name: self.rejected, "error_message": self.words}
        return kind(partial_success=part).SerializeToString()

    def exporter(self, over: str, **options: Any) -> Any:
        """Return an exporter of the SDK's to it, that tries once, however long that takes."""
        place = import_module(f"opentelemetry.exporter.otlp.proto.{over}.{MODULES[self.signal]}")
        made = getattr(place, f"OTLP{KINDS[self.signal]}Exporter")(
            endpoint=self.url, timeout=60, **options
        )
        try_once(made)
        self.exporters.append(made)
        return made


def try_once(exporter: Any) -> None:
    """Have it wait for no second attempt, as when it is being shut down."""
    for holder, name in (
        (exporter, "_shutdown_in_progress"),
        (getattr(exporter, "_client", None), "_shutdown_event"),  # over HTTP, since SDK 1.45
    ):
        if isinstance(event := getattr(holder, name, None), Event):
            event.set()


@contextmanager
def over_http(collector: Collector) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = collector.body() if collector.status == 200 else b""
            collector.asked += collector.status != 200
            self.send_response(collector.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body) + 10 * collector.half))
            if collector.wait:
                self.send_header("Retry-After", collector.wait)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = collector.half

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        collector.url = f"http://127.0.0.1:{server.server_port}/v1/{collector.signal}"
        yield
        server.shutdown()
        thread.join()


@contextmanager
def over_grpc(collector: Collector) -> Iterator[None]:
    def export(_: bytes, context: Any) -> bytes:
        if collector.status == 200:
            return collector.body()
        collector.asked += 1
        if collector.wait:
            detail = Packed()
            detail.Pack(RetryInfo(retry_delay=Duration(seconds=int(collector.wait))))
            details = Status(details=[detail]).SerializeToString()
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(CODES[collector.status], "not now")
        raise AssertionError

    server = grpc.server(ThreadPoolExecutor(2))
    handler = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    name = f"opentelemetry.proto.collector.{SERVICES[collector.signal]}"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handler),))
    collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield
    server.stop(None).wait()


Ask = Callable[..., Collector]


@pytest.fixture
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Run a collector, for `over` and a signal, until the test ends."""
    open_ones: list[Any] = []
    made: list[Collector] = []

    def start(over: str, signal: str = "traces", **options: Any) -> Collector:
        made.append(Collector(signal, **options))
        open_ones.append({"http": over_http, "grpc": over_grpc}[over](made[-1]))
        open_ones[-1].__enter__()
        return made[-1]

    yield start
    for exporter in (each for collector in made for each in collector.exporters):
        exporter.shutdown()
    for each in open_ones:
        each.__exit__(None, None, None)


def spans(number: int) -> list[ReadableSpan]:
    kept, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for _ in range(number):
        provider.get_tracer("t").start_span("one").end()
    return list(kept.get_finished_spans())


def metrics() -> Any:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("t").create_counter("n").add(1)
    return reader.get_metrics_data()


def batch_of(signal: str) -> Any:
    return {"traces": lambda: spans(3), "metrics": metrics, "logs": list}[signal]()


@pytest.mark.parametrize("over", ["http", "grpc"])
@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_what_is_rejected_of_a_batch_is_heard_with_the_collectors_words(
    ask: Ask, over: str, signal: str
) -> None:
    collector = ask(over, signal, rejected=2, words="too old, password=Xq7secret\n")
    answer = Listening(collector.exporter(over)).send(batch_of(signal))
    assert (answer.taken, answer.rejected, collector.asked) == (True, 2, 1)
    assert answer.words.startswith("too old")
    assert "Xq7secret" not in answer.words
    assert "\n" not in answer.words


@pytest.mark.parametrize("over", ["http", "grpc"])
@pytest.mark.parametrize("directly", [True, False])
def test_spans_that_are_rejected_are_counted_said_once_and_not_sent_again(
    ask: Ask,
    over: str,
    directly: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unreachable._one_line, "_counted_at", -1e9)
    collector = ask(over, rejected=2, words="attribute too long")
    exporter = collector.exporter(over)
    processor = CountingSpanProcessor(exporter, Limits(batch_size=5))
    assert encode_directly(exporter) or not directly
    for span in spans(10):
        processor.on_end(span)
    assert processor.force_flush(20_000)
    assert processor.lost == {"rejected": 4}
    assert collector.asked == 2
    processor.shutdown()
    assert processor.lost == {"rejected": 4}
    said = [each for each in caplog.messages if "rejected" in each]
    assert len(said) == 1
    assert "the receiver said: attribute too long" in said[0]


def test_log_records_that_are_rejected_are_counted(ask: Ask) -> None:
    collector = ask("http", "logs", rejected=1)
    processor = CountingLogRecordProcessor(collector.exporter("http"))
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    for _ in range(3):
        provider.get_logger("t").emit(body="one")
    assert processor.force_flush(20_000)
    assert processor.lost == {"rejected": 1}
    processor.shutdown()


@pytest.mark.parametrize("over", ["http", "grpc"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_is_longer_than_the_exporter_waits_is_heard(
    ask: Ask, over: str, status: int
) -> None:
    collector = ask(over, status=status, wait="30")
    answer = Listening(collector.exporter(over)).send(spans(1))
    assert answer.code == (str(status) if over == "http" else CODES[status].name)
    assert (answer.taken, answer.wait_s, answer.rejected) == (False, 30.0, 0)


def test_a_pause_may_be_a_date_and_is_believed_for_ten_minutes_at_most(ask: Ask) -> None:
    collector = ask("http", status=503)
    listening = Listening(collector.exporter("http"))
    for wait, least, most in (
        (formatdate(time.time() + 300, usegmt=True), 200, 300),
        (formatdate(time.time() - 300, usegmt=True), 0, 0),
        ("9" * 30, 600, 600),
        ("soon", 0, 0),
    ):
        collector.wait = wait
        assert least <= listening.send(spans(1)).wait_s <= most, wait


def test_a_redirection_is_no_success_as_nobody_has_the_batch(ask: Ask) -> None:
    collector = ask("http", status=304)
    answer = Listening(collector.exporter("http")).send(spans(1))
    assert (answer.taken, answer.code) == (False, "304")


@pytest.mark.swallows
def test_half_an_answer_that_says_yes_is_a_yes(ask: Ask) -> None:
    collector = ask("http", half=True, rejected=1)
    answer = Listening(collector.exporter("http")).send(spans(1))
    assert answer == Answer(taken=True, code="200")
    assert collector.asked == 1


@pytest.mark.parametrize("over", ["http", "grpc"])
def test_answers_are_heard_after_a_reconnection_too(ask: Ask, over: str) -> None:
    collector = ask(over, rejected=1)
    exporter = collector.exporter(over)
    listening = Listening(exporter)
    reconnect(exporter)
    assert listening.send(spans(1)).rejected == 1


@pytest.mark.parametrize("signal", PARTS)
def test_a_channel_that_was_closed_before_it_sent_is_a_failure_and_no_error(
    ask: Ask, caplog: pytest.LogCaptureFixture, signal: str
) -> None:
    """As when the process ends meanwhile: the exporter had looked whether it was shut down."""
    exporter = ask("grpc", signal).exporter("grpc")
    endure_closing(exporter)
    exporter._channel.close()
    assert exporter.export(batch_of(signal)).name == "FAILURE"
    answer = Listening(exporter).send(batch_of(signal))
    assert answer == Answer(taken=False, code="CANCELLED")
    assert not [each for each in caplog.records if each.exc_info]


def test_an_exporter_of_anothers_is_read_by_what_it_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Own:
        result: Any = SpanExportResult.SUCCESS

        def export(self, _: Any) -> Any:
            return self.result

    own = Own()
    assert not listen(own, lambda _: None)
    listening = Listening(own)
    assert listening.send([]) == Answer(taken=True)
    own.result = SpanExportResult.FAILURE
    assert listening.send([]) == Answer(taken=False)
    own.result = None
    assert listening.send([]) == Answer(taken=True)
    assert not [each for each in caplog.records if each.levelno > logging.INFO]

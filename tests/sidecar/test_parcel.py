"""What is sent, sent again, or refused by a collector for good, over real HTTP and gRPC."""

import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_dbevents.exporters import SetupError
from otel_dbevents.exporters.answers import Answer, listen
from otel_dbevents.exporters.otlp_grpc import GrpcSpanExporter
from otel_dbevents.exporters.otlp_http import HttpSpanExporter
from otel_dbevents.exporters.outlets import exporters_by_signal
from otel_dbevents.sidecar.outlets import MOST_AT_ONCE, Outlets
from otel_dbevents.sidecar.parcel import Parcel
from otel_dbevents.sidecar.tellers import Made
from tests.services.ports import free_ports

PATIENT_S = 60
"""For so long an answer is waited for."""
MOST_BYTES = 40_000
"""What the collectors of these tests take at once."""


class Collector:
    """Takes spans; refuses a request that has a poisoned one, and all while it is told so."""

    def __init__(self) -> None:
        self.too_large = 0
        self.names: list[str] = []
        self.sizes: list[int] = []
        self.answer = 200

    def take(self, body: bytes) -> int:
        if self.answer != 200:
            return self.answer
        if b"poison" in body:
            return 400
        request = ExportTraceServiceRequest.FromString(body)
        names = [
            span.name
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        self.names += names
        self.sizes.append(len(names))
        return 200


@contextmanager
def over_http(collector: Collector) -> Iterator[Any]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_too_large = len(body) > MOST_BYTES
            collector.too_large += is_too_large
            status = 413 if is_too_large else collector.take(body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield HttpSpanExporter(
            endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces", timeout=PATIENT_S
        )
        server.shutdown()
        thread.join()


@contextmanager
def over_grpc(collector: Collector) -> Iterator[Any]:
    codes = {400: grpc.StatusCode.INVALID_ARGUMENT, 401: grpc.StatusCode.UNAUTHENTICATED}

    def export(body: bytes, context: Any) -> bytes:
        status = collector.take(body)
        if status != 200:
            context.abort(codes.get(status, grpc.StatusCode.UNAVAILABLE), "code: 400, it said")
        return ExportTraceServiceResponse().SerializeToString()

    name = "opentelemetry.proto.collector.trace.v1.TraceService"
    options = [("grpc.max_receive_message_length", MOST_BYTES)]
    server = grpc.server(ThreadPoolExecutor(2), options=options)
    method = grpc.unary_unary_rpc_method_handler(export)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(name, {"Export": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield GrpcSpanExporter(endpoint=f"127.0.0.1:{port}", insecure=True, timeout=PATIENT_S)
    server.stop(None).wait()


def spans(*names: str) -> list[ReadableSpan]:
    kept, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for name in names:
        provider.get_tracer("t").start_span(name).end()
    return list(kept.get_finished_spans())


@pytest.fixture(params=[over_http, over_grpc])
def way(request: pytest.FixtureRequest) -> Iterator[tuple[Collector, Outlets]]:
    collector = Collector()
    with request.param(collector) as exporter:
        outlets = Outlets({"traces": [exporter]})
        yield collector, outlets
        outlets.abort()
        outlets.close()


def test_one_that_is_refused_for_good_costs_itself_only(way: tuple[Collector, Outlets]) -> None:
    collector, outlets = way
    names = [f"s{n}" for n in range(700)]
    bad = {17, 300, 699}
    made = Made(spans=spans(*(f"poison {n}" if n in bad else name for n, name in enumerate(names))))
    parcel = Parcel(made, outlets)
    assert parcel.send()
    assert collector.names == [name for n, name in enumerate(names) if n not in bad]
    assert parcel.refused == {"traces": 3}
    last = made.spans[699].get_span_context()
    assert last is not None
    assert parcel.words == f"span {last.span_id:016x} of trace {last.trace_id:032x}"
    assert max(collector.sizes) <= MOST_AT_ONCE
    assert parcel.send()
    assert len(collector.names) == parcel.taken["traces"] == 697


def test_what_is_too_large_is_sent_in_parts_and_so_is_what_comes_next(
    way: tuple[Collector, Outlets],
) -> None:
    collector, outlets = way
    [(_, exporter)] = outlets.askable
    heard: list[Answer] = []
    listen(exporter, heard.append)
    names = [f"{n:0>1000}" for n in range(200)]
    parcel = Parcel(Made(spans=spans(*names)), outlets)
    assert parcel.send()
    assert collector.names == names
    assert parcel.refused == {}
    # of 200, 100 and 50 at once; and none of them was tried again as it was
    assert len([each for each in heard if not each.taken]) == 3
    heard.clear()
    assert Parcel(Made(spans=spans(*names[:80])), outlets).send()
    assert len([each for each in heard if not each.taken]) <= 1
    assert outlets.most(exporter) < 50
    for _ in range(60):
        assert Parcel(Made(spans=spans("a")), outlets).send()
    assert outlets.most(exporter) == MOST_AT_ONCE


def test_one_that_alone_is_too_large_is_refused_and_holds_up_nobody(
    way: tuple[Collector, Outlets],
) -> None:
    collector, outlets = way
    parcel = Parcel(Made(spans=spans("a", "b" * 2 * MOST_BYTES, "c")), outlets)
    assert parcel.send()
    assert collector.names == ["a", "c"]
    assert parcel.refused == {"traces": 1}


def test_of_an_answer_that_never_comes_no_code_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        exporter = HttpSpanExporter(endpoint=where, timeout=0.1)
        outlets = Outlets({"traces": [exporter]})
        assert outlets.send(exporter, spans("a")) == "later"
        assert outlets.code == ""
        outlets.abort()
        outlets.close()


@pytest.mark.parametrize("answer", [503, 401])
def test_what_is_not_taken_now_is_kept_and_sent_once(
    way: tuple[Collector, Outlets], answer: int
) -> None:
    collector, outlets = way
    parcel = Parcel(Made(spans=spans("a", "b")), outlets)
    collector.answer = answer
    with outlets._listening[id(outlets.askable[0][1])].hurried(1):
        assert not parcel.send()
    assert parcel.waits_for == "traces"
    collector.answer = 200
    assert parcel.send()
    assert collector.names == ["a", "b"]
    assert parcel.refused == {}


def test_what_goes_to_two_places_is_counted_once() -> None:
    kept = [InMemorySpanExporter(), InMemorySpanExporter()]
    outlets = Outlets({"traces": kept})
    parcel = Parcel(Made(spans=spans("a", "b")), outlets)
    assert parcel.send()
    assert [len(each.get_finished_spans()) for each in kept] == [2, 2]
    assert parcel.taken == {"traces": 2}
    outlets.close()


def test_it_listens_no_more_when_it_is_closed() -> None:
    loggers = [
        logging.getLogger(f"opentelemetry.exporter.otlp.proto.{name}")
        for name in ("grpc.exporter", "http.trace_exporter")
    ]
    before = [list(each.filters) for each in loggers]
    outlets = Outlets({})
    assert [len(each.filters) for each in loggers] == [len(each) + 1 for each in before]
    outlets.close()
    assert [each.filters for each in loggers] == before


def test_the_exporters_are_those_that_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    found = exporters_by_signal()
    assert [type(each) for each in found["traces"]] == [HttpSpanExporter]
    assert [type(each) for each in found["metrics"]] == [OTLPMetricExporter]
    assert found["logs"] == []
    assert None not in Outlets(found).preferences
    for each in (*found["traces"], *found["metrics"]):
        each.shutdown()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(SetupError, match="pigeon"):
        exporters_by_signal()

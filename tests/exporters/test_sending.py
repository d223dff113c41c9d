"""What goes over the wire: the SDK's exporters in all but the encoding."""

import gzip
import logging
import os
import subprocess
import sys
import tomllib
import zlib
from importlib import import_module
from pathlib import Path

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as SdkGrpc
from opentelemetry.exporter.otlp.proto.http import trace_exporter as sdk_http
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult

from otel_dbevents.exporters import direct, otlp, samples
from otel_dbevents.exporters.direct import Encoded, encode_directly
from otel_dbevents.exporters.otlp_grpc import GrpcSpanExporter
from otel_dbevents.exporters.otlp_http import HttpSpanExporter
from tests.demo.receiver import receiving
from tests.exporters.grpc_receiver import grpc_receiving
from tests.services.web import capture

SdkHttp = sdk_http.OTLPSpanExporter
SPANS = samples.samples()
UNPACKED = {"gzip": gzip.decompress, "deflate": zlib.decompress, "none": bytes}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Let no variable of whoever runs the tests in, and nothing said before."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(direct, "_said", set())


@pytest.fixture
def no_sdk_encoding(monkeypatch):
    """Make our encoder raise where it would leave a batch to the SDK's."""

    def leave(_, __, error):
        raise AssertionError from error

    monkeypatch.setattr(otlp.SpanEncoder, "_fall_back", leave)


@pytest.fixture
def closing():
    """Shut exporters down when the test ends."""
    made = []
    yield lambda exporter: made.append(exporter) or exporter
    for exporter in made:
        exporter.shutdown()


def message(body):
    return ExportTraceServiceRequest.FromString(body)


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_over_http_all_but_the_encoding_is_the_sdks(
    monkeypatch, closing, no_sdk_encoding, compression
):
    with capture() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{server.url}/there")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc,tenant=7")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "7")
        ours, sdks = closing(HttpSpanExporter()), closing(SdkHttp())
        assert ours.export(SPANS) is sdks.export(SPANS) is SpanExportResult.SUCCESS
        first, second = server.requests
    unpacked = UNPACKED[compression]
    assert message(unpacked(first.body)) == message(unpacked(second.body)) == encode_spans(SPANS)
    lengths = {"Content-Length": "", "content-length": ""}
    assert {**first.headers, **lengths} == {**second.headers, **lengths}
    assert (first.path, first.headers["tenant"]) == ("/there", "7")


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_over_grpc_all_but_the_encoding_is_the_sdks(
    monkeypatch, closing, no_sdk_encoding, compression
):
    with grpc_receiving() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20abc")
        if compression:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", compression)
        ours, sdks = closing(GrpcSpanExporter()), closing(SdkGrpc())
        assert ours.export(SPANS) is sdks.export(SPANS) is SpanExportResult.SUCCESS
    assert message(server.bodies[0]) == message(server.bodies[1]) == encode_spans(SPANS)
    assert server.metadata[0] == server.metadata[1]
    assert server.metadata[0]["authorization"] == "Basic abc"


@pytest.mark.parametrize("kind", [HttpSpanExporter, SdkHttp])
def test_over_http_what_was_refused_is_sent_again_as_the_sdk_does(closing, kind, caplog):
    with capture(503) as server:
        exporter = closing(kind(endpoint=f"{server.url}/v1/traces"))
        assert exporter.export(SPANS) is SpanExportResult.SUCCESS
        assert [message(each.body) for each in server.requests] == [encode_spans(SPANS)] * 2
    [record] = caplog.records
    assert record.name == "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    assert record.getMessage().startswith("Transient error Service Unavailable")


@pytest.mark.parametrize("kind", [GrpcSpanExporter, SdkGrpc])
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_over_grpc_what_was_refused_is_sent_again_as_the_sdk_does(closing, kind, code):
    with grpc_receiving(code, code) as server:
        exporter = closing(kind(endpoint=server.url))
        assert exporter.export(SPANS) is SpanExportResult.SUCCESS
        assert [message(body) for body in server.bodies] == [encode_spans(SPANS)] * 3


def test_what_is_refused_for_good_is_a_failure(closing):
    with capture(400) as server, grpc_receiving(grpc.StatusCode.INVALID_ARGUMENT) as other:
        http = closing(HttpSpanExporter(endpoint=f"{server.url}/v1/traces"))
        assert http.export(SPANS) is SpanExportResult.FAILURE
        over_grpc = closing(GrpcSpanExporter(endpoint=other.url))
        assert over_grpc.export(SPANS) is SpanExportResult.FAILURE
        assert (len(server.requests), len(other.bodies)) == (1, 1)


@pytest.mark.parametrize("kind", [HttpSpanExporter, GrpcSpanExporter])
def test_after_the_shutdown_nothing_is_sent(kind, caplog):
    exporter = kind(endpoint="http://127.0.0.1:1")
    exporter.shutdown()
    assert exporter.export(SPANS) is SpanExportResult.FAILURE
    assert caplog.messages == ["Exporter already shutdown, ignoring batch"]


def test_the_sdks_exporters_are_made_ours_and_nobody_elses_are(closing):
    pairs = [(SdkHttp, HttpSpanExporter), (SdkGrpc, GrpcSpanExporter)]
    for kind, ours in pairs:
        exporter = closing(kind(endpoint="http://127.0.0.1:1"))
        assert encode_directly(exporter)
        assert type(exporter) is ours
        assert not encode_directly(exporter), "it is already"

    class Own(SdkHttp):
        def export(self, spans):
            return super().export(spans[:1])

    for other in (closing(Own()), ConsoleSpanExporter(), object()):
        before = type(other)
        assert not encode_directly(other)
        assert type(other) is before
    assert sdk_http.encode_spans is encode_spans, "others' exporters are as they were"


def test_an_exporter_made_ours_sends_what_it_would_have_sent(closing, no_sdk_encoding):
    with capture() as server, grpc_receiving() as other:
        http = closing(SdkHttp(endpoint=server.url, headers={"tenant": "7"}))
        over_grpc = closing(SdkGrpc(endpoint=other.url, headers={"tenant": "7"}))
        assert encode_directly(http)
        assert encode_directly(over_grpc)
        assert http.export(SPANS) is over_grpc.export(SPANS) is SpanExportResult.SUCCESS
        assert message(server.requests[0].body) == message(other.bodies[0]) == encode_spans(SPANS)
        assert server.requests[0].headers["tenant"] == other.metadata[0]["tenant"] == "7"


def test_an_exporter_of_a_class_derived_from_ours_keeps_its_own_way(closing, no_sdk_encoding):
    class First(HttpSpanExporter):
        def export(self, spans):
            return super().export(spans[:1])

    with capture() as server:
        assert closing(First(endpoint=server.url)).export(SPANS) is SpanExportResult.SUCCESS
        assert message(server.requests[0].body) == encode_spans(SPANS[:1])


def forget_the_name(monkeypatch):
    monkeypatch.setattr(sdk_http, "encode_spans", lambda spans: encode_spans(spans))


def wrap_the_export(monkeypatch):
    original = SdkHttp.export
    monkeypatch.setattr(SdkHttp, "export", lambda self, spans: original(self, spans))


def connect_otherwise(monkeypatch):
    def connect(self):
        self._channel = grpc.insecure_channel(self._endpoint)
        self._client = import_module(SdkGrpc.__module__).TraceServiceStub(self._channel)

    monkeypatch.setattr(SdkGrpc, "_initialize_channel_and_stub", connect)


def say_more(monkeypatch):
    monkeypatch.setattr(samples, "encode_spans", lambda spans: encode_spans([*spans, *spans]))


def lack_a_name(monkeypatch):
    monkeypatch.delattr(samples, "is_faithful")


def fail(monkeypatch):
    monkeypatch.setattr(samples, "samples", lambda: 1 / 0)


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        (SdkHttp, forget_the_name, "HTTP exporter is made in another way"),
        (SdkHttp, wrap_the_export, "HTTP exporter is made in another way"),
        (SdkHttp, say_more, "encodes spans in another way"),
        (SdkHttp, lack_a_name, "encodes spans in another way"),
        (SdkHttp, fail, "encodes spans in another way"),
        (SdkGrpc, connect_otherwise, "gRPC exporter is made in another way"),
        (SdkGrpc, say_more, "encodes spans in another way"),
    ],
)
@pytest.mark.swallows(sometimes=True)
def test_where_the_sdk_is_not_as_known_it_is_left_alone_and_that_is_said_once(
    monkeypatch, closing, caplog, kind, change, why
):
    clear = samples.is_faithful.cache_clear
    clear()
    monkeypatch.setattr(Encoded, "__init__", lambda *_: 1 / 0)  # nothing is encoded by us
    change(monkeypatch)
    try:
        with capture() as server, grpc_receiving() as other:
            url = server.url if kind is SdkHttp else other.url
            exporter = closing(kind(endpoint=url))
            with caplog.at_level(logging.INFO, "otel_dbevents"):
                assert not encode_directly(exporter)
                assert not encode_directly(exporter)
            assert type(exporter) is kind
            assert exporter.export(SPANS) is SpanExportResult.SUCCESS
            ours = HttpSpanExporter if kind is SdkHttp else GrpcSpanExporter
            assert closing(ours(endpoint=url)).export(SPANS) is SpanExportResult.SUCCESS
            bodies = [each.body for each in server.requests] + other.bodies
            assert [message(body) for body in bodies] == [encode_spans(SPANS)] * 2
    finally:
        clear()
    [said] = [record for record in caplog.records if record.levelno == logging.INFO]
    assert said.getMessage().startswith("the SDK's own OTLP encoding of spans is used: ")
    assert why in said.getMessage()


@pytest.mark.swallows
def test_an_exporter_that_cannot_be_exchanged_goes_on_as_it_was(monkeypatch, closing, caplog):
    monkeypatch.setattr(HttpSpanExporter, "encode_directly", lambda _: 1 / 0)
    exporter = closing(SdkHttp())
    with caplog.at_level(logging.INFO, "otel_dbevents"):
        assert not encode_directly(exporter)
    assert type(exporter) is SdkHttp
    assert "cannot be exchanged" in caplog.text


def test_an_interceptor_sees_the_message():
    request = Encoded(encode_spans(SPANS).SerializeToString())
    assert len(request.resource_spans) == 2
    assert request.ByteSize() == len(request.SerializeToString())


@pytest.mark.newest
def test_the_sdks_own_check_of_the_size_still_holds(closing, caplog):
    with capture() as server:
        exporter = closing(HttpSpanExporter(endpoint=server.url, max_request_size=10))
        assert exporter.export(SPANS) is SpanExportResult.FAILURE
        assert not server.requests
    assert "exceeds max_request_size 10 bytes" in caplog.text


POINTS = tomllib.loads(Path("pyproject.toml").read_text())["project"]["entry-points"]
TRACED = """
from opentelemetry import trace
provider = trace.get_tracer_provider()
with trace.get_tracer("test").start_as_current_span("by name"):
    pass
print(type(provider._active_span_processor._span_processors[0].span_exporter).__name__)
"""


def test_a_distribution_finds_them_by_name(tmp_path):
    """The names are read from pyproject.toml, as nothing needs to be installed for this."""
    points = POINTS["opentelemetry_traces_exporter"]
    assert points == {
        "otlp_dbevents_grpc": "otel_dbevents.exporters.otlp_grpc:GrpcSpanExporter",
        "otlp_dbevents_http": "otel_dbevents.exporters.otlp_http:HttpSpanExporter",
    }
    for point in points.values():
        place, name = point.split(":")
        assert issubclass(getattr(import_module(place), name), SpanExporter)
    metadata = tmp_path / "named-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: named\nVersion: 1\n")
    lines = [f"{name} = {point}" for name, point in points.items()]
    (metadata / "entry_points.txt").write_text(
        "\n".join(["[opentelemetry_traces_exporter]", *lines])
    )
    with receiving() as receiver:
        ended = subprocess.run(
            [
                Path(sys.executable).with_name("opentelemetry-instrument"),
                sys.executable,
                "-c",
                TRACED,
            ],
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
                "OTEL_TRACES_EXPORTER": "otlp_dbevents_http",
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_DBEVENTS_ENABLED": "false",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (ended.returncode, ended.stdout) == (0, "HttpSpanExporter\n"), ended.stderr
        assert [span.name for span in receiver.spans] == ["by name"]

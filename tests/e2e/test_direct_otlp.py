"""Our encoding of spans through the real collector, which reads what it reads of the SDK's."""

from collections.abc import Iterator

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as SdkGrpc
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_dbevents.exporters.otlp_grpc import GrpcSpanExporter
from otel_dbevents.exporters.otlp_http import HttpSpanExporter
from otel_dbevents.exporters.samples import samples
from tests.exporters.grpc_receiver import GrpcReceiver, grpc_receiving
from tests.services.collector import Collector
from tests.services.collector import collector as run_collector
from tests.services.process import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture
def behind() -> Iterator[GrpcReceiver]:
    """Stand where Jaeger would."""
    with grpc_receiving() as receiver:
        yield receiver


@pytest.fixture
def before(behind: GrpcReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """Run a collector in front of `behind`."""
    directory = tmp_path_factory.mktemp("collector")
    with run_collector(directory, jaeger=behind.url.removeprefix("http://")) as running:
        yield running


def exporters(collector: Collector) -> dict[str, SpanExporter]:
    http, over_grpc = f"{collector.otlp_http}/v1/traces", collector.otlp_grpc
    return {
        "sdk": SdkGrpc(endpoint=over_grpc),
        "http": HttpSpanExporter(endpoint=http),
        "http gzip": HttpSpanExporter(endpoint=http, compression=Compression.Gzip),
        "grpc": GrpcSpanExporter(endpoint=over_grpc),
        "grpc gzip": GrpcSpanExporter(endpoint=over_grpc, compression=grpc.Compression.Gzip),
    }


def spans_of(service: str) -> list[ReadableSpan]:
    spans = samples()
    for span in spans:
        span._resource = Resource({"service.name": service})
    return spans


def arrived(receiver: GrpcReceiver) -> dict[str, list[bytes]]:
    """Return what came through of each service's spans."""
    found: dict[str, list[bytes]] = {}
    for body in receiver.bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            scopes = [scope.SerializeToString(deterministic=True) for scope in resource.scope_spans]
            [name] = [each.value.string_value for each in resource.resource.attributes]
            found.setdefault(name, []).extend(scopes)
    return found


def test_the_collector_reads_the_same_from_us_as_from_the_sdk(
    before: Collector, behind: GrpcReceiver
) -> None:
    sending = exporters(before)
    try:
        for service, exporter in sending.items():
            assert exporter.export(spans_of(service)) is SpanExportResult.SUCCESS
        wait_until(lambda: len(arrived(behind)) == len(sending))
        found = arrived(behind)
        assert all(scopes == found["sdk"] for scopes in found.values())
        assert len(found["sdk"]) == 2
    finally:
        for exporter in sending.values():
            exporter.shutdown()

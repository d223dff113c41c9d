"""A receiver of OTLP over gRPC that keeps the bytes of each request, in this process."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

AT_ONCE = RetryInfo(retry_delay=Duration(nanos=1_000_000)).SerializeToString()


@dataclass
class GrpcReceiver:
    """What came: the requests' bytes, and their metadata. ``failures`` are answered first."""

    failures: list[grpc.StatusCode]
    bodies: list[bytes] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def take(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        self.bodies.append(body)
        sent = {key: value for key, value in context.invocation_metadata() if key != "user-agent"}
        self.metadata.append(sent)
        if self.failures:
            context.set_trailing_metadata((("google.rpc.retryinfo-bin", AT_ONCE),))
            context.abort(self.failures.pop(0), "not now")
        return ExportTraceServiceResponse().SerializeToString()


@contextmanager
def grpc_receiving(*failures: grpc.StatusCode) -> Iterator[GrpcReceiver]:
    """Run a receiver on a free loopback port."""
    receiver = GrpcReceiver(list(failures))
    server = grpc.server(ThreadPoolExecutor(2))
    taking = grpc.unary_unary_rpc_method_handler(receiver.take)
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    handlers = grpc.method_handlers_generic_handler(service, {"Export": taking})
    server.add_generic_rpc_handlers((handlers,))
    receiver.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()

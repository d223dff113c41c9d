"""A receiver of OTLP over gRPC: keeps what it is sent."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.demo.receiver import Receiver

_REQUESTS: dict[str, Any] = {
    "trace.v1.TraceService": ExportTraceServiceRequest,
    "metrics.v1.MetricsService": ExportMetricsServiceRequest,
    "logs.v1.LogsService": ExportLogsServiceRequest,
}


class GrpcReceived(Receiver):
    """What a receiver over HTTP tells of what it was sent, without being one."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def receiving_grpc() -> Iterator[GrpcReceived]:
    """Run a receiver within the block."""
    received = GrpcReceived()

    def export(request: Any, _context: Any) -> bytes:
        received.requests.append(request)
        return b""  # an answer without anything in it

    with ThreadPoolExecutor(4) as workers:
        server = grpc.server(workers)
        for name, kind in _REQUESTS.items():
            method = grpc.unary_unary_rpc_method_handler(export, kind.FromString, bytes)
            handler = grpc.method_handlers_generic_handler(
                f"opentelemetry.proto.collector.{name}", {"Export": method}
            )
            server.add_generic_rpc_handlers((handler,))
        received.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield received
        finally:
            server.stop(None).wait()

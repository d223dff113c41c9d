"""A receiver of OTLP over HTTP, such as a collector has."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import monotonic
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}
LOOKS_S = 0.05
"""How often it looks for requests, and for its end."""


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, decoded; answers every request with ``status``."""

    handler: "type[Handler] | None" = None
    """What answers; a `Handler` where it is None."""

    def __init__(self, status: int = 200, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), self.handler or Handler)
        self.status = status
        self.requests: list[Any] = []
        self._looked, self._waited_s, self._answered_s = monotonic(), 0.0, 0.0
        self._came: dict[Any, float] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def took_s(self) -> float:
        """For how long somebody may have waited for an answer, at the most."""
        return self._waited_s + self._answered_s

    def service_actions(self) -> None:
        """Take note of how long nobody looked for requests. Its base calls it after each look."""
        now = monotonic()
        self._waited_s = max(self._waited_s, now - self._looked)
        self._looked = now

    def process_request(self, request: Any, client_address: Any) -> None:
        self._came[request] = monotonic()
        super().process_request(request, client_address)

    def answered(self, request: Any) -> None:
        """Take note of how long that took."""
        now = monotonic()
        self._answered_s = max(self._answered_s, now - self._came.pop(request, now))

    def resources(self, kind: str) -> list[Any]:
        """What came of ``resource_spans``, ``resource_metrics`` or ``resource_logs``."""
        return [
            resource
            for request in self.requests
            if hasattr(request, kind)
            for resource in getattr(request, kind)
        ]

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for resource in self.resources("resource_spans")
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def metrics(self) -> set[str]:
        return {
            metric.name
            for resource in self.resources("resource_metrics")
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    @property
    def log_events(self) -> list[str]:
        return [
            record.event_name
            for resource in self.resources("resource_logs")
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def services(self) -> set[str]:
        kinds = ("resource_spans", "resource_metrics", "resource_logs")
        return {
            attribute.value.string_value
            for kind in kinds
            for resource in self.resources(kind)
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.requests.append(REQUESTS[self.path].FromString(body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def finish(self) -> None:
        super().finish()
        self.server._came.pop(self.request, None)  # where it has no answer

    def end_headers(self) -> None:
        super().end_headers()
        self.server.answered(self.request)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def receiving(status: int = 200, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver within the block."""
    with Receiver(status, port) as receiver:
        thread = Thread(target=receiver.serve_forever, args=(LOOKS_S,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()

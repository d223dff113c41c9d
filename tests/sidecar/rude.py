"""A receiver of OTLP that misbehaves as collectors and what stands before them do."""

import gzip
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.demo.receiver import LOOKS_S, REQUESTS, Handler, Receiver

ANSWERS: dict[str, Any] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
}
"""How a part that is rejected is told, by signal."""
BUSY_S = 3
"""What it asks for where it is busy: the exporters of these tests wait for a second at most."""


class RudeHandler(Handler):
    server: "RudeReceiver"

    def do_POST(self) -> None:  # noqa: N802 - its base's name
        fault, length = self.server.next_fault(self.path), int(self.headers["Content-Length"])
        if fault == "half body":
            self._reset_after(length // 2)
            return
        body = self.rfile.read(length)
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = REQUESTS[self.path].FromString(body)
        self.server.came(request)
        self.server.before_answer()
        if fault == "hang":
            self.server.ending.wait(1.5)  # longer than it is waited for
            self.close_connection = True
        elif fault == "cut":
            self.close_connection = True
        elif fault in ("503", "429", "502"):
            self._answer(int(fault), {"Retry-After": "1"} if fault == "429" else {})
        elif fault == "busy":  # for longer than the exporter waits
            self.server.busy_until = time.monotonic() + BUSY_S
            self._answer(429, {"Retry-After": str(BUSY_S)})
        elif fault == "part":
            self._take_part(request)
        elif fault == "half yes":  # all of it was kept, and half of the answer comes
            self.server.requests.append(request)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")
            self.close_connection = True
        elif fault == "half":  # of the request's answer; nothing was kept
            self.wfile.write(b"HTTP/1.1 503 Service Unavail")
            self.close_connection = True
        elif fault == "400" or self.server.refuses(request):
            self._answer(400, {})
        else:
            self.server.requests.append(request)
            self._answer(200, {})

    def _reset_after(self, length: int) -> None:
        """Take so much of the request, and have the sender's next word answered by a reset."""
        self.server.halved += bool(length and self.rfile.read(length))
        at_once = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.close_connection = True

    def _take_part(self, request: Any) -> None:
        """Take all but the first span, record or point, and say so."""
        signal = self.path.removeprefix("/v1/")
        items = next(self._items(request), [])
        number = len(items[:1])
        del items[:1]
        self.server.rejected[signal] += number
        self.server.requests.append(request)
        kind, name = ANSWERS[signal]
        part = {name: number, "error_message": "too old"}
        body = kind(partial_success=part).SerializeToString()
        self._answer(200, {"Content-Type": "application/x-protobuf"}, body)

    @staticmethod
    def _items(request: Any) -> Iterator[Any]:
        """Give the request's spans, records or points, as the lists that they are in."""
        for resource in getattr(request, "resource_spans", ()):
            yield from (scope.spans for scope in resource.scope_spans)
        for resource in getattr(request, "resource_logs", ()):
            yield from (scope.log_records for scope in resource.scope_logs)
        for resource in getattr(request, "resource_metrics", ()):
            for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
                yield getattr(metric, metric.WhichOneof("data")).data_points

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)


class RudeReceiver(Receiver):
    """Answers each request by `fault` while there is one, else the next by `faults`.

    Where there is a signal in `only`, the others are answered well.
    """

    PASSING: ClassVar = (
        ("503", "traces"),
        ("429", "metrics"),
        ("hang", "traces"),
        ("half", "logs"),
        ("cut", "metrics"),
        ("half body", "traces"),
        ("half body", "logs"),
    )
    """What is no word on the request itself, with a signal: it is to be waited for."""
    handler = RudeHandler
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__()
        self.faults: deque[str] = deque()
        self.fault = self.only = ""
        self.halved = 0
        """Of how many requests it took a half, and reset the connection."""
        self.refuses_some = False
        self.refused: set[bytes] = set()
        """The ids of spans that it says it will never take."""
        self.rejected: Counter[str] = Counter()
        """How many spans, records and points it did not take of requests that it took."""
        self.busy_until = 0.0
        self.too_soon = 0
        """How many requests came before the time that it had asked for."""
        self.ending = threading.Event()
        self.before_answer: Callable[[], object] = bool

    def came(self, request: Any) -> None:
        """Note whether spans came too soon. One that begins may ask, with an empty request."""
        has_spans = bool(getattr(request, "resource_spans", ()))
        self.too_soon += has_spans and time.monotonic() < self.busy_until

    def next_fault(self, path: str) -> str:
        """Return what to do with the next request."""
        if self.only and path != f"/v1/{self.only}":
            return ""
        try:
            return self.fault or self.faults.popleft()
        except IndexError:
            return ""

    def refuses(self, request: Any) -> bool:
        """Whether it refuses a request for good: for a span whose id ends with a low number."""
        ids = [
            span.span_id
            for resource in getattr(request, "resource_spans", ())
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        wrong = [each for each in ids if each[-1] < 8] if self.refuses_some else []
        if len(ids) == len(wrong) == 1:
            self.refused.update(wrong)
        return bool(wrong)


@contextmanager
def rude() -> Iterator[RudeReceiver]:
    """Run one within the block."""
    with RudeReceiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(LOOKS_S,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.ending.set()
            receiver.shutdown()
            thread.join()

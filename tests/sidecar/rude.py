"""A receiver of OTLP that misbehaves as collectors and what stands before them do."""

import gzip
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.demo.receiver import REQUESTS, Handler, Receiver

BUSY_S = 3
"""What it asks for where it is busy: the exporters of these tests wait for a second at most."""


class RudeHandler(Handler):
    server: "RudeReceiver"

    def do_POST(self) -> None:  # noqa: N802 - its base's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = REQUESTS[self.path].FromString(body)
        fault = self.server.next_fault()
        self.server.came(self.path)
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

    def _take_part(self, request: Any) -> None:
        """Take all but the first span, and say so."""
        for resource in getattr(request, "resource_spans", ())[:1]:
            del resource.scope_spans[0].spans[0]
            self.server.rejected += 1
        self.server.requests.append(request)
        part = {"rejected_spans": 1, "error_message": "too old"}
        body = ExportTraceServiceResponse(partial_success=part).SerializeToString()
        is_traces = self.path == "/v1/traces"
        self._answer(200, {"Content-Type": "application/x-protobuf"}, body if is_traces else b"")

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)


class RudeReceiver(Receiver):
    """Answers each request by `fault` while there is one, else the next by `faults`."""

    PASSING: ClassVar = ("503", "502", "429", "hang", "half", "cut")
    """What is no word on the request itself: it is to be waited for."""
    handler = RudeHandler
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__()
        self.faults: deque[str] = deque()
        self.fault = ""
        self.refuses_some = False
        self.refused: set[bytes] = set()
        """The ids of spans that it says it will never take."""
        self.rejected = 0
        """How many spans it did not take of requests that it took."""
        self.busy_until = 0.0
        self.too_soon = 0
        """How many requests came before the time that it had asked for."""
        self.ending = threading.Event()

    def came(self, path: str) -> None:
        """Note whether a request for spans came too soon."""
        self.too_soon += path == "/v1/traces" and time.monotonic() < self.busy_until

    def next_fault(self) -> str:
        """Return what to do with the next request."""
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
        thread = threading.Thread(target=receiver.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.ending.set()
            receiver.shutdown()
            thread.join()

"""A receiver of OTLP that misbehaves as collectors and what stands before them do."""

import gzip
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from tests.demo.receiver import REQUESTS, Handler, Receiver


class RudeHandler(Handler):
    server: "RudeReceiver"

    def do_POST(self) -> None:  # noqa: N802 - its base's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = REQUESTS[self.path].FromString(body)
        fault = self.server.next_fault()
        if fault == "hang":
            self.server.ending.wait(1.5)  # longer than it is waited for
            self.close_connection = True
        elif fault == "cut":
            self.close_connection = True
        elif fault in ("503", "429", "502"):
            self._answer(int(fault), {"Retry-After": "1"} if fault == "429" else {})
        elif fault == "half":  # of the request's answer; nothing was kept
            self.wfile.write(b"HTTP/1.1 503 Service Unavail")
            self.close_connection = True
        elif fault == "400" or self.server.refuses(request):
            self._answer(400, {})
        else:
            self.server.requests.append(request)
            self._answer(200, {})

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in {"Content-Length": "0", **headers}.items():
            self.send_header(name, text)
        self.end_headers()


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
        self.ending = threading.Event()

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

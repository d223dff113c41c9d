"""A receiver of OTLP over HTTP, in a process of its own, so that its work is nobody's cost.

It answers at once and keeps the bodies; what is in them is read when somebody asks:
``GET /<sender>`` returns the `Output` of what came to ``/<sender>/v1/traces`` and ``/v1/metrics``.
"""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import urlopen

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.output import Output, durations_of_otlp, from_otlp


class Receiver(ThreadingHTTPServer):
    """Listens on a loopback port that is free."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.traces: dict[str, list[bytes]] = {}
        self.metrics: dict[str, list[bytes]] = {}

    def output(self, sender: str) -> Output:
        """Return what a sender has sent since it was last asked about."""
        output = Output()
        for body in self.traces.pop(sender, []):
            request: Any = ExportTraceServiceRequest.FromString(body)
            output.add(from_otlp(request))
        for body in self.metrics.pop(sender, []):
            output.durations = durations_of_otlp(ExportMetricsServiceRequest.FromString(body))
        return output


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        _, sender, _, signal = self.path.split("/")
        kept = self.server.traces if signal == "traces" else self.server.metrics
        kept.setdefault(sender, []).append(body)
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(json.dumps(asdict(self.server.output(self.path.strip("/")))).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the terminal clean."""


def ask(endpoint: str) -> Output:
    """Return what the sender with this endpoint has sent since it was last asked about."""
    with urlopen(endpoint, timeout=60) as answer:
        return Output(**json.load(answer))


@contextmanager
def receiving() -> Iterator[str]:
    """Run a receiver within the block; gives its address."""
    command = [sys.executable, "-m", "benchmarks.receiver"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    with Receiver() as receiver:
        print(receiver.server_port, flush=True)
        receiver.serve_forever()

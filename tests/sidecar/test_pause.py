"""A collector that asks for time gets it, and the sidecar's numbers say how much that was."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_dbevents.exporters.otlp_http import HttpSpanExporter
from otel_dbevents.sidecar.outlets import Outlets


class Busy(BaseHTTPRequestHandler):
    """Asks for a second, each time."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(429)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.mark.newest
def test_the_pause_that_a_collector_asks_for_is_known() -> None:
    kept = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(kept))
    tracers.get_tracer("test").start_span("one").end()
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        where = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
        exporter = HttpSpanExporter(endpoint=where, timeout=1.5)
        outlets = Outlets({"traces": [exporter]})
        try:
            assert outlets.send(exporter, list(kept.get_finished_spans())) == "later"
            assert outlets.pause_s == 1
        finally:
            outlets.close()
            exporter.shutdown()
            server.shutdown()
            thread.join()

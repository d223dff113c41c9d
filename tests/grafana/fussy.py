"""Those who make trouble for a sidecar: a handler that raises, and a collector that refuses."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

from otel_dbevents.events import CommitFailed

REFUSED = b"database.checkout.timed_out"
"""The record that the collector between refuses for good."""


async def handle(event: CommitFailed) -> None:
    """Fail, so that the event becomes a dead letter of this handler's."""
    raise ValueError("not like this")


@contextmanager
def between(collector: str) -> Iterator[str]:
    """Run what passes OTLP on to a collector, but for one kind of record; return its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            plain = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            status, answer = (400, b"") if REFUSED in plain else (200, self.passed_on(body))
            self.send_response(status)
            self.send_header("Content-Type", self.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def passed_on(self, body: bytes) -> bytes:
            told = {n: v for n, v in self.headers.items() if n.lower().startswith("content-")}
            with urlopen(Request(f"{collector}{self.path}", body, told), timeout=10) as answer:
                found: bytes = answer.read()
                return found

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

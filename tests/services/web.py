"""HTTP for tests: JSON asked from a server, and a server that only remembers what it was sent."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen


def get(url: str, **query: str) -> bytes:
    """Return the body of an HTTP answer below 400; `HTTPError`, an OSError, above."""
    address = f"{url}?{urlencode(query)}" if query else url
    with urlopen(address, timeout=30) as answer:
        body: bytes = answer.read()
        return body


def get_json(url: str, query: Mapping[str, str] | None = None) -> Any:
    """Return the JSON of an HTTP answer; None for 404, which our servers say for "nothing yet"."""
    try:
        return json.loads(get(url, **(query or {})))
    except HTTPError as error:
        if error.code == 404:
            return None
        raise


def answers(url: str) -> bool:
    """Whether a GET is answered with 200 or the like; OSError when it is not."""
    get(url)
    return True


@dataclass(frozen=True)
class Request:
    """What a client has sent."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Capture:
    """A server that answers POSTs, with 200 if not told otherwise, and keeps what it was sent."""

    port: int
    status: int = 200
    """What it answers from now on."""
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def capture(*statuses: int, says: bytes = b"") -> Iterator[Capture]:
    """Run a `Capture` on a free loopback port; the first answers are `statuses`.

    Each has ``says`` for a body.
    """
    answers = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            captured.requests.append(Request(self.path, dict(self.headers), body))
            self.send_response(answers.pop(0) if answers else captured.status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(says)))
            self.end_headers()
            self.wfile.write(says)

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    captured = Capture(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield captured
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""A collector as it should not be, in a process of its own, which counts what it takes.

``python -m tests.outage.hostile HOW`` prints its port, and what it has taken when its input ends.
HOW is an HTTP status, ``slow`` (two seconds for each request), ``hanging`` (never answers),
or the name of a gRPC status. What it answered with OK, it has taken.
"""

import gzip
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

taken: Counter[str] = Counter()
_lock = threading.Lock()


def take(path: str, body: bytes) -> None:
    """Count what a request holds."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    number = 0
    if path.endswith("traces"):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            number += sum(len(scope.spans) for scope in resource.scope_spans)
    elif path.endswith("logs"):
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            number += sum(len(scope.log_records) for scope in resource.scope_logs)
    with _lock:
        taken[path.rpartition("/")[2]] += number


class _Handler(BaseHTTPRequestHandler):
    how = "200"
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.how == "hanging":
            time.sleep(3600)
        if self.how == "slow":
            time.sleep(2)
        status = 200 if self.how == "slow" else int(self.how)
        if status == 200:
            take(self.path, body)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def _serve_http(how: str) -> int:
    _Handler.how = how
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def _serve_grpc(how: str) -> int:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    def refuse(_: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode[how], "as told")
        return b""

    class Refuse(grpc.GenericRpcHandler):
        def service(self, _: object) -> Any:
            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(ThreadPoolExecutor(4), [Refuse()])
    port: int = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _alive.append(server)
    return port


_alive: list[object] = []


class Hostile:
    """The collector's process, from outside."""

    def __init__(self, process: "subprocess.Popen[str]", scheme: str = "http") -> None:
        self._process = process
        assert process.stdout is not None
        self.endpoint = f"{scheme}://127.0.0.1:{int(process.stdout.readline())}"

    def end(self) -> dict[str, int]:
        """End it, and return what it took: ``traces`` in spans, ``logs`` in records."""
        said, _ = self._process.communicate("", timeout=60)
        found: dict[str, int] = json.loads(said)
        return found


@contextmanager
def hostile(how: str) -> Iterator[Hostile]:
    """Run such a collector within the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.outage.hostile", how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Hostile(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


if __name__ == "__main__":
    wanted = sys.argv[1]
    print(_serve_grpc(wanted) if wanted.isupper() else _serve_http(wanted), flush=True)
    sys.stdin.read()
    print(json.dumps(taken), flush=True)

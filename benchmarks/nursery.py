"""A process under valgrind that has imported all there is; a variant's process is a fork of it.

To begin Python and to import takes it half a minute under valgrind. So that is done once, and a
child begins where nothing is instrumented yet and no engine made. It is spoken to over a socket of
its own; when that is closed, it ends at once.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.receiver import receiving
from benchmarks.servers import redis_server
from benchmarks.turns import ROOT, Turn, environment, memory, shipping
from benchmarks.variants import Variant

IMPORTED = (
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.instrumentation.sqlalchemy",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.ext.asyncio",
    "benchmarks.child",
    "benchmarks.shipped",
    "otel_dbevents.exporters.otlp_http",
)
"""What one of the variants imports."""
ACCEPT_S = 120.0
"""A child that has not called back by then is not coming."""


class Nursery:
    """The process that others begin in, seen from outside."""

    def __init__(
        self, process: "subprocess.Popen[str]", directory: Path, receiver: str, redis: str
    ) -> None:
        self._process = process
        self._directory = directory
        self._receiver, self._redis = receiver, redis
        self._numbers = count()
        self._lock = Lock()

    @contextmanager
    def begin(self, variant: Variant) -> Iterator[Turn]:
        """Have a process of the variant within the block."""
        with ExitStack() as stack:
            with socket.create_server(("127.0.0.1", 0)) as server:
                server.settimeout(ACCEPT_S)
                pid = self._fork(variant, server.getsockname()[1])
                connection = stack.enter_context(server.accept()[0])
            connection.settimeout(None)
            channel = stack.enter_context(connection.makefile("rw"))
            stack.callback(_kill, pid)
            turn = Turn(variant, pid, channel, channel)
            turn.ready()
            yield turn

    def _fork(self, variant: Variant, port: int) -> int:
        with self._lock:
            number = next(self._numbers)
            own = self._directory / str(number)
            own.mkdir()
            said = {
                "port": port,
                "variant": variant.to_dict(),
                "endpoint": f"{self._receiver}/{number}",
                "directory": str(own),
                "environment": shipping(self._redis, number) if variant.ships else {},
            }
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(said) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())


def _kill(pid: int) -> None:
    """End a child at once, without what valgrind does at an end; it may have ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def nursery(variants: Sequence[Variant], *under: str, slowed: int) -> Iterator[Nursery]:
    """Run one for these variants within the block, ``under`` valgrind, which slows it so much."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory())))
        receiver = stack.enter_context(receiving())
        ships = any(variant.ships for variant in variants)
        redis = stack.enter_context(redis_server()) if ships else ""
        process = stack.enter_context(
            subprocess.Popen(
                [*under, sys.executable, "-m", "benchmarks.nursery", str(slowed)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=environment(),
            )
        )
        stack.callback(process.terminate)
        assert process.stdout is not None
        process.stdout.readline()
        yield Nursery(process, directory, receiver, redis)


def main() -> None:
    slowed = int(sys.argv[1])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()
    print(flush=True)
    for line in sys.stdin:
        said = json.loads(line)
        pid = os.fork()
        if not pid:
            _be_child(said, slowed)
        print(pid, flush=True)


def _be_child(said: Mapping[str, Any], slowed: int) -> None:
    from benchmarks.child import serve

    try:
        os.environ.update(said["environment"])
        with socket.create_connection(("127.0.0.1", said["port"])) as connection:
            channel = connection.makefile("rw")
            variant = Variant(**said["variant"])
            serve(variant, said["endpoint"], said["directory"], slowed, channel, channel)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()

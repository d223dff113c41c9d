"""A real Redis on loopback, in a process of its own, as the receiver is: nobody's cost."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

PROGRAM = "redis-server"
_WITHIN_S = 30.0


def has_redis() -> bool:
    """Whether there is a server to start."""
    return shutil.which(PROGRAM) is not None


@contextmanager
def redis_server() -> Iterator[str]:
    """Run one that keeps nothing on disk, within the block; gives its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        options = {"bind": "127.0.0.1", "port": str(port), "save": "", "dir": directory}
        command = [
            PROGRAM,
            *(word for pair in options.items() for word in ("--" + pair[0], pair[1])),
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                _wait(port)
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                process.terminate()


def _wait(port: int) -> None:
    until = time.monotonic() + _WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return

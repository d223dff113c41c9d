"""A private Redis: append-only on loopback, gone with its directory; killed and started at will."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.services.ports import free_ports
from tests.services.process import Process
from tests.services.tools import REDIS, require

PASSWORD = "Xq7redis"


@dataclass(frozen=True)
class Redis:
    """A running server. `process.kill()` and `process.start()` keep its port and its data."""

    port: int
    process: Process
    password: str
    socket: Path
    _numbers: "count[int]"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def stream(self) -> str:
        """Return a name that no other test uses."""
        return f"events{next(self._numbers)}"


@contextmanager
def redis(directory: Path, options: Mapping[str, str] | None = None) -> Iterator[Redis]:
    """Run a server of its own; what it wrote is kept while the directory is there."""
    binary = require(REDIS)
    (port,) = free_ports(1)
    unix = directory / "redis.sock"
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "unixsocket": str(unix),
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "requirepass": PASSWORD,
        **(options or {}),
    }
    command = [str(binary)]
    for name, value in settings.items():
        command += [f"--{name}", value]
    process = Process("redis", command, directory, lambda: _answers(port))
    process.start()
    try:
        yield Redis(port, process, PASSWORD, unix, count(1))
    finally:
        process.stop()


def _answers(port: int) -> bool:
    """Whether the server takes commands: it asks for a password then, not for patience."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))

"""A libSQL server of a test's own: HTTP and WebSocket on one loopback port, no password."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.ports import free_ports
from tests.services.process import Process
from tests.services.tools import SQLD, require
from tests.services.web import answers


@dataclass(frozen=True)
class Sqld:
    """A running server with one empty database, which has no name."""

    host: str
    port: int
    process: Process

    def url(self, scheme: str) -> str:
        """Return the URL for ``http``, ``ws``, ``libsql`` or a dialect of SQLAlchemy."""
        return f"{scheme}://{self.host}:{self.port}"


@contextmanager
def sqld(directory: Path, *, key: str = "") -> Iterator[Sqld]:
    """Run a server with its data below `directory`. It starts in a tenth of a second.

    With ``key``, an Ed25519 public key in PEM, it takes who has a token signed with its other half.
    """
    binary = require(SQLD)
    (port,) = free_ports(1)
    command: list[str | Path] = [binary, "--no-welcome", "-d", directory / "data.sqld"]
    command += ["--http-listen-addr", f"127.0.0.1:{port}"]
    if key:
        (directory / "key.pem").write_text(key)
        command += ["--auth-jwt-key-file", directory / "key.pem"]
    process = Process(
        "sqld", command, directory, lambda: answers(f"http://127.0.0.1:{port}/health")
    )
    process.start()
    try:
        yield Sqld("127.0.0.1", port, process)
    finally:
        process.kill()  # asked to end, it waits some seconds for clients that were here

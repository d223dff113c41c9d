"""The processes beside `otel-dbevents demo --sidecar`: a Redis and a sidecar, ended with it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from otel_dbevents.bus.redis.connecting import (
    RedisSetupError,
    check_package,
    check_version,
    connect,
)

_READY_WITHIN_S: Final = 20.0
_END_WITHIN_S: Final = 15.0
_SERVER: Final = (
    "--sidecar needs a redis-server 7.0 or newer on the PATH: "
    "apt-get install redis-server, or brew install redis"
)


def check_servers() -> None:
    """Raise `LookupError` where something is missing that the two processes need."""
    try:
        check_package()
    except RedisSetupError as error:
        raise LookupError(f"--sidecar: {error}") from None
    if shutil.which("redis-server") is None:
        raise LookupError(_SERVER)


@contextmanager
def redis_server(folder: Path) -> Iterator[tuple[str, Any]]:
    """Run a Redis on a socket in this folder; yield its URL and a client.

    Raises `LookupError` where it cannot be run, or is too old.
    """
    socket = folder / "redis.sock"
    url = f"unix://{socket}"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
    with _process([*command, "--appendonly", "yes", "--save", ""], folder / "redis.log") as process:
        client = connect(url)
        _wait_for(process, client, folder / "redis.log")
        try:
            check_version(client, url)
            yield url, client
        except RedisSetupError as error:
            raise LookupError(f"{_SERVER}; {error}") from None
        finally:
            client.close()


@contextmanager
def sidecar(folder: Path, settings: Mapping[str, str]) -> Iterator[None]:
    """Run a sidecar with these settings and no others of OpenTelemetry's."""
    theirs = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-m", "otel_dbevents", "sidecar", "--http", "127.0.0.1:0"]
    with _process(command, folder / "sidecar.log", {**theirs, **settings}):
        yield


@contextmanager
def _process(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own words, and no shell
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", client: Any, log: Path) -> None:
    """Return when the server answers."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while True:
        try:
            client.ping()
            return
        except Exception:  # noqa: BLE001 - the package is imported only where it is used
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise LookupError(f"redis-server does not run here: {' '.join(said)}") from None
        time.sleep(0.02)

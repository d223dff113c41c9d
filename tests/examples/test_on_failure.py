"""The example of handlers, with a PostgreSQL that is killed and started again."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.health.crashing import crash
from tests.services.postgresql import Postgresql
from tests.services.process import wait_until
from tests.services.tools import REPOSITORY


def test_the_handlers_are_told_of_the_failure_and_once_that_it_is_over(
    tmp_path: Path, mortal_postgresql: Postgresql
) -> None:
    output = tmp_path / "output"
    server = mortal_postgresql
    with output.open("wb") as file:
        done = subprocess.Popen(
            [sys.executable, REPOSITORY / "examples/on_failure.py"],
            env={
                **os.environ,
                "DATABASE_URL": server.url(server.database()),
                "OTEL_DBEVENTS_RECOVERY_FIRST_S": "0.1",
                "OTEL_SDK_DISABLED": "false",
            },
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(said(output, "works"), why=output.read_text)
            crash(server)
            wait_until(said(output, "failed:"), why=output.read_text)
            server.process.start()
            assert done.wait(30) == 0, output.read_text()
        finally:
            done.kill()
            done.wait()
    lines = output.read_text().splitlines()
    words = {line.partition(":")[0] for line in lines}
    assert words == {"works", "fails", "failed", "recovered"}
    (recovered,) = [line for line in lines if line.startswith("recovered")]
    assert int(recovered.split()[-2]) >= 1


def said(output: Path, word: str) -> Callable[[], bool]:
    return lambda: word in output.read_text()

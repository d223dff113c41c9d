"""A PostgreSQL that may be killed, stopped and started, and what an application sees of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from otel_dbevents.config import Config
from otel_dbevents.events import (
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseRecovered,
    Event,
)
from otel_dbevents.pipeline import Pipeline
from tests.services.postgresql import Postgresql
from tests.services.process import wait_until

QUICK: dict[str, Any] = {
    "recovery": True,
    "recovery_first_s": 0.05,
    "recovery_most_s": 0.2,
    "recovery_tries": 1_000,
    "health_interval_s": 0,
    "health_timeout_ms": 300,
    "metrics": False,
    "spans": False,
    "logs": False,
    "langfuse": "off",
}


class Watching:
    """A pipeline, and what it told of the database's coming and going."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.events: list[Event] = []
        types = DatabaseConnectionFailed, DatabaseHealthCheckCompleted, DatabaseRecovered
        pipeline.bus.handle(self.events.append, *types)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in list(self.events) if isinstance(event, kind)]

    @property
    def checks(self) -> list[DatabaseHealthCheckCompleted]:
        return self.of(DatabaseHealthCheckCompleted)

    @property
    def recovered(self) -> list[DatabaseRecovered]:
        return self.of(DatabaseRecovered)

    def wait_for_checks(self, more: int) -> None:
        """Wait until it was asked so many times more."""
        before = len(self.checks)
        wait_until(lambda: len(self.checks) >= before + more)

    def wait_for_recovery(self, number: int = 1) -> None:
        wait_until(lambda: len(self.recovered) >= number)


@contextmanager
def watching(engine: Any, **settings: Any) -> Iterator[Watching]:
    """Listen to one engine, with recovery on and short waits."""
    pipeline = Pipeline(config=Config(**{**QUICK, **settings}))
    pipeline.attach(engine)
    try:
        yield Watching(pipeline)
    finally:
        pipeline.close(10)


def crash(postgresql: Postgresql) -> None:
    """Kill the server and all its processes, as a machine that loses power does."""
    pid = postgresql.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    postgresql.process.kill()
    for child in map(int, children):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


@contextmanager
def standing_still(postgresql: Postgresql) -> Iterator[None]:
    """Have the server take no connection: it does not answer. Those that there are go on."""
    postgresql.process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        postgresql.process.send(signal.SIGCONT)

"""A sidecar as a process, between a real Redis and a receiver of OTLP, and an application."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.config import Config
from otel_dbevents.events import (
    Database,
    DatabaseHealthCheckCompleted,
    DatabaseType,
    Environment,
    HealthStatus,
    QueryExecuted,
    Statement,
)
from otel_dbevents.shipping import Description, sender_of
from tests.demo.receiver import Receiver
from tests.services.ports import free_ports
from tests.services.process import Process
from tests.services.redis import Redis
from tests.services.tools import REPOSITORY

KEY = "Xq7 a key of the tests, long enough"

APPLICATION = """
import sys
import otel_dbevents.auto
from opentelemetry import trace
from sqlalchemy import create_engine, text
engine = create_engine("sqlite://")
tracer = trace.get_tracer("application")
for number in range(int(sys.argv[1])):
    with tracer.start_as_current_span("work"), engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
print("made", flush=True)
"""
"""Each round is one query, and its span is sent by the sidecar alone."""


class Shop:
    """An application in this process, which ships queries that it only says it ran."""

    def __init__(self, redis: Redis, stream: str, buffer_size: int = 20_000) -> None:
        config = Config(bus_url=redis.url, stream=stream, signing_key=KEY)
        resource = Resource({"service.name": "shop"})
        tracers = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self.sender = sender_of(config, Description(config, None, lambda: {"tracer": tracers}))
        self.bus = MemoryBus(history=0, capacity=buffer_size)
        self.bus.subscribe(self.sender.consume, name="redis")
        self.made = self.records = 0

    def run(self, queries: int, pause_s: float = 0.0) -> None:
        """Run so many queries, each a trace of its own."""
        for _ in range(queries):
            event = QueryExecuted(DATABASE, None, time.time_ns(), 1_000_000, STATEMENT)
            self.bus.publish(event)
            self.made += 1
            time.sleep(pause_s)

    def check(self, times: int = 1) -> None:
        """Have so many checks done, each a log record and no query."""
        for _ in range(times):
            self.bus.publish(DatabaseHealthCheckCompleted(HealthStatus.HEALTHY, 1.0))
            self.records += 1

    def end(self) -> None:
        """End as an application does: all is shipped, and it says how much there was."""
        assert self.bus.close(100)
        assert self.sender.finish(100)


DATABASE = Database(Environment.LOCAL, DatabaseType.SQLITE, "shop", pool_name="shop")
STATEMENT = Statement("SELECT ?", "SELECT", "SELECT", writes=False)


@dataclass(frozen=True)
class Sidecar:
    """A sidecar that runs."""

    process: Process
    port: int

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of what it says."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def numbers(self) -> dict[str, float]:
        """Return its own metrics, by name without the prefix."""
        _, text = self.get("/metrics")
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        found = dict(line.rsplit(" ", 1) for line in lines)
        return {name.removeprefix("dbevents_sidecar_"): float(n) for name, n in found.items()}


SOON_S, PATIENT_S = 1.0, 60.0
"""For how long an answer is waited for: where there may be none, and where there is one."""


def settings(
    redis: Redis, stream: str, endpoint: str, within_s: float = PATIENT_S
) -> dict[str, str]:
    """Return what both processes are told. A collector that is away is tried for `within_s`."""
    return {
        "PYTHONPATH": str(REPOSITORY),
        "OTEL_DBEVENTS_BUS_URL": redis.url,
        "OTEL_DBEVENTS_STREAM": stream,
        "OTEL_DBEVENTS_SIGNING_KEY": KEY,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "60000",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TIMEOUT": f"{within_s:g}",
    }


@contextmanager
def sidecar(
    directory: Path, told: Mapping[str, str], *options: str, name: str = "sidecar"
) -> Iterator[Sidecar]:
    """Run one until the block ends."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "otel_dbevents", "sidecar", "--http", f"127.0.0.1:{port}"]
    running: list[Sidecar] = []

    def answers() -> bool:
        return running[0].get("/healthz")[0] == 200

    process = Process(name, [*command, *options], directory, answers, _covered(told))
    running.append(Sidecar(process, port))
    process.start()
    try:
        yield running[0]
    finally:
        process.stop()


def application(
    told: Mapping[str, str], rounds: int, source: str = APPLICATION
) -> "subprocess.Popen[str]":
    """Start an application that runs so many queries and ends."""
    off = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    own = {"OTEL_SERVICE_NAME": "shop", "PATH": os.environ["PATH"], **off}
    return subprocess.Popen(
        [sys.executable, "-c", source, str(rounds)],
        env={**own, **_covered(told)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finished(started: "subprocess.Popen[str]") -> str:
    """Wait for an application's end, and return what it said."""
    said, wrong = started.communicate(timeout=200)
    assert started.returncode == 0, wrong
    return said


def query_spans(receiver: Receiver) -> Counter[bytes]:
    """Return how often each query's span arrived, by its id."""
    return Counter(span.span_id for span in receiver.spans if span.name.startswith("SELECT"))


def came(receiver: Receiver, times: int = 1) -> bool:
    """Whether each query's span came so many times.

    Oftener only where an answer came too late for who waited `SOON_S`, on a slow machine.
    """
    found = set(query_spans(receiver).values())
    return found == {times} or (min(found) >= times and receiver.took_s > SOON_S * 0.8)


def counted(receiver: Receiver) -> int:
    """Return how many queries the metrics count: the last number of each series."""
    return sum(
        point.count
        for labels, point in _last_points(receiver, "db.client.operation.duration", "histogram")
        if labels.get("db.operation.name", "SELECT") == "SELECT"
    )


def told_lost(receiver: Receiver) -> int:
    """Return how many events the metrics say are lost: the last number of each series."""
    return sum(point.as_int for _, point in _last_points(receiver, "dbevents.events.lost", "sum"))


def _last_points(receiver: Receiver, name: str, kind: str) -> Iterable[tuple[dict[str, str], Any]]:
    """Return the last point of each series of a metric, with its attributes."""
    last: dict[str, tuple[dict[str, str], Any]] = {}
    for resource in receiver.resources("resource_metrics"):
        instance = {a.key: a.value.string_value for a in resource.resource.attributes}
        for scope in resource.scope_metrics:
            for metric in (each for each in scope.metrics if each.name == name):
                for point in getattr(metric, kind).data_points:
                    labels = {a.key: a.value.string_value for a in point.attributes}
                    last[json.dumps([instance, labels], sort_keys=True)] = labels, point
    return last.values()


def _covered(told: Mapping[str, str]) -> dict[str, str]:
    """Return the settings, and what has the process's lines counted."""
    covering: dict[str, Any] = {
        name: value for name, value in os.environ.items() if name.startswith("COV")
    }
    return {**covering, **told}

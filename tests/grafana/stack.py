"""All that the dashboards look at, really running: shops, sidecar, collector and the three stores.

`python -m tests.grafana.stack` keeps it up until Ctrl-C, to look at it with a Grafana of one's own.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.collector import collector
from tests.services.jaeger import Jaeger, jaeger
from tests.services.loki import Loki, loki
from tests.services.postgresql import postgresql
from tests.services.prometheus import Prometheus, prometheus
from tests.services.redis import redis
from tests.services.tools import REPOSITORY
from tests.sidecar.running import settings, sidecar

ENVIRONMENT = "staging"


@dataclass(frozen=True)
class Stack:
    """The three stores that a Grafana asks, and the shops that fill them."""

    prometheus: Prometheus
    loki: Loki
    jaeger: Jaeger
    shops: list["subprocess.Popen[bytes]"]


def shop(name: str, url: str, seconds: float, told: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start a shop that closes after so many seconds."""
    own = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "OTEL_SERVICE_NAME": name,
        "OTEL_RESOURCE_ATTRIBUTES": f"deployment.environment.name={ENVIRONMENT}",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "OTEL_BLRP_SCHEDULE_DELAY": "500",
        "OTEL_DBEVENTS_ENVIRONMENT": ENVIRONMENT,
    }
    command = [sys.executable, "-m", "tests.grafana.shop", url, str(seconds)]
    return subprocess.Popen(command, env={**own, **told}, cwd=REPOSITORY)


@contextmanager
def stack(directory: Path, seconds: float) -> Iterator[Stack]:
    """Run all of it; the shops are open for so many seconds."""
    with ExitStack() as running:

        def begin(what):  # type: ignore[no-untyped-def]
            return running.enter_context(what)

        def place(name: str) -> Path:
            (directory / name).mkdir()
            return directory / name

        traces = begin(jaeger(place("jaeger")))
        logs = begin(loki(place("loki")))
        way = begin(collector(place("collector"), jaeger=traces.otlp_grpc, loki=logs.otlp))
        database = begin(postgresql())
        bus = begin(redis(place("redis")))
        told = settings(bus, "dbevents", way.otlp_http)
        beside = begin(sidecar(place("sidecar"), told))
        metrics = begin(
            prometheus(
                place("prometheus"),
                way.metrics,
                way.own_metrics,
                sidecar=f"127.0.0.1:{beside.port}",
            )
        )
        direct = {"OTEL_EXPORTER_OTLP_ENDPOINT": way.otlp_grpc}
        shops = [
            shop("shop", database.url(database.database()), seconds, direct),
            shop("orders", database.url(database.database()), seconds, told),
        ]
        try:
            yield Stack(metrics, logs, traces, shops)
        finally:
            for each in shops:
                each.terminate()
                each.wait()


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        stack(Path(directory), 86400) as running,
    ):
        print(running.prometheus.url, running.loki.url, running.jaeger.query, flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()

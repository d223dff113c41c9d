"""All that the dashboards look at, really running: shops, sidecar, collector and the three stores.

`python -m tests.grafana.stack` keeps it up until Ctrl-C and says where the stores are.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis as RedisClient

from tests.grafana.fussy import between
from tests.services.collector import collector
from tests.services.jaeger import jaeger
from tests.services.loki import loki
from tests.services.postgresql import postgresql
from tests.services.prometheus import prometheus
from tests.services.redis import Redis, redis
from tests.services.tools import REPOSITORY
from tests.sidecar.running import APPLICATION, settings, sidecar

ENVIRONMENT = "staging"
STREAM = "dbevents"


@dataclass(frozen=True)
class Stack:
    """Where the three stores are that a Grafana asks, and the shops that fill them."""

    prometheus: str
    loki: str
    jaeger: str
    shops: list["subprocess.Popen[bytes]"]
    started: float
    """When the shops opened, in seconds since 1970."""


def application(
    name: str, arguments: list[str], told: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start an application of that name, which exports what it measures each second."""
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
    return subprocess.Popen([sys.executable, *arguments], env={**own, **told}, cwd=REPOSITORY)


def put_nonsense_into(bus: Redis) -> None:
    """Write what is no entry of ours into the stream: it becomes a dead letter."""
    with RedisClient.from_url(bus.url) as client:
        client.xadd(STREAM, {"what": "is this?"})


@contextmanager
def stack(directory: Path, seconds: float) -> Iterator[Stack]:
    """Run all of it; the shops are open for so many seconds.

    `shop` sends its telemetry itself, `orders` by a sidecar; `kiosk` has a buffer that is far too
    small for it, and what `stranger` ships is signed with a key that the sidecar does not know.
    """
    with ExitStack() as running:
        begin = running.enter_context

        def place(name: str) -> Path:
            (directory / name).mkdir()
            return directory / name

        database = begin(postgresql())
        traces = begin(jaeger(place("jaeger")))
        logs = begin(loki(place("loki")))
        way = begin(collector(place("collector"), jaeger=traces.otlp_grpc, loki=logs.otlp))
        bus = begin(redis(place("redis")))
        put_nonsense_into(bus)
        told = settings(bus, STREAM, begin(between(way.otlp_http)))
        handler = ("--handler", "tests.grafana.fussy:handle")
        beside = begin(sidecar(place("sidecar"), told, *handler))
        metrics = begin(
            prometheus(
                place("prometheus"),
                way.metrics,
                way.own_metrics,
                sidecar=f"127.0.0.1:{beside.port}",
            )
        )
        direct = {"OTEL_EXPORTER_OTLP_ENDPOINT": way.otlp_grpc}
        started = time.time()
        shops = [
            application(name, ["-m", "tests.grafana.shop", url, str(seconds)], to)
            for name, to in (
                ("shop", direct),
                ("orders", told | {"OTEL_EXPORTER_OTLP_ENDPOINT": way.otlp_http}),
            )
            for url in [database.url(database.database())]
        ]
        small = direct | {"OTEL_DBEVENTS_BUFFER_SIZE": "5"}
        shops.append(application("kiosk", ["-c", APPLICATION, "2000"], small))
        forged = told | {"OTEL_DBEVENTS_SIGNING_KEY": "another key, of nobody we know"}
        shops.append(application("stranger", ["-c", APPLICATION, "3"], forged))
        try:
            yield Stack(metrics.url, logs.url, traces.query, shops, started)
        finally:
            for each in shops:
                each.terminate()
                each.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, stack(Path(directory), 86400) as running:
        print(running.prometheus, running.loki, running.jaeger, flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()

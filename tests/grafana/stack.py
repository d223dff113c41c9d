"""All that the dashboards look at, really running: shops, sidecar, collector and the three stores.

`python -m tests.grafana.stack` keeps it up until Ctrl-C and says where the stores are.
"""

import os
import signal
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
from tests.services.process import begin
from tests.services.prometheus import prometheus
from tests.services.redis import Redis, redis
from tests.services.tools import REPOSITORY
from tests.sidecar.running import APPLICATION, SOON_S, settings, sidecar

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
        "OTEL_DBEVENTS_HEALTH_INTERVAL_S": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "OTEL_BLRP_SCHEDULE_DELAY": "500",
        "OTEL_DBEVENTS_ENVIRONMENT": ENVIRONMENT,
    }
    return subprocess.Popen([sys.executable, *arguments], env={**own, **told}, cwd=REPOSITORY)


def spoil(bus: Redis, told: Mapping[str, str]) -> None:
    """Write what is no entry of ours into the stream, and take one away that an application sent.

    Before any sidecar reads: the first becomes a dead letter, the other one a gap.
    """
    early = application("early", ["-c", APPLICATION, "300"], told)
    assert early.wait(200) == 0
    with RedisClient.from_url(bus.url) as client:
        client.xadd(STREAM, {"what": "is this?"})
        entries = client.xrange(STREAM)
        client.xdel(STREAM, entries[len(entries) // 2][0])


@contextmanager
def stack(directory: Path, seconds: float) -> Iterator[Stack]:
    """Run all of it; the shops are open for so many seconds.

    `shop` sends its telemetry itself, `orders` by a sidecar, and nearly every database is degraded
    to it; `kiosk` has a buffer that is far too small.
    """
    with ExitStack() as running:

        def place(name: str) -> Path:
            (directory / name).mkdir()
            return directory / name

        database, traces, logs, bus = begin(
            running,
            postgresql(),
            jaeger(place("jaeger")),
            loki(place("loki")),
            redis(place("redis")),
        )
        sends_to = {"jaeger": traces.otlp_grpc, "loki": logs.otlp}
        way = running.enter_context(collector(place("collector"), **sends_to))
        told = settings(bus, STREAM, way.otlp_http, SOON_S)
        spoil(bus, told)
        fussy = told | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": running.enter_context(between(way.otlp_http))
        }
        handler = ("--handler", "tests.grafana.fussy:handle")
        beside = running.enter_context(sidecar(place("sidecar"), fussy, *handler))
        metrics = running.enter_context(
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
                ("orders", told | {"OTEL_DBEVENTS_HEALTH_DEGRADED_MS": "1"}),
            )
            for url in [database.url(database.database())]
        ]
        small = direct | {"OTEL_DBEVENTS_BUFFER_SIZE": "5"}
        shops.append(application("kiosk", ["-c", APPLICATION, "2000"], small))
        try:
            yield Stack(metrics.url, logs.url, traces.query, shops, started)
        finally:
            for each in shops:
                each.terminate()
                each.wait()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all that was started ends
    with tempfile.TemporaryDirectory() as directory, stack(Path(directory), 86400) as running:
        print(running.prometheus, running.loki, running.jaeger, flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()

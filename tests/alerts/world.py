"""All that the proof needs, really running: a database, applications, the way of telemetry, a chat.

Four applications (tests/alerts/application.py) on one PostgreSQL, three small ones on files of
SQLite (tests/alerts/small.py), one of which ships to a Redis and a sidecar; the real collector,
Prometheus and Alertmanager with the mounted configuration; one server that stands for Slack and
Discord, and one for Loki. Rules are those that are mounted, with durations a hundred times shorter
(`shortened`): five minutes are three seconds. Hours and days are six hundred times shorter: three
hours are 18 seconds.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.services.alertmanager import Alertmanager
from tests.services.alertmanager import alertmanager as run_alertmanager
from tests.services.collector import Collector
from tests.services.collector import collector as run_collector
from tests.services.postgresql import Postgresql
from tests.services.postgresql import postgresql as run_postgresql
from tests.services.process import begin, wait_until
from tests.services.prometheus import Prometheus
from tests.services.prometheus import prometheus as run_prometheus
from tests.services.proxy import Proxy, proxy
from tests.services.redis import Redis
from tests.services.redis import redis as run_redis
from tests.services.tools import REPOSITORY
from tests.services.web import Capture, capture
from tests.sidecar.running import SOON_S, Sidecar, settings
from tests.sidecar.running import sidecar as run_sidecar

TIMES, HOURS = 100, 600
RECORDED = REPOSITORY / "deploy" / "prometheus" / "tests" / "recorded.yml"
MISFORTUNES = {"waits": "locks", "holds": "held", "loops": "loops", "breaks": "commits"}
"""By service on PostgreSQL: its misfortune. In all of them the server is the same."""
STREAM = "dbevents"
SMALL: dict[str, dict[str, str]] = {
    "crawls": {},
    "strays": {"OTEL_DBEVENTS_SLO_P95_MS": "300"},
    "ships": {"OTEL_DBEVENTS_BUFFER_SIZE": "50"},
}
"""By service on SQLite: its settings."""


@cache
def parsed(body: bytes) -> dict[str, Any]:
    """Return a message, which is looked at again and again."""
    found: dict[str, Any] = json.loads(body)
    return found


@dataclass
class World:
    """Everything that runs, and what was seen of it."""

    directory: Path
    postgresql: Postgresql
    collector: Collector
    prometheus: Prometheus
    alertmanager: Alertmanager
    chat: Capture
    logs: Capture
    """In the place of Loki."""
    redis: Redis
    sidecar: Sidecar
    between: Proxy
    """Between sidecar and collector."""
    database: str
    applications: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)
    speaking: threading.Lock = field(default_factory=threading.Lock)

    def say(self, service: str, word: str) -> None:
        """Begin a misfortune of an application, or end it by `no `."""
        told = self.applications[service].stdin
        assert told is not None
        with self.speaking:  # two stories may have one application
            told.write(word + "\n")
            told.flush()

    def firing(self) -> set[tuple[str, str]]:
        """Return which alerts fire of which services on PostgreSQL."""
        of = "|".join(MISFORTUNES)
        found = self.prometheus.query(f'ALERTS{{alertstate="firing", service_name=~"{of}"}}')
        return {(each.labels["service_name"], each.labels["alertname"]) for each in found}

    def firing_of(self, service: str) -> set[str]:
        return {alert for of, alert in self.firing() if of == service}

    def slack(self, title: str, after: int = 0) -> list[dict[str, Any]]:
        """Return Slack's attachments with these words in the title, but for so many requests."""
        found = self._told("/slack", "attachments", after)
        return [each for each in found if title in each.get("title", "")]

    def discord(self, title: str, after: int = 0) -> list[dict[str, Any]]:
        """Return Discord's embeds with these words in the title, but for so many requests."""
        return [each for each in self._told("/discord", "embeds", after) if title in each["title"]]

    def _told(self, path: str, part: str, after: int) -> list[dict[str, Any]]:
        requests = list(self.chat.requests)[after:]
        bodies = [parsed(each.body) for each in requests if each.path == path]
        return [each for body in bodies for each in body[part]]

    def is_told(self, title: str, *words: str) -> bool:
        """Whether both were sent a message with that title that says all of this."""
        return all(
            any(all(word in each[text] for word in words) for each in messages)
            for text, messages in (
                ("text", self.slack(title)),
                ("description", self.discord(title)),
            )
        )

    def why(self) -> str:
        """Say what there is, for a failure."""
        found = self.prometheus.query('ALERTS{alertstate="firing"}')
        names = {(s.labels.get("service_name", ""), s.labels["alertname"]) for s in found}
        return f"firing: {sorted(names)}; told: {[each['title'] for each in self.slack('')]}"

    def wait(self, holds: Callable[[], bool]) -> None:
        wait_until(holds, why=self.why)


def environment(service: str, told: Mapping[str, str]) -> dict[str, str]:
    """Return an application's settings: everything more often, as the rules are."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    said = {"deployment.environment.name": "staging", "service.instance.id": f"{service}-1"}
    return kept | {
        "OTEL_SERVICE_NAME": service,
        "OTEL_RESOURCE_ATTRIBUTES": ",".join("=".join(pair) for pair in said.items()),
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_DBEVENTS_HEALTH_INTERVAL_S": "0.3",
        "OTEL_DBEVENTS_HEALTH_TIMEOUT_MS": "400",
        "OTEL_DBEVENTS_HEALTH_UNHEALTHY_MS": "390",
        **told,
    }


def start(world: World, service: str, **told: str) -> None:
    """Start an application, which is ready when it says so; one of that name has ended."""
    settings_of = {"OTEL_EXPORTER_OTLP_ENDPOINT": world.collector.otlp_grpc}
    words = ["tests.alerts.application", world.postgresql.url(world.database)]
    if service in SMALL:
        words = ["tests.alerts.small", str(world.directory / service)]
        settings_of |= SMALL[service]
    if service == "ships":
        settings_of |= settings(world.redis, STREAM, world.collector.otlp_http, SOON_S)
    world.applications[service] = subprocess.Popen(
        [sys.executable, "-m", *words],
        env=environment(service, settings_of | told),
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def end(process: "subprocess.Popen[str]") -> None:
    """Kill an application."""
    with process:
        process.kill()


def is_ready(process: "subprocess.Popen[str]") -> bool:
    """Wait until an application works, or has ended."""
    assert process.stdout is not None
    return process.stdout.readline() == "ready\n"


@contextmanager
def applications(world: World) -> Iterator[None]:
    """Run all of them until they are left."""
    try:
        for service in (*MISFORTUNES, *SMALL):
            start(world, service)
        for service, process in world.applications.items():
            assert is_ready(process), service
        yield
    finally:
        for process in world.applications.values():
            end(process)


@contextmanager
def world(directory: Path) -> Iterator[World]:
    """Run everything."""

    def place(name: str) -> Path:
        (directory / name).mkdir()
        return directory / name

    with ExitStack() as running:
        enter = running.enter_context
        chat, logs = enter(capture(says=b"ok")), enter(capture())  # Slack says ok
        hooks = {"slack": f"{chat.url}/slack", "discord": f"{chat.url}/discord"}
        small = {"OTELCOL_METRIC_EXPIRATION": "5s", "OTELCOL_QUEUE_BYTES": "2000000"}
        alertmanager, postgresql, redis, collector = begin(
            running,
            run_alertmanager(place("alertmanager"), **hooks, times=TIMES),
            run_postgresql(),
            run_redis(place("redis")),
            run_collector(place("collector"), loki=logs.url, settings=small),
        )
        between = enter(proxy(int(collector.otlp_http.rpartition(":")[2])))
        told = settings(redis, STREAM, f"http://127.0.0.1:{between.port}", SOON_S)
        handler = ("--handler", "tests.grafana.fussy:handle")
        sidecar = enter(run_sidecar(place("sidecar"), told, *handler))
        prometheus = enter(
            run_prometheus(
                place("prometheus"),
                collector.metrics,
                collector.own_metrics,
                f"127.0.0.1:{sidecar.port}",
                alertmanager=alertmanager.address,
                times=TIMES,
                hours=HOURS,
            )
        )
        made = World(
            *(directory, postgresql, collector, prometheus, alertmanager, chat, logs),
            *(redis, sidecar, between, postgresql.database()),
        )
        enter(applications(made))
        yield made


@contextmanager
def locks(world: World) -> Iterator[None]:
    """Lock the row that is paid to, half a second at a time, in a session of one's own."""
    script = "BEGIN; UPDATE accounts SET amount = 0 WHERE id = 2; SELECT pg_sleep(0.5); COMMIT;\n"
    with subprocess.Popen(
        [
            *("psql", "-q", "-h", world.postgresql.host, "-p", str(world.postgresql.port)),
            *("-U", world.postgresql.user, "-d", world.database, "-o", os.devnull),
        ],
        stdin=subprocess.PIPE,
        text=True,
    ) as psql:
        try:
            assert psql.stdin is not None
            psql.stdin.write(script * 120)
            psql.stdin.flush()
            yield
        finally:
            psql.kill()

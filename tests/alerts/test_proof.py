"""The proof: a real database that fails, and the message in Slack's and in Discord's own form.

Four applications (tests/alerts/application.py) on one PostgreSQL, the real collector, Prometheus
and Alertmanager with the mounted configuration, and one server that stands for Slack and Discord.
Rules are those that are mounted, with all durations a hundred times shorter (`shortened`): five
minutes are three seconds. Each application has a misfortune of its own at the same time as the
others; then the server, which they share, stands still, and is killed.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.services.alertmanager import Alertmanager
from tests.services.alertmanager import alertmanager as run_alertmanager
from tests.services.collector import Collector
from tests.services.collector import collector as run_collector
from tests.services.postgresql import Postgresql
from tests.services.postgresql import postgresql as run_postgresql
from tests.services.process import begin, wait_until
from tests.services.prometheus import Prometheus
from tests.services.prometheus import prometheus as run_prometheus
from tests.services.tools import REPOSITORY
from tests.services.web import Capture, capture

pytestmark = [pytest.mark.e2e, pytest.mark.newest]

TIMES = 100
RECORDED = REPOSITORY / "deploy" / "prometheus" / "tests" / "recorded.yml"
MISFORTUNES = {"waits": "locks", "holds": "held", "loops": "loops", "breaks": "commits"}
"""By service: its misfortune. In all of them the server is the same."""
OWN = {
    "waits": {"DatabaseLatencyP95High"},
    "holds": {"DatabasePoolExhausted", "DatabasePoolNearlyExhausted"},
    "loops": {"DatabaseRepeatedQueries"},
    "breaks": {"DatabaseCommitFailures", "DatabaseQueryFailureRateHigh"},
}
"""What each must be told of, and the others not."""


@dataclass
class World:
    """Everything that runs, and what was seen of it."""

    postgresql: Postgresql
    collector: Collector
    prometheus: Prometheus
    alertmanager: Alertmanager
    chat: Capture
    database: str
    applications: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    def say(self, service: str, word: str) -> None:
        """Begin a misfortune of an application, or end it by `no `."""
        told = self.applications[service].stdin
        assert told is not None
        told.write(word + "\n")
        told.flush()

    def firing(self) -> set[tuple[str, str]]:
        """Return which alerts fire of which services."""
        found = self.prometheus.query('ALERTS{alertstate="firing"}')
        return {(each.labels.get("service_name", ""), each.labels["alertname"]) for each in found}

    def firing_of(self, service: str) -> set[str]:
        return {alert for of, alert in self.firing() if of == service}

    def slack(self, title: str) -> list[dict[str, Any]]:
        """Return Slack's attachments with these words in the title."""
        bodies = [json.loads(r.body) for r in list(self.chat.requests) if r.path == "/slack"]
        return [
            each
            for body in bodies
            for each in body["attachments"]
            if title in each.get("title", "")
        ]

    def discord(self, title: str) -> list[dict[str, Any]]:
        """Return Discord's embeds with these words in the title."""
        return [each for each in self._told("/discord", "embeds") if title in each["title"]]

    def _told(self, path: str, part: str) -> list[dict[str, Any]]:
        bodies = [json.loads(each.body) for each in list(self.chat.requests) if each.path == path]
        return [each for body in bodies for each in body[part]]

    def why(self) -> str:
        """Say what there is, for a failure."""
        titles = [each["title"] for each in self.slack("")]
        return f"firing: {sorted(self.firing())}; told: {titles}"

    def wait(self, holds: Any) -> None:
        wait_until(holds, within=60, why=self.why)


def environment(collector: Collector, service: str) -> dict[str, str]:
    """Return an application's settings: everything more often, as the rules are."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    said = {"deployment.environment.name": "staging", "service.instance.id": f"{service}-1"}
    return kept | {
        "OTEL_SERVICE_NAME": service,
        "OTEL_RESOURCE_ATTRIBUTES": ",".join("=".join(pair) for pair in said.items()),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_grpc,
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_DBEVENTS_HEALTH_INTERVAL_S": "0.3",
        "OTEL_DBEVENTS_HEALTH_TIMEOUT_MS": "400",
        "OTEL_DBEVENTS_HEALTH_UNHEALTHY_MS": "390",
    }


@contextmanager
def application(world: World, service: str) -> Iterator[None]:
    """Run one until it is left. It is ready when it says so."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.alerts.application", world.postgresql.url(world.database)],
        env=environment(world.collector, service),
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        world.applications[service] = process
        try:
            yield
        finally:
            process.kill()


@contextmanager
def world(directory: Path) -> Iterator[World]:
    """Run everything."""
    for name in ("collector", "prometheus", "alertmanager"):
        (directory / name).mkdir()
    with ExitStack() as running:
        chat = running.enter_context(capture(says=b"ok"))  # which Slack says
        alertmanager, postgresql, collector = begin(
            running,
            run_alertmanager(
                directory / "alertmanager",
                slack=f"{chat.url}/slack",
                discord=f"{chat.url}/discord",
                times=TIMES,
            ),
            run_postgresql(),
            run_collector(directory / "collector", settings={"OTELCOL_METRIC_EXPIRATION": "5s"}),
        )
        prometheus = running.enter_context(
            run_prometheus(
                directory / "prometheus",
                collector.metrics,
                collector.own_metrics,
                alertmanager=alertmanager.address,
                times=TIMES,
            )
        )
        made = World(postgresql, collector, prometheus, alertmanager, chat, postgresql.database())
        for service in MISFORTUNES:
            running.enter_context(application(made, service))
        for process in made.applications.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
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


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


def test_each_misfortune_is_told_as_what_it_was(everything: World) -> None:
    world = everything
    world.wait(lambda: len(world.prometheus.query("dbevents:queries:increase5m > 20")) == 4)
    world.wait(lambda: not world.firing())  # a slow machine's first checks may have been late
    with locks(world):
        for service, word in MISFORTUNES.items():
            world.say(service, word)
        seen: dict[str, set[str]] = {service: set() for service in OWN}

        def all_told() -> bool:
            for service, alert in world.firing():
                seen.setdefault(service, set()).add(alert)
            return all(OWN[service] <= seen[service] for service in OWN)

        world.wait(all_told)
        # That it is nearly so is not told of a pool that is exhausted.
        for alert in set.union(*OWN.values()) - {"DatabasePoolNearlyExhausted"}:
            title = f": {alert} in "
            world.wait(lambda title=title: bool(world.slack(title) and world.discord(title)))
        for service, word in MISFORTUNES.items():
            world.say(service, f"no {word}")
    for service, alerts in OWN.items():
        others = {alert for of, told in OWN.items() if of != service for alert in told}
        assert not seen[service] & (others - alerts), (service, seen)


def test_a_server_that_stands_still_is_told_of_and_all_ends_when_it_goes_on(
    everything: World,
) -> None:
    """Connections are there, and nothing answers: only the health checks see that."""
    world = everything
    server = str(world.postgresql.process.pid)
    children = subprocess.check_output(["pgrep", "-P", server], text=True).split()
    pids = [int(pid) for pid in (server, *children)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        world.wait(lambda: {"DatabaseHealthCheckFailing"} <= world.firing_of("loops"))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    world.wait(lambda: not {alert for _, alert in world.firing()} - {"DatabaseConnectionRecovered"})
    world.wait(lambda: not world.firing())


def test_a_database_that_is_killed_is_told_to_slack_and_discord_and_so_is_its_return(
    everything: World,
) -> None:
    world = everything
    world.chat.requests.clear()
    lost, back = "Critical: DatabaseConnectionLost in loops", "DatabaseConnectionRecovered in loops"
    world.postgresql.process.kill()
    world.wait(lambda: bool(world.slack(lost) and world.discord(lost)))
    rates = {"DatabaseConnectionFailureRateHigh", "DatabaseQueryFailureRateHigh"}
    world.wait(lambda: "DatabaseConnectionFailureRateHigh" in world.firing_of("loops"))
    assert not [each for rate in rates for each in world.slack(rate)]  # inhibited
    (alert,) = [
        each
        for each in world.prometheus.alerts("DatabaseConnectionLost")
        if each["labels"]["service_name"] == "loops"
    ]
    (status,) = world.prometheus.query('database_connection_status{dbevents_aggregate_id=""}')
    assert status.value == 0
    assert {
        "environment": "staging",
        "database_type": "postgresql",
    }.items() <= status.labels.items()
    world.postgresql.process.start()
    world.wait(lambda: bool(world.slack(back) and world.discord(back)))
    ended = "Ended: DatabaseConnectionLost in loops"
    world.wait(lambda: bool(world.slack(ended) and world.discord(ended)))
    world.wait(lambda: not world.firing())

    message = world.slack(lost)[0]
    assert message["color"] == "danger"
    assert message["title"] == f"{lost} (staging)"
    where = f"postgresql {world.database} at 127.0.0.1:{world.postgresql.port}"
    runbook = alert["annotations"]["runbook_url"]
    summary = alert["annotations"]["summary"]
    for text in (message["text"], world.discord(lost)[0]["description"]):
        assert f"loops has no connection to postgresql {world.database}" == summary
        assert summary in text
        assert f"Where: {where}\n" in text
        assert "When: since 20" in text
        assert f"Runbook: {runbook}" in text
    assert world.slack(ended)[0]["color"] == "good"
    assert "When: from 20" in world.discord(ended)[0]["description"]
    assert not world.slack(f"Ended: {back}")  # a recovery that is over is no news
    assert "<no value>" not in str(world.chat.requests)
    assert "Xq7password" not in str(world.chat.requests)


def test_the_recorded_run_has_the_names_and_labels_of_this_one(everything: World) -> None:
    """Else the rules' tests would be of metrics that nobody exports any more."""
    recorded: dict[str, set[str]] = {}
    for metric, labels in re.findall(r"- series: '(\w+)\{(.*)\}'", RECORDED.read_text()):
        recorded.setdefault(metric, set()).update(re.findall(r'(\w+)="', labels))
    assert recorded
    for metric, labels in recorded.items():
        found = everything.prometheus.query(f'last_over_time({metric}{{service_name!=""}}[5m])')
        assert labels <= set.union(*(set(each.labels) for each in found)), metric


def test_an_application_that_has_ended_leaves_nothing_behind(everything: World) -> None:
    """Killed while it had no connection: the collector forgets it."""
    world = everything
    world.postgresql.process.kill()
    world.wait(lambda: "DatabaseConnectionLost" in world.firing_of("waits"))
    for process in world.applications.values():
        process.kill()
    world.wait(lambda: not world.prometheus.query("database_connection_status"))
    world.wait(lambda: not world.firing())

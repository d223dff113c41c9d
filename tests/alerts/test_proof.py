"""The proof: a real database that fails, and the message in Slack's and in Discord's own form.

Each application of tests/alerts/world.py has a misfortune of its own at the same time as the
others; then the server, which they share, stands still, and is killed.
"""

import os
import re
import signal
import subprocess
from contextlib import suppress
from typing import Any

import pytest

from tests.alerts.world import MISFORTUNES, RECORDED, World, locks

pytestmark = [pytest.mark.e2e, pytest.mark.newest]

OWN = {
    "waits": {"DatabaseLatencyP95High"},
    "holds": {"DatabasePoolExhausted", "DatabasePoolNearlyExhausted"},
    "loops": {"DatabaseRepeatedQueries"},
    "breaks": {"DatabaseCommitFailures", "DatabaseQueryFailureRateHigh"},
}
"""What each must be told of, and the others not."""


@pytest.mark.usefixtures("stories")
def test_each_misfortune_is_told_as_what_it_was(everything: World) -> None:
    world = everything
    of = "|".join(MISFORTUNES)
    busy = f'dbevents:queries:increase5m{{service_name=~"{of}"}} > 20'
    world.wait(lambda: len(world.prometheus.query(busy)) == 4)
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
        for service, alerts in OWN.items():
            for alert in alerts - {"DatabasePoolNearlyExhausted"}:
                world.wait(lambda title=f": {alert} in {service}": world.is_told(title))
        for service, word in MISFORTUNES.items():
            world.say(service, f"no {word}")
    for service, alerts in OWN.items():
        others = {alert for of, told in OWN.items() if of != service for alert in told}
        assert not seen[service] & (others - alerts), (service, seen)


def to_all(number: signal.Signals, pids: list[int]) -> None:
    """Send a signal to each that has not ended meanwhile."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def test_a_server_that_stands_still_is_told_of_and_all_ends_when_it_goes_on(
    everything: World,
) -> None:
    """Connections are there, and nothing answers: only the health checks see that."""
    world = everything
    server = world.postgresql.process.pid
    to_all(signal.SIGSTOP, [server])  # it has no new children now
    children = subprocess.check_output(["pgrep", "-P", str(server)], text=True).split()
    pids = [server, *map(int, children)]
    to_all(signal.SIGSTOP, pids)
    try:
        world.wait(lambda: {"DatabaseHealthCheckFailing"} <= world.firing_of("loops"))
    finally:
        to_all(signal.SIGCONT, pids)
    world.wait(lambda: not {alert for _, alert in world.firing()} - {"DatabaseConnectionRecovered"})
    world.wait(lambda: not world.firing())


def test_a_database_that_is_killed_is_told_to_slack_and_discord_and_so_is_its_return(
    everything: World,
) -> None:
    world = everything
    before = len(world.chat.requests)
    lost, back = "Critical: DatabaseConnectionLost in loops", "DatabaseConnectionRecovered in loops"
    world.postgresql.process.kill()
    world.wait(lambda: bool(world.slack(lost, before) and world.discord(lost, before)))
    rates = {"DatabaseConnectionFailureRateHigh", "DatabaseQueryFailureRateHigh"}
    world.wait(lambda: "DatabaseConnectionFailureRateHigh" in world.firing_of("loops"))
    told = [each["title"] for rate in rates for each in world.slack(rate, before)]
    assert all(title.startswith("Ended: ") for title in told)  # inhibited
    alert: dict[str, Any] = {}

    def it_fires() -> bool:
        """Not in each moment: a slow machine's scrapes may be late."""
        for each in world.prometheus.alerts("DatabaseConnectionLost"):
            if each["labels"]["service_name"] == "loops":
                alert.update(each)
        return bool(alert)

    world.wait(it_fires)
    asked = 'database_connection_status{dbevents_aggregate_id="",database_type="postgresql"}'
    world.wait(lambda: bool(world.prometheus.query(asked)))
    (status,) = world.prometheus.query(asked)
    assert status.value == 0
    assert {
        "environment": "staging",
        "database_type": "postgresql",
    }.items() <= status.labels.items()
    world.postgresql.process.start()
    world.wait(lambda: bool(world.slack(back, before) and world.discord(back, before)))
    ended = "Ended: DatabaseConnectionLost in loops"
    world.wait(lambda: bool(world.slack(ended, before) and world.discord(ended, before)))
    world.wait(lambda: not world.firing())

    message = world.slack(lost, before)[0]
    assert message["color"] == "danger"
    assert message["title"] == f"{lost} (staging)"
    where = f"postgresql {world.database} at 127.0.0.1:{world.postgresql.port}"
    runbook = alert["annotations"]["runbook_url"]
    summary = alert["annotations"]["summary"]
    for text in (message["text"], world.discord(lost, before)[0]["description"]):
        assert f"loops has no connection to postgresql {world.database}" == summary
        assert summary in text
        assert f"Where: {where}\n" in text
        assert "When: since 20" in text
        assert f"Runbook: {runbook}" in text
    assert world.slack(ended, before)[0]["color"] == "good"
    assert "When: from 20" in world.discord(ended, before)[0]["description"]
    assert not world.slack(f"Ended: {back}")  # a recovery that is over is no news


def test_the_recorded_run_has_the_names_and_labels_of_this_one(everything: World) -> None:
    """Else the rules' tests would be of metrics that nobody exports any more."""
    recorded: dict[str, set[str]] = {}
    for metric, labels in re.findall(r"- series: '(\w+)\{(.*)\}'", RECORDED.read_text()):
        recorded.setdefault(metric, set()).update(re.findall(r'(\w+)="', labels))
    assert recorded
    for metric, labels in recorded.items():
        found = everything.prometheus.query(f'last_over_time({metric}{{service_name!=""}}[5m])')
        assert labels <= set.union(*(set(each.labels) for each in found)), metric

"""The proof, continued: what else is told, on the same servers and at the same time.

Budgets that burn, objectives that are not measured, checks that nobody makes, and the way of
telemetry itself (tests/alerts/stories.py); then the collector is killed, and all applications.
"""

from concurrent.futures import Future

import pytest

from tests.alerts.stories import STORIES, ended, told
from tests.alerts.test_configuration import ALERTS
from tests.alerts.test_proof import OWN
from tests.alerts.world import MISFORTUNES, World

pytestmark = [pytest.mark.e2e, pytest.mark.newest]

KILLED = {
    "DatabaseConnectionLost",
    "DatabaseConnectionRecovered",
    "DatabaseConnectionFailureRateHigh",
    "DatabaseHealthCheckFailing",
}
"""What the proof of a database that is killed, or stands still, waits for."""


@pytest.mark.parametrize("name", STORIES)
def test_what_goes_wrong_beside_the_databases_is_told_and_its_end_too(
    stories: dict[str, "Future[None]"], name: str
) -> None:
    stories[name].result()


def test_who_sees_nothing_says_so(everything: World) -> None:
    world = everything
    world.collector.process.kill()
    told(world, "Critical: TelemetryBlind", "(applications)")
    told(world, "Critical: TelemetryBlind", "(collector)")
    world.collector.process.start()
    ended(world, "TelemetryBlind")


def test_an_application_that_has_ended_leaves_nothing_behind(everything: World) -> None:
    """Killed while it had no connection: the collector forgets it."""
    world = everything
    world.postgresql.process.kill()
    world.wait(lambda: "DatabaseConnectionLost" in world.firing_of("waits"))
    for service in MISFORTUNES:
        world.applications[service].kill()
    shown = 'database_connection_status{db_system_name="postgresql"}'
    recorded = 'database_connection_status{database_type="postgresql"}'
    world.wait(lambda: not world.prometheus.query(f"{shown} or {recorded}"))
    world.wait(lambda: not world.firing())


def test_no_message_has_a_secret_or_a_hole(everything: World) -> None:
    messages = str(everything.chat.requests)
    assert "DatabaseConnectionLost" in messages
    for wrong in ("<no value>", "Xq7", "last  were"):
        assert wrong not in messages


def test_every_alert_was_seen_to_fire() -> None:
    seen = KILLED | {"TelemetryBlind"} | set.union(*OWN.values())
    for _, alerts in STORIES.values():
        seen |= alerts
    assert seen == {rule["alert"] for rule in ALERTS}

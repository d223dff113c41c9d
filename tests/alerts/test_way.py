"""The proof, continued: what else is told, on the same servers and at the same time.

Budgets that burn, objectives that are not measured, checks that nobody makes, and the way of
telemetry itself (tests/alerts/stories.py); then the collector is killed, and all applications.
"""

import re
from concurrent.futures import Future

import pytest

from tests.alerts.stories import STORIES, ended, told
from tests.alerts.test_configuration import ALERTS
from tests.alerts.world import MISFORTUNES, World
from tests.services.tools import REPOSITORY
from tests.services.web import get_json

pytestmark = [pytest.mark.e2e, pytest.mark.newest]


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
    messages = everything.slack("")
    assert messages
    for message in messages:
        for line in message["text"].splitlines():
            assert line == line.strip(), message
            assert not line.endswith(":"), message
            assert "  " not in line, message
    assert "<no value>" not in str(everything.chat.requests)
    assert "Xq7" not in str(everything.chat.requests)


def test_whatever_a_runbook_asks_prometheus_for_is_there(everything: World) -> None:
    """Metrics that nobody has yet lost anything to would show as nothing; here all went wrong."""
    known = set(get_json(f"{everything.prometheus.url}/api/v1/label/__name__/values")["data"])
    labels = set(get_json(f"{everything.prometheus.url}/api/v1/labels")["data"])
    for page in (REPOSITORY / "docs/runbooks").glob("*.md"):
        for words in re.findall(r"`([^`]+)`", page.read_text()):
            names = set(re.findall(r"\b(?:dbevents|db|database|otelcol)[:_][\w:]+", words))
            if not names:
                continue
            assert names <= known | labels, (page.name, words)
            if re.search(r"[({]", words):
                everything.prometheus.query(words.replace("$service", "loops"))


def test_every_alert_there_is_has_fired_and_has_ended(everything: World) -> None:
    """In this run of the whole folder, and as this Prometheus knows it."""
    fired = everything.prometheus.query('last_over_time(ALERTS{alertstate="firing"}[1h])')
    assert {each.labels["alertname"] for each in fired} == {rule["alert"] for rule in ALERTS}
    everything.wait(lambda: not everything.prometheus.query('ALERTS{alertstate="firing"}'))

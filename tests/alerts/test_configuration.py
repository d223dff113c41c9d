"""Rules, routes and messages: what `promtool` and `amtool` say of the files that are mounted."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.alertmanager import CONFIG, TEMPLATES, configure
from tests.services.prometheus import RULES, shortened
from tests.services.tools import ALERTMANAGER, PROMETHEUS, REPOSITORY, require
from tests.test_deploy import COMPOSE, SERVICES

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

GROUPS = {
    path.name: yaml.safe_load(path.read_text())["groups"] for path in sorted(RULES.glob("*.yml"))
}
RULES_OF_ALL: list[dict[str, Any]] = [
    rule for groups in GROUPS.values() for group in groups for rule in group["rules"]
]
ALERTS = [rule for rule in RULES_OF_ALL if "alert" in rule]
TESTS = sorted((REPOSITORY / "deploy/prometheus/tests").glob("*.yml"))
OF_DATABASE = {
    "deployment_environment_name",
    "service_name",
    "db_system_name",
    "db_namespace",
    "server_address",
    "server_port",
}


def beside(program: Path, name: str) -> str:
    """Return the path of a server's own tool, which its package has too."""
    found = shutil.which(name)
    assert found, f"{program.name} is here, and {name} is not"
    return found


def run(*command: str, cwd: Path = REPOSITORY) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def promtool() -> str:
    return beside(require(PROMETHEUS), "promtool")


@pytest.fixture(scope="session")
def amtool() -> str:
    return beside(require(ALERTMANAGER), "amtool")


def test_the_rules_are_rules(promtool: str) -> None:
    run(promtool, "check", "rules", *map(str, sorted(RULES.glob("*.yml"))))
    run(promtool, "check", "config", "deploy/prometheus/prometheus.yml")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_say_what_their_tests_say(promtool: str, path: Path) -> None:
    run(promtool, "test", "rules", str(path))


def test_every_alert_is_seen_to_fire_and_to_end_in_the_rules_tests() -> None:
    seen = "".join(path.read_text() for path in TESTS)
    for alert in {rule["alert"] for rule in ALERTS}:
        assert f'alertname="{alert}"' in seen, f"{alert} is not seen to fire"


def test_every_alert_says_what_it_is_how_bad_and_what_to_do() -> None:
    for rule in ALERTS:
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert re.fullmatch("[a-z_]+", rule["labels"]["topic"])
        for name in rule["labels"]:  # $labels has those of the series alone
            assert f"$labels.{name}" not in str(rule["annotations"]), rule["alert"]
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        headings = re.findall(r"^## (.*)$", (REPOSITORY / path).read_text(), re.MULTILINE)
        assert rule["alert"] in headings, f"{path} has no section of {rule['alert']}"
        assert anchor == rule["alert"].lower()


def test_no_runbook_is_of_an_alert_that_there_is_not() -> None:
    known = {rule["alert"] for rule in ALERTS}
    for path in (REPOSITORY / "docs/runbooks").glob("*.md"):
        if path.name != "README.md":
            assert set(re.findall(r"^## (\w+)$", path.read_text(), re.MULTILINE)) <= known


def test_whatever_a_runbook_asks_loki_for_is_an_event_that_there_is() -> None:
    """The pages of questions to Loki and of events are checked against real runs elsewhere."""
    told = (REPOSITORY / "docs/telemetry.md").read_text()
    for path in (REPOSITORY / "docs/runbooks").glob("*.md"):
        for name in re.findall(r'event_name="([^"]+)"', path.read_text()):
            assert f"`{name}`" in told, (path.name, name)


def test_every_threshold_has_its_place_and_is_compared_with() -> None:
    """A rule that compares with a series that there is not is silent for ever."""
    recorded = {rule["record"] for group in GROUPS["thresholds.yml"] for rule in group["rules"]}
    named = set(re.findall(r"dbevents:threshold:\w+", str(ALERTS)))
    assert recorded == named


def test_every_series_that_an_alert_asks_for_is_recorded() -> None:
    recorded = {rule["record"] for rule in RULES_OF_ALL if "record" in rule}
    assert set(re.findall(r"dbevents:[a-z_:]+\w*", str(ALERTS))) <= recorded


def test_shortening_changes_durations_and_nothing_else() -> None:
    text = "a: x:increase5m[5m] unless y offset 10m > 0.5\n    for: 30s\n    interval: 1m\n"
    assert shortened(text, 60) == (
        "a: x:increase5m[5000ms] unless y offset 10000ms > 0.5\n"
        "    for: 500ms\n    interval: 1000ms\n"
    )
    threshold = "    - record: t:sidecar_lag_seconds\n      expr: vector(60)\n"
    assert shortened(threshold, 100) == threshold.replace("60", "0.6")
    hours = "for: 15m\nfor: 3h\nx[1d]"
    assert shortened(hours, 100, 400) == "for: 9000ms\nfor: 27000ms\nx[216000ms]"
    for path in (*RULES.glob("*.yml"), CONFIG):
        assert shortened(path.read_text(), 1).count("\n") == path.read_text().count("\n")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    nobody = "http://127.0.0.1:9/"
    return configure(tmp_path, slack=nobody, discord=nobody)


def test_the_alertmanagers_configuration_is_one(amtool: str, config: Path) -> None:
    said = run(amtool, "check-config", str(config))
    assert "1 templates" in said


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("severity=critical", "chat"),
        ("severity=warning", "chat"),
        ("severity=info", "chat-once"),
        ("", "chat"),
    ],
)
def test_everybody_is_told_and_of_what_is_only_nice_to_know_once(
    amtool: str, config: Path, labels: str, receiver: str
) -> None:
    words = [
        "config",
        "routes",
        "test",
        f"--config.file={config}",
        f"--verify.receivers={receiver}",
    ]
    run(amtool, *words, *labels.split())


def test_what_inhibits_is_told_of_the_same_database() -> None:
    """An alert that lacks a label of `equal` would be inhibited by any other that lacks it."""
    rules = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
    lost, critical, blind = (set(rule.get("equal", [])) for rule in rules)
    assert lost == OF_DATABASE
    assert critical == OF_DATABASE | {"topic", "db_client_connection_pool_name"}
    assert blind == set()
    topics = {rule["labels"]["topic"] for rule in ALERTS}
    for rule in rules:
        for matcher in rule["target_matchers"]:
            if found := re.fullmatch(r'topic=~"(.*)"', matcher):
                assert set(found[1].split("|")) <= topics


def test_compose_mounts_the_rules_and_the_secrets_where_they_are_looked_for() -> None:
    assert "./deploy/prometheus/rules:/etc/prometheus/rules:ro" in SERVICES["prometheus"]["volumes"]
    alertmanager = SERVICES["alertmanager"]
    assert (
        f"./{TEMPLATES.relative_to(REPOSITORY)}:/etc/alertmanager/templates:ro"
        in (alertmanager["volumes"])
    )
    for name in alertmanager["secrets"]:
        assert f"/run/secrets/{name}" in CONFIG.read_text()
        variable, default = re.fullmatch(
            r"\$\{(\w+):-(.*)\}", COMPOSE["secrets"][name]["file"]
        ).groups()
        assert variable == f"{name.upper()}_FILE"
        assert (REPOSITORY / default).read_text().startswith("http://127.0.0.1:9/")


def test_prometheus_tells_the_alertmanager_that_compose_starts() -> None:
    config = yaml.safe_load((REPOSITORY / "deploy/prometheus/prometheus.yml").read_text())
    (targets,) = config["alerting"]["alertmanagers"][0]["static_configs"]
    (target,) = targets["targets"]
    host, _, port = target.partition(":")
    assert SERVICES[host]["ports"] == [f"127.0.0.1:{port}:{port}"]

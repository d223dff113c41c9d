"""The second act: what is told of a database that was really killed."""

import io
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import yaml
from msgspec.structs import replace
from opentelemetry.trace import NoOpTracer
from rich.console import Console
from sqlalchemy import create_engine

from otel_dbevents.demo import alerts, database_driver, database_server
from otel_dbevents.demo import outage as second_act
from otel_dbevents.demo.alerts import verdicts
from otel_dbevents.demo.metrics import Point
from otel_dbevents.demo.outage import Outage, Server
from otel_dbevents.demo.outage_panel import outage_panel
from otel_dbevents.demo.timeline import Timeline
from otel_dbevents.events import Event
from tests.bridge import support
from tests.demo.running import Document
from tests.services.tools import REPOSITORY


@pytest.fixture
def outage(told: Document) -> dict[str, Any]:
    found: dict[str, Any] = told.whole["outage"]
    return found


def value(points: list[dict[str, Any]], metric: str) -> float:
    return sum(each.get("value", 0) for each in points if each["metric"] == metric)


def test_each_error_of_the_application_is_an_event_and_so_is_each_sale(
    told: Document, outage: dict[str, Any]
) -> None:
    kinds = Counter(event["event_type"] for event in told.scenes["outage"]["events"])
    failed = kinds["QueryFailed"] + kinds["DatabaseConnectionFailed"] + kinds["CommitFailed"]
    assert failed == sum(outage["refused"].values()) > 0
    sold = outage["sold_before"] + outage["sold_after"]
    assert min(outage["sold_before"], outage["sold_after"]) > 0
    inserts = [span for span in told.spans("outage", "INSERT sales") if span["status"] != "ERROR"]
    assert len(inserts) >= sold


def test_the_recovery_is_told_before_the_application_has_a_connection_again(
    told: Document, outage: dict[str, Any]
) -> None:
    events = told.scenes["outage"]["events"]
    kinds = [event["event_type"] for event in events]
    failed = kinds.index("DatabaseConnectionFailed")
    (recovered,) = (at for at, kind in enumerate(kinds) if kind == "DatabaseRecovered")
    assert failed < recovered < kinds.index("DatabaseConnectionEstablished", failed)
    payload = events[recovered]["payload"]
    assert payload["failed_attempts"] >= kinds.count("DatabaseConnectionFailed")
    assert payload["duration_ns"] / 1e9 >= 0.9
    assert outage["killed_s"] >= 0.9


def test_health_checks_see_it_go_and_come_back(told: Document) -> None:
    checks = told.events("outage", "DatabaseHealthCheckCompleted")
    answered = ["error.type" not in (each.get("details") or {}) for each in checks]
    assert re.fullmatch("A+F+A+", "".join("A" if each else "F" for each in answered))
    failed = [each for each, went in zip(checks, answered, strict=True) if not went]
    assert {each["status"] for each in failed} == {"unhealthy"}


def test_the_metrics_say_what_the_rules_look_at(told: Document, outage: dict[str, Any]) -> None:
    status = "database.connection.status"
    assert (value(outage["before"], status), value(outage["away"], status)) == (1, 0)
    address = [each for each in told.points(status) if "server.address" in each["attributes"]]
    assert [each["value"] for each in address] == [1]
    lost = next(each for each in outage["alerts"] if each["rule"] == "DatabaseConnectionLost")
    assert lost["said"] in ("pending", "firing")


def test_every_refused_sale_is_a_span_below_its_own_root(told: Document) -> None:
    refused = [each for each in told.spans("outage") if each["name"].startswith("CONNECT")]
    assert any(each["status"] == "ERROR" for each in refused)
    roots = {each["span_id"]: each["name"] for each in told.spans("outage", "sell")}
    failed = [each for each in refused if each["status"] == "ERROR"]
    assert {roots.get(each["parent_span_id"]) for each in failed} == {"sell"}


def points(**values: float) -> list[Point]:
    names = {"status": "status", "attempts": "attempts", "failures": "failures"}
    return [Point(f"database.connection.{names[name]}", "", {}, v) for name, v in values.items()]


def checks(unhealthy: int) -> Point:
    status = {"dbevents.health.status": "unhealthy"}
    return Point("database.health.latency", "s", status, 1.0, unhealthy)


def said(outage: Outage) -> list[str]:
    return [each.said for each in verdicts(outage)]


def test_a_rule_fires_when_its_condition_held_for_as_long_as_it_asks() -> None:
    away = [*points(status=0, attempts=20, failures=10), checks(2)]
    recovered: Any = replace(support.recovered(), duration_ns=int(29.9e9))
    assert said(Outage(recovered=recovered, away=away)) == ["pending", "firing", "pending"]
    recovered = replace(support.recovered(), duration_ns=int(301e9))
    assert said(Outage(recovered=recovered, away=away)) == ["firing", "firing", "firing"]


@pytest.mark.parametrize(
    "away",
    [
        [*points(status=1, attempts=20, failures=1), checks(1)],  # just 5 %
        points(status=1, attempts=9, failures=9),  # too few
        [],
    ],
)
def test_a_rule_whose_condition_does_not_hold_is_silent(away: list[Point]) -> None:
    status = away[0].value if away else 0
    assert said(Outage(away=away, killed_s=400))[0] == ("silent" if status else "firing")
    assert said(Outage(away=away, killed_s=400))[1:] == ["silent", "silent"]


def test_a_flood_is_one_line_and_a_number() -> None:
    line = Timeline()

    def lines(*events: Event) -> list[str]:
        return [text.plain for event in events for text in line.lines(event)]

    assert len(lines(*[support.connect_failed()] * 30)) == 1
    assert len(lines(support.health("unhealthy"), support.health("unhealthy"))) == 1
    assert lines(support.executed(), support.checked_out(), support.committed()) == []
    again = lines(support.established())
    assert again[0].strip() == "and 29 more: DatabaseConnectionFailed"
    assert "DatabaseConnectionEstablished" in again[1]
    assert [text.plain.strip() for text in line.rest()] == ["and 1 more: health unhealthy"]
    assert list(line.rest()) == []


def shown(outage: Outage) -> str:
    console = Console(file=io.StringIO(), width=80)
    for each in outage_panel(outage):
        console.print(each)
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def test_the_summary_fits_eighty_columns_and_claims_no_prometheus() -> None:
    made = Outage(
        sold_before=140,
        sold_after=90,
        refused=Counter(OperationalError=230, IntegrityError=1),
        killed_s=12.3,
        recovered=replace(support.recovered(), duration_ns=12_400_000_000, failed_attempts=240),
        health=[support.health("healthy"), support.health("unhealthy")] * 2,
        before=points(status=1),
        away=[*points(status=0, attempts=400, failures=230), checks(40)],
        after=points(status=1),
    )
    text = shown(made)
    assert "(no Prometheus ran)" in text
    assert "12.4 s" in text
    assert "240 refused attempts" in " ".join(text.split())
    assert "230 of 400 refused, limit 5%" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "no recovery" in shown(Outage())


def test_the_server_is_a_process_that_is_killed_and_started_on_its_port(tmp_path: Any) -> None:
    server = Server(tmp_path)
    server.start()
    port = server.port
    connection = database_driver.connect("127.0.0.1", port)
    assert connection.cursor().execute("SELECT 1 AS one").fetchall() == [(1,)]
    server.kill()
    server.kill()
    with pytest.raises(database_driver.OperationalError, match="gone"):
        connection.cursor().execute("SELECT 1")
    connection.close()
    with pytest.raises(database_driver.OperationalError, match="no connection"):
        database_driver.connect("127.0.0.1", port)
    server.start()
    assert server.port == port
    connection = database_driver.connect("127.0.0.1", port)
    cursor = connection.cursor()
    with pytest.raises(database_driver.OperationalError, match="no such table"):
        cursor.execute("SELECT 1 FROM nosuch")
    assert cursor.fetchone() is None
    connection.close()
    server.kill()


def test_some_sales_are_tried_however_slow_the_machine_is() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        second_act._sales.create(connection)
    assert second_act._sell(engine, NoOpTracer(), 0.0, Outage()) == second_act._LEAST > 3
    engine.dispose()


def test_the_server_does_not_outlive_whoever_started_it(tmp_path: Any) -> None:
    command = [sys.executable, database_server.__file__, str(tmp_path / "sales.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().strip().isdigit()
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_server_that_cannot_be_run_is_told(tmp_path: Any) -> None:
    server = Server(tmp_path)
    server.port = 99_999
    with pytest.raises(LookupError, match="does not start here"):
        server.start()


def rules() -> dict[str, dict[str, Any]]:
    """Return the project's rules, by their names."""
    files = (REPOSITORY / "deploy/prometheus/rules").glob("*.yml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {
        each.get("alert") or each["record"]: each for group in groups for each in group["rules"]
    }


def test_the_limits_and_times_are_those_of_the_rules() -> None:
    found = rules()
    for_s = {each.rule: found[each.rule].get("for", "0s") for each in verdicts(Outage())}
    assert for_s == {
        "DatabaseConnectionLost": f"{alerts.LOST_FOR_S:.0f}s",
        "DatabaseHealthCheckFailing": "0s",
        "DatabaseConnectionFailureRateHigh": f"{alerts.FAILURES_FOR_S / 60:.0f}m",
    }
    limits = {
        "connection_failure_ratio": alerts.FAILURE_RATIO,
        "connection_attempts": alerts.LEAST_ATTEMPTS,
        "unhealthy_checks": alerts.UNHEALTHY_CHECKS,
    }
    for name, limit in limits.items():
        assert found[f"dbevents:threshold:{name}"]["expr"] == f"vector({limit})"
    assert found["DatabaseConnectionLost"]["expr"] == "dbevents:connection_status:min == 0"
    watched = found["dbevents:unhealthy_checks:increase3m"]["expr"]
    assert 'database_health_latency_seconds_count{dbevents_health_status="unhealthy"}' in watched

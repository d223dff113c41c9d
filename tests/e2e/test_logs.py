"""Logs on both ways into Loki; every query of docs/logs.md is run there, on data of a real run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.services.collector import LINES, Collector
from tests.services.collector import collector as run_collector
from tests.services.loki import Loki, Record
from tests.services.process import wait_until
from tests.services.tools import REPOSITORY

pytestmark = pytest.mark.e2e

PAGE = (REPOSITORY / "docs/logs.md").read_text()
QUERIES: list[str] = re.findall(r"```logql\n(.*?)\n```", PAGE, re.DOTALL)
EXAMPLE = "4bf92f3577b34da6a3ce929d0e0e4736"
WAYS = ("otlp", "lines")


@dataclass(frozen=True)
class Shop:
    """One run of the application, and what Loki holds of it."""

    service: str
    trace_id: str
    loki: Loki

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Ask a query of the page about this run."""
        asked = query.replace('service_name="shop"', f'service_name="{self.service}"')
        asked = asked.replace('service_name=~".+"', f'service_name=~"{self.service}.*"')
        return self.loki.ask(asked.replace(EXAMPLE, self.trace_id))

    def records(self, name: str = "") -> list[Record]:
        """Return its records, or those of one event."""
        found = self.loki.records(self.service)
        return [each for each in found if not name or each.labels.get("event_name") == name]


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, loki: Loki) -> Iterator[Collector]:
    """Run a collector that takes both."""
    directory = tmp_path_factory.mktemp("logs")
    settings = {"OTELCOL_LOG_FILES": f"{directory}/*.out"}
    with run_collector(directory, loki=loki.otlp, also=(LINES,), settings=settings) as running:
        yield running


def play(way: str, directory: Path, collector: Collector) -> tuple[str, str]:
    """Run the application; return its service's name and its trace's id."""
    service = f"shop-{way}"
    environment = os.environ | {
        "OTEL_SERVICE_NAME": service,
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "otlp" if way == "otlp" else "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_grpc,
        "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": str(way == "otlp").lower(),
        "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "60000",
        "OTEL_DBEVENTS_SLOW_QUERY_MS": "2",
        "OTEL_DBEVENTS_EVENT_LOG": "off" if way == "otlp" else "stdout",
        "SHOP_LOGS": way,
    }
    with (collector.storage.parent / f"{way}.out").open("w") as lines:
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.shop", directory],
            cwd=REPOSITORY,
            env=environment,
            stdout=lines,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    return service, done.stderr.splitlines()[-1]


@pytest.fixture(scope="module", params=WAYS)
def shop(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    collector: Collector,
    loki: Loki,
) -> Shop:
    """Run the application on one of the ways, until Loki has its last words."""
    service, trace_id = play(request.param, tmp_path_factory.mktemp("shop"), collector)
    found = Shop(service, trace_id, loki)
    wait_until(lambda: bool(found.records("database.checkout.timed_out")))
    wait_until(lambda: bool(found.records("database.query.repeated")))
    with suppress(TimeoutError):  # the tests say then what is not found
        wait_until(lambda: all(found.ask(query) for query in QUERIES))
    return found


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_every_query_of_the_page_finds_something(shop: Shop, query: str) -> None:
    found = shop.ask(query)
    assert found, query
    lines = [line for stream in found for _, line in stream["values"]]
    assert not [line for line in lines if "<no value>" in line or "::" in line.replace(" ", "")]
    if "line_format" in query:
        fields = re.findall(r"{{\.(\w+)}}", query)
        told = [stream["stream"] for stream in found]
        assert all(all(labels.get(each) for each in fields) for labels in told), fields


def test_the_page_has_its_queries() -> None:
    assert len(QUERIES) == 15


def test_a_failed_connection_is_an_error_with_its_stack(shop: Shop) -> None:
    first, second = shop.records("database.connection.failed")
    for record in (first, second):
        assert record.labels["severity_text"] == "ERROR"
        assert record.labels["detected_level"] == "error"
        assert record.body == "The database gave no connection"
        assert "in lose_the_file" in record.labels["exception_stacktrace"]
        assert record.labels["trace_id"] == shop.trace_id
    assert [each.labels["dbevents_failed_attempts"] for each in (first, second)] == ["0", "1"]


def test_a_connection_is_info(shop: Shop) -> None:
    opened = shop.records("database.connection.established")
    assert {each.labels["severity_text"] for each in opened} == {"INFO"}
    assert all("exception_stacktrace" not in each.labels for each in opened)


def test_the_page_finds_the_line_of_an_n_plus_one(shop: Shop) -> None:
    query = next(each for each in QUERIES if "sum_over_time" in each)
    (series,) = shop.ask(query)
    assert series["metric"]["code_file_path"] == "tests/e2e/shop.py"
    assert float(series["values"][-1][1]) == 12


def test_all_of_one_trace_has_the_applications_own_lines_too(shop: Shop) -> None:
    query = next(each for each in QUERIES if EXAMPLE in each)
    bodies = {line for stream in shop.ask(query) for _, line in stream["values"]}
    assert {"the shop opens", "A COMMIT failed", "The pool had no connection to give"} <= bodies


def test_no_secret_is_there(shop: Shop) -> None:
    assert b"hunter2" not in shop.loki.everything(shop.service)


def test_a_record_has_the_same_names_on_both_ways(shop: Shop) -> None:
    """But for what the exporter says of itself, and the line of its file."""
    apart = ("log_file", "observed", "telemetry_sdk", "service_instance", "scope_", "logger")
    for name in ("database.connection.failed", "database.query.repeated", "database.recovered"):
        records = shop.records(name)
        assert records
        names = {key for each in records for key in each.labels if not key.startswith(apart)}
        _names.setdefault(name, names)
        assert names == _names[name]


_names: dict[str, set[str]] = {}


def test_lines_that_are_no_json_stay_and_none_is_lost_when_the_collector_is_killed(
    tmp_path: Path, loki: Loki
) -> None:
    file = tmp_path / "other.out"
    settings = {"OTELCOL_LOG_FILES": str(file), "OTEL_RESOURCE_ATTRIBUTES": ""}
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    line = {"time": now, "level": "WARN", "service.name": "killed"}

    def write(number: int) -> None:
        with file.open("a") as lines:
            lines.write(json.dumps({**line, "message": f"password=Xq7line{number}"}) + "\n")

    with run_collector(tmp_path, loki=loki.otlp, also=(LINES,), settings=settings) as running:
        file.write_text("Traceback: {not json}\n")
        write(1)
        wait_until(lambda: len(loki.records("killed")) == 1)
        running.process.kill()
        write(2)
        running.process.start()
        write(3)
        wait_until(lambda: len(loki.records("killed")) >= 3)
    bodies = [each.body for each in loki.records("killed")]
    assert {each.replace("****", "") for each in bodies} == {""}
    assert "Traceback: {not json}" in [each.body for each in loki.records("unknown_service")]

"""The main job: an application's run, read back through Jaeger, Prometheus and Loki.

The application's only line for us is `import otel_dbevents.auto`; the collector runs the project's
own configuration. What the backends hold is compared with the book that SQLite itself kept.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.services.collector import Collector
from tests.services.jaeger import Jaeger
from tests.services.loki import Loki
from tests.services.process import wait_until
from tests.services.prometheus import Prometheus
from tests.services.tools import REPOSITORY

pytestmark = pytest.mark.e2e

OURS = "otel_dbevents"
SERVICE = "library"


@dataclass
class Run:
    """One run of the application: what SQLite did, and the spans that Jaeger has of it.

    Each thread's work is a trace of its own, as OpenTelemetry hands no context to threads.
    """

    trace_id: str
    book: dict[str, Counter[str]]
    spans: list[dict[str, Any]]

    def named(self, name: str) -> dict[str, Any]:
        (found,) = [span for span in self.spans if span["name"] == name and not is_ours(span)]
        return found

    def below(self, name: str) -> list[dict[str, Any]]:
        parent = self.named(name)["span_id"]
        return [span for span in self.spans if span["parent_id"] == parent and is_ours(span)]


def is_ours(span: dict[str, Any]) -> bool:
    return span["scope"] == OURS


def environment(collector: Collector, protocol: str) -> dict[str, str]:
    endpoint = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    return os.environ | {
        "OTEL_SERVICE_NAME": f"{SERVICE}-{protocol.replace('/', '-')}",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=staging",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "60000",
    }


def execute(collector: Collector, protocol: str, directory: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.application", str(directory)],
        env=environment(collector, protocol),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module", params=["grpc", "http/protobuf"])
def run(
    request: pytest.FixtureRequest,
    collector: Collector,
    jaeger: Jaeger,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Run the application once for each protocol and wait until its trace is whole."""
    told = execute(collector, request.param, tmp_path_factory.mktemp("library"))
    service = environment(collector, request.param)["OTEL_SERVICE_NAME"]

    def spans() -> list[dict[str, Any]]:
        return [span for trace in jaeger.traces(service).values() for span in trace]

    wait_until(lambda: len(spans()) >= told["spans"])
    assert len(spans()) == told["spans"]
    book = {span_id: Counter(words) for span_id, words in told["book"].items()}
    return Run(told["trace_id"], book, spans())


def first_words(spans: list[dict[str, Any]]) -> Counter[str]:
    """Count statements as SQLite does: a batch once for each of its rows."""
    words: Counter[str] = Counter()
    for span in spans:
        statement = span["attributes"].get("db.query.text") or span["name"]
        word = statement.split()[0]
        if word in ("CONNECT", "CHECKOUT"):
            continue
        many = span["attributes"].get("db.operation.batch.size", 1)
        words[word] += many if " VALUES (?, ?)" not in statement else 1
    return words


def test_every_statement_that_sqlite_ran_is_a_span_below_the_right_one(run: Run) -> None:
    assert len(run.book) >= 12
    for span_id, statements in run.book.items():
        below = [s for s in run.spans if s["parent_id"] == span_id and is_ours(s)]
        told = first_words(below)
        # a read-only transaction's ROLLBACK is no span, but SQLite ran it if it had begun
        for word in ("SELECT", "INSERT", "DELETE", "COMMIT"):
            assert told[word] == statements[word], (span_id, told, statements)


def test_every_span_lies_within_its_parent(run: Run) -> None:
    by_id = {span["span_id"]: span for span in run.spans}
    for span in run.spans:
        if span["parent_id"] is None:
            continue
        parent = by_id[span["parent_id"]]
        assert parent["start_ns"] <= span["start_ns"] <= span["end_ns"] <= parent["end_ns"]


def test_spans_follow_the_database_conventions(run: Run) -> None:
    query = next(span for span in run.below("n plus one") if span["name"] == "SELECT authors")
    assert query["kind"] == "CLIENT"
    assert query["status"] == "UNSET"
    attributes = query["attributes"]
    assert attributes["db.system.name"] == "sqlite"
    assert attributes["db.namespace"] == "library.db"
    assert attributes["db.query.summary"] == "SELECT authors"
    assert attributes["db.operation.name"] == "SELECT"
    assert attributes["db.collection.name"] == "authors"
    assert attributes["db.response.returned_rows"] == 10
    assert query["resource"]["deployment.environment.name"] == "staging"


def test_a_failing_query_is_an_error_without_its_literals(run: Run) -> None:
    (failed,) = [span for span in run.below("failing query") if span["status"] == "ERROR"]
    assert failed["attributes"]["error.type"] == "SQLITE_ERROR"
    assert failed["attributes"]["db.response.status_code"] == "SQLITE_ERROR"
    assert "hunter2" not in json.dumps(run.spans)
    assert "secret_column" not in failed["status_message"]


def test_a_failing_commit_is_no_commit(run: Run) -> None:
    (commit,) = [s for s in run.below("failing commit") if s["name"].startswith("COMMIT")]
    assert commit["status"] == "ERROR"
    assert commit["attributes"]["error.type"] == "SQLITE_CONSTRAINT_FOREIGNKEY"
    assert any(event["name"] for event in run.named("failing commit")["events"])


def test_a_refused_connection_is_seen(run: Run) -> None:
    (connect,) = run.below("refused")
    assert connect["name"].startswith("CONNECT")
    assert connect["status"] == "ERROR"
    assert connect["attributes"]["error.type"] == "SQLITE_CANTOPEN"


def test_prometheus_counts_what_sqlite_ran(run: Run, prometheus: Prometheus) -> None:
    service = run.spans[0]["resource"]["service.name"]
    spans = [span for span in run.spans if span["name"] == "SELECT books"]
    query = (
        "sum(db_client_operation_duration_seconds_count{"
        f'job="{service}", db_query_summary="SELECT books"}})'
    )
    wait_until(
        lambda: [each.value for each in prometheus.query(query)] == [len(spans)],
        why=lambda: f"{len(spans)} spans, and {prometheus.query(query)}",
    )
    selector = f'db_client_operation_duration_seconds_bucket{{job="{service}"}}'
    wait_until(lambda: bool(prometheus.exemplars(selector)))
    ours = {span["span_id"] for span in run.spans if is_ours(span)}
    exemplars = prometheus.exemplars(selector)
    in_trace = [each for each in exemplars if each.labels["trace_id"] == run.trace_id]
    assert in_trace
    assert {each.labels["span_id"] for each in in_trace} <= ours


def test_prometheus_holds_the_connections_state(run: Run, prometheus: Prometheus) -> None:
    service = run.spans[0]["resource"]["service.name"]
    query = f'database_connection_status{{job="{service}"}}'
    wait_until(lambda: len(prometheus.query(query)) == 2)
    states = sorted(sample.value for sample in prometheus.query(query))
    assert states == [0, 1]


def test_the_domain_events_reach_loki(run: Run, loki: Loki) -> None:
    service = run.spans[0]["resource"]["service.name"]

    def names() -> Counter[str]:
        records = loki.records(service)
        in_trace = [each for each in records if each.labels.get("trace_id") == run.trace_id]
        return Counter(each.labels["event_name"] for each in in_trace)

    wait_until(lambda: any("commit" in name for name in names()))
    wait_until(lambda: bool(names()["db.client.operation.exception"]))
    assert names()["db.client.operation.exception"] == 1
    assert sum("commit" in name for name in names().elements()) == 1
    assert "hunter2" not in str(loki.records(service))

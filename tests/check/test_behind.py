"""What stands behind a collector: told by a real one, with its backends there and away."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_dbevents.check import behind, examine
from otel_dbevents.check.probe import NAME
from otel_dbevents.cli import main
from tests.services.collector import Collector
from tests.services.collector import collector as run_collector
from tests.services.jaeger import Jaeger
from tests.services.process import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture
def cut_off(tmp_path: Path) -> Iterator[Collector]:
    """A collector with nothing behind it."""
    with run_collector(tmp_path) as running:
        yield running


def told(collector: Collector, monkeypatch: pytest.MonkeyPatch, *, send: bool) -> dict[str, str]:
    """Return what is found behind a collector, by its text, with the status."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.otlp_http)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    found = examine(collector_metrics=collector.own_metrics, send=send, measure=False).findings
    return {finding.text: finding.status for finding in found if finding.topic == "behind"}


def test_what_is_sent_through_arrives_and_that_is_told(
    collector: Collector, jaeger: Jaeger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "check-sends")
    assert told(collector, monkeypatch, send=True) == {
        "otlp_grpc/jaeger passes traces on": "ok",
        "otlp_http/loki passes logs on": "ok",
        "prometheus passes metrics on": "ok",
    }
    wait_until(lambda: jaeger.traces("check-sends"))
    [[span]] = jaeger.traces("check-sends").values()
    assert span["name"] == NAME


def test_nothing_is_sent_through_unless_asked_for(
    cut_off: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(cut_off, monkeypatch, send=False) == {
        "otlp_grpc/jaeger has had no traces to pass on; --send tries it": "ok",
        "otlp_http/loki has had no logs to pass on; --send tries it": "ok",
    }


def test_a_backend_that_is_away_is_wrong_though_the_collector_takes_all(
    cut_off: Collector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(behind, "_WATCHED_S", 1.5)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", cut_off.otlp_http)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    asked = ["check", "--no-cost", "--json", "--send", "--collector-metrics", cut_off.own_metrics]
    assert main(asked) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    by_topic = {(f["topic"], f["status"]) for f in found}
    assert {("traces", "ok"), ("logs", "ok"), ("metrics", "ok")} < by_topic
    wrong = {f["text"]: f["mend"] for f in found if f["status"] == "wrong"}
    assert wrong.keys() == {
        "otlp_grpc/jaeger holds traces back: its queue does not empty",
        "otlp_http/loki holds logs back: its queue does not empty",
    }
    assert all("runs, and its log" in mend for mend in wrong.values())

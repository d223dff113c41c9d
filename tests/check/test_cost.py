"""What it costs here: measured on real statements, each of which was told of."""

import json

import pytest

from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.check import cost
from otel_dbevents.check.cost import measure
from otel_dbevents.cli import main
from otel_dbevents.pipeline import Pipeline
from tests.services.redis import Redis


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    monkeypatch.setattr(cost, "_SECONDS", 0.01)


def test_the_cost_here_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json"]) == 0
    [found] = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["topic"] == "cost"]
    assert found["status"] == "ok"
    assert "us more on its own thread" in found["text"]


def test_it_is_measured_whatever_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_DBEVENTS_SPANS", "false")
    monkeypatch.setenv("OTEL_DBEVENTS_MIN_DURATION_MS", "1000")
    bare, on_thread, in_process = measure(0.01)
    assert bare > 0
    assert in_process != on_thread


def test_nothing_of_it_goes_to_the_redis_or_the_log_that_the_settings_name(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, client = redis.stream(), connect(redis.url)
    monkeypatch.setenv("OTEL_DBEVENTS_BUS_URL", redis.url)
    monkeypatch.setenv("OTEL_DBEVENTS_STREAM", stream)
    monkeypatch.setenv("OTEL_DBEVENTS_RATE_LIMIT", "*=1/s")
    monkeypatch.setenv("OTEL_DBEVENTS_EVENT_LOG", "stderr")
    bare, _, _ = measure(0.01)
    assert bare > 0
    assert client.exists(stream) == 0
    assert capsys.readouterr().err == ""
    client.close()


def test_what_is_not_told_of_has_no_cost_to_tell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Pipeline, "attach", lambda *_: None)
    assert main(["check"]) == 1
    assert "cost: could not be measured: 0 spans of " in capsys.readouterr().out


def test_wrong_settings_are_told_without_a_measurement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_DBEVENTS_LOGS", "perhaps")
    assert main(["check"]) == 1
    assert "cost:" not in capsys.readouterr().out

"""The whole bridge: what goes wrong stays small, and providers may come late or never."""

import logging
import random
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import ProxyTracerProvider

from otel_dbevents.bridge import Bridge
from otel_dbevents.events import Statement
from tests.bridge.support import (
    Told,
    commit_failed,
    connect_failed,
    established,
    executed,
    failed,
    health,
    timed_out,
    values_of,
)


def bad():
    """Events that no type checker would let pass, as a foreign stream may bring them."""
    return [
        executed(duration_ns=None),
        executed(statement=Statement(["unhashable"])),
        failed(failure="?"),
        commit_failed(database="?"),
        timed_out(holders=7),
        connect_failed(duration_ns="long"),
    ]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.swallows
def test_a_bad_event_costs_no_other_event_anything(seed, caplog):
    good = [executed(), failed(), commit_failed(), established(), timed_out(), health()]
    ids = {event.id[8:] for event in good}
    mixed = good + bad()
    random.Random(seed).shuffle(mixed)
    alone, among = Told().tell(*good), Told().tell(*mixed)
    assert len(spans(alone, ids)) == 5
    assert spans(alone, ids) == spans(among, ids)
    assert not set(names(alone)) - set(names(among))
    assert among.point("database.health.latency").count == 1
    assert among.bridge.lost["span_error"] >= 5
    assert len([each for each in caplog.records if each.name == "otel_dbevents.bridge"]) == 1


def spans(told, ids):
    """What the spans of these events look like."""
    found = {span.context.span_id.to_bytes(8, "big"): span for span in told.spans}
    return {
        each: (found[each].name, dict(found[each].attributes), found[each].end_time)
        for each in ids & set(found)
    }


def names(told):
    return [record.event_name for record in told.records]


@pytest.mark.swallows
def test_a_processor_that_raises_costs_only_the_spans(caplog):
    class Raising(SpanProcessor):
        def on_start(self, span, parent_context=None):
            raise RuntimeError("no")

    told = Told()
    told.tracers.add_span_processor(Raising())
    with caplog.at_level(logging.WARNING):
        told.tell(failed(), failed())
    assert told.bridge.lost == {"span_error": 2}
    assert len(told.records) == 2
    assert told.point("db.client.operation.duration").count == 2
    assert caplog.text.count("could not tell of QueryFailed (span_error)") == 1


@pytest.mark.swallows
def test_errors_are_logged_again_after_a_minute(monkeypatch, caplog):
    monkeypatch.setattr("otel_dbevents.swallowing._AGAIN_S", 0.0)
    told = Told().tell(executed(duration_ns=None))
    told.tell(executed(duration_ns=None))
    assert caplog.text.count("(span_error)") == 2


def test_a_signal_that_is_off_says_nothing():
    for signal in ("spans", "metrics", "logs"):
        told = Told(**{signal: False}).tell(failed())
        assert bool(told.spans) is (signal != "spans")
        assert bool(told.metrics) is (signal != "metrics")
        assert bool(told.records) is (signal != "logs")
        assert not told.bridge.lost


def test_a_bridge_without_providers_takes_everything():
    bridge = Bridge(None, None, None)
    bridge.consume([(event, None) for event in (executed(), failed(), established(), health())])
    bridge.consume([])
    assert bridge.lost == {}
    bridge.close()


class ProxyMeterProvider:
    """Stands for the API's stand-in, whose own class has no public name."""


ProxyMeterProvider.__module__ = "opentelemetry.metrics._internal"


def test_providers_that_the_application_sets_later_are_used(monkeypatch):
    told = Told()
    current = [ProxyTracerProvider(), ProxyMeterProvider(), ProxyMeterProvider()]
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: current[0])
    monkeypatch.setattr("otel_dbevents.bridge.get_meter_provider", lambda: current[1])
    monkeypatch.setattr("otel_dbevents.bridge.get_logger_provider", lambda: current[2])
    bridge = Bridge(*current, read_lost=lambda: {"queue_full": 1})
    bridge.consume([(failed(), None)])
    current[1] = told.meters
    bridge.consume([(failed(), None)])
    current[:] = told.tracers, told.meters, told.loggers
    event = failed()
    bridge.consume([(event, None)])
    bridge.consume([(failed(), None)])
    assert told.spans[0].context.span_id.to_bytes(8, "big") == event.id[8:]
    assert len(told.spans) == len(told.records) == 2
    metrics = told.metrics
    assert metrics["db.client.operation.duration"].data.data_points[0].count == 3
    assert values_of(metrics, "dbevents.events.lost") == {(): 1}
    assert not bridge.lost


LATE = """
from opentelemetry import _logs, metrics, trace
from otel_dbevents.bridge import Bridge
from tests.bridge.support import Told, failed

bridge = Bridge(
    trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()
)
bridge.consume([(failed(), None)])
told = Told()
trace.set_tracer_provider(told.tracers)
metrics.set_meter_provider(told.meters)
_logs.set_logger_provider(told.loggers)
event = failed()
bridge.consume([(event, None)])
assert told.span.context.span_id.to_bytes(8, "big") == event.id[8:]
assert told.records[0].span_id == told.span.context.span_id
assert told.point("db.client.operation.duration").count == 1
assert not bridge.lost
"""


def test_the_apis_own_stand_ins_are_known(pytestconfig):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LATE],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr

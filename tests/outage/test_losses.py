"""While a collector fails: memory is flat, the log is quiet, and made = delivered + counted."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider

from otel_dbevents import Pipeline
from otel_dbevents.exporters.outbox import Limits
from otel_dbevents.exporters.processors import CountingLogRecordProcessor, CountingSpanProcessor
from tests.demo.receiver import Receiver, receiving
from tests.outage.hostile import hostile
from tests.outage.million import publish
from tests.services.ports import free_ports

MILLION = 1_000_000
SOME = 20_000
MOST_GROWTH = 24 * 2**20
"""Bytes. To keep 31 of each of 800,000 events would be more."""
SOON_S = 0.3
STOPPED = "http://127.0.0.1:1"
ONCE = pytest.mark.newest
"""A million is enough once; what the oldest SDK does is seen with some, too."""


def run(endpoint: str, how: str, number: int) -> dict[str, Any]:
    """Publish in a process of its own, at full speed."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "COV_", "COVERAGE_"))
    }
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if how.isupper() else "http/protobuf",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "tests.outage.million", str(number)],
        env=kept | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def lost(told: dict[str, Any], prefix: str) -> int:
    counted: dict[str, int] = told["lost"]
    return sum(number for reason, number in counted.items() if reason.startswith(prefix))


@pytest.mark.parametrize(
    ("how", "number", "reasons"),
    [
        pytest.param("stopped", MILLION, {"span_shutdown", "span_queue_full"}, marks=ONCE),
        pytest.param("hanging", MILLION, {"span_shutdown", "span_queue_full"}, marks=ONCE),
        ("slow", SOME, {"span_shutdown"}),
        ("400", SOME, {"span_export_failed"}),
        ("503", SOME, {"span_shutdown", "span_queue_full"}),
        ("UNAVAILABLE", SOME, {"span_shutdown", "span_queue_full"}),
        ("INVALID_ARGUMENT", SOME, {"span_export_failed"}),
    ],
)
def test_memory_is_flat_and_every_loss_is_counted(how: str, number: int, reasons: set[str]) -> None:
    with nullcontext() if how == "stopped" else hostile(how) as collector:
        told = run(STOPPED if collector is None else collector.endpoint, how, number)
        taken = {} if collector is None else collector.end()
    assert told["published"] == number
    assert told["told"] + told["lost"].get("queue_full", 0) == number
    # A slow collector may have taken the batch that was under way when its time was up.
    twice = range(513 if how == "slow" else 1)
    assert taken.get("traces", 0) + lost(told, "span_") - told["told"] in twice
    assert taken.get("logs", 0) + lost(told, "log_") - told["told_failed"] in twice
    assert told["told_failed"] > 0
    assert reasons <= told["lost"].keys()
    assert told["memory"][-1] - told["memory"][0] < MOST_GROWTH
    # The bus's, the exporter's, and that at the end; none of them twice in a minute.
    assert len(told["lines"]) <= 3 * (1 + told["seconds"] // 60), told["lines"]


@contextmanager
def sending(endpoint: str) -> Iterator[tuple[Pipeline, Callable[[float], None]]]:
    """Run a pipeline over our processors; its exporters give up soon, or when they are told to."""
    limits = Limits(100, 10, 0.05)
    spans = OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=60)
    records = OTLPLogExporter(f"{endpoint}/v1/logs", timeout=60)
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(CountingSpanProcessor(spans, limits))
    loggers = LoggerProvider(shutdown_on_exit=False)
    loggers.add_log_record_processor(CountingLogRecordProcessor(records, limits))
    metrics = OTLPMetricExporter(f"{endpoint}/v1/metrics", timeout=60)
    reader = PeriodicExportingMetricReader(metrics, 3_600_000)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    pipeline = Pipeline(tracer_provider=tracers, meter_provider=meters, logger_provider=loggers)

    def try_for(seconds: float) -> None:
        for each in (spans, records, metrics):
            client: Any = getattr(each, "_client", None)
            (client if hasattr(client, "_timeout") else each)._timeout = seconds

    try_for(SOON_S)
    yield pipeline, try_for
    pipeline.close()
    for provider in (tracers, loggers, meters):
        provider.shutdown()


def arrived(receiver: Receiver) -> dict[str, int]:
    """Return the losses that a receiver was told of last, by reason."""
    points = [
        point
        for resource in receiver.resources("resource_metrics")
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "dbevents.events.lost"
        for point in metric.sum.data_points
    ]
    return {point.attributes[0].value.string_value: point.as_int for point in points}


@contextmanager
def refusing() -> Iterator[tuple[str, Callable[[], Any]]]:
    with receiving(503) as receiver:

        @contextmanager
        def again() -> Iterator[Receiver]:
            receiver.requests.clear()
            receiver.status = 200
            yield receiver

        yield receiver.endpoint, again


@contextmanager
def stopped() -> Iterator[tuple[str, Callable[[], Any]]]:
    [port] = free_ports(1)
    yield f"http://127.0.0.1:{port}", lambda: receiving(port=port)


@pytest.mark.parametrize("failing", [refusing, stopped])
def test_when_the_collector_is_back_all_that_is_new_arrives_and_the_losses_are_told(
    failing: Callable[[], Any],
) -> None:
    with failing() as (endpoint, again), sending(endpoint) as (pipeline, try_for):
        publish(pipeline, 30)
        pipeline.tracer_provider.force_flush()
        pipeline.logger_provider.force_flush()
        gone = {"span_export_failed": 30, "log_export_failed": 1}
        assert pipeline.lost() == gone
        try_for(60)
        with again() as receiver:
            publish(pipeline, 50)
            assert pipeline.tracer_provider.force_flush()
            assert pipeline.logger_provider.force_flush()
            pipeline.meter_provider.force_flush()
            assert len(receiver.spans) == 50
            assert receiver.log_events == ["db.client.operation.exception"]
            assert arrived(receiver) == pipeline.lost() == gone
        try_for(SOON_S)

"""Both ways give the same telemetry: in the application, and through Redis in the sidecar."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from otel_dbevents import Config, Pipeline
from otel_dbevents.bridge import fold
from otel_dbevents.bus import subscription
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.shipping import Description
from otel_dbevents.sidecar.tellers import Made, Tellers
from tests.bus.contract import PATIENCE
from tests.services.redis import Redis


class Ways:
    """An application that tells itself what it does, and ships the same events too."""

    def __init__(self, redis: Redis, sampler: Sampler, config: Config) -> None:
        self.engine = create_engine("sqlite://")
        resource = Resource.create(
            {"service.name": "shop", "service.instance.id": "shop-1", "numbers": [1, 2]}
        )
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider(sampler=sampler, resource=resource)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.records = InMemoryLogRecordExporter()
        loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self.records))
        self.reader = InMemoryMetricReader()
        meters = MeterProvider([self.reader], resource=resource, shutdown_on_exit=False)
        self.pipeline = Pipeline(
            tracer_provider=self.tracers,
            meter_provider=meters,
            logger_provider=loggers,
            config=config,
        )
        description = Description(config, None, lambda: {"tracer": self.tracers})
        stream = redis.stream()
        self._sender = Sender(redis.url, stream, source=description)
        self.pipeline.bus.subscribe(self._sender.consume, name="redis")
        self._reader = Reader(redis.url, stream, "group")
        self._tellers = Tellers("sidecar", (None, None), ALWAYS_OFF)

    def elsewhere(self) -> Made:
        """Return what a sidecar makes of all so far."""
        assert self.pipeline.flush(PATIENCE)
        while held := self._reader.read(100, 0):
            self._tellers.tell(held)
            self._reader.commit(held)
        assert self._reader.settle() == {}
        return self._tellers.collect()

    def close(self) -> None:
        self.pipeline.close()
        self._sender.finish(PATIENCE)
        self._reader.close()
        self._tellers.close()
        self.engine.dispose()


@pytest.fixture(params=["parent", "ratio", "off", "flat"])
def ways(
    request: pytest.FixtureRequest, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ways]:
    samplers = {
        "parent": ParentBased(ALWAYS_ON),
        "ratio": ParentBased(TraceIdRatioBased(0.5)),
        "off": ALWAYS_OFF,
        "flat": TraceIdRatioBased(0.5),
    }
    config = Config(fold_after=3, min_duration_ms=0, slow_query_ms=60_000)
    # Neither is told of a fold early because this machine stood still in its middle.
    monkeypatch.setattr(fold, "_QUIET_SECONDS", 3_600)
    monkeypatch.setattr(subscription, "_IDLE_SECONDS", 3_600)
    made = Ways(redis, samplers[request.param], config)
    yield made
    made.close()


def work(ways: Ways) -> None:
    """Do what has spans, records and numbers: within a span and without."""
    engine = ways.engine
    ways.pipeline.attach(engine)
    tracer = ways.tracers.get_tracer("application")
    for _ in range(8):
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS t (n INTEGER)"))
            connection.execute(text("INSERT INTO t VALUES (:n)"), [{"n": 1}, {"n": 2}])
    with tracer.start_as_current_span("request"), engine.connect() as connection:
        for _ in range(20):
            connection.execute(text("SELECT n FROM t")).all()
        # A fold ends with its span: those that are not handled by then would be one of their own.
        assert ways.pipeline.flush(PATIENCE)
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT nothing FROM nowhere"))
        connection.rollback()


def spans_of(spans: Any) -> dict[bytes, dict[str, Any]]:
    """Return spans with all their fields, by id, and each with its resource and scope."""
    found: dict[bytes, dict[str, Any]] = {}
    for resource in encode_spans(spans).resource_spans if spans else ():
        for scope in resource.scope_spans:
            for span in scope.spans:
                if scope.scope.name != "application":
                    where = str(resource.resource), resource.schema_url, str(scope.scope)
                    fields = {field.name: str(value) for field, value in span.ListFields()}
                    found[span.span_id] = {**fields, "where": where}
    return found


def records_of(records: Any) -> list[str]:
    found = []
    for resource in encode_logs(records).resource_logs if records else ():
        for scope in resource.scope_logs:
            for record in scope.log_records:
                record.observed_time_unix_nano = 0  # when it was told of
                found.append(f"{resource.resource}{scope.scope}{record}")
    return sorted(found)


def numbers_of(resource_metrics: Any) -> dict[tuple[str, str], Any]:
    found = {}
    for resource in resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    key = metric.name, str(sorted(point.attributes.items()))
                    buckets = getattr(point, "bucket_counts", None)
                    found[key] = getattr(point, "value", None), buckets, getattr(point, "sum", 0)
    return found


def test_spans_records_and_numbers_are_the_same_in_each_field(ways: Ways) -> None:
    work(ways)
    made = ways.elsewhere()
    here, there = spans_of(ways.spans.get_finished_spans()), spans_of(made.spans)
    assert there == here
    assert records_of(made.records) == records_of(ways.records.get_finished_logs())
    assert made.records
    told = ways.reader.get_metrics_data()
    assert told is not None
    local = numbers_of(told.resource_metrics)
    own = {key for key in local if key[0].startswith("db.client.connection.") and
           key[0].rpartition(".")[2] in ("count", "max", "min", "pending_requests")}  # fmt: skip
    own |= {key for key in local if key[0].startswith("dbevents.slo.")}
    assert own  # the pools' numbers are read where the pools are, and so is the window
    assert numbers_of(made.metrics) == {key: local[key] for key in local.keys() - own}
    [resource] = {str(each.resource.attributes["service.instance.id"]) for each in made.metrics}
    assert resource == "shop-1@sidecar"


def test_folded_and_failed_queries_are_among_them(redis: Redis) -> None:
    ways = Ways(redis, ALWAYS_ON, Config(fold_after=3))
    work(ways)
    made = ways.elsewhere()
    folded = [span for span in made.spans if "dbevents.folded.count" in (span.attributes or {})]
    assert folded
    assert any(not span.status.is_ok for span in made.spans)
    ways.close()

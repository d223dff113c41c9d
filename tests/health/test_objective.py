"""The objective can be read off the numbers: exactly where that is promised, nearly elsewhere."""

import math
import random
from time import time_ns

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

from otel_dbevents import Config, Pipeline
from otel_dbevents.events import Database, DatabaseType, Environment, QueryExecuted, Statement
from tests.bridge.support import metrics_of
from tests.services.process import wait_until

STATEMENT = Statement("SELECT 1", "SELECT")
NAME = "db.client.operation.duration"
NUMBER = 4_000


def wide():
    chance = random.Random(1)
    return [chance.lognormvariate(math.log(0.02), 0.8) for _ in range(NUMBER)]


def within():
    chance = random.Random(2)
    return [0.15 if n % 12 == 0 else chance.uniform(0.004, 0.006) for n in range(NUMBER)]


def beyond():
    chance = random.Random(3)
    return [0.25 if n % 12 == 0 else chance.uniform(0.004, 0.006) for n in range(NUMBER)]


SCENES = {"wide": wide(), "within": within(), "beyond": beyond()}
ERRORS = {"wide": (0.12, 0.25), "within": (0.001, 0.15), "beyond": (0.001, 0.35)}
"""How far the P95 may be off, as a share: in the window, and by the histogram's buckets."""


def tell(pipeline, name, durations):
    database = Database(Environment.LOCAL, DatabaseType.POSTGRESQL, name, "db", 5432)
    for duration in durations:
        made = QueryExecuted(database, None, time_ns(), round(duration * 1e9), STATEMENT)
        pipeline.bus.publish(made)
    assert pipeline.flush(30)


@pytest.mark.e2e
def test_the_share_is_exact_and_the_p95_nearly_so(collector, prometheus):
    exporter = OTLPMetricExporter(endpoint=f"{collector.otlp_http}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    resource = Resource({"service.name": "objective"})
    meters = MeterProvider([reader], resource=resource)
    pipeline = Pipeline(meter_provider=meters, config=Config(health_interval_s=0))
    for name, durations in SCENES.items():
        tell(pipeline, name, durations)
    assert meters.force_flush()
    count = 'db_client_operation_duration_seconds_count{service_name="objective"}'
    wait_until(lambda: len(prometheus.query(count)) == len(SCENES))
    for name, durations in SCENES.items():
        labels = f'service_name="objective",db_namespace="{name}"'
        buckets = f"db_client_operation_duration_seconds_bucket{{{labels}"
        total = f"db_client_operation_duration_seconds_count{{{labels}}}"
        [share] = prometheus.query(f'sum({buckets},le="0.2"}}) / sum({total})')
        assert share.value == pytest.approx(sum(d <= 0.2 for d in durations) / NUMBER, abs=1e-12)
        exact = sorted(durations)[math.ceil(0.95 * NUMBER) - 1]
        [by_buckets] = prometheus.query(f"histogram_quantile(0.95, sum by (le) ({buckets}}}))")
        [by_window] = prometheus.query(f"dbevents_slo_p95_seconds{{{labels}}}")
        for told, most in zip((by_window.value, by_buckets.value), ERRORS[name], strict=True):
            print(f"{name}: exact {exact:.4f}, told {told:.4f}, {told / exact - 1:+.1%}")
            assert abs(told / exact - 1) <= most
        [objective] = prometheus.query(f"dbevents_slo_objective_seconds{{{labels}}}")
        assert objective.value == 0.2
    pipeline.close()
    meters.shutdown()


def told_by(reader, **settings):
    meters = MeterProvider([reader], views=settings.pop("views", ()))
    pipeline = Pipeline(meter_provider=meters, config=Config(health_interval_s=0, **settings))
    tell(pipeline, "shop", [0.07, 0.08, 0.3])
    point = metrics_of(reader)[NAME].data.data_points[0]
    pipeline.close()
    meters.shutdown()
    return point


def test_the_objective_is_a_bound_beside_the_conventions():
    point = told_by(InMemoryMetricReader(), slo_p95_ms=75)
    bounds = (0.001, 0.005, 0.01, 0.05, 0.075, 0.1, 0.5, 1.0, 5.0, 10.0)
    assert point.explicit_bounds == bounds
    assert list(point.bucket_counts)[4:7] == [1, 1, 1]


def test_the_thresholds_of_checks_are_bounds():
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    config = Config(health_interval_s=0, health_degraded_ms=33, health_unhealthy_ms=77)
    pipeline = Pipeline(meter_provider=meters, config=config)
    from tests.bridge.support import health

    pipeline.bus.publish(health())
    pipeline.flush(60)
    [point] = metrics_of(reader)["database.health.latency"].data.data_points
    assert {0.033, 0.077} < {*point.explicit_bounds}
    pipeline.close()
    meters.shutdown()


def test_a_view_of_the_users_goes_before():
    mine = View(instrument_name=NAME, aggregation=ExplicitBucketHistogramAggregation((1, 2)))
    assert told_by(InMemoryMetricReader(), views=[mine]).explicit_bounds == (1, 2)


def test_exponential_histograms_are_fed_where_they_are_asked_for(monkeypatch):
    name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    monkeypatch.setenv(name, "base2_exponential_bucket_histogram")
    wanted = OTLPMetricExporter()._preferred_aggregation[Histogram]
    assert isinstance(wanted, ExponentialBucketHistogramAggregation)
    point = told_by(InMemoryMetricReader(preferred_aggregation={Histogram: wanted}))
    assert point.count == 3
    assert sum(point.positive.bucket_counts) == 3

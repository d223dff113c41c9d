"""Series: fed past the SDK's detour, they are what the SDK would have made of the same calls."""

import random
import subprocess
import sys
import threading
from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import metrics as api
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_dbevents.bridge import known
from otel_dbevents.bridge.feeding import Fed
from otel_dbevents.bridge.series import AllSeries, Plain

LABELS = (
    {"db.system.name": "postgresql", "db.query.summary": "SELECT a", "server.port": 5433},
    {"db.system.name": "postgresql", "db.query.summary": "SELECT b", "server.port": 5433},
    {"db.system.name": "postgresql", "db.query.summary": "SELECT b", "error.type": "42501"},
    {},
)
BOUNDS = (0.001, 0.01, 0.1, 1.0)


def in_span(number, *, is_sampled):
    span = SpanContext(number, number, False, TraceFlags(int(is_sampled)))
    return set_span_in_context(NonRecordingSpan(span), Context())


CONTEXTS = (
    *(in_span(number, is_sampled=True) for number in (1, 2, 3)),
    *(in_span(number, is_sampled=False) for number in (4, 5)),
    Context({"no": "span"}),
    Context(),
)
SAMPLED = CONTEXTS[0]

VIEWS = {
    "rename": lambda: View(instrument_name="h", name="renamed"),
    "few labels": lambda: View(instrument_name="*", attribute_keys={"db.system.name"}),
    "exponential": lambda: View(
        instrument_name="h", name="e", aggregation=ExponentialBucketHistogramAggregation()
    ),
    "own buckets": lambda: View(
        instrument_name="h", name="o", aggregation=ExplicitBucketHistogramAggregation((1, 2), False)
    ),
    "sum": lambda: View(instrument_name="h", name="s", aggregation=SumAggregation()),
    "last": lambda: View(instrument_name="h", name="l", aggregation=LastValueAggregation()),
    "drop": lambda: View(instrument_name="h", aggregation=DropAggregation()),
}
FILTERS = (TraceBasedExemplarFilter, AlwaysOnExemplarFilter, AlwaysOffExemplarFilter)


class Provider:
    """A provider with two instruments and readers, and what they collected."""

    def __init__(self, temporalities, views=(), exemplar_filter=TraceBasedExemplarFilter):
        self.readers = [reader_of(temporality) for temporality in temporalities]
        self.meters = MeterProvider(
            self.readers,
            views=[VIEWS[name]() for name in views],
            exemplar_filter=exemplar_filter(),
            shutdown_on_exit=False,
        )
        meter = self.meters.get_meter("test")
        self.instruments = (
            meter.create_histogram("h", explicit_bucket_boundaries_advisory=BOUNDS),
            meter.create_counter("c"),
        )
        self.told_at: dict[int, int] = {}

    def collect(self, reader):
        data = self.readers[reader].get_metrics_data()
        points = [
            (metric.name, metric.unit, point_of(metric, point, self.told_at.get(reader)))
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        ]
        for resource in data.resource_metrics if data else ():
            metric = resource.scope_metrics[0].metrics[0]
            self.told_at[reader] = metric.data.data_points[0].time_unix_nano
        return points


def reader_of(temporality):
    return InMemoryMetricReader(
        preferred_temporality=dict.fromkeys((Histogram, Counter), temporality)
    )


def point_of(metric, point, told_at):
    """All that a point says, with relations of its times in their place."""
    said = {name: getattr(point, name) for name in point.__dataclass_fields__}
    said["attributes"] = sorted(said["attributes"].items())
    said["goes on"] = said.pop("start_time_unix_nano", None) == told_at
    said["exemplars"] = [
        (each.filtered_attributes, each.value, each.span_id, each.trace_id)
        for each in said["exemplars"]
    ]
    if type(metric.data).__name__ != "Histogram":  # which of them it is, is chosen by chance
        said["exemplars"] = len(said["exemplars"])
    del said["time_unix_nano"]
    return type(metric.data).__name__, getattr(metric.data, "aggregation_temporality", 0), said


def plainly(provider, steps):
    """Make the calls with the instruments themselves."""
    for step in steps:
        if len(step) == 1:
            yield provider.collect(step[0] % len(provider.readers))
            continue
        which, labels, number, context = step
        instrument = provider.instruments[which]
        record = instrument.add if which else instrument.record
        record(number, LABELS[labels], CONTEXTS[context])


def fed(provider, steps, each=1000):
    """Make the calls with series, settled after ``each`` calls and before a collection."""
    series = AllSeries()
    for number_of, step in enumerate(steps):
        if len(step) == 1:
            settle(series)
            yield provider.collect(step[0] % len(provider.readers))
            continue
        which, labels, number, context = step
        series.of(provider.instruments[which], LABELS[labels]).record(number, CONTEXTS[context])
        if number_of % each == 0:
            settle(series)


def settle(series):
    """Settle, and raise what failed."""
    errors = []
    series.settle(lambda: errors.append(sys.exception()))
    if errors:
        raise errors[0]


def both(provided, steps, each=1000):
    """What comes of the steps either way."""
    for way in (plainly, lambda *given: fed(*given, each)):
        yield list(way(provided(), steps))


CALL = st.tuples(
    st.sampled_from((0, 0, 1)),
    st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3)),
    st.sampled_from((0.5, 0.5, 0.5, 0, 0.0, 0.001, 0.0005, 0.07, 0.5, 1, 3, 1e9, 0.1, -1.0, -0.0)),
    st.sampled_from(range(len(CONTEXTS))),
)
STEPS = st.lists(CALL | CALL | CALL | st.tuples(st.integers(0, 1)), max_size=40)


@given(
    STEPS,
    st.lists(st.sampled_from(list(AggregationTemporality)[1:]), min_size=1, max_size=2),
    st.lists(st.sampled_from(sorted(VIEWS)), max_size=3, unique=True),
    st.sampled_from(FILTERS),
    st.integers(1, 40),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_series_give_the_points_that_the_instruments_would_give(
    steps, temporalities, views, chosen, each
):
    steps = [*steps, (0,), (1,)]
    plain, ours = both(lambda: Provider(temporalities, views, chosen), steps, each)
    assert ours == plain


@pytest.mark.parametrize("temporality", list(AggregationTemporality)[1:])
@pytest.mark.parametrize("views", [(), ("few labels",), ("own buckets", "rename")])
@pytest.mark.parametrize("last", range(len(CONTEXTS)))
def test_the_exemplar_is_the_last_sampled_call_of_its_bucket(temporality, views, last):
    steps = [(0, n % 2, 0.5, n % 3) for n in range(8)]
    steps += [(0, 1, 0.05, 1), (0, 0, 0.5, 0), (0, 1, 0.5, last), (0, 0, 0.05, 2), (0,)]
    plain, ours = both(lambda: Provider([temporality], views), [*steps, *steps])
    assert ours == plain
    assert all(point[2][2]["exemplars"] for points in ours for point in points)


@pytest.mark.parametrize("temporality", list(AggregationTemporality)[1:])
def test_a_group_of_which_the_sdk_refuses_all_makes_no_point(temporality):
    steps = [(0, 0, 0.5, 0), (0, 0, 0.5, 0), (0,), (0, 0, -1.0, 0), (0, 0, -1.0, 0), (0,)]
    plain, ours = both(lambda: Provider([temporality]), steps, each=1)
    assert ours == plain


def test_the_exemplar_of_a_sum_is_any_of_the_sampled_calls_as_likely():
    random.seed(7)
    provider, series, chosen = (
        Provider([AggregationTemporality.DELTA]),
        AllSeries(),
        dict.fromkeys(range(1, 7), 0),
    )
    one = series.of(provider.instruments[1], LABELS[0])
    contexts = [in_span(number, is_sampled=number != 4) for number in range(1, 7)]
    for batches in ([1, 5], [2, 3, 1], [1, 1, 4]) * 400:
        each = iter(contexts)
        for size in batches:
            for _ in range(size):
                one.record(1, next(each))
            settle(series)
        data = provider.readers[0].get_metrics_data()
        (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        assert point.value == 6
        (exemplar,) = point.exemplars
        chosen[exemplar.span_id] += 1
    assert chosen.pop(4) == 0
    assert all(180 < number < 300 for number in chosen.values())  # of 1,200, five as likely


def test_a_series_of_the_sdk_does_not_go_the_public_way():
    provider = Provider([AggregationTemporality.CUMULATIVE])
    series = AllSeries()
    assert {type(series.of(each, LABELS[0])) for each in provider.instruments} == {Fed}


def test_a_batch_is_added_without_the_sdks_measurements(monkeypatch):
    provider, series = Provider([AggregationTemporality.DELTA]), AllSeries()
    one = series.of(provider.instruments[0], LABELS[0])
    one.record(0.5, SAMPLED)
    made = []
    monkeypatch.setattr(type(provider.instruments[0]), "record", lambda *given: made.append(given))
    monkeypatch.setattr(known.Measurement, "__init__", lambda *given: made.append(given))
    for _ in range(10):
        one.record(0.5, SAMPLED)
    settle(series)
    assert not made
    ((_, _, (_, _, said)),) = provider.collect(0)
    assert said["count"] == 11


@pytest.mark.parametrize("temporality", list(AggregationTemporality)[1:])
def test_no_number_is_lost_or_doubled_when_many_threads_feed_and_collect(temporality):
    provider, series = Provider([temporality]), AllSeries()
    totals, is_over = {}, threading.Event()

    def count():
        for name, _, (_, _, said) in provider.collect(0):
            key, number = (name, *said["attributes"]), said.get("count", said.get("value"))
            before = totals.get(key, 0) if temporality is AggregationTemporality.DELTA else 0
            totals[key] = before + number

    def collect():
        while not is_over.is_set():
            count()

    def feed():
        for number in range(2000):
            series.of(provider.instruments[number % 2], LABELS[number % 4 // 2]).record(
                1, CONTEXTS[number % 5]
            )
            if number % 7 == 0:
                settle(series)
        settle(series)

    reader, feeders = (
        threading.Thread(target=collect),
        [threading.Thread(target=feed) for _ in "abc"],
    )
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in (reader, *feeders):
            thread.start()
        for thread in feeders:
            thread.join()
    finally:
        is_over.set()
        reader.join()
        sys.setswitchinterval(interval)
    count()
    assert sorted(totals.values()) == [1500] * 4


def test_a_reader_added_later_gets_what_comes_later():
    provider, series = Provider([AggregationTemporality.CUMULATIVE]), AllSeries()
    one = series.of(provider.instruments[0], LABELS[0])

    def record_twice():
        one.record(0.5, SAMPLED)
        one.record(0.5, SAMPLED)
        settle(series)

    record_twice()
    if hasattr(provider.meters, "add_metric_reader"):  # this SDK takes readers later
        provider.readers.append(reader_of(AggregationTemporality.CUMULATIVE))
        provider.meters.add_metric_reader(provider.readers[1])
    record_twice()
    counts = [provider.collect(n)[0][2][2]["count"] for n in range(len(provider.readers))]
    assert counts == [4, 2][: len(counts)]


def test_a_series_is_made_once_for_its_labels():
    provider, series = Provider([AggregationTemporality.CUMULATIVE]), AllSeries()
    histogram, counter = provider.instruments
    assert series.of(histogram, {"a": 1, "b": 2}) is series.of(histogram, {"a": 1}, {"b": 2})
    assert series.of(histogram, {"a": 1}) is not series.of(counter, {"a": 1})


def wrapped(function):
    def wrapper(*given, **named):
        wrapper.calls += 1
        return function(*given, **named)

    wrapper.calls = 0
    return wrapper


@pytest.mark.parametrize(
    "part",
    ["_CONSUMER.consume_measurement", "_STORAGE.consume_measurement", "_MATCH.consume_measurement"],
)
def test_an_sdk_with_a_part_that_is_not_as_known_is_fed_the_public_way(monkeypatch, part):
    kind, name = part.split(".")
    changed = wrapped(getattr(getattr(known, kind), name))
    monkeypatch.setattr(getattr(known, kind), name, changed)
    steps = [(n % 2, n % 4, 0.5, n % 7) for n in range(20)]
    plain, ours = both(lambda: Provider([AggregationTemporality.DELTA]), [*steps, (0,)])
    assert ours == plain
    assert changed.calls == 2 * len(steps)


@pytest.mark.parametrize("part", ["_CONSUMER", "_STORAGE", "_MATCH", "Measurement"])
def test_an_sdk_without_a_part_is_fed_the_public_way(monkeypatch, part):
    provider = Provider([AggregationTemporality.DELTA])
    inner = tuple((None if kind is getattr(known, part) else kind, n) for kind, n in known._INNER)
    monkeypatch.setattr(known, "_INNER", inner)
    if part == "_CONSUMER":
        monkeypatch.setattr(known, part, None)
    assert type(AllSeries().of(provider.instruments[0], LABELS[0])) is Plain


def test_an_instrument_of_no_sdk_is_fed_the_public_way():
    class Loud(api.NoOpHistogram):
        def record(self, amount, attributes=None, context=None):
            came.append((amount, attributes, context))

    came = []
    AllSeries().of(Loud("h"), {"a": 1}).record(2, SAMPLED)
    AllSeries().of(api.NoOpCounter("c"), {"a": 1}).record(2, SAMPLED)
    assert came == [(2, {"a": 1}, SAMPLED)]


def test_what_one_span_raises_costs_no_other_series_its_numbers():
    class Broken(NonRecordingSpan):
        def get_span_context(self):
            raise RuntimeError("no")

    provider, series = Provider([AggregationTemporality.DELTA]), AllSeries()
    first, second = (series.of(provider.instruments[0], each) for each in LABELS[:2])
    for one in (first, second):
        one.record(0.5, SAMPLED)
    first.record(0.5, set_span_in_context(Broken(CONTEXTS[0]), Context()))
    second.record(0.5, SAMPLED)
    with pytest.raises(RuntimeError):
        settle(series)
    counts = [said["count"] for _, _, (_, _, said) in provider.collect(0)]
    assert counts == [1, 2]


def test_too_many_label_sets_overflow_as_the_sdk_has_it(monkeypatch):
    if "aggregation_cardinality_limit" in View.__init__.__code__.co_varnames:
        few = View(instrument_name="h", aggregation_cardinality_limit=2)
        monkeypatch.setitem(VIEWS, "few", lambda: few)
    else:  # this SDK has no limit
        monkeypatch.setitem(VIEWS, "few", VIEWS["rename"])
    steps = [(0, n, 0.5, 0) for n in chain(range(4), range(4))]
    steps = [*steps, (0,), *steps, (0,), *reversed(steps), (0,)]
    plain, ours = both(lambda: Provider([AggregationTemporality.DELTA], ("few",)), steps)
    assert ours == plain


def test_a_meter_that_is_switched_off_counts_nothing_until_it_is_on_again():
    provider, series = Provider([AggregationTemporality.CUMULATIVE]), AllSeries()
    one = series.of(provider.instruments[0], LABELS[0])

    def switch(is_on):
        if hasattr(provider.meters, "_set_meter_configurator"):  # this SDK has a switch
            config = type("Config", (), {"is_enabled": is_on})
            provider.meters._set_meter_configurator(meter_configurator=lambda _scope: config)

    for is_on in (True, True, False, True):
        switch(is_on)
        for _ in range(5):
            one.record(0.5, SAMPLED)
        settle(series)
    has_switch = hasattr(provider.meters, "_set_meter_configurator")
    ((_, _, (_, _, said)),) = provider.collect(0)
    assert said["count"] == (15 if has_switch else 20)


FORKED = """
import os, sys
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otel_dbevents.bridge.series import AllSeries
reader = InMemoryMetricReader()
series = AllSeries()
one = series.of(MeterProvider([reader]).get_meter("m").create_counter("c"), {})
one.record(1, Context())
child = os.fork()
series.settle(lambda: sys.exit(9))
data = reader.get_metrics_data()
scopes = data.resource_metrics[0].scope_metrics if data else ()
total = sum(scope.metrics[0].data.data_points[0].value for scope in scopes)
if child:
    total += 10 * os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(total)
else:
    os._exit(int(total))
"""


def test_a_forked_child_does_not_count_what_waits_in_its_parent():
    ran = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["1"]


FORKED_LATER = """
import os
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from sqlalchemy import create_engine, text
import otel_dbevents

reader = InMemoryMetricReader()
engine = create_engine("sqlite://")
otel_dbevents.instrument(engine, meter_provider=MeterProvider([reader]))


def asked(times):
    with engine.connect() as connection:
        for _ in range(times):
            connection.execute(text("SELECT 1")).all()
    otel_dbevents.flush()
    told = {
        metric.name: metric.data.data_points
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    }
    queries = sum(point.count for point in told["db.client.operation.duration"])
    checkouts = sum(point.count for point in told["db.client.connection.wait_time"])
    return 10 * queries + checkouts


asked(2)
child = os.fork()
if not child:
    os._exit(asked(3))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), asked(1))
"""


def test_a_forked_child_measures_on_what_its_parent_had_measured_already():
    ran = subprocess.run(
        [sys.executable, "-c", FORKED_LATER], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["31", "32"]

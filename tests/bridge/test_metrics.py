"""What is counted and measured, in which buckets, and what is read at collection."""

import gc
import weakref

import pytest
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_dbevents.bridge import Bridge
from otel_dbevents.bridge import status as bridge_status
from otel_dbevents.events import Database, DatabaseType, Environment, PoolReading
from tests.bridge.support import (
    DB,
    DB_ATTRIBUTES,
    INSERT,
    MS,
    Told,
    checked_in,
    checked_out,
    commit_failed,
    committed,
    connect_failed,
    established,
    executed,
    failed,
    health,
    metrics_of,
    recovered,
    released,
    repeated,
    rollback_failed,
    rolled_back,
    timed_out,
    values_of,
)

CONNECTION = "db.client.connection."
POOL = "db.client.connection.pool.name"
WHERE = {
    **DB_ATTRIBUTES,
    "deployment.environment.name": "production",
    "dbevents.aggregate_id": "production/postgresql/db.example.com:5433/shop",
}
UNITS = {
    "db.client.operation.duration": "s",
    "db.client.response.returned_rows": "{row}",
    "db.client.connection.count": "{connection}",
    "db.client.connection.idle.max": "{connection}",
    "db.client.connection.idle.min": "{connection}",
    "db.client.connection.max": "{connection}",
    "db.client.connection.pending_requests": "{request}",
    "db.client.connection.timeouts": "{timeout}",
    "db.client.connection.create_time": "s",
    "db.client.connection.wait_time": "s",
    "db.client.connection.use_time": "s",
    "database.connection.status": "",
    "database.connection.attempts": "{attempt}",
    "database.connection.failures": "{attempt}",
    "database.health.latency": "s",
    "dbevents.repeated_queries": "{burst}",
    "dbevents.transactions": "{transaction}",
    "dbevents.events.lost": "{event}",
}


def reading(pool="orders", **changed):
    limits = {"max": 10, "idle_max": 5, "idle_min": 1, **changed}
    where = Database(Environment.LOCAL, DatabaseType.SQLITE, pool_name=pool)
    return PoolReading(where, idle=2, used=3, pending=1, **limits)


def test_all_metrics_have_the_conventions_units():
    told = Told(read_pools=lambda: [reading()], read_lost=lambda: {"queue_full": 1})
    told.tell(executed(returned_rows=1), timed_out(), established(), health())
    told.tell(checked_out(), checked_in(), committed(), connect_failed(), repeated())
    assert {name: metric.unit for name, metric in told.metrics.items()} == UNITS


def test_a_query_is_measured_with_the_advised_buckets_and_the_objective_among_them():
    told = Told().tell(executed(duration_ns=3 * MS), executed(duration_ns=700 * MS))
    point = told.point("db.client.operation.duration")
    assert point.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 5, 10)
    assert list(point.bucket_counts) == [0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert point.sum == pytest.approx(0.703)
    assert point.attributes == {**DB_ATTRIBUTES, "db.query.summary": "SELECT customers"}


def test_a_failed_query_is_measured_with_its_error_and_no_success_has_one():
    told = Told().tell(executed(), failed())
    errors = {
        point.attributes.get("error.type"): point.attributes.get("db.response.status_code")
        for point in told.points("db.client.operation.duration")
    }
    assert errors == {None: None, "42501": "42501"}


def test_a_batch_is_one_record():
    point = (
        Told().tell(executed(statement=INSERT, batch_size=9)).point("db.client.operation.duration")
    )
    assert point.count == 1
    assert point.attributes["db.operation.name"] == "BATCH INSERT"
    assert point.attributes["db.collection.name"] == "carts"


def test_of_a_batch_those_count_rows_that_say_how_many(caplog):
    told = Told().tell(executed(returned_rows=5))
    told.tell(*(executed(returned_rows=rows) for rows in (-1, 3, -1, 200)))
    told.tell(executed(returned_rows=-1), executed(returned_rows=-1))
    rows = told.point("db.client.response.returned_rows")
    assert (rows.count, rows.sum, rows.min, rows.max) == (3, 208, 3, 200)
    assert told.point("db.client.operation.duration").count == 7
    assert not caplog.records


def test_rows_are_measured_where_they_are_known():
    told = Told().tell(executed(), executed(returned_rows=0), executed(returned_rows=30))
    point = told.point("db.client.response.returned_rows")
    assert point.explicit_bounds == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
    assert (point.count, point.sum) == (2, 30)


@pytest.mark.parametrize(
    ("event", "operation", "outcome", "error"),
    [
        (committed(), "COMMIT", "committed", None),
        (commit_failed(), "COMMIT", "commit_failed", "42501"),
        (rolled_back(), "ROLLBACK", "rolled_back", None),
        (rollback_failed(), "ROLLBACK", "rollback_failed", "42501"),
    ],
    ids=lambda value: getattr(value, "event_type", value),
)
def test_an_end_of_a_transaction_is_an_operation_and_an_outcome(event, operation, outcome, error):
    metrics = Told().tell(event).metrics
    (point,) = metrics["db.client.operation.duration"].data.data_points
    assert point.attributes["db.operation.name"] == operation
    assert point.attributes.get("error.type") == error
    assert values_of(metrics, "dbevents.transactions", "dbevents.transaction.outcome") == {
        (outcome,): 1
    }


def test_an_end_of_unknown_duration_is_an_outcome_and_no_operation(caplog):
    metrics = Told().tell(committed(duration_ns=-1), rolled_back(duration_ns=-1)).metrics
    assert "db.client.operation.duration" not in metrics
    assert not caplog.records  # the SDK warns of a negative one
    assert values_of(metrics, "dbevents.transactions", "dbevents.transaction.outcome") == {
        ("committed",): 1,
        ("rolled_back",): 1,
    }


def test_a_released_transaction_is_an_outcome_and_no_operation():
    metrics = Told().tell(released()).metrics
    assert "db.client.operation.duration" not in metrics
    assert values_of(metrics, "dbevents.transactions", "dbevents.transaction.outcome") == {
        ("released",): 1
    }


@pytest.mark.parametrize(
    ("event", "name", "seconds"),
    [
        (checked_out(create_ns=20 * MS), "wait_time", 0.03),
        (checked_in(), "use_time", 0.04),
        (established(), "create_time", 0.02),
    ],
    ids=["wait", "use", "create"],
)
def test_a_pools_times_carry_its_name(event, name, seconds):
    point = Told().tell(event).point(CONNECTION + name)
    assert point.sum == pytest.approx(seconds)
    assert point.attributes == {POOL: "orders"}
    assert point.explicit_bounds[0] == 0.001


def test_a_pools_numbers_are_read_at_collection_and_missing_limits_left_out():
    pools = [reading("a"), reading("b", max=-1, idle_max=-1, idle_min=-1)]
    told = Told(read_pools=lambda: pools)
    metrics = told.metrics
    count = values_of(metrics, CONNECTION + "count", POOL, "db.client.connection.state")
    assert count == {("a", "idle"): 2, ("a", "used"): 3, ("b", "idle"): 2, ("b", "used"): 3}
    assert values_of(metrics, CONNECTION + "max", POOL) == {("a",): 10}
    assert values_of(metrics, CONNECTION + "idle.max", POOL) == {("a",): 5}
    assert values_of(metrics, CONNECTION + "idle.min", POOL) == {("a",): 1}
    assert values_of(metrics, CONNECTION + "pending_requests", POOL) == {("a",): 1, ("b",): 1}
    pools.pop()
    assert len(values_of(told.metrics, CONNECTION + "pending_requests", POOL)) == 1


def test_a_querys_exemplars_point_to_its_own_span():
    told = Told().tell(executed(returned_rows=4))
    metrics = told.metrics
    for name in ("db.client.operation.duration", "db.client.response.returned_rows"):
        (exemplar,) = metrics[name].data.data_points[0].exemplars
        assert exemplar.span_id == told.span.context.span_id


def test_a_failed_querys_exemplar_points_to_its_own_span():
    told = Told().tell(failed())
    (exemplar,) = told.point("db.client.operation.duration").exemplars
    assert exemplar.span_id == told.span.context.span_id
    assert exemplar.trace_id == told.span.context.trace_id


def test_without_a_span_nothing_points_to_what_is_current_here():
    told = Told(spans=False)
    with told.tracers.get_tracer("application").start_as_current_span("current"):
        told.tell(executed(parent=None), context=Context())
    assert not told.point("db.client.operation.duration").exemplars


def test_the_status_is_the_last_outcome():
    told = Told().tell(established())
    assert told.point("database.connection.status").value == 1
    assert told.point("database.connection.status").attributes == WHERE
    told.tell(connect_failed())
    assert told.point("database.connection.status").value == 0
    told.tell(recovered())
    assert told.point("database.connection.status").value == 1
    told.tell(connect_failed(), health("degraded"), health("unhealthy"))
    assert told.point("database.connection.status").value == 0
    told.tell(health())
    assert told.point("database.connection.status").value == 1


def test_a_failure_that_named_no_database_ends_with_a_success_in_its_environment():
    told = Told().tell(connect_failed(database=None))
    status = values_of(told.metrics, "database.connection.status", "dbevents.aggregate_id")
    assert status == {("production",): 0}
    told.tell(established())
    status = values_of(told.metrics, "database.connection.status", "dbevents.aggregate_id")
    assert status == {("production",): 1, (DB.aggregate_id,): 1}


def test_the_status_is_kept_of_a_bounded_number_of_databases(monkeypatch):
    monkeypatch.setattr(bridge_status, "_MOST_DATABASES", 3)
    told = Told()
    for number in range(5):
        where = Database(Environment.LOCAL, DatabaseType.MYSQL, f"tenant{number}")
        told.tell(established(database=where))
    status = values_of(told.metrics, "database.connection.status", "db.namespace")
    assert set(status) == {("tenant2",), ("tenant3",), ("tenant4",)}


@pytest.mark.parametrize("spans", [True, False])
def test_many_connections_in_a_batch_are_measured_as_one_by_one(spans):
    other = Database(Environment.LOCAL, DatabaseType.MYSQL, "other")
    events = [
        make(database=where, duration_ns=number * 1_000_000)
        for number, where in enumerate((DB, other, DB, DB, other, DB), 1)
        for make in (established, checked_out, checked_in)
    ]
    events.insert(5, connect_failed())
    together, alone = Told(spans=spans), Told(spans=spans)
    for _ in range(2):
        together.tell(*events)
        for event in events:
            alone.tell(event)
    names = ["attempts", "failures", "status"]
    for name in ("database.connection." + each for each in names):
        found = values_of(together.metrics, name, "db.namespace", "error.type")
        assert found == values_of(alone.metrics, name, "db.namespace", "error.type"), name
        assert (
            sum(found.values())
            == {"attempts": 14, "failures": 2, "status": 2}[name.rpartition(".")[2]]
        )
    for name in ("create_time", "wait_time", "use_time"):
        one, two = (
            {
                point.attributes["db.client.connection.pool.name"]: (point.count, point.sum)
                for point in told.points("db.client.connection." + name)
            }
            for told in (together, alone)
        )
        assert one == two
        assert sum(count for count, _ in one.values()) == 12


def test_failures_are_counted_by_error_and_begin_at_zero():
    told = Told().tell(established(), connect_failed(), connect_failed(failure=None))
    metrics = told.metrics
    assert values_of(metrics, "database.connection.attempts") == {(): 3}
    assert values_of(metrics, "database.connection.failures", "error.type") == {
        (None,): 0,
        ("42501",): 1,
        ("_OTHER",): 1,
    }


def test_health_latency_has_the_bounds_that_alerts_need():
    point = Told().tell(health("degraded")).point("database.health.latency")
    assert {0.1, 0.2} <= set(point.explicit_bounds)
    assert point.sum == pytest.approx(0.15)
    assert point.attributes == {**WHERE, "dbevents.health.status": "degraded"}


def test_timeouts_are_counted_by_pool():
    assert values_of(Told().tell(timed_out()).metrics, CONNECTION + "timeouts", POOL) == {
        ("orders",): 1
    }


def test_what_should_not_happen_begins_at_zero_with_the_first_connection():
    metrics = Told().tell(established(), established()).metrics
    assert values_of(metrics, CONNECTION + "timeouts", POOL) == {("orders",): 0}
    assert values_of(metrics, "dbevents.transactions", "dbevents.transaction.outcome") == {
        ("commit_failed",): 0
    }


def test_bursts_are_counted_by_statement_without_its_text():
    told = Told().tell(repeated(), repeated())
    (point,) = told.points("dbevents.repeated_queries")
    assert point.attributes == {**DB_ATTRIBUTES, "db.query.summary": "SELECT customers"}
    assert point.value == 2


@pytest.mark.swallows
def test_losses_before_and_in_the_bridge_are_one_metric():
    told = Told(read_lost=lambda: {"queue_full": 7, "span_error": 1})
    told.tell(executed(duration_ns="long"))
    assert values_of(told.metrics, "dbevents.events.lost", "dbevents.lost.reason") == {
        ("queue_full",): 7,
        ("span_error",): 2,
        ("metric_error",): 1,
    }


def test_no_label_has_a_querys_text_or_message():
    told = Told(read_pools=lambda: [reading()])
    told.tell(executed(returned_rows=1), failed(), connect_failed(), timed_out(), commit_failed())
    keys = {
        key
        for metric in told.metrics.values()
        for point in metric.data.data_points
        for key in point.attributes
    }
    assert "db.query.text" not in keys
    assert "dbevents.error_message" not in keys


class Pools:
    def __call__(self):
        return [reading()]


def test_a_closed_bridge_reports_nothing_and_holds_nothing():
    pools = Pools()
    told = Told(read_pools=pools, read_lost=lambda: {"queue_full": 1})
    told.tell(established(), executed())
    bridge = weakref.ref(told.bridge)
    read = weakref.ref(pools)
    told.bridge.close()
    told.bridge.close()
    names = set(told.metrics)
    assert "database.connection.status" not in names
    assert CONNECTION + "count" not in names
    told.bridge.consume([(executed(), None)])
    assert told.bridge.lost == {"closed": 1}
    told.bridge = pools = None
    gc.collect()
    assert bridge() is None
    assert read() is None


def test_a_bridge_made_after_another_was_closed_reports():
    told = Told(read_pools=lambda: [reading("old")])
    told.bridge.close()
    second = Bridge(None, told.meters, None, read_pools=lambda: [reading("new")])
    assert values_of(told.metrics, CONNECTION + "max", POOL) == {("new",): 10}
    third = Bridge(None, told.meters, None, read_pools=lambda: [reading("other")])
    assert set(values_of(told.metrics, CONNECTION + "max", POOL)) == {("new",), ("other",)}
    second.close()
    assert set(values_of(told.metrics, CONNECTION + "max", POOL)) == {("other",)}
    third.close()


def test_a_meter_provider_can_be_collected_as_garbage():
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    Bridge(None, meters, None, read_pools=lambda: [reading()]).close()
    assert "db.client.connection.count" not in metrics_of(reader)
    gone = weakref.ref(meters)
    meters.shutdown()
    del meters, reader
    gc.collect()
    assert gone() is None


def test_a_no_op_meter_does_nothing():
    bridge = Bridge(None, NoOpMeterProvider(), None)
    bridge.consume([(executed(), None), (established(), None)])
    bridge.close()
    assert not bridge.lost

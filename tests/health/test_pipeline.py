"""With a pipeline at work checks are made by themselves, told, and are nobody's queries."""

import os
import subprocess
import sys
import threading

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from sqlalchemy import create_engine, text

from otel_dbevents import Config, Pipeline, check_database_health
from otel_dbevents.bus.redis.entries import Entry
from otel_dbevents.bus.redis.held import Held
from otel_dbevents.events import DatabaseHealthCheckCompleted, DatabaseRecovered, Event
from otel_dbevents.health.schedule import NAME
from otel_dbevents.shipping import read_origin
from otel_dbevents.sidecar.tellers import Teller
from tests.bridge.support import executed, health, metrics_of
from tests.services.process import wait_until

pytestmark = pytest.mark.usefixtures("no_schedule")


class Room:
    """A pipeline whose telemetry is ours to look at."""

    def __init__(self, path, **settings):
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider(sampler=settings.pop("sampler", None))
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        meters = settings.pop("meters", MeterProvider([self.reader]))
        self.pipeline = Pipeline(
            tracer_provider=tracers, meter_provider=meters, config=Config(**settings)
        )
        self.events: list[Event] = []
        self.pipeline.bus.handle(self.events.append)
        self.engine = create_engine(f"sqlite:///{path}")
        self.pipeline.attach(self.engine)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.engine.dispose()
        self.pipeline.close()

    def query(self, number=1):
        with self.engine.connect() as connection:
            for _ in range(number):
                connection.execute(text("SELECT 1"))
        self.pipeline.flush(60)

    def checks(self):
        return [e for e in list(self.events) if isinstance(e, DatabaseHealthCheckCompleted)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.db"


@pytest.mark.usefixtures("patient")
def test_a_database_in_use_is_checked_by_itself(path):
    with Room(path, health_interval_s=0.05, slo_p95_ms=60_000) as room:
        assert not _threads()
        room.query(30)
        wait_until(lambda: len(room.checks()) >= 3)
        event = room.checks()[-1]
    assert event.is_healthy
    assert event.database.namespace == "shop.db"
    assert event.details["window.queries"] == 30
    assert event.details["window.p95_ms"] > 0
    assert event.details["window.within_slo"] is True
    assert event.details["pool.max"] == 15
    wait_until(lambda: not _threads())


def test_a_check_is_no_query_and_no_connection_of_the_pool(path):
    with Room(path, health_interval_s=0) as room:
        room.query()
        for _ in range(5):
            check_database_health(room.engine)
        room.pipeline.flush(60)
        metrics = metrics_of(room.reader)
        names = {span.name for span in room.spans.get_finished_spans()}
        kinds = [type(event).__name__ for event in room.events]
    [point] = metrics["db.client.operation.duration"].data.data_points
    assert point.count == 1
    [attempts] = metrics["database.connection.attempts"].data.data_points
    assert attempts.value == 1
    assert kinds.count("DatabaseHealthCheckCompleted") == 5
    assert kinds.count("ConnectionClosed") == kinds.count("ConnectionInvalidated") == 0
    assert names == {"CONNECT shop.db", "SELECT"}


def test_an_engine_that_was_not_used_and_one_in_memory_are_left_alone(path):
    with Room(path, health_interval_s=0.02) as room:
        memory = create_engine("sqlite://")
        room.pipeline.attach(memory)
        with memory.connect() as connection:
            connection.execute(text("SELECT 1"))
        room.pipeline.flush(60)
        wait_until(lambda: len(_threads()) == 1)
        assert room.pipeline.health.schedule.tick() > 0
        assert room.pipeline.health.schedule._due == {}


@pytest.mark.usefixtures("patient")
def test_zero_seconds_turn_it_off(path):
    with Room(path, health_interval_s=0) as room:
        room.query()
        assert not _threads()
        assert check_database_health(room.engine).is_healthy


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"metrics": False},
        {"spans": False},
        {"sampler": ALWAYS_OFF},
        {"synchronous": True},
        {"rate_limit": "*=1/s"},
        {"rate_limit": "*=1/s", "metrics": False},
    ],
)
def test_the_window_has_all_queries_whatever_is_made_of_them(path, settings):
    with Room(path, health_interval_s=0, **settings) as room:
        room.query(40)
        with room.engine.connect() as connection:
            for _ in range(2):
                with pytest.raises(Exception, match="nothing"):
                    connection.execute(text("SELECT * FROM nothing"))
        room.pipeline.flush(60)
        details = check_database_health(room.engine).details
    assert (details["window.queries"], details["window.errors"]) == (42, 2)
    assert details["window.error_rate"] == pytest.approx(2 / 42, abs=1e-6)


def test_the_gauges_say_how_the_objective_is_held(path):
    with Room(path, health_interval_s=0, slo_p95_ms=50) as room:
        room.query(19)
        assert "dbevents.slo.p95" not in metrics_of(room.reader)
        room.query(1)
        metrics = metrics_of(room.reader)
        details = check_database_health(room.engine).details
    [objective] = metrics["dbevents.slo.objective"].data.data_points
    [p95] = metrics["dbevents.slo.p95"].data.data_points
    assert objective.value == 0.05
    assert p95.value * 1e3 == pytest.approx(details["window.p95_ms"], abs=1e-3)
    assert p95.attributes["deployment.environment.name"] == "local"
    assert p95.attributes["db.system.name"] == "sqlite"


@pytest.mark.usefixtures("patient")
def test_the_status_and_the_recovery_follow_the_checks(path):
    with Room(path, health_interval_s=0) as room:
        room.query()
        room.engine.dispose()
        away = path.rename(path.with_suffix(".away"))
        check_database_health(room.engine)
        room.pipeline.flush(60)
        [down] = metrics_of(room.reader)["database.connection.status"].data.data_points
        away.rename(path)
        check_database_health(room.engine)
        room.pipeline.flush(60)
        [up] = metrics_of(room.reader)["database.connection.status"].data.data_points
        recovered = [e for e in room.events if isinstance(e, DatabaseRecovered)]
    assert (down.value, up.value) == (0, 1)
    assert len(recovered) == 1


def test_slow_answers_are_no_lost_connection(path):
    with Room(path, health_interval_s=0, health_degraded_ms=0, health_unhealthy_ms=0) as room:
        event = check_database_health(room.engine)
        assert event.requires_alert
        room.query()
        room.pipeline.flush(60)
        [point] = metrics_of(room.reader)["database.connection.status"].data.data_points
    assert point.value == 1


def test_with_the_bus_on_redis_the_window_is_the_applications(path, redis):
    with Room(path, health_interval_s=0, bus_url=redis.url, stream=redis.stream()) as room:
        room.query(30)
        details = check_database_health(room.engine).details
        metrics = metrics_of(room.reader)
    assert details["window.queries"] == 30
    [p95] = metrics["dbevents.slo.p95"].data.data_points
    assert p95.value * 1e3 == pytest.approx(details["window.p95_ms"], abs=1e-3)


def test_the_sidecar_is_told_what_the_application_promises(path, redis):
    promised = {"slo_p95_ms": 75, "health_degraded_ms": 33, "health_unhealthy_ms": 77}
    with Room(path, bus_url=redis.url, stream=redis.stream(), **promised) as room:
        said = room.pipeline.sender._source()
    teller = Teller(read_origin(said), "one", (None, None), None)
    events = [health(), executed()]
    teller.tell(Held(b"1-1", Entry("app", "1-1", 0, 2, 1, said, b""), events))
    metrics = metrics_of(teller._reader)
    [queries] = metrics["db.client.operation.duration"].data.data_points
    [checks] = metrics["database.health.latency"].data.data_points
    assert 0.075 in queries.explicit_bounds
    assert {0.033, 0.077} < {*checks.explicit_bounds}


FORKING = """
import os, sys, time, threading
from sqlalchemy import create_engine, text
import otel_dbevents
from otel_dbevents.events import DatabaseHealthCheckCompleted
pipeline = otel_dbevents.instrument(config=otel_dbevents.Config(health_interval_s=0.05))
engine = create_engine("sqlite:///" + sys.argv[1])
def use():
    seen = threading.Event()
    pipeline.bus.handle(lambda event: seen.set(), DatabaseHealthCheckCompleted)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return seen.wait(60)
assert use()
child = os.fork()
if child == 0:
    names = [t.name for t in threading.enumerate()]
    ok = "otel-dbevents-health" not in names and use()
    os._exit(0 if ok else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_has_a_thread_of_its_own(path):
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "OTEL"))}
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=environ,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


ENDING = """
import sys, time, socket
from sqlalchemy import create_engine, text
import otel_dbevents
from otel_dbevents.events import DatabaseHealthCheckCompleted
listener = socket.create_server(("127.0.0.1", 0))
pipeline = otel_dbevents.instrument(config=otel_dbevents.Config(health_timeout_ms=60000))
engine = create_engine(f"postgresql+psycopg://a:b@127.0.0.1:{listener.getsockname()[1]}/c")
import threading
threading.Thread(target=otel_dbevents.check_database_health, args=(engine,), daemon=True).start()
listener.accept()
print("ends")
"""


def test_a_process_ends_while_a_check_hangs():
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "OTEL"))}
    done = subprocess.run(
        [sys.executable, "-c", ENDING],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,  # far less than the check would take
        env=environ,
    )
    assert (done.returncode, done.stdout) == (0, "ends\n")


def _threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]

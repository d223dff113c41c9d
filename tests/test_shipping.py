"""With a bus on Redis an application ships its events, tells of none, and suffers nothing."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from sqlalchemy import Engine, create_engine, text

from otel_dbevents import Config, ConfigError, Pipeline
from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.reader import Held, Reader
from otel_dbevents.events import QueryExecuted
from otel_dbevents.shipping import Description, keys_of, read_origin
from otel_dbevents.sources.drafts import QueryDraft
from tests.bus.contract import PATIENCE
from tests.services.ports import free_ports
from tests.services.redis import Redis

KEY = "Xq7 a key of the tests, long enough"


class Application:
    """An application with providers of its own."""

    def __init__(self, **settings: Any) -> None:
        resource = Resource({"service.name": "shop"})
        self.spans, self.records = InMemorySpanExporter(), InMemoryLogRecordExporter()
        self.numbers = InMemoryMetricReader()
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self.records))
        self.config = Config(**settings)
        self.pipeline = Pipeline(
            tracer_provider=tracers,
            meter_provider=MeterProvider([self.numbers], resource, shutdown_on_exit=False),
            logger_provider=loggers,
            config=self.config,
        )
        self.engine: Engine = create_engine("sqlite://")
        self.pipeline.attach(self.engine)

    def query(self, number: int = 1) -> None:
        with self.engine.connect() as connection:
            for _ in range(number):
                connection.execute(text("SELECT 1")).all()

    def metrics(self) -> dict[str, Any]:
        found = self.numbers.get_metrics_data()
        return {
            metric.name: metric.data.data_points
            for resource in (found.resource_metrics if found else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def shop(redis: Redis) -> Iterator[Application]:
    made = Application(bus_url=redis.url, stream=redis.stream(), signing_key=KEY)
    yield made
    made.pipeline.close()
    made.engine.dispose()


def arrived(shop: Application) -> list[Held]:
    """Return what a sidecar would read."""
    config = shop.config
    reader = Reader(config.bus_url, config.stream, "group", keys=keys_of(config))
    found = []
    while held := reader.read(100, 0):
        found += held
    reader.commit(found)
    assert reader.settle() == {}
    reader.close()
    return found


def test_events_are_shipped_and_told_by_nobody_here(shop: Application) -> None:
    shop.query(20)
    assert shop.pipeline.flush(PATIENCE)
    assert shop.spans.get_finished_spans() == ()
    assert shop.records.get_finished_logs() == ()
    held = arrived(shop)
    names = [type(event).__name__ for each in held for event in each.events]
    assert names.count("QueryExecuted") == 20
    assert names.count("ConnectionCheckedOut") == 1
    assert shop.pipeline.lost() == {}


@pytest.mark.parametrize("somebody_looks", [False, True])
def test_in_production_no_event_is_made_unless_somebody_looks(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, somebody_looks: bool
) -> None:
    made = list[bytes]()
    make_all = QueryDraft.make_all

    def counted(drafts: Sequence[QueryDraft], found: dict[int, Any]) -> None:
        make_all(drafts, found)
        made.extend(event.id for draft in drafts for event in draft.made or ())

    monkeypatch.setattr(QueryDraft, "make_all", counted)
    shop = Application(
        bus_url=redis.url, stream=redis.stream(), signing_key=KEY, environment="production"
    )
    if somebody_looks:
        shop.pipeline.bus.handle(lambda _: None, QueryExecuted)
    shop.query(20)
    assert shop.pipeline.flush(PATIENCE)
    held = arrived(shop)
    ids = [e.id for each in held for e in each.events if isinstance(e, QueryExecuted)]
    assert len(set(ids)) == 20
    assert made == (ids if somebody_looks else [])
    assert shop.pipeline.lost() == {}
    shop.pipeline.close()
    shop.engine.dispose()


def test_no_secret_and_no_value_is_in_what_redis_stores(shop: Application) -> None:
    with shop.engine.connect() as connection:
        connection.execute(text("SELECT 'Xq7literal', :value"), {"value": "Xq7parameter"}).all()
    assert shop.pipeline.close(PATIENCE)
    client = connect(shop.config.bus_url)
    entries = client.xrange(shop.config.stream)
    client.close()
    assert b"SELECT ?" in b"".join(fields[b"d"] for _, fields in entries)
    assert b"Xq7" not in b"".join(value for _, fields in entries for value in fields.values())


def test_only_the_pools_and_the_losses_are_told_here(shop: Application) -> None:
    shop.query(3)
    assert shop.pipeline.flush(PATIENCE)
    metrics = shop.metrics()
    assert "db.client.connection.count" in metrics
    assert "db.client.operation.duration" not in metrics


def test_what_the_other_side_must_know_comes_along(redis: Redis) -> None:
    shop = Application(
        bus_url=redis.url, stream=redis.stream(), min_duration_ms=0, slow_query_ms=7, fold_after=3,
        require_parent=True, logs=False, langfuse="all",
    )  # fmt: skip
    shop.query()
    assert shop.pipeline.close(PATIENCE)
    origin = read_origin(arrived(shop)[0].entry.source)
    assert origin.resource["service.name"] == "shop"
    assert (origin.slow_query_ns, origin.fold_after) == (7_000_000, 3)
    assert (origin.require_parent, origin.logs, origin.spans) == (True, False, True)
    assert origin.shown is not None
    assert origin.shown.queries == "all"
    shop.engine.dispose()


@pytest.mark.parametrize(
    ("sampler", "share", "follows"),
    [
        (ALWAYS_ON, 1.0, False),
        (ParentBased(TraceIdRatioBased(0.25)), 0.25, True),
        (TraceIdRatioBased(0.5), 0.5, False),
        (ParentBased(ALWAYS_ON, local_parent_not_sampled=ALWAYS_ON), None, True),
    ],
)
def test_how_the_application_samples_is_told(
    sampler: Sampler, share: float | None, follows: bool
) -> None:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    origin = read_origin(Description(Config(), None, lambda: {"tracer": provider})())
    assert (origin.root_sampled, origin.follows_parent) == (share, follows)


@pytest.mark.swallows
def test_without_a_redis_the_application_runs_on_and_ends_in_time() -> None:
    (port,) = free_ports(1)
    shop = Application(bus_url=f"redis://127.0.0.1:{port}/0", buffer_size=100)
    shop.query(2_000)
    assert shop.pipeline.flush(0.2) is False
    assert shop.pipeline.close(0.5) is False
    lost = shop.pipeline.lost()
    assert lost["queue_full"] >= 1_400
    shop.engine.dispose()


@pytest.mark.swallows
def test_each_event_that_redis_never_took_is_counted() -> None:
    (port,) = free_ports(1)
    shop = Application(bus_url=f"redis://127.0.0.1:{port}/0", slow_query_ms=0, repeated_queries=0)
    made: list[Any] = []
    shop.pipeline.bus.subscribe_inline(lambda event, _: made.append(event))
    shop.query(300)
    assert shop.pipeline.close(0.3) is False
    assert shop.pipeline.bus.close(PATIENCE)
    assert shop.pipeline.lost() == {"shutdown": len(made)}
    shop.engine.dispose()


def test_a_program_that_ends_at_once_is_told_of_as_what_it_is(redis: Redis) -> None:
    """Nothing is shipped before it ends, and what is first done then can begin no thread."""
    stream = redis.stream()
    program = """
import otel_dbevents
from sqlalchemy import create_engine, text
otel_dbevents.instrument()
with create_engine("sqlite://").connect() as connection:
    connection.execute(text("SELECT 1")).all()
"""
    settings = {
        "OTEL_SERVICE_NAME": "short",
        "OTEL_DBEVENTS_BUS_URL": redis.url,
        "OTEL_DBEVENTS_STREAM": stream,
        "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "30000",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    reader = Reader(redis.url, stream, "group")
    held = reader.read(100, 0)
    reader.commit(held)
    reader.close()
    assert {type(event).__name__ for each in held for event in each.events} >= {"QueryExecuted"}
    assert {read_origin(each.entry.source).resource["service.name"] for each in held} == {"short"}


def test_a_missing_package_is_said_at_the_start_with_its_mend() -> None:
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "import otel_dbevents\n"
        "try:\n"
        "    otel_dbevents.instrument(config=otel_dbevents.Config(bus_url='redis://localhost'))\n"
        "except otel_dbevents.ConfigError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "OTEL_DBEVENTS_BUS_URL names a Redis" in done.stdout
    assert "pip install 'otel-dbevents[redis]'" in done.stdout


def test_the_bus_in_memory_imports_no_redis() -> None:
    program = (
        "import sys, otel_dbevents\n"
        "otel_dbevents.Pipeline(config=otel_dbevents.Config()).close()\n"
        "print([name for name in sys.modules if 'redis' in name])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["synchronous", "langfuse_export"])
def test_what_is_done_where_spans_are_made_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is on, but bus_url names a Redis"):
        Config(bus_url="redis://localhost", langfuse="all", **{name: True})


@pytest.mark.parametrize(
    "url", ["http://localhost", "redis", "redis:", "redis://:Xq7pw@h:port", "unix://", 7]
)
def test_a_wrong_url_is_refused_and_not_shown(url: Any) -> None:
    with pytest.raises(ConfigError, match=r"bus_url takes memory://, redis://") as caught:
        Config(bus_url=url)
    assert "Xq7" not in str(caught.value)


def test_keys_are_shown_nowhere() -> None:
    config = Config(
        bus_url="redis://user:Xq7pw@h:1/2?x=Xq7", signing_key=KEY, signing_key_previous=KEY
    )
    assert "Xq7" not in repr(config) + str(config)
    assert config.shown("bus_url") == "redis://h:1/2"
    assert config.shown("signing_key") == "set, and not shown"
    assert Config().shown("signing_key") is None
    with pytest.raises(ConfigError, match="signing_key takes a text of 16 bytes or more") as caught:
        Config(signing_key="Xq7short")
    assert "Xq7" not in str(caught.value)
    with pytest.raises(ConfigError, match="signing_key_previous is set, but"):
        Config(signing_key_previous=KEY)

"""collector-config.yaml with real servers around it, and the plain OpenTelemetry SDK in front."""

import base64
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from tests.e2e.secrets import INNOCENT, SECRETS, SECRETS_BY_KEY
from tests.e2e.sender import Protocol, Sender
from tests.langfuse.server import langfuse_server
from tests.services.collector import CONFIG, LANGFUSE, Collector, validate
from tests.services.collector import collector as run_collector
from tests.services.jaeger import Jaeger
from tests.services.jaeger import jaeger as run_jaeger
from tests.services.loki import Loki
from tests.services.loki import loki as run_loki
from tests.services.process import wait_until
from tests.services.prometheus import Prometheus

pytestmark = pytest.mark.e2e

MakeSender = Callable[..., Sender]


@pytest.fixture
def sender_to() -> Iterator[MakeSender]:
    """Make senders that are closed when the test ends."""
    senders: list[Sender] = []

    def make(
        collector: Collector, service: str, protocol: Protocol = "grpc", timeout: float = 10
    ) -> Sender:
        senders.append(Sender(collector, service, protocol, timeout))
        return senders[-1]

    yield make
    for sender in senders:
        sender.close()


@pytest.fixture(params=["grpc", "http"])
def sender(request: pytest.FixtureRequest, collector: Collector, sender_to: MakeSender) -> Sender:
    """Send to the session's collector, over each protocol, as a service named after the test."""
    name = request.node.originalname.replace("_", "-")
    return sender_to(collector, f"{name}-{request.param}", request.param)


def ids(spans: Sequence[ReadableSpan]) -> set[str]:
    """Return the spans' ids, as Jaeger writes them."""
    return {f"{context.span_id:016x}" for span in spans if (context := span.get_span_context())}


def seen_by(jaeger: Jaeger, service: str) -> set[str]:
    """Return the ids of all spans that Jaeger has of a service."""
    traces = jaeger.traces(service)
    return {span["span_id"] for spans in traces.values() for span in spans}


def test_a_trace_reaches_jaeger_to_the_nanosecond(sender: Sender, jaeger: Jaeger) -> None:
    with (
        sender.tracer.start_as_current_span(
            "answer", kind=trace.SpanKind.SERVER, attributes={"n": 3, "x": 1.5, "tags": ["a", "b"]}
        ),
        sender.tracer.start_as_current_span("SELECT users") as query,
    ):
        query.add_event("row read", {"rows": 7})
        query.set_status(trace.StatusCode.ERROR, "no such table: users")
    child, parent = sender.finished_spans()
    assert sender.send_spans([child, parent])

    assert parent.context is not None
    trace_id = f"{parent.context.trace_id:032x}"
    wait_until(lambda: len(jaeger.trace(trace_id)) == 2)
    first, second = jaeger.trace(trace_id)

    assert (first["name"], first["kind"], first["status"]) == ("answer", "SERVER", "UNSET")
    assert first["parent_id"] is None
    assert first["attributes"] == {"n": 3, "x": 1.5, "tags": ["a", "b"]}
    assert first["resource"]["service.name"] == sender.service
    assert first["resource"]["deployment.environment.name"] == "staging"
    assert first["scope"] == "tests.e2e"
    assert (first["start_ns"], first["end_ns"]) == (parent.start_time, parent.end_time)

    assert (second["name"], second["status"]) == ("SELECT users", "ERROR")
    assert second["status_message"] == "no such table: users"
    assert second["parent_id"] == first["span_id"]
    assert (second["start_ns"], second["end_ns"]) == (child.start_time, child.end_time)
    (event,) = second["events"]
    assert (event["name"], event["attributes"]) == ("row read", {"rows": 7})
    assert event["time_ns"] == child.events[0].timestamp


def test_a_histogram_reaches_prometheus_with_its_exemplar(
    sender: Sender, prometheus: Prometheus
) -> None:
    duration = sender.meter.create_histogram(
        "db.client.operation.duration", "s", explicit_bucket_boundaries_advisory=[0.01, 0.1, 1]
    )
    with sender.tracer.start_as_current_span("query") as span:
        duration.record(0.05, {"db.system.name": "sqlite"})
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert sender.send_metrics()

    job = f'job="{sender.service}"'
    name = "db_client_operation_duration_seconds"
    wait_until(lambda: bool(prometheus.exemplars(f"{name}_bucket{{{job}}}")))
    wait_until(lambda: bool(prometheus.query(f"target_info{{{job}}}")))  # exemplars come first

    (count,) = prometheus.query(f"{name}_count{{{job}}}")
    assert count.value == 1
    assert count.labels["db_system_name"] == "sqlite"
    assert count.labels["instance"] == f"{sender.service}-1"
    assert count.labels["service_name"] == sender.service
    assert count.labels["deployment_environment_name"] == "staging"
    (in_bucket,) = prometheus.query(f'{name}_bucket{{{job},le="0.1"}}')
    assert in_bucket.value == 1
    (exemplar,) = prometheus.exemplars(f"{name}_bucket{{{job}}}")
    assert exemplar.labels["trace_id"] == trace_id
    assert exemplar.value == 0.05
    (target,) = prometheus.query(f"target_info{{{job}}}")
    assert target.labels["telemetry_sdk_language"] == "python"


def test_prometheus_can_scrape_the_collector_itself(prometheus: Prometheus) -> None:
    wait_until(lambda: len(prometheus.up()) == 2 and all(prometheus.up().values()))


def test_a_log_record_reaches_loki_with_its_event_name(sender: Sender, loki: Loki) -> None:
    with sender.tracer.start_as_current_span("request") as span:
        sender.log("the pool is exhausted", "database.pool.exhausted", waited_ms="30000")
    assert sender.send_logs()

    wait_until(lambda: bool(loki.records(sender.service)))
    (record,) = loki.records(sender.service)
    assert record.body == "the pool is exhausted"
    assert record.labels["event_name"] == "database.pool.exhausted"
    assert record.labels["waited_ms"] == "30000"
    assert record.labels["deployment_environment_name"] == "staging"
    assert record.labels["trace_id"] == f"{span.get_span_context().trace_id:032x}"


@pytest.mark.shows  # it sends what no sender should, for the collector to take away
def test_no_secret_is_found_behind_the_collector(
    collector: Collector,
    jaeger: Jaeger,
    loki: Loki,
    prometheus: Prometheus,
    sender_to: MakeSender,
) -> None:
    service = "secret-keeper"
    sender = sender_to(collector, service)
    for planted in SECRETS:
        plant_everywhere(sender, planted.text)
    for planted in SECRETS_BY_KEY:
        plant_by_key(sender, planted.key, planted.text)
    sender.tracer.start_span("last").end()
    sender.log("last")
    assert sender.send_spans()
    assert sender.send_logs()
    assert sender.send_metrics()

    wait_until(lambda: b"last" in jaeger.everything(service))
    wait_until(lambda: b"last" in loki.everything(service))
    wait_until(lambda: b"planted_total" in prometheus.everything())
    held = {
        "Jaeger": jaeger.everything(service),
        "Loki": loki.everything(service),
        "Prometheus": prometheus.everything(),
        "the queues on disk": b"".join(
            file.read_bytes() for file in collector.storage.rglob("*") if file.is_file()
        ),
    }
    leaks = [
        f"{planted.kind} in {place}"
        for planted in (*SECRETS, *SECRETS_BY_KEY)
        for place, content in held.items()
        if planted.secret.encode() in content
    ]
    assert leaks == []
    assert b"redaction.masked.count" in held["Jaeger"]


def plant_everywhere(sender: Sender, text: str) -> None:
    """Put a text wherever an application can put one: attributes, names, messages, bodies."""
    attributes = {"note": text}
    span = sender.tracer.start_span(f"name {text}", attributes={**attributes, "list": [text]})
    span.add_event(f"event {text}", attributes)
    span.set_status(trace.StatusCode.ERROR, f"status {text}")
    span.end()
    sender.log(f"body {text}", "planted", **attributes)
    sender.meter.create_counter("planted").add(1, attributes)


def plant_by_key(sender: Sender, key: str, text: str) -> None:
    """Put a text where only the attribute's name tells what it is."""
    attributes = {key: text}
    span = sender.tracer.start_span("by key", attributes=attributes)
    span.add_event("by key", attributes)
    span.end()
    sender.log("by key", "planted", **attributes)
    sender.meter.create_counter("planted").add(1, attributes)


def test_what_only_looks_like_a_secret_stays_readable(
    collector: Collector, jaeger: Jaeger, sender_to: MakeSender
) -> None:
    service = "innocent"
    sender = sender_to(collector, service)
    for key, value in INNOCENT.items():
        sender.tracer.start_span("read", attributes={key: value}).end()
    assert sender.send_spans()

    wait_until(lambda: len(seen_by(jaeger, service)) == len(INNOCENT))
    kept = {
        key: value
        for spans in jaeger.traces(service).values()
        for span in spans
        for key, value in span["attributes"].items()
    }
    assert kept == INNOCENT


def test_what_was_accepted_in_an_outage_survives_a_kill_and_arrives(
    tmp_path: Path, sender_to: MakeSender
) -> None:
    """Each span and record is there; whether one was sent twice neither Jaeger nor Loki shows."""
    service = "outage"
    with (
        run_jaeger(tmp_path, start=False) as jaeger,
        run_loki(tmp_path, start=False) as loki,
        run_collector(tmp_path, jaeger=jaeger.otlp_grpc, loki=loki.otlp) as collector,
    ):
        sender = sender_to(collector, service)
        sent: set[str] = set()
        for number in range(30):
            spans = sender.make_spans(10)
            sender.log(f"record {number}")
            assert sender.send_spans(spans)
            assert sender.send_logs()
            sent |= ids(spans)

        collector.process.kill()
        jaeger.process.start()
        loki.process.start()
        collector.process.start()

        wait_until(lambda: seen_by(jaeger, service) >= sent)
        wait_until(lambda: len(loki.records(service)) >= 30)
        assert seen_by(jaeger, service) == sent
        assert {record.body for record in loki.records(service)} == {
            f"record {number}" for number in range(30)
        }


def test_kills_in_mid_run_lose_nothing_that_was_accepted(
    tmp_path: Path, jaeger: Jaeger, sender_to: MakeSender, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost; a batch is sent twice when the kill falls between answer and deletion."""
    caplog.set_level(logging.CRITICAL, "opentelemetry")  # it tells of every refused request
    service = "killed"
    with run_collector(tmp_path, jaeger=jaeger.otlp_grpc) as collector:
        sender = sender_to(collector, service)
        accepted: set[str] = set()
        enough = threading.Event()

        def send() -> None:
            while not enough.is_set():
                spans = sender.make_spans(20)
                if sender.send_spans(spans):
                    accepted.update(ids(spans))

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for _ in range(3):
                before = len(accepted)
                wait_until(lambda before=before: len(accepted) > before + 200)  # type: ignore[misc]
                collector.process.kill()
                collector.process.start()
        finally:
            enough.set()
            thread.join()

        wait_until(lambda: seen_by(jaeger, service) >= accepted)
        assert len(accepted) >= 600


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_full_queue_refuses_what_it_cannot_keep_and_keeps_what_it_has(
    tmp_path: Path,
    sender_to: MakeSender,
    caplog: pytest.LogCaptureFixture,
    protocol: Protocol,
) -> None:
    caplog.set_level(logging.CRITICAL, "opentelemetry")
    settings = {"OTELCOL_QUEUE_BYTES": "1000000"}
    with (
        run_jaeger(tmp_path, start=False) as jaeger,
        run_collector(tmp_path, jaeger=jaeger.otlp_grpc, settings=settings) as collector,
    ):
        sender = sender_to(collector, "full", protocol, timeout=1)
        accepted: set[str] = set()
        for _ in range(100):
            spans = sender.make_spans(20, weight=10_000)
            if sender.send_spans(spans):
                accepted |= ids(spans)
            elif accepted:  # the first may be late on a slow machine, which is no answer
                break
        assert 20 <= len(accepted) < 2000

        jaeger.process.start()
        wait_until(lambda: seen_by(jaeger, "full") >= accepted)


def test_the_configuration_is_valid_without_any_setting() -> None:
    assert validate(CONFIG) == ""


def test_the_configuration_is_valid_with_langfuse() -> None:
    assert validate(CONFIG, LANGFUSE, settings={"LANGFUSE_AUTH": "cGs6c2s="}) == ""


LLM_SPANS = ["agent", "chat", "generation"]


@pytest.mark.parametrize(
    ("processor", "arrive"),
    [
        ("filter/langfuse", ["SELECT chosen", *LLM_SPANS]),
        ("filter/langfuse_database", ["SELECT chosen"]),
    ],
)
def test_only_llm_spans_and_what_was_chosen_of_the_database_go_to_langfuse(
    tmp_path: Path, jaeger: Jaeger, sender_to: MakeSender, processor: str, arrive: list[str]
) -> None:
    service = f"assistant-{processor.rpartition('/')[2]}"
    with langfuse_server() as langfuse:
        keys = f"{langfuse.public_key}:{langfuse.secret_key}".encode()
        settings = {
            "LANGFUSE_HOST": langfuse.endpoint,
            "LANGFUSE_AUTH": base64.b64encode(keys).decode(),
        }
        also = tmp_path / "langfuse.yaml"
        also.write_text(LANGFUSE.read_text().replace("filter/langfuse, tra", f"{processor}, tra"))
        with run_collector(
            tmp_path, jaeger=jaeger.otlp_grpc, also=(also,), settings=settings
        ) as collector:
            sender = sender_to(collector, service)
            sent = send_a_turn(sender)
            wait_until(lambda: len(seen_by(jaeger, service)) == sent)
            wait_until(lambda: len(langfuse.observations) == len(arrive))
    assert langfuse.names == sorted(arrive)
    assert langfuse.refused == []
    chosen = langfuse.observation("SELECT chosen")
    assert (chosen.type, chosen.level, chosen.environment) == ("SPAN", "WARNING", "dev")
    for headers in langfuse.headers:
        assert headers["x-langfuse-ingestion-version"] == "4"
        assert headers["content-encoding"] == "gzip"


def send_a_turn(sender: Sender) -> int:
    """Send what an application has of a turn, and return how many spans that were."""
    database = sender.tracer_of("otel_dbevents")
    chosen = {
        "dbevents.llm": True,
        "dbevents.langfuse": True,
        "langfuse.environment": "dev",
        "langfuse.observation.level": "WARNING",
    }
    sender.tracer.start_span("GET /").end()
    database.start_span("SELECT outside").end()
    database.start_span("SELECT fast", attributes={"dbevents.llm": True}).end()
    database.start_span("SELECT named", attributes={"gen_ai.operation.name": "chat"}).end()
    database.start_span("SELECT chosen", attributes=chosen).end()
    sender.tracer_of("langfuse-sdk").start_span("generation").end()
    sender.tracer_of("openinference.instrumentation.agno").start_span("agent").end()
    sender.tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"}).end()
    sender.tracer_of("langfuse-sdk-not").start_span("other").end()
    assert sender.send_spans()
    return 9

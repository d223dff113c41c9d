"""What the real collector writes and the real Jaeger answers is what a report reads."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_dbevents.report import SourceError, document, report, spans_of_finished
from otel_dbevents.report.jaeger import spans_of_jaeger
from otel_dbevents.report.model import Span
from tests.report.making import START_NS, finished_run, play, run_ids
from tests.services.collector import CONFIG, FILE, validate
from tests.services.collector import collector as run_collector
from tests.services.jaeger import Jaeger
from tests.services.process import wait_until

pytestmark = pytest.mark.e2e

RUN = finished_run()
BEGIN = datetime.fromtimestamp(START_NS / 1e9, UTC)
PROTOBUF = "exporters: {file/report: {format: proto}}\n"


def send(endpoint: str, service: str) -> None:
    """Send the run by OTLP."""
    provider = TracerProvider(
        resource=Resource({"service.name": service}), id_generator=run_ids(), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(endpoint, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=50))
    play(provider)
    assert provider.force_flush()
    provider.shutdown()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process, as its users do."""
    environment = {name: value for name, value in os.environ.items() if "LANGFUSE" not in name}
    return subprocess.run(
        [sys.executable, "-m", "otel_dbevents", "report", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def said_of(spans: Iterator[Span]) -> dict[str, object]:
    """Return what a report says of spans, but for where they are from."""
    found = document(report(spans))
    del found["source"]
    return found


def test_the_configuration_is_valid() -> None:
    assert validate(CONFIG, FILE) == ""


@pytest.mark.parametrize("form", ["json", "protobuf"])
def test_the_collectors_files_say_what_the_spans_did(tmp_path: Path, form: str) -> None:
    protobuf = tmp_path / "protobuf.yaml"
    protobuf.write_text(PROTOBUF)
    also = (FILE, protobuf) if form == "protobuf" else (FILE,)
    traces = tmp_path / "traces.jsonl"
    settings = {"OTELCOL_TRACES_FILE": str(traces)}
    with run_collector(tmp_path, also=also, settings=settings) as collector:
        send(collector.otlp_grpc, "report")
    done = command(str(traces), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told.pop("source") == str(traces)
    assert told == said_of(spans_of_finished(RUN))


def test_jaeger_says_what_the_spans_did(jaeger: Jaeger) -> None:
    service = "report-of-jaeger"
    send(f"http://{jaeger.otlp_grpc}", service)
    traces = len({span.context.trace_id for span in RUN if span.context})
    wait_until(lambda: len(jaeger.traces(service)) == traces)
    assert said_of(spans_of_jaeger(jaeger.query, service)) == said_of(spans_of_finished(RUN))
    done = command("--jaeger", jaeger.query, "--service", service)
    assert (done.returncode, done.stderr) == (0, "")
    assert "support v7" in done.stdout
    hour = timedelta(hours=1)
    part = report(spans_of_jaeger(jaeger.query, service, BEGIN, BEGIN + hour / 2)).total
    assert part is not None
    assert 0 < part.turns < traces
    with pytest.raises(SourceError, match="no traces of 'report-of-jaeger'"):
        [*spans_of_jaeger(jaeger.query, service, BEGIN + 9 * hour)]


def test_a_service_that_jaeger_does_not_know_is_said_with_those_it_knows(jaeger: Jaeger) -> None:
    send(f"http://{jaeger.otlp_grpc}", "report-known")
    wait_until(lambda: "report-known" in jaeger.services())
    with pytest.raises(SourceError) as raised:
        [*spans_of_jaeger(jaeger.query, "reprot")]
    assert "report-known" in raised.value.mend

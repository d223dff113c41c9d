"""The variants: what an engine is instrumented with, and where the telemetry goes."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.servers import has_redis

QUEUE = 1_000_000
"""Of the SDK's batch processors: with their own 2,048 they would lose spans and seem fast."""
PATIENCE = 120.0
"""Seconds; our own flush gives up after two, which under valgrind are few."""
NEVER_MS = 3_600_000
"""No processor exports because of the time: all of a round is done when the round is settled."""


@dataclass(frozen=True)
class Variant:
    """A row. ``reference`` is whose cost its ratio is taken of; ``exporter`` one of `EXPORTERS`."""

    name: str
    made_by: str
    """One of `INSTRUMENTS`."""
    reference: str = "contrib"
    sampled: bool = True
    exporter: str = "none"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of our `Config`."""
    ships: bool = False
    """Whether it ships its events to a Redis, which the environment names then."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


BARE = Variant("bare", "nothing", reference="")
_ALL: tuple[Variant, ...] = (
    BARE,
    Variant("two empty listeners", "empty listeners"),
    Variant("contrib", "contrib"),
    Variant("ours", "ours"),
    Variant("ours, metrics only", "ours", settings={"spans": False}),
    Variant("contrib, unsampled", "contrib", "contrib, unsampled", sampled=False),
    Variant("ours, unsampled", "ours", "contrib, unsampled", sampled=False),
    Variant("contrib, OTLP", "contrib", "contrib, OTLP", exporter="sdk"),
    Variant("ours, OTLP", "ours", "contrib, OTLP", exporter="ours"),
    Variant("ours, SDK's OTLP", "ours", "contrib, OTLP", exporter="sdk"),
    # In production, as it is where a Redis is: without a history, which would want events.
    Variant("ours, shipped", "ours", ships=True, settings={"environment": "production"}),
)
VARIANTS = tuple(variant for variant in _ALL if has_redis() or not variant.ships)


class Counting(SpanExporter):
    """Takes spans and counts them; keeps them only while ``kept`` is a list."""

    def __init__(self) -> None:
        self.spans = 0
        self.kept: list[ReadableSpan] | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        if self.kept is not None:
            self.kept.extend(spans)
        return SpanExportResult.SUCCESS


def _no_spans(_endpoint: str) -> SpanExporter:
    return Counting()


def _sdk_spans(endpoint: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")


def _our_spans(endpoint: str) -> SpanExporter:
    from otel_dbevents.exporters.otlp_http import HttpSpanExporter

    exporter = HttpSpanExporter(endpoint=f"{endpoint}/v1/traces")
    if not exporter.encode_directly():
        raise RuntimeError("the spans are not encoded by our own encoder")
    return exporter


def _no_metrics(_endpoint: str) -> MetricReader:
    return InMemoryMetricReader()


def _sdk_metrics(endpoint: str) -> MetricReader:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics")
    return PeriodicExportingMetricReader(exporter, export_interval_millis=NEVER_MS)


EXPORTERS: dict[str, tuple[Callable[[str], SpanExporter], Callable[[str], MetricReader]]] = {
    "none": (_no_spans, _no_metrics),
    "sdk": (_sdk_spans, _sdk_metrics),
    "ours": (_our_spans, _sdk_metrics),
}
"""What makes the spans' exporter and the metrics' reader, of the receiver's endpoint.

A new way to export is a line here and a variant that names it."""


class Telemetry:
    """One variant's providers. Which spans are sampled is said by the application's span above."""

    def __init__(self, variant: Variant, endpoint: str) -> None:
        make_exporter, make_reader = EXPORTERS[variant.exporter]
        self.exporter = make_exporter(endpoint)
        self.reader = make_reader(endpoint)
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(
            BatchSpanProcessor(self.exporter, max_queue_size=QUEUE, schedule_delay_millis=NEVER_MS)
        )
        self.meters = MeterProvider([self.reader])
        self.drain: Callable[[float], bool] = lambda _seconds: True

    def settle(self) -> None:
        """Have all spans exported: what is done for a statement is then done."""
        if not (self.drain(PATIENCE) and self.tracers.force_flush(int(PATIENCE * 1000))):
            raise TimeoutError(f"not settled within {PATIENCE:.0f} seconds")


def _nothing(_variant: Variant, _telemetry: Telemetry) -> None:
    pass


def _empty_listeners(_variant: Variant, _telemetry: Telemetry) -> None:
    from sqlalchemy import Engine, event

    event.listen(Engine, "before_cursor_execute", lambda *_: None)
    event.listen(Engine, "after_cursor_execute", lambda *_: None)


def _contrib(_variant: Variant, telemetry: Telemetry) -> None:
    # Before contrib: else it instruments an async engine twice.
    import sqlalchemy.ext.asyncio  # noqa: F401
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    SQLAlchemyInstrumentor().instrument(tracer_provider=telemetry.tracers)


def _ours(variant: Variant, telemetry: Telemetry) -> None:
    import otel_dbevents

    otel_dbevents.instrument(
        tracer_provider=telemetry.tracers,
        meter_provider=telemetry.meters,
        # Checks go by the clock, which runs on while valgrind slows the work: none in a round.
        config=otel_dbevents.Config(**{"health_interval_s": NEVER_MS // 1000} | variant.settings),
    )
    telemetry.drain = otel_dbevents.flush


def wait_longer(times: int) -> None:
    """Have what goes by the clock last longer, in a process that is made slower.

    Else threads would take turns, and our workers gather their batches, after every few statements
    there, and once in hundreds in life.
    """
    from otel_dbevents.bus import subscription

    subscription._GATHER_SECONDS *= times
    subscription._IDLE_SECONDS *= times
    sys.setswitchinterval(sys.getswitchinterval() * times)


INSTRUMENTS: dict[str, Callable[[Variant, Telemetry], None]] = {
    "nothing": _nothing,
    "empty listeners": _empty_listeners,
    "contrib": _contrib,
    "ours": _ours,
}
"""How a process is instrumented, before it makes its engines."""

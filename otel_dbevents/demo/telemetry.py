"""The OpenTelemetry SDK as the demonstration sets it up: what it shows, and where it sends.

Spans and metrics are kept in memory, to be shown. Exporters come beside that when the standard
variables ask for them (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_EXPORTER`` and the like).
"""

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_dbevents.demo.metrics import Point, points
from otel_dbevents.events import redact
from otel_dbevents.exporters import exporter_names

SIGNALS = ("traces", "metrics", "logs")
AT_THE_END_MS = 600_000
"""A run is short: one attempt at its end says in one place whether a collector was there."""


@dataclass(slots=True)
class Sent:
    """What one exporter did with its signal."""

    signal: str
    exporter: str
    endpoint: str
    taken: int = 0
    refused: int = 0
    reason: str = ""

    @property
    def total(self) -> int:
        """How many items there were to send."""
        return self.taken + self.refused

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return asdict(self)


class Telemetry:
    """The providers, what they kept in memory, and what the exporters did."""

    def __init__(self, service: str) -> None:
        resource = _resource(service)
        self.sent: list[Sent] = []
        self._closed = False
        self._exporters = {signal: list(self._make_exporters(signal)) for signal in SIGNALS}
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        for exporter in self._exporters["traces"]:
            processor = BatchSpanProcessor(exporter, schedule_delay_millis=AT_THE_END_MS)
            self.tracer_provider.add_span_processor(processor)
        readers: list[MetricReader] = [self._metrics]
        readers += map(PeriodicExportingMetricReader, self._exporters["metrics"])
        self.meter_provider = MeterProvider(readers, resource, shutdown_on_exit=False)
        self.logger_provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        for exporter in self._exporters["logs"]:
            records = BatchLogRecordProcessor(exporter, schedule_delay_millis=AT_THE_END_MS)
            self.logger_provider.add_log_record_processor(records)
        self._complaints = _Complaints()

    def take_spans(self) -> list[ReadableSpan]:
        """Return the spans that ended since this was called last."""
        spans = list(self._spans.get_finished_spans())
        self._spans.clear()
        return spans

    def read_metrics(self) -> list[Point]:
        """Collect the metrics as they are now."""
        return list(points(self._metrics.get_metrics_data()))

    def send(self) -> None:
        """Give the exporters what they do not have yet, all signals at a time."""
        flushes = (
            self.tracer_provider.force_flush,
            self.meter_provider.force_flush,
            self.logger_provider.force_flush,
        )
        with ThreadPoolExecutor(len(flushes)) as threads:
            for flushing in [threads.submit(flush) for flush in flushes]:
                flushing.result()

    def add(self, others: Iterable[Sent]) -> None:
        """Count what the same exporters did elsewhere as done here."""
        known = {(one.signal, one.exporter): one for one in self.sent}
        for there in others:
            here = known[there.signal, there.exporter]
            here.taken += there.taken
            here.refused += there.refused
            here.reason = here.reason or there.reason

    def close(self) -> None:
        """Shut everything down. The exporters go first: what they refused is not tried again."""
        self._closed = True
        for exporter in (one for several in self._exporters.values() for one in several):
            exporter.shutdown()
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()
        self.logger_provider.shutdown()
        self._complaints.close()

    def _make_exporters(self, signal: str) -> Iterator[Any]:
        for name in exporter_names(signal) if _asked_for(signal) else ():
            exporter = _load_exporter(signal, name)
            sent = Sent(signal, name, _endpoint(signal) if name.startswith("otlp") else "")
            self.sent.append(sent)
            yield self.counted(exporter, sent)

    def counted(self, exporter: Any, sent: Sent) -> Any:
        """Return an exporter as it was, but that the outcome of each batch is noted."""
        export = exporter.export

        def counted(batch: Any, *args: Any, **options: Any) -> Any:
            result = export(batch, *args, **options)
            size = len(batch) if hasattr(batch, "__len__") else sum(1 for _ in points(batch))
            if result.name == "SUCCESS":
                sent.taken += size
            elif not self._closed:
                sent.refused += size
                sent.reason = self._complaints.reason
            return result

        exporter.export = counted
        return exporter


def _resource(service: str) -> Resource:
    """Return the standard resource; the service's name is ours unless the environment has one."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: service}))
    return resource


def _asked_for(signal: str) -> bool:
    """Whether the standard variables name an exporter or an endpoint for a signal."""
    return bool(os.environ.get(f"OTEL_{signal.upper()}_EXPORTER") or _endpoint(signal))


def _load_exporter(signal: str, name: str) -> Any:
    """Make an exporter by its entry point's name."""
    found = list(entry_points(group=f"opentelemetry_{signal}_exporter", name=name))
    if not found:
        raise LookupError(f"OTEL_{signal.upper()}_EXPORTER: there is no exporter named {name!r}")
    exporter = found[0].load()
    return exporter(out=sys.stderr) if name == "console" else exporter()


def _endpoint(signal: str) -> str:
    """Return where the variables send a signal."""
    names = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return redact(next(filter(None, map(os.environ.get, names)), ""))


_REASONS = (
    r"connection refused",
    r"name or service not known",
    r"\bcode: \d{3}",
    r"StatusCode\.\w+",
    r"timed? ?out",
)
"""What exporters say of why they failed; what tells most comes first."""


class _Complaints(logging.Handler):
    """Hears what the exporters log, so that it is told once instead of at every attempt."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._heard: list[str] = []
        self._logger = logging.getLogger("opentelemetry.exporter")
        self._propagate = self._logger.propagate
        self._logger.propagate = False
        self._logger.addHandler(self)

    @property
    def reason(self) -> str:
        """Why an exporter failed, in its own words."""
        said = "\n".join(self._heard)
        found = (re.search(reason, said, re.IGNORECASE) for reason in _REASONS)
        return next((match[0] for match in found if match), "the exporter does not say why")

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what was said."""
        self._heard.append(record.getMessage())

    def close(self) -> None:
        """Let the exporters speak for themselves again."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagate
        super().close()

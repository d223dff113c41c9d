"""Telling: entries that are in the stream become spans and numbers that the collector has taken."""

import threading
from collections.abc import Callable, Sequence
from time import sleep
from typing import Any

import msgspec
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, TraceFlags

from benchmarks.sidecar.load import RESOURCE
from benchmarks.sidecar.shippers import CEILING, KEY, SHIPPERS
from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.events import AnyEvent, Event, QueryExecuted, span_id_of
from otel_dbevents.exporters.direct import encode_directly
from otel_dbevents.sidecar.outlets import Outlets
from otel_dbevents.sidecar.tellers import Tellers
from otel_dbevents.sidecar.work import Work

SDKS = "the SDK's way"
GROUP = "benchmark"
AT_ONCE = 512
ENTRIES = 10
_LOOK_S = 0.005
_SCOPE = InstrumentationScope("benchmark")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class SdksWay:
    """What one would write with the SDK: a span object each, ``record``, export, acknowledge."""

    def __init__(self, url: str, stream: str, endpoint: str) -> None:
        self._client, self._stream = connect(url), stream
        self._ship = SHIPPERS[CEILING](url, stream)
        self._decode = msgspec.msgpack.Decoder(list[AnyEvent]).decode
        self._spans = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
        self._reader = InMemoryMetricReader()
        meters = MeterProvider([self._reader], resource=RESOURCE)
        meter = meters.get_meter("benchmark")
        self._duration = meter.create_histogram("db.client.operation.duration", "s")
        self._numbers = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics")

    def fill(self, events: Sequence[Event]) -> None:
        """Have events in the stream."""
        self._client.delete(self._stream)
        self._ship(events)
        self._client.xgroup_create(self._stream, GROUP, "0")

    def tell(self, number: int) -> None:
        """Tell so many."""
        told = 0
        while told < number:
            found = self._client.xreadgroup(GROUP, "one", {self._stream: ">"}, count=ENTRIES)
            messages = found[0][1]
            events = [event for _, fields in messages for event in self._decode(fields[b"d"])]
            for first in range(0, len(events), AT_ONCE):
                spans = [self._span(event) for event in events[first : first + AT_ONCE]]
                assert self._spans.export(spans).name == "SUCCESS"
            self._client.xack(self._stream, GROUP, *[id_ for id_, _ in messages])
            told += len(events)
        metrics = self._reader.get_metrics_data()
        assert metrics is not None
        assert self._numbers.export(metrics).name == "SUCCESS"

    def _span(self, event: QueryExecuted) -> ReadableSpan:
        database, statement, above = event.database, event.statement, event.parent
        common = {
            "db.system.name": database.system_name.value,
            "db.namespace": database.namespace,
            "db.operation.name": statement.operation_name,
            "db.collection.name": statement.collection_name,
            "db.query.summary": statement.query_summary,
            "server.address": database.server_address,
            "server.port": database.server_port,
        }
        self._duration.record(event.duration_ns / 1e9, common)
        assert above is not None
        trace_id = int.from_bytes(above.trace_id)
        return ReadableSpan(
            name=statement.query_summary,
            context=SpanContext(trace_id, span_id_of(event.id), False, _SAMPLED),
            parent=SpanContext(trace_id, int.from_bytes(above.span_id), False, _SAMPLED),
            resource=RESOURCE,
            attributes={
                **common,
                "db.query.text": statement.query_text,
                "db.response.returned_rows": event.returned_rows,
            },
            kind=SpanKind.CLIENT,
            instrumentation_scope=_SCOPE,
            status=Status(),
            start_time=event.end_time_ns - event.duration_ns,
            end_time=event.end_time_ns,
        )


class OurWay:
    """The sidecar's own loop, as its process runs it."""

    def __init__(self, url: str, stream: str, endpoint: str, *, signed: bool = False) -> None:
        self._url, self._stream, self._client = url, stream, connect(url)
        self._keys = Keyring(KEY) if signed else None
        self._row = "ours, signed" if signed else "ours"
        spans = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
        if not encode_directly(spans):
            raise RuntimeError("the spans are not encoded by our own encoder")
        numbers = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics")
        self._outlets = Outlets({"traces": [spans], "metrics": [numbers]})

    def fill(self, events: Sequence[Event]) -> None:
        """Have events in the stream."""
        self._client.delete(self._stream)
        SHIPPERS[self._row](self._url, self._stream)(events)

    def tell(self, number: int) -> None:
        """Tell so many."""
        self._work(lambda work: work.counts.handled >= number)

    def share(self) -> None:
        """Tell what others who do the same do not, until nothing is left."""
        self._work(lambda _work: self._is_done())

    def _is_done(self) -> bool:
        for group in self._client.xinfo_groups(self._stream):
            return group["entries-read"] == self._client.xlen(self._stream) and not group["pending"]
        return False

    def _work(self, is_done: Callable[[Work], bool]) -> None:
        reader = Reader(self._url, self._stream, GROUP, keys=self._keys)
        tellers = Tellers("benchmark", self._outlets.preferences, None)
        work = Work(reader, tellers, self._outlets, self._url)
        thread = threading.Thread(target=work.run)
        thread.start()
        while thread.is_alive() and not is_done(work):
            sleep(_LOOK_S)
        work.stop(60.0)
        thread.join()


def _signed(url: str, stream: str, endpoint: str) -> OurWay:
    return OurWay(url, stream, endpoint, signed=True)


TELLERS: dict[str, Callable[[str, str, str], Any]] = {
    SDKS: SdksWay,
    "ours": OurWay,
    "ours, beside": OurWay,
    "ours, signed": _signed,
}

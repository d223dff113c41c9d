"""The same run once more: its events through a Redis to a sidecar, and what came out compared.

The demonstration makes its telemetry as always. Its very events are shipped beside that, as an
application with ``OTEL_DBEVENTS_BUS_URL`` ships them; a sidecar in a process of its own makes
telemetry of them, and sends that to a receiver here.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan
from pydantic import SecretStr

from otel_dbevents.bridge.attributes import FOLDED_COUNT, SCOPE
from otel_dbevents.demo.metrics import Point
from otel_dbevents.demo.receiving import Receiver, receiving
from otel_dbevents.demo.servers import redis_server, sidecar
from otel_dbevents.demo.telemetry import Telemetry
from otel_dbevents.pipeline import Pipeline, shown_of
from otel_dbevents.shipping import Description, sender_of

_STREAM: Final = "demo"
_KEY: Final = "the key of one run of the demonstration"
_PATIENCE_S: Final = 30.0
_DURATION: Final = "db.client.operation.duration"


@dataclass(frozen=True, slots=True)
class Compared:
    """What came out of the sidecar, beside what was made in the application."""

    events: int
    """How many events were shipped."""
    entries: int
    bytes: int
    """What the stream takes in Redis, in bytes."""
    here: Mapping[str, int]
    """How many operations and log records were told of in the application."""
    there: Mapping[str, int]
    """How many the sidecar sent."""
    different: int
    """How many spans are not the same in each field, or are on one side alone."""

    @property
    def same(self) -> bool:
        """Whether both are the same."""
        return self.here == self.there and not self.different

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "same": self.same}


class ThroughRedis:
    """Ships what happens in a run. `compared` says what came out at the end."""

    def __init__(self, url: str, client: Any, receiver: Receiver, telemetry: Telemetry) -> None:
        self._url, self._client, self._receiver = url, client, receiver
        self._telemetry = telemetry
        self._spans: list[ReadableSpan] = []
        self._records = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call, unused-ignore]
        processor = SimpleLogRecordProcessor(self._records)
        telemetry.logger_provider.add_log_record_processor(processor)

    def join(self, pipeline: Pipeline) -> None:
        """Ship the events of this pipeline from now on, too."""
        config = pipeline.config.model_copy(
            update={"bus_url": self._url, "stream": _STREAM, "signing_key": SecretStr(_KEY)}
        )
        providers = {"tracer": self._telemetry.tracer_provider}
        description = Description(config, shown_of(config), lambda: providers)
        self._sender = sender_of(config, description)
        pipeline.bus.subscribe(self._sender.consume, name="redis")

    def keep(self, spans: Iterable[ReadableSpan]) -> None:
        """Keep what the application made, to be compared."""
        self._spans += [each for each in spans if _is_ours(each)]

    def compared(self, points: Sequence[Point]) -> Compared:
        """Wait until the sidecar has sent as much as was made here, and compare both."""
        self._sender.finish(_PATIENCE_S)
        here = {
            "operations in spans": sum(map(_stands_for, _encoded(self._spans))),
            "log records": len(self._records.get_finished_logs()),
            "operations in the metrics": sum(p.count for p in points if p.metric == _DURATION),
        }
        deadline = time.monotonic() + _PATIENCE_S
        while (there := self._arrived()) != here and time.monotonic() < deadline:
            time.sleep(0.05)
        return Compared(
            self._sender.shipped,
            self._client.xlen(_STREAM),
            self._client.memory_usage(_STREAM, samples=0),
            here,
            there,
            self._different(),
        )

    def _arrived(self) -> dict[str, int]:
        return {
            "operations in spans": sum(map(_stands_for, self._receiver.spans)),
            "log records": len(self._receiver.log_records),
            "operations in the metrics": _operations(self._receiver.metrics),
        }

    def _different(self) -> int:
        return differing(_encoded(self._spans), self._receiver.spans)


def differing(here: Iterable[Any], there: Iterable[Any]) -> int:
    """Return how many spans, encoded, are on one side alone.

    A run of like queries that goes on is told from time to time, when its teller's clock says so.
    So where one is folded, it is what its spans stand for together that must be the same.
    """
    one, other = _by_place(here), _by_place(there)
    found = 0
    for place in one.keys() | other.keys():
        both = one.get(place, ()), other.get(place, ())
        if any(map(_is_folded, (*both[0], *both[1]))):
            found += sum(map(_stands_for, both[0])) != sum(map(_stands_for, both[1]))
        else:
            mine, theirs = (Counter(map(_fields, spans)) for spans in both)
            found += max((mine - theirs).total(), (theirs - mine).total())
    return found


@contextmanager
def through_redis(folder: Path, telemetry: Telemetry) -> Iterator[ThroughRedis]:
    """Run a Redis, a sidecar and a receiver within the block.

    Raises `LookupError` where the Redis cannot be run.
    """
    with receiving() as receiver, redis_server(folder) as (url, client):
        settings = {
            "OTEL_DBEVENTS_BUS_URL": url,
            "OTEL_DBEVENTS_STREAM": _STREAM,
            "OTEL_DBEVENTS_SIGNING_KEY": _KEY,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        with sidecar(folder, settings):
            yield ThroughRedis(url, client, receiver, telemetry)


def _is_ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == SCOPE


def _encoded(spans: Sequence[ReadableSpan]) -> list[Any]:
    resources = encode_spans(spans).resource_spans if spans else ()
    return [span for each in resources for scope in each.scope_spans for span in scope.spans]


def _by_place(spans: Iterable[Any]) -> Mapping[tuple[bytes, bytes, str], Sequence[Any]]:
    found: dict[tuple[bytes, bytes, str], list[Any]] = {}
    for span in spans:
        found.setdefault((span.trace_id, span.parent_span_id, span.name), []).append(span)
    return found


def _is_folded(span: Any) -> bool:
    return any(each.key == FOLDED_COUNT for each in span.attributes)


def _stands_for(span: Any) -> int:
    """Return of how many operations a span tells."""
    told = (each.value.int_value for each in span.attributes if each.key == FOLDED_COUNT)
    return next(told, 1)


def _fields(span: Any) -> bytes:
    """Return all that a span says, whatever the order of its attributes."""
    said = type(span)()
    said.CopyFrom(span)
    del said.attributes[:]
    said.attributes.extend(sorted(span.attributes, key=lambda each: str(each.key)))
    return bytes(said.SerializeToString(deterministic=True))


def _operations(metrics: Iterable[Any]) -> int:
    """Return how many operations the last numbers count of each series."""
    last: dict[tuple[str, ...], int] = {}
    for metric in metrics:
        for point in metric.histogram.data_points if metric.name == _DURATION else ():
            last[tuple(sorted(map(str, point.attributes)))] = point.count
    return sum(last.values())

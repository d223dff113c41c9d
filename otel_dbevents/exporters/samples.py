"""Whether our encoder and the installed SDK's still agree: asked once, before ours is used.

Our encoder reads private fields of the SDK's spans. Where a release lays them out anew, or says
more of a span than we know, the samples come out different, and the SDK's encoder stays in use.
"""

import logging
from functools import lru_cache
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from otel_dbevents.exporters.otlp import SpanEncoder
from otel_dbevents.swallowing import came_through, told

_log = logging.getLogger("otel_dbevents.exporters")


@lru_cache(maxsize=1)
def is_faithful() -> bool:
    """Whether both encode the samples alike. Never raises; the answer is kept."""
    try:
        spans, encoder = samples(), SpanEncoder()
        ours = ExportTraceServiceRequest.FromString(encoder.encode(spans))
        agreed = not encoder.fallbacks and bool(ours == encode_spans(spans))
    except Exception as error:  # noqa: BLE001 - an SDK that we do not know: its own encoder is used
        told("encoder's samples", error)
        _log.debug("the samples could not be encoded: %s", came_through(error))
        return False
    return agreed


def samples() -> list[ReadableSpan]:
    """Return spans that have, between them, all that a span can have."""
    state = TraceState([("vendor", "1"), ("other", "x")])
    remote = SpanContext(2**127 + 5, 2**63 + 3, True, TraceFlags(3), state)
    own = SpanContext(2**127 + 5, 7, is_remote=False, trace_flags=TraceFlags(3), trace_state=state)
    inner = SpanContext(2**127 + 5, 9, is_remote=False, trace_flags=TraceFlags(1))
    full = ReadableSpan(
        "GET /é",
        context=own,
        parent=remote,
        resource=Resource({"service.name": "samples", "process.pid": 7}, "https://example.org/1"),
        attributes=_attributes(),
        events=_list([Event("exception", _attributes(), 5)]),
        links=_list([Link(remote, _attributes()), Link(inner)]),
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR, "broken"),
        start_time=1_700_000_000_000_000_001,
        end_time=1_700_000_000_000_000_002,
        instrumentation_scope=InstrumentationScope("a", "1", "https://example.org/2", {"k": "v"}),
    )
    spare = ReadableSpan("", inner, own, Resource({}), {"a": 1}, kind=SpanKind.CLIENT, start_time=1)
    return [full, spare, full]


def _attributes() -> BoundedAttributes:
    values: dict[str, Any] = {
        "text": "é" * 100,
        "empty": "",
        "yes": True,
        "number": -1,
        "double": 0.5,
        "texts": ("a", "b"),
        "numbers": (1, 2**40),
    }
    attributes = BoundedAttributes(attributes=values, immutable=False)
    attributes.dropped = 2  # had it really dropped any, it would have warned of it
    return attributes


def _list(items: list[Any]) -> Any:
    return BoundedList.from_seq(len(items), [items[0], *items])

"""Telling is cheap where nobody looks: spans of plain queries have no parts until they are sent."""

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from benchmarks.sidecar.load import PER_SPAN, description, events_of
from otel_dbevents.bridge.late import Late
from otel_dbevents.bus.redis.entries import Entry, Unpacker, pack_all
from otel_dbevents.bus.redis.held import Held
from otel_dbevents.exporters.otlp import SpanEncoder
from otel_dbevents.sidecar.tellers import Tellers

NUMBER = 20


def test_a_plain_querys_span_is_kept_and_encoded_without_its_parts() -> None:
    [(count, body)] = pack_all(events_of(NUMBER))
    entry = Entry("app", "1-1", 0, count, 1, description()(), body)
    events, _ = Unpacker().unpack(entry)
    tellers = Tellers("sidecar", (None, None), None)
    assert tellers.tell([Held(b"1-1", entry, events)]) == []
    spans = tellers.collect().spans
    above = {id(span.__dict__["_above"]) for span in spans}
    assert len(spans) == NUMBER
    assert len(above) == NUMBER // PER_SPAN  # made once for all queries of a parent
    encoded = SpanEncoder().encode(spans)
    assert {type(span) for span in spans} == {Late}
    assert type(encode_spans(spans)).FromString(encoded) == encode_spans(spans)
    tellers.close()

"""Our encoding of spans against the SDK's own: the same messages, whatever the spans."""

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_dbevents.exporters.otlp import SpanEncoder
from tests.exporters.any_span import batches

ENCODER = SpanEncoder()
"""One for all examples: what it remembers of one must not show in another."""


@pytest.fixture(autouse=True, scope="module")
def quiet():
    """The SDK logs each attribute that it cannot encode, with a traceback."""
    sdks = logging.getLogger("opentelemetry.exporter.otlp.proto.common._internal")
    sdks.disabled = True
    yield
    sdks.disabled = False


def canonical(request):
    return request.SerializeToString(deterministic=True)


def same(encoder, spans):
    """Whether both encoders say the same: as bytes, as a message with a NaN equals none."""
    ours = ExportTraceServiceRequest.FromString(encoder.encode(spans))
    return canonical(ours) == canonical(encode_spans(spans))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches)
def test_any_spans_are_the_messages_that_the_sdk_makes_of_them(spans):
    assert same(ENCODER, spans)
    assert ENCODER.fallbacks == 0

"""Spans over gRPC: the SDK's exporter with our encoding. Entry point ``otlp_dbevents_grpc``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan

from otel_dbevents.exporters.direct import BytesStub, Encoded, own_encoder, refuse

if TYPE_CHECKING:
    from otel_dbevents.exporters.otlp import SpanEncoder


class GrpcSpanExporter(OTLPSpanExporter):
    """Sends spans by OTLP over gRPC. Arguments and variables are those of the SDK's exporter."""

    _encoder: "SpanEncoder | None" = None

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.encode_directly()

    def encode_directly(self) -> bool:
        """Exchange the encoding; False when the SDK's stays in use."""
        encoder = own_encoder()
        if encoder is None:
            return False
        stub = BytesStub(self._stub)
        client = stub(self._channel)
        connecting = getattr(type(self)._initialize_channel_and_stub, "__code__", None)
        if not stub.is_known or "_stub" not in getattr(connecting, "co_names", ()):
            refuse("this SDK's gRPC exporter is made in another way than is known here")
            return False
        self._stub, self._client, self._encoder = stub, client, encoder
        return True

    def _translate_data(self, data: Sequence[ReadableSpan]) -> Any:
        if self._encoder is None:
            return super()._translate_data(data)
        return Encoded(self._encoder.encode(data))

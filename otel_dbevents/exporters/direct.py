"""The SDK's OTLP exporters with our encoding: endpoint, headers, TLS, retries stay the SDK's.

Only what makes bytes of spans is exchanged, within one exporter; nothing is patched for others.
An exporter whose insides are not what is known here, or an SDK whose encoder says other things
than ours, keeps the SDK's encoding, which is slower and right.
"""

import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from otel_dbevents.swallowing import came_through, told

if TYPE_CHECKING:
    from otel_dbevents.exporters.otlp import SpanEncoder

_PLACE: Final = "opentelemetry.exporter.otlp.proto.{}.trace_exporter"
_OURS: Final = {
    _PLACE.format("http"): ("otel_dbevents.exporters.otlp_http", "HttpSpanExporter"),
    _PLACE.format("grpc"): ("otel_dbevents.exporters.otlp_grpc", "GrpcSpanExporter"),
}
_log = logging.getLogger("otel_dbevents.exporters")
_said: set[str] = set()


class Encoded:
    """A request that is bytes already, in the place of the message that exporters expect."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Return the bytes."""
        return self._data

    SerializePartialToString = SerializeToString

    def __getattr__(self, name: str) -> Any:
        """Answer as the message would: for an interceptor that looks into what is sent."""
        return getattr(ExportTraceServiceRequest.FromString(self._data), name)


def encode_directly(exporter: Any) -> bool:
    """Make one of the SDK's OTLP span exporters encode with `SpanEncoder` from now on.

    False, with the exporter as it was, when it is none of these, has been made differently, or
    is one of ours already. Never raises.
    """
    place, name = _OURS.get(type(exporter).__module__, ("", ""))
    if not place or type(exporter).__name__ != "OTLPSpanExporter":
        return False
    before = type(exporter)
    try:
        exporter.__class__ = getattr(import_module(place), name)
        if exporter.encode_directly():
            return True
    except Exception as error:  # noqa: BLE001 - an exporter that we do not know goes on as it was
        told("direct exporter", error)
        refuse("the exporter's cannot be exchanged", came_through(error))
    exporter.__class__ = before
    return False


def refuse(why: str, came: str = "") -> None:
    """Say, once for each reason, that the SDK's encoding is in use."""
    if why not in _said:
        _said.add(why)
        _log.info("the SDK's own OTLP encoding of spans is used: %s", why)
        if came:
            _log.debug("it came through %s", came)


def own_encoder() -> "SpanEncoder | None":
    """Return a new encoder. None, which is said, when the SDK is not one that it knows."""
    try:
        from otel_dbevents.exporters.otlp import SpanEncoder
        from otel_dbevents.exporters.samples import is_faithful

        if is_faithful():
            return SpanEncoder()
    except ImportError as error:  # something of the SDK that the encoder reads is gone
        _log.debug("the encoder cannot be imported: %s", came_through(error))
    refuse("this SDK encodes spans in another way than is known here")
    return None


def exporting(export: Any) -> Callable[[Sequence[ReadableSpan]], Any] | None:
    """Return an HTTP exporter's bound ``export`` anew, with our encoder in the place of the SDK's.

    None when it does not call the SDK's encoder in the way that is known.
    """
    encoder = own_encoder()
    if encoder is None:
        return None
    function = getattr(export, "__func__", None)
    if not isinstance(function, FunctionType) or not _calls_encoder(function):
        refuse("this SDK's HTTP exporter is made in another way than is known here")
        return None
    encode = encoder.encode
    names = {**function.__globals__, "encode_spans": lambda spans: Encoded(encode(spans))}
    code, defaults = function.__code__, function.__defaults__
    anew = FunctionType(code, names, "export", defaults, function.__closure__)
    anew.__kwdefaults__ = function.__kwdefaults__
    return MethodType(anew, export.__self__)


def _calls_encoder(function: FunctionType) -> bool:
    names = function.__code__.co_names
    return "encode_spans" in names and function.__globals__.get("encode_spans") is encode_spans


class BytesStub:
    """A gRPC client as ``stub`` makes it, which takes an `Encoded` as well as a message."""

    def __init__(self, stub: Callable[[Any], Any]) -> None:
        self._stub = stub
        self.is_known = False

    def __call__(self, channel: Any) -> Any:
        """Make the client for ``channel``, a new one of which comes with each reconnection."""
        return self._stub(_Channel(channel, self))


class _Channel:
    """A channel on which a stub's calls are serialised by the request itself."""

    def __init__(self, channel: Any, stub: BytesStub) -> None:
        self._channel = channel
        self._made = stub

    def unary_unary(self, method: str, request_serializer: Any, *args: Any, **named: Any) -> Any:
        self._made.is_known = request_serializer == ExportTraceServiceRequest.SerializeToString
        return self._channel.unary_unary(method, _serialize, *args, **named)


def _serialize(request: Any) -> bytes:
    data: bytes = request.SerializeToString()
    return data

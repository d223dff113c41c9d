"""Our own way to Langfuse: the chosen spans, by OTLP over HTTP, whoever made Langfuse's client.

In: finished spans. Out: requests to Langfuse's ingestion, of those that have ``dbevents.langfuse``.
The variables are those of Langfuse's SDK: ``LANGFUSE_PUBLIC_KEY``, ``LANGFUSE_SECRET_KEY``,
``LANGFUSE_BASE_URL`` (or ``LANGFUSE_HOST``), ``LANGFUSE_TIMEOUT``. What the standard exporter is
given for a collector (headers, credentials, certificates) is not for Langfuse, and does not go
there.
"""

import gzip
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_dbevents.exporters.destination import Destination, Unsent
from otel_dbevents.exporters.direct import own_encoder
from otel_dbevents.exporters.outbox import Limits
from otel_dbevents.exporters.processors import CountingSpanProcessor
from otel_dbevents.unreachable import tell_undelivered

_SCOPE: Final = "otel_dbevents"
_CHOSEN: Final = "dbevents.langfuse"
_PATH: Final = "/api/public/otel/v1/traces"
_HEADERS: Final = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "gzip",
    "x-langfuse-ingestion-version": "4",  # without it Langfuse Cloud shows data minutes later
}
_FIRST_WAIT_S: Final = 0.5
_LARGEST: Final = 4_000_000
"""Bytes of a request, before they are compressed: Langfuse Cloud takes 5 MB."""
_log = logging.getLogger("otel_dbevents.exporters")


class ObservationExporter(SpanExporter):
    """Sends batches of spans to Langfuse.

    What Langfuse cannot take just now is tried again within the destination's time-out. A batch
    that is refused or not taken by then is a FAILURE; that is said in one line now and then.
    """

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self._encode = _encoding()
        self._ended = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans. Never raises for what the network or Langfuse does."""
        deadline = monotonic() + self.destination.timeout_s
        sent = [self._send(gzip.compress(body), deadline) for body in self._bodies(spans)]
        return SpanExportResult.SUCCESS if all(sent) else SpanExportResult.FAILURE

    def _bodies(self, spans: Sequence[ReadableSpan]) -> Iterator[bytes]:
        """Encode the spans in requests that are not too large, as far as that can be had."""
        body = self._encode(spans)
        if len(body) <= _LARGEST or len(spans) == 1:
            yield body
            return
        half = len(spans) // 2
        yield from self._bodies(spans[:half])
        yield from self._bodies(spans[half:])

    def _send(self, body: bytes, deadline: float) -> bool:
        """Send one request, more than once if need be. False where it was not taken in time."""
        wait_s = _FIRST_WAIT_S
        while not self._ended.is_set():
            left = deadline - monotonic()
            try:
                self.destination.ask(_PATH, left, body, _HEADERS)
            except Unsent as unsent:
                wait_s = max(wait_s, unsent.retry_after_s)
                if not unsent.is_transient or wait_s >= deadline - monotonic():
                    tell_undelivered(self.destination.where, str(unsent), unsent.mend)
                    return False
                self._ended.wait(wait_s)
                wait_s *= 2
            else:
                return True
        return False

    def shutdown(self) -> None:
        """Try nothing again. Twice is harmless."""
        self._ended.set()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Nothing waits here."""
        return True


class ObservationProcessor(CountingSpanProcessor):
    """Sends the spans that were chosen for Langfuse, and counts those that are not delivered.

    All others pass by. `shutdown` takes ``shutdown_s`` seconds at most.
    """

    signal = "langfuse"

    def __init__(
        self, destination: Destination, limits: Limits | None = None, *, shutdown_s: float = 2.0
    ) -> None:
        exporter = ObservationExporter(destination)
        super().__init__(exporter, limits, shutdown_s=shutdown_s, what="spans for Langfuse")

    def on_end(self, span: ReadableSpan) -> None:
        """Leave a chosen span to be sent. Never waits, and never raises."""
        if getattr(type(span), "is_plain", False):  # the bridge's, outside of LLM work
            return
        try:
            scope = span.instrumentation_scope  # asked first, as it costs the others less
            if scope is None or scope.name != _SCOPE or self._is_shut:
                return
            attributes = span.attributes
            if attributes is None or attributes.get(_CHOSEN) is not True:
                return
        except Exception as error:  # noqa: BLE001 - it is the application's span that ends here
            self._outbox.failed(error)
            return
        super().on_end(span)

    def on_all_ended(self, spans: Sequence[ReadableSpan]) -> None:
        """Leave those that are chosen to be sent. Never waits, and never raises."""
        for span in spans:
            self.on_end(span)


vars(ObservationProcessor.on_end)["for_all"] = ObservationProcessor.on_all_ended


@dataclass(frozen=True, slots=True)
class Attached:
    """A processor of ours in somebody's provider, and how to take it out again."""

    provider: Any
    processor: ObservationProcessor

    @property
    def lost(self) -> Mapping[str, int]:
        """How many spans were lost on this way, by reason."""
        return {f"{self.processor.signal}_{why}": n for why, n in self.processor.lost.items()}

    def detach(self, timeout: float) -> None:
        """Send what is left, in ``timeout`` seconds, and take the processor out."""
        self.processor.close(timeout)
        _take_out(self.provider, self.processor)


def attach(provider: Any, destination: Destination, timeout_s: float) -> Attached | None:
    """Have a provider's chosen spans sent to Langfuse; its end takes ``timeout_s`` for that.

    None where the provider takes no processors: a stand-in, until the application sets one.
    """
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        return None
    processor = ObservationProcessor(destination, shutdown_s=timeout_s)
    add(processor)
    return Attached(provider, processor)


def _take_out(provider: Any, processor: ObservationProcessor) -> None:
    """Take a processor out of the SDK's provider, which has no public way for it."""
    multi = getattr(provider, "_active_span_processor", None)
    lock, processors = getattr(multi, "_lock", None), getattr(multi, "_span_processors", None)
    if lock is not None and isinstance(processors, tuple):
        with lock:
            kept = tuple(each for each in multi._span_processors if each is not processor)  # type: ignore[union-attr]
            multi._span_processors = kept  # type: ignore[union-attr]


def _encoding() -> Callable[[Sequence[ReadableSpan]], bytes]:
    """Return our encoder; the SDK's where it says other things than ours."""
    encoder = own_encoder()
    if encoder is not None:
        return encoder.encode
    return lambda spans: encode_spans(spans).SerializeToString()

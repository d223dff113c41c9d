"""Keeping: finished spans and log records stay in a list, until whoever has it sends them."""

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_dbevents.exporters.processors import lasting


class KeptSpans(SpanProcessor):
    """Keeps finished spans that are sampled."""

    # The SDK's own, so that whoever asks whether it does anything sees that it does not.
    on_start = BatchSpanProcessor.on_start

    def __init__(self, into: list[ReadableSpan]) -> None:
        self._into = into

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._into.append(span)

    def on_all_ended(self, spans: list[ReadableSpan]) -> None:
        """Keep them, all of them sampled, without a look at one: see `bridge.handing`."""
        self._into.extend(spans)


vars(KeptSpans.on_end)["for_all"] = KeptSpans.on_all_ended


class KeptRecords(LogRecordProcessor):
    """Keeps log records."""

    def __init__(self, into: list[Any]) -> None:
        self._append: Callable[[Any], None] = into.append

    def on_emit(self, log_record: Any) -> None:
        """Keep it, without its context."""
        self._append(lasting(log_record))

    def shutdown(self) -> None:
        """Do nothing: there is nothing to end."""

    def force_flush(self, timeout_millis: int | None = None) -> bool:  # noqa: ARG002
        """Do nothing: what is kept is taken by whoever has the list."""
        return True

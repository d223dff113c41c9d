"""Batch processors that lose nothing in silence, in the place of the SDK's.

They honour the variables of those (``OTEL_BSP_*`` for spans, ``OTEL_BLRP_*`` for log records; the
defaults are the specification's), and keep to the time that they are given: what was not sent by
then is counted in `lost` as everything else that was not delivered (`exporters.outbox`).
"""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from otel_dbevents.ending import ending
from otel_dbevents.exporters.answers import Listening
from otel_dbevents.exporters.outbox import Limits, Outbox
from otel_dbevents.exporters.stages import Counting

_SHUTDOWN_S: Final = 2.0
_log = logging.getLogger("otel_dbevents.exporters")


class _Queued(Counting):
    """What both processors do: a queue before an exporter, with a time for the end of it."""

    def __init__(self, exporter: Any, limits: Limits, what: str, shutdown_s: float) -> None:
        self._exporter = exporter
        self._shutdown_s = shutdown_s
        self._listening = Listening(exporter)
        self._outbox: Outbox[Any] = Outbox(self._deliver, limits, what)
        self._is_shut = False

    @property
    def lost(self) -> Mapping[str, int]:
        """How many were lost, by reason.

        ``queue_full``, ``export_failed``, ``shutdown``, ``rejected`` (the collector took the rest).
        """
        return self._outbox.lost

    def _deliver(self, batch: list[Any]) -> bool:
        answer = self._listening.send(batch)
        if answer.rejected:
            self._outbox.reject(min(answer.rejected, len(batch)), answer.words)
        return answer.taken

    def force_flush(self, timeout_millis: int | None = 30_000) -> bool:
        """Send what is there; False when ``timeout_millis`` ran out.

        When the process ends it takes ``shutdown_s`` at most, whoever wants it (Langfuse's client
        does, of the whole provider), and is True: the provider would not come to the others else.
        """
        timeout = 30.0 if timeout_millis is None else timeout_millis / 1000
        if not ending.is_here():
            return self._outbox.flush(timeout)
        began = monotonic()
        if not self._outbox.flush(min(timeout, ending.at_most(self._shutdown_s))):
            ending.took_since(began)
        return True

    def shutdown(self) -> None:
        """Send what is left, for ``shutdown_s`` at most; then stop for good. Twice is harmless."""
        self.close(ending.at_most(self._shutdown_s))

    def close(self, timeout: float) -> None:
        """Do the same within ``timeout`` seconds."""
        self._outbox.close(timeout)
        if not self._is_shut:
            self._is_shut = True
            self._exporter.shutdown()

    def give_up(self) -> None:
        """Stop for good, without waiting; what was not sent is counted as lost."""
        self._outbox.give_up()


class CountingSpanProcessor(_Queued, SpanProcessor):
    """Sends spans in batches; each span that is not delivered is counted in `lost`.

    ``limits`` are the environment's (``OTEL_BSP_*``) where they are not given. `shutdown` takes
    ``shutdown_s`` seconds at most, beside what the exporter's own takes. ``what`` are its spans in
    the log.
    """

    signal = "span"

    def __init__(
        self,
        span_exporter: SpanExporter,
        limits: Limits | None = None,
        *,
        shutdown_s: float = _SHUTDOWN_S,
        what: str = "spans",
    ) -> None:
        limits = limits or _limits("OTEL_BSP", 5000)
        super().__init__(span_exporter, limits, what, shutdown_s)

    # The SDK's own, so that whoever asks whether it does anything sees that it does not.
    on_start = BatchSpanProcessor.on_start

    @property
    def span_exporter(self) -> SpanExporter:
        """Where the spans go, named as the SDK's processor names it."""
        exporter: SpanExporter = self._exporter
        return exporter

    def on_end(self, span: ReadableSpan) -> None:
        """Leave a sampled span to be sent. Never waits, and never raises."""
        try:
            if span.context is not None and span.context.trace_flags.sampled:
                self._outbox.put(span)
        except Exception as error:  # noqa: BLE001 - it is the application's span that ends here
            self._outbox.failed(error)

    def on_all_ended(self, spans: Sequence[ReadableSpan]) -> None:
        """Leave many to be sent, all of them sampled. Never waits, and never raises."""
        try:
            self._outbox.put_all(spans)
        except Exception as error:  # noqa: BLE001 - as above
            for _ in spans:
                self._outbox.failed(error)


# Said of the function, so that who overrides it is not passed by (`bridge.handing`).
vars(CountingSpanProcessor.on_end)["for_all"] = CountingSpanProcessor.on_all_ended


class CountingLogRecordProcessor(_Queued, LogRecordProcessor):
    """Sends log records in batches; each that is not delivered is counted in `lost`.

    ``limits`` are the environment's (``OTEL_BLRP_*``) where they are not given. `shutdown` takes
    ``shutdown_s`` seconds at most, beside what the exporter's own takes.
    """

    signal = "log"

    def __init__(
        self, exporter: Any, limits: Limits | None = None, *, shutdown_s: float = _SHUTDOWN_S
    ) -> None:
        limits = limits or _limits("OTEL_BLRP", 1000)
        super().__init__(exporter, limits, "log records", shutdown_s)

    def on_emit(self, log_record: Any) -> None:
        """Leave a record to be sent, without its context. Never waits, and never raises."""
        try:
            self._outbox.put(lasting(log_record))
        except Exception as error:  # noqa: BLE001 - it is the application's record
            self._outbox.failed(error)


def lasting(log_record: Any) -> ReadableLogRecord:
    """Return what is sent of a record: all but its context, which may be large."""
    record = copy.copy(log_record.log_record)
    record.context = Context()
    return ReadableLogRecord(
        log_record=record,
        resource=log_record.resource or Resource.create({}),
        instrumentation_scope=log_record.instrumentation_scope,
        limits=log_record.limits,
    )


def _limits(prefix: str, delay_ms: int) -> Limits:
    return Limits(
        _number(f"{prefix}_MAX_QUEUE_SIZE", 2048),
        _number(f"{prefix}_MAX_EXPORT_BATCH_SIZE", 512),
        _number(f"{prefix}_SCHEDULE_DELAY", delay_ms) / 1000,
    )


def _number(name: str, default: int) -> int:
    """Return a variable's number; what is none is warned of, and the default taken."""
    value = os.environ.get(name, "").strip() or str(default)
    try:
        return int(value)
    except ValueError:
        _log.warning("%s takes a whole number, and is taken as %d", name, default)
        return default

"""The event log: domain events through `logging`, for those who ship stdout instead of OTLP.

In: batches from the bus, on a worker of its own, so that a terminal or a pipe that takes nothing
holds nobody up. Out: records of the logger ``otel_dbevents.events``, with the level, the fixed
sentence and the attributes of the event's OTLP form.

Its trace is the application's span, whether or not a span was made of the event: here nobody knows.
"""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from otel_dbevents.bridge.logs import EVENT_NAMES, body_of, record_attributes, severity_of
from otel_dbevents.bus import Delivery
from otel_dbevents.bus.limiter import Limiter
from otel_dbevents.events import Event, TraceParent
from otel_dbevents.json_logs import TIME_NS, JsonFormatter, trace_fields
from otel_dbevents.stacks import stack_of
from otel_dbevents.swallowing import Swallowing

LOGGER: Final = "otel_dbevents.events"
_LEVELS: Final = {"INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}


class EventLog:
    """Writes each event that has a log record.

    Args:
        target: ``stdout`` or ``stderr``, where each is a line of JSON; ``logging``: the logger
            ``otel_dbevents.events``, whose handlers are the application's to choose.
        service: returns the service's name, empty where it has none.
        limiter: what it leaves out is not written; None: everything is.

    """

    types: tuple[type[Event], ...] = tuple(EVENT_NAMES)
    """What is written."""

    def __init__(
        self,
        target: str,
        *,
        service: Callable[[], str] = str,
        limiter: Limiter | None = None,
    ) -> None:
        self._service = service
        self._limiter = limiter
        self._swallowing = Swallowing("event log", logging.getLogger("otel_dbevents"))
        self._logger = logging.getLogger(LOGGER)
        # Lines of ours go past the loggers: whatever the application does with those, such as to
        # send their records to a collector too, does not happen to what is written there.
        self._lines = None if target == "logging" else _Lines(target)

    @property
    def lost(self) -> Mapping[str, int]:
        """How many events could not be written: ``event_log_error``."""
        errors = self._swallowing.errors
        return {"event_log_error": errors} if errors else {}

    def consume(self, batch: Sequence[Delivery]) -> None:
        """Write a batch. What writing one of them raises is counted."""
        if self._limiter is not None:
            batch, _ = self._limiter.split(batch)
        for event, context in batch:
            try:
                self._write(event, stack_of(context))
            except Exception as error:  # noqa: BLE001 - a handler of anybody's, or a closed stream
                self._swallowing.caught(error, "could not write %s", event.event_type)

    def _write(self, event: Event, stack: str) -> None:
        level = _LEVELS[severity_of(event).name]
        if self._lines is not None:
            self._lines.handle(self._record(event, level, stack))
        elif self._logger.isEnabledFor(level):
            self._logger.handle(self._record(event, level, stack))

    def _record(self, event: Event, level: int, stack: str) -> logging.LogRecord:
        service = self._service()
        fields = {
            "name": LOGGER,
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "msg": body_of(event),
            "created": event.time_ns / 1e9,
            "msecs": event.time_ns // 1_000_000 % 1_000,
            TIME_NS: event.time_ns,
            "event_name": EVENT_NAMES[type(event)],
            **({} if event.parent is None else trace_fields(*_ids(event.parent))),
            **({"service.name": service} if service else {}),
            **record_attributes(event, stack),
        }
        return logging.makeLogRecord(fields)


def _ids(span: TraceParent) -> tuple[str, str, int]:
    return span.trace_id.hex(), span.span_id.hex(), span.trace_flags


class _Lines(logging.Handler):
    """Writes each record to what is the standard stream at that moment. Raises what that raises."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line at once, whole."""
        stream: Any = getattr(sys, self._name)
        stream.write(self.format(record) + "\n")
        stream.flush()

"""One JSON object a line, for logs that are shipped from stdout or files.

For any logger of the application's, by the means of `logging`:

    "formatters": {"json": {"()": "otel_dbevents.json_logs.JsonFormatter",
                            "fields": {"service.name": "shop"}}}
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

from opentelemetry.trace import get_current_span

_LEVELS: Final = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "FATAL"}
"""What OpenTelemetry calls the levels; an application may have given them other names."""
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record of `logging` has: whatever else one has is a field of its own."""
TIME_NS: Final = "_time_ns"
"""A record's attribute: when it was, in nanoseconds since the Unix epoch, where that is known."""


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON, with the names that its OTLP form has.

    ``time`` (RFC 3339, UTC), ``level`` (OpenTelemetry's: ``WARN``, ``FATAL``), ``event_name`` where
    there is one, ``message``, ``logger``, ``trace_id``, ``span_id`` and ``trace_flags`` (of the
    record, else of the span that is current, else none), then what was given as ``extra``. An
    exception becomes ``exception.type``, ``exception.message`` and ``exception.stacktrace``, as
    `logging` would write it: the application's own words are its own to choose.

    Args:
        fields: what each line says beside, such as ``service.name``.

    """

    def __init__(self, fields: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._fields = dict(fields or {})

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        extra = {
            name: value
            for name, value in vars(record).items()
            if name not in _PLAIN and not name.startswith("_")
        }
        line: dict[str, object] = {
            "time": _time(record),
            "level": _LEVELS.get(record.levelno, record.levelname),
        }
        if "event_name" in extra:
            line["event_name"] = extra["event_name"]
        line |= {"message": record.getMessage(), "logger": record.name}
        line |= {} if "event_name" in extra else _current()
        line |= self._fields | extra | self._exception(record)
        return json.dumps({name: _finite(each) for name, each in line.items()}, default=str)

    def _exception(self, record: logging.LogRecord) -> dict[str, object]:
        if not record.exc_info or record.exc_info[0] is None:
            return {}
        kind, error, _ = record.exc_info
        return {
            "exception.type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
            "exception.message": str(error),
            "exception.stacktrace": self.formatException(record.exc_info),
        }


def trace_fields(trace_id: str, span_id: str, flags: int) -> dict[str, object]:
    """Return a span's ids under the names that logs have for them outside OTLP."""
    return {"trace_id": trace_id, "span_id": span_id, "trace_flags": f"{flags:02x}"}


def _current() -> dict[str, object]:
    span = get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    return trace_fields(f"{span.trace_id:032x}", f"{span.span_id:016x}", span.trace_flags)


def _time(record: logging.LogRecord) -> str:
    time_ns = vars(record).get(TIME_NS, int(record.created * 1e6) * 1_000)
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def _finite(value: Any) -> object:
    """Return what JSON can hold: it has no NaN."""
    return value if not isinstance(value, float) or isfinite(value) else str(value)

"""What the SDK and its exporters log while they are looked at: kept, and away from the terminal.

A line of theirs may hold what a variable holds, a header's value too.
"""

import logging
import re
from typing import Final

from otel_dbevents.check.report import short
from otel_dbevents.unreachable import EXPORTER_LOGGERS

_HEADER_NOT_READ: Final = re.compile(r"(?i)(?:invalid )?header (?:format invalid|pair in)")
"""The warnings of headers that cannot be read, which cite them."""


class Heard(logging.Handler):
    """Keeps the last thing that was said below a logger, and whether it was of headers."""

    def __init__(self, below: str = "opentelemetry.exporter") -> None:
        super().__init__()
        self.last = "no reason given"
        self.lines: list[str] = []
        self.of_headers = False
        self._logger = logging.getLogger(below)

    def __enter__(self) -> "Heard":
        self._propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)
        self._filters = [(one, one.filters) for one in map(logging.getLogger, EXPORTER_LOGGERS)]
        for exporter, _ in self._filters:
            exporter.filters = []
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
        for exporter, filters in self._filters:
            exporter.filters = filters

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        said = record.getMessage()
        if _HEADER_NOT_READ.match(said):
            self.of_headers = True
            return
        self.last = short(said)
        self.lines.append(self.last)

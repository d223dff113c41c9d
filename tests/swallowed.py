"""Errors that the product swallowed while a test ran: none is hidden by being swallowed.

Collected are those that the product tells of itself (`otel_dbevents.swallowing`), and those that
the SDK's exporting threads log and survive. What a thread dies of, and what nobody can raise, are
pytest's own to tell: as warnings, which are errors here.
"""

import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from otel_dbevents import swallowing


@dataclass(frozen=True)
class Swallowed:
    """One error, where it ended, on which thread, and its traceback as text."""

    place: str
    error: str
    thread: str
    trace: str

    def __str__(self) -> str:
        return f"[{self.place}, thread {self.thread}] {self.error}\n{self.trace}"


class Collector(logging.Handler):
    """Takes note of each swallowed error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[Swallowed] = []

    def take(self, place: str, error: BaseException) -> None:
        """Take note of one; the exception itself is let go, since it holds what it came through."""
        trace = "".join(traceback.format_exception(error, limit=-6))
        name = threading.current_thread().name
        self.found.append(Swallowed(place, type(error).__name__, name, trace))

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of what a thread of the SDK logged with its exception."""
        if record.exc_info and record.exc_info[1] is not None:
            self.take(record.name, record.exc_info[1])


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect what is swallowed meanwhile, in this process."""
    collector, sdk = Collector(), logging.getLogger("opentelemetry")
    swallowing.listeners.append(collector.take)
    sdk.addHandler(collector)
    try:
        yield collector
    finally:
        sdk.removeHandler(collector)
        swallowing.listeners.remove(collector.take)

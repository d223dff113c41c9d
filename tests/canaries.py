"""Secrets that are nobody's, planted in what all tests do, and found nowhere in what leaves us.

The tests' passwords, literals, parameters and messages hold a canary: ``hunter2``, or a word that
begins with ``Xq7``. Whatever goes over a bus, into an exporter or into our log while a test runs is
looked through as the bytes that would leave: events by our codec and as CloudEvents, spans, metrics
and log records as OTLP, log lines with their tracebacks, also at DEBUG; and so is what processes
that a test starts say, and what it prints itself.
"""

import logging
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_dbevents import codec
from otel_dbevents.bus.memory import MemoryBus

CANARIES = (b"hunter2", b"Xq7")
CANARY = re.compile(rb"[^\n]{0,120}(?:" + b"|".join(CANARIES) + rb")[^\n]{0,60}")
"""With what stands around it: slow, so that only what holds one is looked through by it."""

ENVIRONMENT = {"SHOP_SESSION_KEY": "Xq7environment", "PGPASSWORD": "Xq7pgpass"}
"""What the process that runs the tests has in its environment."""

_MOST = 300
"""So many things of a kind are looked through in one test: the first that there are."""


class Tap(logging.Handler):
    """Keeps what leaves while one test runs, and looks through it at the end."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._left: dict[str, list[Any]] = {}
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def take(self, kind: str, thing: Any) -> None:
        """Take what leaves; `found` makes bytes of it."""
        kept = self._left.setdefault(kind, [])
        if len(kept) < _MOST:
            kept.append(thing)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of our log as it would be written."""
        self.take("log", self.format(record).encode())

    def found(self) -> list[str]:
        """Return each canary that would have left, with what stands around it."""
        left, self._left = self._left, {}
        return [
            f"{kind}: {each.decode(errors='replace')}"
            for kind, things in left.items()
            for each in around(b"\n".join(_BYTES[kind](things)))
        ]


def around(text: bytes) -> list[bytes]:
    """Return each canary in it, with what stands around it."""
    return CANARY.findall(text) if any(each in text for each in CANARIES) else []


def _events(events: list[Any]) -> Iterator[bytes]:
    for event in events:
        try:
            yield codec.encode(event)
            yield codec.encode_cloudevent(event)
        except (TypeError, ValueError):  # an event made wrongly, on purpose: it does not leave
            continue


def _spans(spans: list[Any]) -> Iterator[bytes]:
    yield encode_spans(spans).SerializeToString()


def _metrics(collected: list[Any]) -> Iterator[bytes]:
    for each in collected[-3:]:  # they are cumulative
        yield encode_metrics(each).SerializeToString()


def _records(records: list[Any]) -> Iterator[bytes]:
    yield encode_logs(records).SerializeToString()


_BYTES: dict[str, Callable[[list[Any]], Any]] = {
    "event": _events,
    "span": _spans,
    "metrics": _metrics,
    "log record": _records,
    "log": lambda lines: lines,
    "output": lambda texts: texts,
}
_WHERE: tuple[tuple[tuple[type, str], str, int], ...] = (
    ((MemoryBus, "publish"), "event", 1),
    ((MemoryBus, "publish_from_finalizer"), "event", 1),
    ((InMemorySpanExporter, "export"), "span", 1),
    ((InMemoryMetricReader, "_receive_metrics"), "metrics", 1),
    ((SimpleLogRecordProcessor, "on_emit"), "log record", 1),
    ((BatchLogRecordProcessor, "on_emit"), "log record", 1),
    ((subprocess.Popen, "communicate"), "output", -1),
)
"""Which methods are tapped, for what, and which of their arguments it is; -1: the result."""

_tap: Tap | None = None


def _taker(kind: str, number: int) -> Callable[..., None]:
    def take(result: Any, *arguments: Any) -> None:
        if _tap is not None:
            found = result if number < 0 else arguments[number]
            for each in found if isinstance(found, (list, tuple)) else [found]:
                if each:
                    _tap.take(kind, each.encode() if isinstance(each, str) else each)

    return take


def _tapped(kind: type, name: str, take: Callable[..., None]) -> Callable[[], None]:
    """Have ``take`` see each call's arguments and result; return what undoes it."""
    original = getattr(kind, name)

    def tapped(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        take(result, *arguments)
        return result

    setattr(kind, name, tapped)
    return lambda: setattr(kind, name, original)


@contextmanager
def tapped() -> Iterator[None]:
    """Put the taps in, once for all tests."""
    undo = [_tapped(*where, _taker(kind, number)) for where, kind, number in _WHERE]
    ours, before = logging.getLogger("otel_dbevents"), os.environ.copy()
    level = ours.level
    ours.setLevel(logging.DEBUG)
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for each in undo:
            each()
        ours.setLevel(level)
        for name in ENVIRONMENT:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


@contextmanager
def watching() -> Iterator[Tap]:
    """Look at what leaves meanwhile."""
    global _tap
    before, _tap = _tap, Tap()
    ours = logging.getLogger("otel_dbevents")
    ours.addHandler(_tap)
    try:
        yield _tap
    finally:
        ours.removeHandler(_tap)
        _tap = before

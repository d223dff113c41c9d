"""What it costs here: one second of a small statement, watched and not, in turns.

Told as the difference, in microseconds of CPU, on the thread that runs the statement and in the
whole process. Nothing is sent anywhere.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from otel_dbevents.check.report import Finding
from otel_dbevents.config import Config, EventLogTarget
from otel_dbevents.config.values import MEMORY

_SECONDS: Final = 1.0
_STATEMENTS: Final = 100
_LEAST_ROUNDS: Final = 5
_SETTINGS: Final = partial(
    # whatever the variables say: each statement has a span and a measurement
    Config,
    spans=True,
    metrics=True,
    logs=False,
    fold_after=0,
    repeated_queries=0,
    min_duration_ms=0,
    require_parent=False,
    synchronous=False,
    sqlcommenter=False,
    buffer_size=100_000,
    rate_limit=None,
    event_log=EventLogTarget.OFF,
    bus_url=MEMORY,  # else all of it would be shipped
)


def look_at_cost(seconds: float = _SECONDS) -> Finding:
    """Measure for about ``seconds`` and tell what was found."""
    bare, on_thread, in_process = measure(seconds)
    text = (
        f"a SELECT on SQLite in memory takes {bare:.0f} us here, and to tell of it "
        f"{max(on_thread, 0):.1f} us more on its own thread, {max(in_process, 0):.1f} us in the "
        "whole process, as spans and metrics that are not sent"
    )
    return Finding("cost", "ok", text)


def measure(seconds: float) -> tuple[float, float, float]:
    """Return medians in microseconds: a bare statement, added on its thread, and in all.

    Raises `RuntimeError` when what was to be told was not told.
    """
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    from otel_dbevents.pipeline import Pipeline

    counted: Any = _Counted()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(counted))
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    engines = [create_engine("sqlite://", poolclass=StaticPool) for _ in range(2)]
    pipeline = Pipeline(
        tracer_provider=tracers,
        meter_provider=meters,
        config=_SETTINGS(),
    )
    pipeline.attach(engines[1])
    try:
        bare, watched = _in_turns(engines, pipeline.flush, seconds)
    finally:
        pipeline.close()
        for engine in engines:
            engine.dispose()
    if counted.spans < len(watched) * _STATEMENTS:
        raise RuntimeError(f"{counted.spans} spans of {len(watched) * _STATEMENTS} statements")
    thread, process = (
        statistics.median(
            with_us[kind] - without[kind] for without, with_us in zip(bare, watched, strict=True)
        )
        for kind in (0, 1)
    )
    return statistics.median(round_[0] for round_ in bare), thread, process


def _in_turns(
    engines: Sequence[Any], settle: Callable[[], object], seconds: float
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    rounds: tuple[list[tuple[float, float]], ...] = ([], [])
    for engine in engines:  # what is done once only is done now
        _round(engine, settle)
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(rounds[1]) < _LEAST_ROUNDS:
        for engine, kept in zip(engines, rounds, strict=True):
            kept.append(_round(engine, settle))
    return rounds[0], rounds[1]


def _round(engine: Any, settle: Callable[[], object]) -> tuple[float, float]:
    """Return microseconds of CPU per statement: on this thread, and in the process."""
    from sqlalchemy import text

    statement = text("SELECT 1")
    with engine.connect() as connection:
        process, thread = time.process_time_ns(), time.thread_time_ns()
        for _ in range(_STATEMENTS):
            connection.execute(statement).all()
        on_thread = time.thread_time_ns() - thread
        settle()
        in_process = time.process_time_ns() - process
    return on_thread / _STATEMENTS / 1000, in_process / _STATEMENTS / 1000


class _Counted:
    """An exporter that only counts."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, batch: Sequence[Any]) -> None:
        self.spans += len(batch)

    def shutdown(self) -> None:
        pass

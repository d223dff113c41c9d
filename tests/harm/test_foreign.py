"""What others put into OpenTelemetry, or gave to us, may fail: no application sees any of it."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import IdGenerator, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import Sampler
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import QueuePool

from otel_dbevents import Config, Pipeline
from otel_dbevents.sources import executing, inserts, reading, rows
from tests.harm import scenario


class Broken(RuntimeError):
    """What a part of somebody's raises."""


def fail(*_: Any, **__: Any) -> Any:
    raise Broken("Xq7broken")


def part(kind: type, *names: str, fails: Callable[..., Any] = fail) -> Any:
    """Make a part of this kind whose methods of these names fail."""
    abstract = dict.fromkeys(getattr(kind, "__abstractmethods__", ()), lambda *_, **__: None)
    return type(f"Broken{kind.__name__}", (kind,), abstract | dict.fromkeys(names, fails))()


def leave(*_: Any, **__: Any) -> Any:
    raise SystemExit(3)


def exporting(kind: Any, **how: Any) -> TracerProvider:
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(kind(part(SpanExporter, "export", **how)))
    return made


def processing(*names: str) -> TracerProvider:
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(part(SpanProcessor, *names))
    return made


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "on_start": lambda: {"tracer_provider": processing("on_start")},
    "on_end": lambda: {"tracer_provider": processing("on_end")},
    "exporter": lambda: {"tracer_provider": exporting(SimpleSpanProcessor)},
    "exporter on a worker": lambda: {"tracer_provider": exporting(BatchSpanProcessor)},
    "exporter that says no": lambda: {
        "tracer_provider": exporting(SimpleSpanProcessor, fails=lambda *_: SpanExportResult.FAILURE)
    },
    "sampler": lambda: {"tracer_provider": TracerProvider(sampler=part(Sampler, "should_sample"))},
    "ids": lambda: {
        "tracer_provider": TracerProvider(
            id_generator=part(IdGenerator, "generate_span_id", "generate_trace_id")
        )
    },
    "request_hook": lambda: {"request_hook": fail},
    "response_hook": lambda: {"response_hook": fail},
    "span_filter": lambda: {"span_filter": fail},
    "engine_filter": lambda: {"engine_filter": fail},
    "propagator": lambda: {"propagator": part(TextMapPropagator, "inject")},
}


def play(path: Path) -> list[str]:
    made: list[Engine] = []

    def make(*, nobody: bool = False, **options: Any) -> Engine:
        url = f"sqlite:///{path}/{'nobody/' if nobody else ''}app.db"
        made.append(create_engine(url, poolclass=QueuePool, **options))
        return made[-1]

    scenario.prepare(make())
    seen = scenario.play(make, two_phase=False)
    for engine in made:
        engine.dispose()
    return seen


@pytest.mark.swallows(sometimes=True)
@pytest.mark.parametrize("within", [True, False], ids=["within", "worker"])
@pytest.mark.parametrize("which", PARTS)
def test_a_part_of_somebodys_that_fails_changes_nothing_for_the_application(
    which: str, within: bool, tmp_path: Path
) -> None:
    alone = play(tmp_path)
    config = Config(synchronous=within, sqlcommenter=True, slow_query_ms=0.000_001)
    pipeline = Pipeline(**({"tracer_provider": TracerProvider()} | PARTS[which]()), config=config)
    pipeline.attach()
    try:
        assert play(tmp_path) == alone
        assert pipeline.flush(30)
    finally:
        pipeline.close()
        pipeline.tracer_provider.shutdown()


@pytest.mark.swallows
def test_a_handler_that_would_end_the_process_ends_no_worker(tmp_path: Path) -> None:
    alone, pipeline, told = play(tmp_path), Pipeline(tracer_provider=TracerProvider()), []
    pipeline.bus.handle(leave)
    pipeline.bus.handle(told.append)
    pipeline.attach()
    assert play(tmp_path) == alone
    assert pipeline.flush(30)
    assert pipeline.lost()["handler_error"] == len(told)
    pipeline.close()


def test_a_clock_that_goes_backwards_changes_nothing_for_the_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, ticks = play(tmp_path), count(2_000_000_000_000_000_000, -1_000_000)
    for module in (executing, inserts, reading, rows):
        monkeypatch.setattr(module, "time_ns", lambda: next(ticks))
    pipeline = Pipeline(tracer_provider=TracerProvider(), config=Config(synchronous=True))
    pipeline.attach()
    assert play(tmp_path) == alone
    queries = [each for each in pipeline.bus.history if each.event_type == "QueryExecuted"]  # type: ignore[attr-defined]
    assert queries
    assert min(each.duration_ns for each in queries) == 0
    pipeline.close()

"""Runs the scenario unobserved and observed with faults, and says where they differ.

A process of its own: ``python -m tests.harm.twins DRIVER URL MODE``, since the package is compiled
anew for it. Prints JSON: how many points there are in what was gone through, and the differences.

MODE is ``within`` or ``worker``, where all that we can do is turned on; with ``plain`` behind it
every other run is as most applications have it, where a query goes another, shorter way.
"""

import asyncio
import gc
import json
import logging
import sys
import threading
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import Any

from tests.harm.injecting import Faults, install

FAULTS = install()

from opentelemetry.sdk._logs import LoggerProvider  # noqa: E402
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor  # noqa: E402
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)
from sqlalchemy import Engine, create_engine, make_url, text  # noqa: E402
from sqlalchemy.ext.asyncio import create_async_engine  # noqa: E402
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool  # noqa: E402
from sqlalchemy.util import greenlet_spawn  # noqa: E402

from otel_dbevents import Config, Pipeline  # noqa: E402
from tests.harm import scenario  # noqa: E402

MOST_RUNS = 200
SOURCES = ("otel_dbevents.sources", "otel_dbevents.bus", "otel_dbevents.swallowing")


class Twins:
    """Plays the scenario on one database, and keeps how it looks unobserved."""

    def __init__(self, driver: str, url: str) -> None:
        self.url = make_url(url)
        self.is_async = driver in ("aiosqlite", "asyncpg", "psycopg_async")
        self.two_phase = driver in ("psycopg", "psycopg_async")
        self.loop = asyncio.new_event_loop()
        self._made: list[Any] = []
        self._run(scenario.prepare, self._engine())
        self.alone = self.play()
        assert self.alone == self.play(), "the scenario is not the same twice"

    def play(self) -> list[str]:
        """Play all of it; return what the application saw."""
        was, FAULTS.armed = FAULTS.armed, False
        self._run(scenario.reset, self._engine())
        FAULTS.armed = was
        seen = self._run(self._scenario)
        if self.is_async:
            FAULTS.armed = False
            self._run(scenario.reset, self._engine())
            FAULTS.armed = was
            engine = create_async_engine(self.url, poolclass=AsyncAdaptedQueuePool)
            seen += self.loop.run_until_complete(scenario.play_async(engine))
        for engine in self._made:
            self._run(engine.dispose)
        self._made.clear()
        return seen

    def _scenario(self) -> list[str]:
        return scenario.play(self._engine, two_phase=self.two_phase)

    def _engine(self, *, nobody: bool = False, **options: Any) -> Engine:
        url = self.url
        if nobody:
            password = url.set(username="bob", password="Xq7password", port=1)
            url = password if url.host else url.set(database="/nobody/is/there.db")
        if self.is_async:
            made = create_async_engine(url, poolclass=AsyncAdaptedQueuePool, **options)
            engine = made.sync_engine
        else:
            engine = create_engine(url, poolclass=QueuePool, **options)
        self._made.append(engine)
        return engine

    def _run(self, act: Callable[..., Any], *arguments: Any) -> Any:
        if not self.is_async:
            return act(*arguments)
        return self.loop.run_until_complete(greenlet_spawn(act, *arguments))


def pipeline(mode: str, system: str, **more: Any) -> Pipeline:
    """Make a pipeline that leaves no part of us unused, within the calls or on workers."""
    synchronous = mode.startswith("within")
    config = Config(
        synchronous=synchronous,
        slow_query_ms=0.000_001,
        repeated_queries=2,
        fold_after=2,
        capture_error_messages=True,
        # PostgreSQL's messages cite the statement, with the comment in it
        sqlcommenter=synchronous and system == "sqlite",
        explain_slow_queries=not synchronous,
        explain_per_minute=600,
    )
    hooks: dict[str, Any] = {
        "request_hook": lambda *_: {"app.a": "b"},
        "response_hook": lambda *_: {"app.c": [1, 2]},
        "span_filter": lambda _: True,
        "engine_filter": lambda _: True,
    }
    return Pipeline(**(providers() | {"config": config} | hooks | more))


def plain() -> Pipeline:
    """Make one as most have it: no query is remarkable, and what is told is made on the worker."""
    return Pipeline(**providers(), config=Config(history=0))


def providers(*processors: Any) -> dict[str, Any]:
    """Return providers of the SDK's."""
    tracers, loggers = TracerProvider(), LoggerProvider()
    for each in processors or (SimpleSpanProcessor(InMemorySpanExporter()),):
        tracers.add_span_processor(each)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(_NoRecords()))
    return {
        "tracer_provider": tracers,
        "meter_provider": MeterProvider([InMemoryMetricReader()]),
        "logger_provider": loggers,
    }


class _NoRecords:
    def export(self, batch: Any) -> None:
        return None

    def shutdown(self) -> None:
        return None


def different(alone: list[str], seen: list[str]) -> list[str]:
    """Return the first step that the application saw differently."""
    for mine, ours in zip_longest(alone, seen):
        if mine != ours:
            return [f"{mine}", f"{ours}"]
    return []


def observed(twins: Twins, made: Pipeline, faults: Faults) -> list[str]:
    """Play it once observed with faults; return what differs, and whether all works after it."""
    made.attach()
    tracer = made.tracer_provider.get_tracer("app")
    faults.now.clear()
    faults.armed = True
    try:
        with tracer.start_as_current_span("request"):
            seen = twins.play()
        made.tracer_provider.force_flush()
    except BaseException as error:  # it left the scenario
        seen = [f"{type(error).__name__}: {error}"]
    finally:
        faults.armed = False
    found = different(twins.alone, seen)
    before = sum(made.lost().values())
    if not found and not works(made):
        found = ["after it a query is told", f"it is not: lost {before}, {made.lost()}"]
    made.close()
    gc.collect()
    return found


def works(made: Pipeline) -> bool:
    """Whether a query is told in spite of all that went before."""
    engine, told = create_engine("sqlite://"), []
    handler = made.bus.handle(lambda each: told.append(each.event_type))
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    engine.dispose()
    done = made.flush(60)
    handler.cancel()
    return done and "QueryExecuted" in told


def main(driver: str, url: str, mode: str) -> None:
    """Play until no new point raises."""
    logging.getLogger("otel_dbevents").setLevel(logging.CRITICAL)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    threading.excepthook = lambda _: None
    twins = Twins(driver, url)
    system = twins.url.get_backend_name()
    harm = []
    FAULTS.only = () if driver == "pysqlite" else SOURCES
    runs = quiet = 0
    while runs < MOST_RUNS:
        runs += 1
        in_turn = plain if mode.endswith("plain") and runs % 2 else partial(pipeline, mode, system)
        found = observed(twins, in_turn(), FAULTS)
        quiet = 0 if FAULTS.now or found else quiet + 1
        if quiet == (2 if mode.endswith("plain") else 1):
            break
        if found:
            harm.append({"points": [str(FAULTS.points[n]) for n in FAULTS.now], "step": found})
            if len(harm) > 12:
                break
    print(json.dumps({"runs": runs, "points": len(FAULTS.fired), "harm": harm}))


if __name__ == "__main__":
    main(*sys.argv[1:])

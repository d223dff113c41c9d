"""Fifty threads and a thousand tasks, each under spans of its own. Started by the tests.

    python -m tests.harm.crowd KIND URL FILE

KIND: `threads`, `tasks`. Each of the crowd runs `EACH` statements under an outer span, and one more
under an inner span in between. Told in FILE are the spans of all; printed, how many calls the
histogram counted.
"""

import asyncio
import sys
import threading
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

import otel_dbevents
from otel_dbevents.config import Config
from otel_dbevents.sources.guarding import guard
from tests.harm.told import DURATION, SpansToFile

EACH = 4
THREADS, TASKS = 50, 1000

tracers = TracerProvider()
tracer = tracers.get_tracer("the application")


def threads(url: str) -> None:
    """All begin at once, and the interpreter changes between them as often as it can."""
    engine = create_engine(url, pool_size=10, max_overflow=0, pool_timeout=60)
    barrier = threading.Barrier(THREADS)

    def one(number: int) -> None:
        barrier.wait()
        with tracer.start_as_current_span(f"outer {number}"), engine.connect() as connection:
            for run in range(EACH):
                connection.execute(text(f"SELECT {number} AS outer{number}")).all()
                if run == EACH // 2:
                    with tracer.start_as_current_span(f"inner {number}"):
                        connection.execute(text(f"SELECT {number} AS inner{number}")).all()

    sys.setswitchinterval(1e-6)
    crowd = [threading.Thread(target=one, args=(number,)) for number in range(THREADS)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    sys.setswitchinterval(0.005)


async def tasks(url: str) -> None:
    pool = {"poolclass": AsyncAdaptedQueuePool, "pool_size": 10, "max_overflow": 0}
    engine = create_async_engine(url, pool_timeout=120, **pool)

    async def one(number: int) -> None:
        with tracer.start_as_current_span(f"outer {number}"):
            async with engine.connect() as connection:
                for run in range(EACH):
                    await connection.execute(text(f"SELECT {number} AS outer{number}"))
                    await asyncio.sleep(0)
                    if run == EACH // 2:
                        with tracer.start_as_current_span(f"inner {number}"):
                            await connection.execute(text(f"SELECT {number} AS inner{number}"))

    await asyncio.gather(*map(one, range(TASKS)))
    await engine.dispose()


def counted(reader: InMemoryMetricReader) -> int:
    data: Any = reader.get_metrics_data()
    return sum(
        point.count
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == DURATION
        for point in metric.data.data_points
    )


def main(kind: str, url: str, path: str) -> None:
    reader = InMemoryMetricReader()
    tracers.add_span_processor(SimpleSpanProcessor(SpansToFile(path)))
    pipeline = otel_dbevents.instrument(
        tracer_provider=tracers,
        meter_provider=MeterProvider([reader]),
        config=Config(buffer_size=100_000),
    )
    if kind == "threads":
        threads(url)
    else:
        asyncio.run(tasks(url))
    assert pipeline.flush(60)
    assert guard.errors == 0, guard.last
    assert pipeline.lost() == {}
    print(counted(reader))


if __name__ == "__main__":
    main(*sys.argv[1:])

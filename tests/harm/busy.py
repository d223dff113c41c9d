"""A process that forks while its threads are busy with the database. Started by the tests.

    python -m tests.harm.busy FILE URL ROUNDS

Each child runs `IN_CHILD` statements on an engine of its own, flushes, and leaves. What all of them
told is in FILE. A process that hangs shows the stacks of all its threads and ends with an error.
"""

import faulthandler
import os
import signal
import sys
import threading
from time import sleep

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from sqlalchemy import Engine, create_engine, text

import otel_dbevents
from otel_dbevents.config import Config
from otel_dbevents.sources.guarding import guard
from tests.harm.told import SpansToFile, numbers_reader, tell

IN_CHILD = 3
THREADS = 3
PARENTS, CHILDS = "SELECT max(a) FROM parents", "SELECT max(a) FROM childs"
_HANGS_S = 20


class Busy(threading.Thread):
    """Executes until it is told to stop, now and then on a connection anew; counts."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(daemon=True)
        self.engine = engine
        self.stopping = False
        self.executed = 0

    def run(self) -> None:
        while not self.stopping:
            with self.engine.connect() as connection:
                for _ in range(10):
                    connection.execute(text(PARENTS)).all()
                    self.executed += 1
            sleep(0.01)  # else the spans come faster than the SDK's processor takes them


def execute(engine: Engine, statement: str, number: int) -> None:
    with engine.connect() as connection:
        for _ in range(number):
            connection.execute(text(statement)).all()


def child(path: str, url: str, tracers: TracerProvider, meters: MeterProvider) -> None:
    """Do in a child what it was forked for, and leave as such children do."""
    signal.alarm(_HANGS_S)
    engine = create_engine(url)
    execute(engine, CHILDS, IN_CHILD)
    flushed = otel_dbevents.flush(60), tracers.force_flush(), meters.force_flush()
    tell(path, flushed=flushed, errors=guard.errors, last=guard.last)
    os._exit(0)


def main(path: str, url: str, rounds: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in ("parents", "childs"):
            connection.execute(text(f"CREATE TABLE {table} (a INTEGER)"))
    tracers, meters = TracerProvider(), MeterProvider([numbers_reader(path)])
    tracers.add_span_processor(
        BatchSpanProcessor(SpansToFile(path), max_queue_size=100_000, schedule_delay_millis=20)
    )
    pipeline = otel_dbevents.instrument(
        tracer_provider=tracers, meter_provider=meters, config=Config(fold_after=0)
    )
    busy = [Busy(engine) for _ in range(THREADS)]
    for thread in busy:
        thread.start()
    for number in range(int(rounds)):
        sleep(number % 7 / 1000)
        pid = os.fork()
        if not pid:
            child(path, url, tracers, meters)
        if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            sys.exit(f"the child of round {number} ended with {code}")
    for thread in busy:
        thread.stopping = True
    for thread in busy:
        thread.join(60)
    flushed = tracers.force_flush(), meters.force_flush()
    tell(path, flushed=flushed, errors=guard.errors, last=guard.last)
    executed, lost = sum(thread.executed for thread in busy), pipeline.lost()
    tell(path, executed=executed, lost=lost)


if __name__ == "__main__":
    # An alarm, which a child sets anew; faulthandler's own watchdog is a thread, and hangs there.
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(100)
    main(*sys.argv[1:])

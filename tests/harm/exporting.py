"""A process that forks while it exports without a pause. Started by the tests.

    python -m tests.harm.exporting URL ROUNDS

Each child runs five statements, flushes, and leaves; one that hangs shows its stacks and fails.
Printed is how many statements the parent ran.
"""

import faulthandler
import os
import signal
import sys
import threading
from time import sleep

from opentelemetry import metrics, trace
from sqlalchemy import create_engine, text

import otel_dbevents.auto  # noqa: F401


def work(url: str, name: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        for _ in range(5):
            connection.execute(text(f"SELECT 1 AS {name}")).all()


def flush() -> bool:
    tracers, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
    flushed: list[bool] = [each.force_flush() for each in (tracers, meters)]  # type: ignore[union-attr, attr-defined]
    return all(flushed)


class Exporting(threading.Thread):
    """Has something new to export each time."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.stopping = False
        self.rounds = 0

    def run(self) -> None:
        while not self.stopping:
            work(self.url, "parent")
            self.rounds += 1
            flush()
            sleep(0.001)


def main(url: str, rounds: str) -> None:
    exporting = Exporting(url)
    exporting.start()
    while exporting.rounds < 10:
        sleep(0.01)
    for number in range(int(rounds)):
        sleep(number % 5 / 500)
        pid = os.fork()
        if not pid:
            signal.alarm(60)
            work(url, "child")
            os._exit(0 if flush() else 3)
        if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            sys.exit(f"the child of round {number} ended with {code}")
    exporting.stopping = True
    exporting.join()
    print(exporting.rounds * 5)


if __name__ == "__main__":
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(100)
    main(*sys.argv[1:])

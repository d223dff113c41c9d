"""Has a signal's handler flush at each line of ours that the application's own flush goes through.

A process of its own: ``python -m tests.harm.flushing``. Prints JSON: at how many lines, and what
went wrong. A process that hangs shows where, and ends with an error.
"""

import faulthandler
import json
import signal
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import create_engine, text

from otel_dbevents import Config, Pipeline
from tests.harm.interrupting import Arriving

_HANGS_S = 20


def main() -> None:
    """Go on until a run meets no new line."""
    tracers, engine = TracerProvider(), create_engine("sqlite://")
    pipeline = Pipeline(tracer_provider=tracers, config=Config())
    pipeline.attach(engine)
    arriving, wrong = Arriving(), list[str]()

    def flush() -> None:
        if not (pipeline.flush(10) and tracers.force_flush(10_000) and not pipeline.lost()):
            wrong.append(f"{arriving.where}: not all was flushed")

    def arrived(*_: Any) -> None:
        flush()

    signal.signal(signal.SIGUSR1, arrived)
    while True:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1")).all()
        faulthandler.dump_traceback_later(_HANGS_S, exit=True)
        arriving.while_doing(flush)
        faulthandler.cancel_dump_traceback_later()
        if not arriving.where:
            break
    print(json.dumps({"lines": len(arriving.done), "wrong": wrong}))


if __name__ == "__main__":
    main()

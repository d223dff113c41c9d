"""A program of greenlets. Started by the tests.

    python -m tests.harm.green PATCHED URL

PATCHED says when gevent takes the threads over: `first`; `after-import` of this package;
`after-auto`, which has made everything by then. Spans go to the receiver that `OTEL_*` names.
Twenty greenlets and a thread of gevent's pool run five statements each. Nobody flushes at the end.
"""

# ruff: noqa: E402 - that is the point

import faulthandler
import signal
import sys

from gevent import monkey

PATCHED, URL = sys.argv[1:]
GREENLETS, EACH = 20, 5

faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm(60)
if PATCHED == "first":
    monkey.patch_all()
if PATCHED == "after-auto":
    import otel_dbevents.auto
else:
    import otel_dbevents.bus.memory
    import otel_dbevents.pipeline
if PATCHED.startswith("after"):
    monkey.patch_all()

import gevent
from opentelemetry import trace
from sqlalchemy import create_engine, text

import otel_dbevents.auto


def one(number: int) -> None:
    with tracer.start_as_current_span(f"outer {number}"), engine.connect() as connection:
        for _ in range(EACH):
            connection.execute(text(f"SELECT 1 AS outer{number}")).all()
            gevent.sleep(0)


def flushed_within_a_greenlet() -> None:
    assert otel_dbevents.flush(10)


if __name__ == "__main__":
    tracer = trace.get_tracer("the application")
    engine = create_engine(URL)
    crowd = [gevent.spawn(one, number) for number in range(GREENLETS)]
    gevent.joinall(crowd, raise_error=True)
    gevent.spawn(flushed_within_a_greenlet).get()
    gevent.get_hub().threadpool.apply(one, (GREENLETS,))
    assert otel_dbevents.flush(10)
    one(GREENLETS + 1)

"""Threads of our own keep nothing of the application's."""

import subprocess
import sys
import threading

import pytest

from otel_dbevents.threads import begin
from tests.harm.running import ROOT, environment

_PROGRAM = """
import contextvars, gc, threading, weakref
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import create_engine, text
import otel_dbevents
from otel_dbevents.exporters.outbox import Limits, Outbox

class Request: pass

current = contextvars.ContextVar("the application's request")

def serve(engine):
    request = Request()
    current.set(request)
    otel_dbevents.instrument(engine, tracer_provider=TracerProvider())
    outbox = Outbox(lambda batch: True, Limits(), "items")
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    otel_dbevents.check_database_health(engine)
    assert otel_dbevents.flush(60)
    return weakref.ref(request), outbox

reference, outbox = contextvars.copy_context().run(serve, create_engine("sqlite://"))
gc.collect()
ours = [each.name for each in threading.enumerate() if each.name.startswith("otel-dbevents-")]
assert len(ours) > 1, ours
assert reference() is None, gc.get_referrers(reference())
"""


def test_a_thread_of_ours_does_not_keep_the_context_that_it_was_started_in() -> None:
    """As threads do that take their starter's along, from Python 3.14 on."""
    command = [sys.executable, "-X", "thread_inherit_context=1", "-W", "ignore", "-c", _PROGRAM]
    done = subprocess.run(
        command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


class Limit(Exception):
    """What a time limit raises."""


class InterruptedOnceItHasBegun(threading.Thread):
    """As `threading.Thread.start`, where a signal's handler raises just after it has begun."""

    def start(self) -> None:
        try:
            raise Limit
        except Limit:
            {}.pop(self)


def test_what_interrupts_a_threads_beginning_is_raised_and_not_what_python_makes_of_it() -> None:
    with pytest.raises(Limit):
        begin(InterruptedOnceItHasBegun())

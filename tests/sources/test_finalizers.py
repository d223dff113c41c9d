"""What is told from a finalizer waits for nobody: the collector may run in anybody's locked region.

Each scene is a program of its own. It ends itself if it hangs, and says then where it stood.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_HANGS_S = 20
_BEGINNING = f"""
import faulthandler, gc
from collections.abc import Sequence
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import create_engine, text
from otel_dbevents import Config, Pipeline
from otel_dbevents.events import QueryExecuted, RollbackFailed

faulthandler.dump_traceback_later({_HANGS_S}, exit=True)
gc.disable()

class Collecting(Sequence):
    "A span attribute's value; the span reads it while it holds its lock, and then garbage goes."
    def __len__(self): return 1
    def __getitem__(self, index):
        gc.collect()
        return ("value",)[index]

class Leak: pass

provider = TracerProvider()
tracer = provider.get_tracer("test")
engine = create_engine("sqlite://")

def leak(thing):
    "Make it garbage that only the collector finds."
    leaked = Leak()
    leaked.itself, leaked.thing = leaked, thing

def said(span):
    return [event.name for event in span.events]
"""

_RESULT = """
pipeline = Pipeline(tracer_provider=provider, config=Config(synchronous={synchronous}))
def inline(event, context):
    trace.get_current_span(context).add_event("told")
pipeline.bus.subscribe_inline(inline, QueryExecuted)
pipeline.attach(engine)
with tracer.start_as_current_span("work") as span, engine.connect() as connection:
    leak(connection.execute(text("SELECT 1 UNION SELECT 2")))
    before = said(span)
    span.set_attribute("values", Collecting())
    assert said(span) == before, said(span)
    pipeline.bus.flush()
    assert said(span)[len(before):] == ["told"], said(span)
assert pipeline.close()
print("done")
"""

_CONNECTION = """
pipeline = Pipeline(tracer_provider=provider)
pipeline.attach(engine)
with tracer.start_as_current_span("work") as span:
    connection = engine.connect()
    connection.execute(text("CREATE TABLE t (n INTEGER)"))
    connection.execute(text("INSERT INTO t VALUES (1)"))
    connection.connection.driver_connection.close()
    leak(connection)
    del connection
    before = said(span)
    span.set_attribute("values", Collecting())
    assert said(span) == before, said(span)
    pipeline.flush()
    told = said(span)[len(before):]
    assert told == ["database.rollback.failed", "database.connection.invalidated"], told
assert not pipeline.lost(), pipeline.lost()
assert pipeline.close()
print("done")
"""


def run(program: str) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COVERAGE_", "COV_"))
    }
    ended = subprocess.run(
        [sys.executable, "-c", _BEGINNING + program],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_HANGS_S * 3,
        check=False,
    )
    assert ended.stdout == "done\n", ended.stderr


@pytest.mark.parametrize("synchronous", [False, True])
def test_a_leaked_result_is_told_from_within_a_spans_locked_region(synchronous: bool) -> None:
    run(_RESULT.format(synchronous=synchronous))


def test_a_leaked_connection_is_told_from_within_a_spans_locked_region() -> None:
    run(_CONNECTION)

"""A handler for when the database goes away, and one for when it is back.

    pip install 'psycopg[binary]'
    export DATABASE_URL=postgresql+psycopg://app@localhost/shop
    python examples/on_failure.py

It asks the database again and again, and ends when it was away and has come back. Recovery is on:
meanwhile the database is asked by a thread of otel_dbevents, and when it answers the pool is mended
before your handler is told, so that what you start then finds good connections.
"""

import os
import time

from sqlalchemy import create_engine, exc, text

import otel_dbevents
from otel_dbevents import Config, DatabaseConnectionFailed
from otel_dbevents.events import DatabaseRecovered

is_back = False


async def page_somebody(event: DatabaseConnectionFailed) -> None:  # or a plain function
    print("failed:", event.error_message, flush=True)


def stand_down(event: DatabaseRecovered) -> None:  # or an `async def`
    global is_back
    is_back = True
    seconds, attempts = event.duration_ns / 1e9, event.failed_attempts
    print(f"recovered: after {seconds:.1f} s and {attempts} attempts", flush=True)


pipeline = otel_dbevents.instrument(config=Config(recovery=True))
pipeline.bus.subscribe(DatabaseConnectionFailed, page_somebody)
pipeline.bus.subscribe(DatabaseRecovered, stand_down)

engine = create_engine(os.environ["DATABASE_URL"])
while not is_back:
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        print("works", flush=True)
    except exc.DBAPIError as error:
        print("fails:", type(error).__name__, flush=True)
    time.sleep(0.1)
engine.dispose()

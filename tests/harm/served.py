"""A web application that asks its database in each request, served by several processes.

The database is an SQLite file, ``DATABASE``. It answers with the number of the process that asked.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import create_engine, text

import otel_dbevents.auto  # noqa: F401

engine = create_engine(os.environ["DATABASE"])
with engine.connect() as at_once:  # before the fork, and so in the pool that the workers inherit
    at_once.execute(text("SELECT 1 AS preloaded")).all()


def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    with engine.connect() as connection:
        connection.execute(text(f"SELECT 1 AS worker{os.getpid()}")).all()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

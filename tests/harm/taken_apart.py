"""An application that still uses its database when the interpreter takes its modules apart.

    python -m tests.harm.taken_apart

What it holds lives in a module that is written in C, which is among the last to go.
"""

import math
from collections.abc import Iterator
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import create_engine, text

import otel_dbevents

ROWS = "SELECT 1 UNION SELECT 2 UNION SELECT 3"
engine = create_engine("sqlite://")
kept: Any = math


def read() -> Iterator[Any]:
    with engine.connect() as connection:
        yield from connection.execute(text(ROWS))


def main() -> None:
    otel_dbevents.instrument(tracer_provider=TracerProvider())
    connection = engine.connect()
    kept.result = connection, connection.execute(text(ROWS))
    kept.rows = read()
    next(kept.rows)


if __name__ == "__main__":
    main()

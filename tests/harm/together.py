"""Threads that begin together, and an engine that all of them use."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, text

from otel_dbevents.events import (
    Event,
)
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.guarding import guard

THREADS = 16
SELECT = text("SELECT 1 UNION SELECT 2")


def at_once(work: Callable[[int], object]) -> None:
    """Have all threads do it, each with its number; raise what the first of them raised."""
    barrier, errors = threading.Barrier(THREADS), list[BaseException]()

    def one(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@contextmanager
def observed(
    url: str = "sqlite://", wants: Any = None, **how: Any
) -> Iterator[tuple[Engine, list[Event], EngineSource]]:
    """Give an engine that nobody has used, and what is told of it, of all threads."""
    told = list[Event]()
    source = EngineSource(lambda event, _: told.append(event), wants=wants)
    source.attach()
    engine = create_engine(url, **how)
    try:
        yield engine, told, source
    finally:
        source.detach()
        engine.dispose()
    assert guard.errors == 0, guard.last


def of(told: list[Event], kind: type[Event]) -> int:
    return sum(type(each) is kind for each in told)

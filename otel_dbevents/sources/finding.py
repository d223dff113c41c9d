"""Finding: which engine is meant, whether it is under watch, and which there are."""

from collections.abc import Iterator
from typing import Any, TypeAlias

from sqlalchemy.engine import Engine
from sqlalchemy.pool.base import _ConnectionRecord

from otel_dbevents.sources.heap import objects_of
from otel_dbevents.sources.watch import WATCH_KEY, Watch

AnyEngine: TypeAlias = Any
"""An `Engine`, or an `AsyncEngine`, whose ``sync_engine`` is meant."""


def sync_engine(engine: AnyEngine) -> Engine:
    """Return the `Engine` that is meant. Raises `TypeError` when it is none."""
    found = getattr(engine, "sync_engine", engine)
    if not isinstance(found, Engine):
        raise TypeError(
            f"an Engine or AsyncEngine of SQLAlchemy is needed, got {type(engine).__name__}: "
            "pass what create_engine() or create_async_engine() returned"
        )
    return found


def watch_of(engine: Engine) -> Watch | None:
    """Return the engine's watch, if it is under one."""
    watch: Watch | None = engine.dialect.__dict__.get(WATCH_KEY)
    return watch if watch is not None and watch.active else None


def was_used(engine: Engine) -> bool:
    """Whether a connection was ever opened: only then SQLAlchemy has asked the server's version."""
    return "server_version_info" in engine.dialect.__dict__


def find_all() -> tuple[list[Engine], list[Any]]:
    """Find the engines and open connections that there are: SQLAlchemy keeps no list of them."""
    engines, records = [], []
    for found in objects_of({_ConnectionRecord, *_subclasses(Engine)}):
        if isinstance(found, Engine):
            engines.append(found)
        elif getattr(found, "dbapi_connection", None) is not None:
            records.append(found)
    return engines, records


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _subclasses(below)

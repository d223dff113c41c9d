"""The probe of an SQLAlchemy engine, sync or async."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from otel_dbevents.health.round import LATER_S, Probe, Round
from otel_dbevents.sources.session import (
    Renew,
    arguments_of,
    begin_nothing,
    open_session,
    ping,
    within,
)


def probe_of(engine: Engine) -> Probe:
    """Return what asks the engine's database.

    The driver of libSQL holds the interpreter's lock for as long as a server takes, so that the
    whole application would stand still: it is not called.
    """
    if engine.dialect.driver not in ("libsql", "aiolibsql"):
        return EngineProbe(engine)
    from otel_dbevents.health.files import SqliteFile
    from otel_dbevents.health.hrana import Hrana

    arguments, options = arguments_of(engine.pool._creator) or ([], {})
    if engine.url.host:
        url = str(arguments[0]) if arguments else f"http://{engine.url.host}"
        return Hrana(url, str(options.get("auth_token") or ""))
    return SqliteFile(engine.url.database or ":memory:")


class EngineProbe:
    """Asks by a session that is made as the engine makes its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ask(self, stages: Round) -> None:
        """Connect, ask, close."""
        _refuse_missing_file(self._engine)
        patience = stages.limit_s + LATER_S
        within(self._engine, patience, lambda renew: self._ask(stages, patience, renew))

    def _ask(self, stages: Round, patience: float, renew: Renew) -> None:
        engine = self._engine
        session = open_session(engine, patience)
        hold = None
        try:
            connection = session.dbapi_connection
            begin_nothing(engine, connection)
            hold = _Hold.of(getattr(connection, "driver_connection", connection))
            renew(patience)
            stages.connected(None if hold is None else hold.abort)
            ping(engine, connection)
            stages.answered()
        except BaseException:
            # Closed without a word to the server, which may not listen.
            session.invalidate()
            raise
        finally:
            if hold is not None:
                hold.close()
            session.close()


class _Hold:
    """A second handle of a connection's socket, by which a wait in the driver can be ended.

    A handle of our own: the driver's may be closed, and its number given to another.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))

    @classmethod
    def of(cls, connection: Any) -> "_Hold | None":
        """Return that of a driver's connection; None where it does not say its socket."""
        tell: Callable[[], Any] | None = getattr(connection, "fileno", None) or getattr(
            getattr(connection, "_sock", None), "fileno", None
        )
        try:
            return None if tell is None else cls(tell())
        except (OSError, TypeError, ValueError):
            return None
        except Exception:  # noqa: BLE001 - whatever a driver raises of itself
            return None

    def abort(self) -> None:
        """End the connection, so that who waits for its answer is told so."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it. The connection stays."""
        self._socket.close()


def _refuse_missing_file(engine: Engine) -> None:
    """Raise `FileNotFoundError` where there is no such SQLite file: connecting would make it."""
    file = engine.url.database or ""
    if engine.dialect.name != "sqlite" or engine.url.host:  # a server may speak that dialect too
        return
    if not file or file.startswith((":", "file:")):
        return
    if not Path(file).exists():
        raise FileNotFoundError(errno.ENOENT, "no such file")

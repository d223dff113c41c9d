"""Exporters in a forked child: they begin anew with connections and locks of their own.

What the parent's exporter holds open is shared by a fork: two processes would write on one HTTP
connection and read each other's answers. A gRPC channel's threads are not there in the child, and
its lock may be held for ever.
"""

import copy
import logging
from typing import Any, Final

from otel_dbevents.swallowing import came_through

_abandoned: Final[list[object]] = []
"""Channels of a parent process: closing one would wait for its threads."""
_log = logging.getLogger("otel_dbevents")


def reconnect(exporter: Any) -> None:
    """Give an exporter of the SDK's connections of its own; others are left alone. Never raises."""
    try:
        # The SDK's HTTP exporters have them behind a transport, those before 1.45 by themselves.
        holder = getattr(getattr(exporter, "_client", None), "_transport", exporter)
        _open_http(holder)
        open_channel = getattr(exporter, "_initialize_channel_and_stub", None)
        if open_channel is not None:
            _abandoned.append((exporter._channel, exporter._client))
            open_channel()
    except Exception as error:  # noqa: BLE001 - the child is the application's
        said = "an exporter did not begin anew in a forked child: %s"
        _log.debug(said, came_through(error))


def _open_http(holder: Any) -> None:
    session: Any = getattr(holder, "_session", None)
    pool: Any = getattr(holder, "_pool", None)
    if hasattr(session, "adapters"):  # of requests
        for prefix, adapter in list(session.adapters.items()):
            session.mount(prefix, copy.copy(adapter))  # a copy has no connection open
    if hasattr(pool, "connection_pool_kw"):  # of urllib3
        holder._pool = type(pool)(headers=pool.headers, **pool.connection_pool_kw)

"""Draining: whoever flushes or shuts down a provider has our worker drained before."""

import weakref
from collections.abc import Callable
from functools import wraps
from time import monotonic
from typing import Any, Final

from otel_dbevents.sources.guarding import guard

FLUSH_S: Final = 2.0
"""Seconds that a drain may take where the caller says nothing."""


def drain_before(provider: Any, drain: Callable[[float], None]) -> list[Callable[[], None]]:
    """Have a bound method called with seconds whenever this provider is flushed or shut down.

    Return what takes that back. The method's object is not kept alive by it.
    """
    restore = []
    for name in ("force_flush", "shutdown"):
        original = getattr(provider, name, None)
        if original is None or not hasattr(provider, "__dict__"):
            continue
        ours = _after(weakref.WeakMethod(drain), original)
        setattr(provider, name, ours)
        restore.append(_restorer(provider, name, ours))
    return restore


def _after(drain: "weakref.WeakMethod[Callable[[float], None]]", original: Any) -> Any:
    """Drain, then do what was wanted, both in the ``timeout_millis`` of the caller, if any."""

    @wraps(original)
    def drained(*arguments: Any, **options: Any) -> Any:
        given = arguments[0] if arguments else options.get("timeout_millis")
        if not isinstance(given, (int, float)) or isinstance(given, bool):
            _drain(drain, FLUSH_S)
            return original(*arguments, **options)
        began = monotonic()
        _drain(drain, min(FLUSH_S, given / 1000))
        left = max(0, int(given - 1000 * (monotonic() - began)))
        if arguments:
            return original(left, *arguments[1:], **options)
        return original(**options | {"timeout_millis": left})

    return drained


def _drain(drain: "weakref.WeakMethod[Callable[[float], None]]", timeout: float) -> None:
    """Drain, where there is still something to drain. Never raises: the call is somebody's own."""
    try:
        flush = drain()
        if flush is not None:
            flush(timeout)
    except Exception as error:  # noqa: BLE001
        guard.caught(error)


def _restorer(provider: Any, name: str, ours: Any) -> Callable[[], None]:
    def restore() -> None:
        if provider.__dict__.get(name) is ours:
            del provider.__dict__[name]

    return restore

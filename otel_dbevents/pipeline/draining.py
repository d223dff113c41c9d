"""Draining: whoever flushes or shuts down a provider has our worker drained before.

So does the end of the process.
"""

import logging
import os
import weakref
from collections.abc import Callable
from functools import wraps
from time import monotonic
from typing import Any, Final

from otel_dbevents.ending import ending
from otel_dbevents.sources.guarding import guard

FLUSH_S: Final = 2.0
"""Seconds that a drain may take where the caller says nothing."""
_SHIPPING: Final = 0.8
"""The share of the end's time that Redis may take: the rest is for the last numbers, which tell
what it did not take."""
_WANTS_EXPORT: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
)
"""Variables that are read by whoever sets providers up: who gives one expects that to happen."""
_SETS_UP: Final = (
    "`import otel_dbevents.auto` does that by OTEL_*, and so does "
    "`otel_dbevents.exporters.ensure_providers()` before `instrument()`"
)
_log = logging.getLogger("otel_dbevents")


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


def drain_at_exit(reference: "weakref.ref[Any]") -> None:
    """Drain a pipeline, and close nothing: the last export reads the pools and what was lost."""
    pipeline = reference()
    if pipeline is None:
        return
    timeout = pipeline.config.flush_timeout_ms / 1000
    if pipeline.sender is None:
        pipeline.flush(ending.time_left(timeout))
        wants_export = any(os.environ.get(each, "none") != "none" for each in _WANTS_EXPORT)
        if pipeline.bridge.is_unheard and wants_export:
            _log.warning("nothing was sent: no provider was ever set up. %s", _SETS_UP)
        return
    shipping_s = timeout * _SHIPPING
    pipeline.flush(ending.time_left(shipping_s))
    if not pipeline.sender.finish(ending.time_left(shipping_s)):
        pipeline.flush(ending.time_left(timeout) / 2)  # what is given up is counted by the worker


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

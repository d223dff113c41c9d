"""The providers that are ours: set up where the application has none, shut down in time."""

import atexit
import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry import _logs, metrics, trace

from otel_dbevents.ending import ending
from otel_dbevents.exporters.closing import Aborter, Aside, Closer, wait_for
from otel_dbevents.exporters.joining import exporters_to_join, join
from otel_dbevents.exporters.signals import SetupError
from otel_dbevents.exporters.stages import exporters_of, lost
from otel_dbevents.forks import hold, in_child
from otel_dbevents.misread import reason
from otel_dbevents.swallowing import came_through
from otel_dbevents.unreachable import say_no_second_reason, say_once, tell_of_loss

_GRACE: Final = 0.2
_AT_LAST: Final = -1_000
"""The order of finalizers in `multiprocessing`: ours come after the application's."""
_log = logging.getLogger("otel_dbevents.exporters")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Providers:
    """The providers in force. ``ours`` names those set up here: tracer, meter, logger."""

    tracer: trace.TracerProvider
    meter: metrics.MeterProvider
    logger: _logs.LoggerProvider
    ours: frozenset[str] = frozenset()
    _closers: list[Closer] = field(default_factory=list, repr=False)
    _aborter: Aside | None = field(default=None, repr=False)

    def shutdown(self, timeout: float = 2.0, waited: float = 0.0) -> bool:
        """Export what is left and shut down the providers that are ours, all at a time.

        The metrics are last, so that they count what the others lose, but begin at half of the time
        at the latest. False when ``timeout`` seconds ran out; what was not sent by then is given
        up. The others' providers are left alone. Calling it twice is harmless. ``waited`` is how
        many seconds were waited before, as it is said in the log.
        """
        deadline = time.monotonic() + timeout
        first = [closer for closer in self._closers if closer.kind != "meter"]
        wait_for([closer.begin() for closer in first], deadline - timeout / 2)
        all_of_them = [closer.begin() for closer in self._closers]
        if wait_for(all_of_them, deadline - min(_GRACE, timeout / 4)):
            return True
        say_no_second_reason()
        for closer in self._closers:
            closer.give_up()
        if self._aborter is not None:
            self._aborter.begin()
            wait_for([self._aborter, *self._closers], deadline)
        tell_of_loss(waited + timeout, lost(self.tracer, self.logger))
        return False


_made: Providers | None = None
_lock = threading.RLock()
hold(lambda: (_lock,))


def ensure_providers(timeout: float = 2.0, *, direct_otlp: bool = True) -> Providers:
    """Do what `otel_dbevents.exporters.ensure_providers` says."""
    global _made
    with _lock:
        if _made is not None:
            return _made
        missing = _missing()
        kinds = _exporters_to_join()
        if missing:
            from otel_dbevents.exporters.setup import set_up

            set_up(missing, timeout)
        if kinds:
            join(trace.get_tracer_provider(), kinds, timeout, direct_otlp=direct_otlp)
            say_once()
        ours = missing - _missing()
        if not ours:
            return Providers(**_global())
        _made = _take_over(_global(), ours, timeout)
        if direct_otlp and "tracer" in ours:
            _encode_directly(_made.tracer)
        return _made


def _global() -> dict[str, Any]:
    return {
        "tracer": trace.get_tracer_provider(),
        "meter": metrics.get_meter_provider(),
        "logger": _logs.get_logger_provider(),
    }


def _missing() -> frozenset[str]:
    """Return the kinds of providers that nobody has set: the API hands out its proxy for them."""
    api = ("opentelemetry.trace", "opentelemetry.metrics", "opentelemetry._logs")
    kinds = {kind: type(provider) for kind, provider in _global().items()}
    return frozenset(
        name
        for name, kind in kinds.items()
        if "Proxy" in kind.__name__ and kind.__module__.startswith(api)
    )


def _exporters_to_join() -> Sequence[type[Any]]:
    try:
        return exporters_to_join(trace.get_tracer_provider())
    except Exception as error:  # noqa: BLE001 - whatever a variable holds
        said = f"{type(error).__name__}: {reason(error)}"
        raise SetupError(f"OpenTelemetry could not be set up from OTEL_*: {said}") from None


def _encode_directly(provider: Any) -> None:
    """Have the OTLP exporters of a provider of ours use our encoder, where there are any."""
    try:
        from otel_dbevents.exporters.direct import encode_directly

        for exporter in exporters_of(provider):
            encode_directly(exporter)
    except Exception as error:  # noqa: BLE001 - the exporters are set up and work without it
        _log.debug("spans are encoded by the SDK: %s", came_through(error))


def _take_over(providers: Mapping[str, Any], ours: frozenset[str], timeout: float) -> Providers:
    """Put our shutdown in the place of the SDK's, and our one line in that of its many."""
    closers = [Closer(kind, providers[kind]) for kind in sorted(ours)]
    made = Providers(**providers, ours=ours, _closers=closers, _aborter=Aborter(closers))
    for kind in ours:
        atexit.unregister(providers[kind].shutdown)
    say_once()
    atexit.register(_shutdown_at_exit, made, timeout)
    _end_with_child(made, timeout)
    in_child(lambda: _end_with_child(made, timeout))
    return made


def _shutdown_at_exit(providers: Providers, timeout: float) -> None:
    left = ending.time_left(timeout)
    providers.shutdown(left, timeout - left)


def _end_with_child(providers: Providers, timeout: float) -> None:
    """Have a child of `multiprocessing` shut down what is ours at its end.

    It clears its list of what is to be done then, and calls what is registered here; this may be
    such a child already, that imports what its parent did. Only a spawned one runs `atexit`.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None:
        return

    def begin(ours: Providers) -> None:
        context: Any = sys.modules["multiprocessing"]
        if context.get_start_method(allow_none=True) != "spawn":
            util.Finalize(None, ours.shutdown, (timeout,), exitpriority=_AT_LAST)

    util.register_after_fork(providers, begin)

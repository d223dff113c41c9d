"""The OpenTelemetry providers: the application's where it has any, else the standard ones.

What is missing is set up by the SDK's own configurator from the ``OTEL_*`` variables (or from
``OTEL_CONFIG_FILE``), with OTLP as the default exporter. Out: `Providers`, which knows which of
them are ours, since only those are shut down by us. That takes no longer than it is given, also
when nothing listens at the endpoint; the SDK would wait for half a minute.
"""

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk import _configuration as sdk
from opentelemetry.sdk import environment_variables
from opentelemetry.sdk.resources import Resource

from otel_dbevents.events import redact
from otel_dbevents.forks import hold, in_child
from otel_dbevents.reconnecting import reconnect
from otel_dbevents.unreachable import say_once, tell_of_loss

SIGNALS: Final = {"tracer": "traces", "meter": "metrics", "logger": "logs"}
"""The kinds of providers, and the signal of each."""

_CONFIG_FILE: Final = "OTEL_CONFIG_FILE"
_GRACE: Final = 0.1
_AT_LAST: Final = -1_000
"""The order of finalizers in `multiprocessing`: ours come after the application's."""
_log = logging.getLogger("otel_dbevents.exporters")


class SetupError(RuntimeError):
    """OpenTelemetry could not be set up from its variables. The message says why."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Providers:
    """The providers in force. ``ours`` names those set up here: tracer, meter, logger."""

    tracer: trace.TracerProvider
    meter: metrics.MeterProvider
    logger: _logs.LoggerProvider
    ours: frozenset[str] = frozenset()
    _closers: "list[_Closer]" = field(default_factory=list, repr=False)

    def shutdown(self, timeout: float = 2.0) -> bool:
        """Export what is left and shut down the providers that are ours, all at a time.

        False when ``timeout`` seconds ran out; what was not sent by then is given up. The others
        are left alone. Calling it twice is harmless.
        """
        deadline = time.monotonic() + timeout
        for closer in self._closers:
            closer.begin()
        if all(closer.wait(deadline - time.monotonic()) for closer in self._closers):
            return True
        for closer in self._closers:
            closer.abort()
        for closer in self._closers:
            closer.wait(_GRACE)
        tell_of_loss(timeout)
        return False


_made: Providers | None = None
_lock = threading.Lock()
hold(lambda: (_lock,))


def ensure_providers(timeout: float = 2.0) -> Providers:
    """Return the global providers, having set up those that the application has not.

    Ours are shut down when the process ends, which takes ``timeout`` seconds at most. Called
    again it returns the same. Raises `SetupError` when an ``OTEL_*`` variable is wrong.
    """
    global _made
    with _lock:
        if _made is not None:
            return _made
        missing = _missing()
        if missing:
            _set_up(missing)
        ours = missing - _missing()
        providers = Providers(**_global(), ours=ours)
        if ours:
            _made = providers
            _take_over(providers, timeout)
        return providers


def sdk_disabled() -> bool:
    """Whether ``OTEL_SDK_DISABLED`` is set to true."""
    return os.environ.get(environment_variables.OTEL_SDK_DISABLED, "").strip().lower() == "true"


def exporter_names(signal: str) -> list[str]:
    """Return the entry points of the exporters of traces, metrics or logs; OTLP when none is named.

    The variables are read by the SDK's own functions, so that they mean what they always mean.
    """
    if os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip():
        return list(sdk._get_exporter_names(signal))  # type: ignore[arg-type]
    return [str(sdk._get_exporter_entry_point("otlp", signal))]  # type: ignore[arg-type]


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


class _Configurator(sdk._OTelSDKConfigurator):
    """The standard configurator, as distributions of OpenTelemetry make theirs."""


def _configure(**names: list[str]) -> None:
    make: Any = _Configurator
    make().configure(**names)


def _set_up(missing: frozenset[str]) -> None:
    from_file = bool(os.environ.get(_CONFIG_FILE))
    if from_file and not hasattr(environment_variables, _CONFIG_FILE):
        _log.warning("%s needs a newer opentelemetry-sdk and is ignored", _CONFIG_FILE)
        from_file = False
    try:
        if missing != SIGNALS.keys():
            _set_up_some(missing, from_file)
        elif from_file:
            _configure()
        else:
            _configure(**_unnamed_exporters())
    except Exception as error:
        said = redact(f"{type(error).__name__}: {error}")
        raise SetupError(f"OpenTelemetry could not be set up from OTEL_*: {said}") from error


def _unnamed_exporters() -> dict[str, list[str]]:
    """Return the exporters of the signals for which no variable names any, for the configurator."""
    return {
        f"{argument}_exporter_names": exporter_names(signal)
        for argument, signal in (("trace", "traces"), ("metric", "metrics"), ("log", "logs"))
        if not os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip()
    }


def _set_up_some(missing: frozenset[str], from_file: bool) -> None:
    """Set up the missing providers beside the application's own."""
    if from_file:
        _log.warning(
            "%s is not applied, as the application has set a provider itself; there is no %s",
            _CONFIG_FILE,
            " and no ".join(f"{kind} provider" for kind in sorted(missing)),
        )
        return
    names = [exporter_names(s) if kind in missing else [] for kind, s in SIGNALS.items()]
    spans, readers, records = sdk._import_exporters(*names)
    resource = Resource.create()
    if "tracer" in missing:
        sampler = sdk._import_sampler(sdk._get_sampler())
        ids = sdk._import_id_generator(sdk._get_id_generator())
        sdk._init_tracing(spans, id_generator=ids, sampler=sampler, resource=resource)
    if "meter" in missing:
        sdk._init_metrics(readers, resource)
    if "logger" in missing:
        sdk._init_logging(records, resource, setup_logging_handler=False)


def _take_over(providers: Providers, timeout: float) -> None:
    """Put our shutdown in the place of the SDK's, and our one line in that of its many."""
    for kind in sorted(providers.ours):
        provider = getattr(providers, kind)
        atexit.unregister(provider.shutdown)
        providers._closers.append(_Closer(provider))
    say_once()
    atexit.register(providers.shutdown, timeout)
    _end_with_child(providers, timeout)
    in_child(lambda: _end_with_child(providers, timeout))


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


class _Closer:
    """Shuts one provider down on a thread of its own.

    The thread is there from the start, as Python 3.12 starts none when the process ends.
    """

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._start()
        hold(self._export_locks)
        in_child(self._begin_anew)

    def begin(self) -> None:
        """Have the provider shut down; does not wait."""
        self._wanted.set()

    def wait(self, timeout: float) -> bool:
        """Wait for the end of it. False when the time is up."""
        return self._done.wait(max(timeout, 0.0))

    def abort(self) -> None:
        """Have the exporters give up what they are trying."""
        if self._done.is_set():
            return
        for exporter in _exporters_of(self._provider):
            try:
                exporter.shutdown()
            except Exception:  # noqa: BLE001 - a stranger's exporter, and the process ends
                _log.debug("an exporter failed to shut down", exc_info=True)

    def _export_locks(self) -> list[Any]:
        """Return what is held while there is an export, which gRPC does not let a child survive."""
        stages = [_at(stage, "_batch_processor") or stage for stage in _stages_of(self._provider)]
        locks = [_at(stage, "_export_lock") for stage in stages]
        return [lock for lock in locks if lock is not None]

    def _begin_anew(self) -> None:
        for exporter in _exporters_of(self._provider):
            reconnect(exporter)
        self._start()

    def _start(self) -> None:
        self._wanted, self._done = threading.Event(), threading.Event()
        name = f"otel-dbevents-close-{type(self._provider).__name__}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        wanted, done = self._wanted, self._done
        wanted.wait()
        try:
            self._provider.shutdown()
        except Exception:  # noqa: BLE001 - the process ends; nobody is left to handle it
            _log.debug("a provider failed to shut down", exc_info=True)
        finally:
            done.set()


def _exporters_of(provider: Any) -> Iterator[Any]:
    """Find a provider's exporters. The SDK has no public way; what is not found is left alone."""
    for stage in _stages_of(provider):
        exporter = _at(stage, "_batch_processor", "_exporter") or _at(stage, "_exporter")
        if exporter is not None:
            yield exporter


def _stages_of(provider: Any) -> tuple[Any, ...]:
    """Return a provider's processors or readers."""
    spans = _at(provider, "_active_span_processor", "_span_processors")
    records = _at(provider, "_multi_log_record_processor", "_log_record_processors")
    readers = _at(provider, "_metric_readers") or _at(provider, "_sdk_config", "metric_readers")
    return (*(spans or ()), *(records or ()), *(readers or ()))


def _at(thing: Any, *path: str) -> Any:
    for name in path:
        thing = getattr(thing, name, None)
    return thing

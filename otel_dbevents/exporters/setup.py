"""Setting up the providers that are missing, by the SDK's own configurator.

Imported only where there is something to set up: what it needs of the SDK is not light.
"""

import logging
import os
from functools import partial
from typing import Any, Final

from opentelemetry.sdk import _configuration as sdk
from opentelemetry.sdk import environment_variables
from opentelemetry.sdk.resources import Resource

from otel_dbevents.exporters.processors import CountingLogRecordProcessor, CountingSpanProcessor
from otel_dbevents.exporters.signals import SIGNALS, SetupError
from otel_dbevents.misread import reason

_CONFIG_FILE: Final = "OTEL_CONFIG_FILE"
_log = logging.getLogger("otel_dbevents.exporters")


def exporter_names(signal: str) -> list[str]:
    """Return the entry points of the exporters of traces, metrics or logs; OTLP when none is named.

    An empty variable is one that is not there.
    """
    if os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip():
        return list(sdk._get_exporter_names(signal))  # type: ignore[arg-type]
    return [str(sdk._get_exporter_entry_point("otlp", signal))]  # type: ignore[arg-type]


class _Configurator(sdk._OTelSDKConfigurator):
    """The standard configurator, as distributions of OpenTelemetry make theirs."""


def _configure(**options: Any) -> None:
    make: Any = _Configurator
    make().configure(**options)


def set_up(missing: frozenset[str], timeout: float) -> None:
    """Set up the providers that are missing, by the ``OTEL_*`` variables.

    Raises `SetupError` when one of those is wrong.
    """
    from_file = bool(os.environ.get(_CONFIG_FILE))
    processors = {
        "export_span_processor": partial(CountingSpanProcessor, shutdown_s=timeout),
        "export_log_record_processor": partial(CountingLogRecordProcessor, shutdown_s=timeout),
    }
    if from_file and not hasattr(environment_variables, _CONFIG_FILE):
        _log.warning("%s needs a newer opentelemetry-sdk and is ignored", _CONFIG_FILE)
        from_file = False
    try:
        if missing != SIGNALS.keys():
            _set_up_some(missing, from_file, **processors)
        elif from_file:
            _configure()
        else:
            _configure(**_unnamed_exporters(), **processors)
    except Exception as error:  # noqa: BLE001 - whatever a variable holds
        said = f"{type(error).__name__}: {reason(error)}"
        raise SetupError(f"OpenTelemetry could not be set up from OTEL_*: {said}") from None


def _unnamed_exporters() -> dict[str, list[str]]:
    """Return the exporters of the signals for which no variable names any, for the configurator."""
    return {
        f"{argument}_exporter_names": exporter_names(signal)
        for argument, signal in (("trace", "traces"), ("metric", "metrics"), ("log", "logs"))
        if not os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip()
    }


def _set_up_some(
    missing: frozenset[str],
    from_file: bool,
    export_span_processor: Any,
    export_log_record_processor: Any,
) -> None:
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
        sdk._init_tracing(
            spans,
            id_generator=ids,
            sampler=sampler,
            resource=resource,
            export_span_processor=export_span_processor,
        )
    if "meter" in missing:
        sdk._init_metrics(readers, resource)
    if "logger" in missing:
        sdk._init_logging(
            records,
            resource,
            setup_logging_handler=False,
            export_log_record_processor=export_log_record_processor,
        )

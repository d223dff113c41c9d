"""The OpenTelemetry providers: the application's where it has any, else the standard ones.

What is missing is set up by the SDK's own configurator from the ``OTEL_*`` variables (or from
``OTEL_CONFIG_FILE``), with OTLP as the default exporter. Out: `Providers`, which knows which of
them are ours, since only those are shut down by us. That takes no longer than it is given, also
when nothing listens at the endpoint; the SDK would wait for half a minute.

Where the application has its own, nothing of this is imported but what reads their losses.
"""

import os
from typing import TYPE_CHECKING

from opentelemetry.sdk import environment_variables

from otel_dbevents.exporters.signals import SIGNALS, SetupError
from otel_dbevents.exporters.stages import lost

if TYPE_CHECKING:
    from otel_dbevents.exporters.providers import Providers

__all__ = ["SIGNALS", "SetupError", "ensure_providers", "exporter_names", "lost", "sdk_disabled"]


def ensure_providers(timeout: float = 2.0, *, direct_otlp: bool = True) -> "Providers":
    """Return the global providers, having set up those that the application has not.

    Ours are shut down when the process ends, which takes ``timeout`` seconds at most. With
    ``direct_otlp`` ours encode spans for OTLP without the SDK's encoder. Called again it returns
    the same. Raises `SetupError` when an ``OTEL_*`` variable is wrong.
    """
    from otel_dbevents.exporters.providers import ensure_providers

    return ensure_providers(timeout, direct_otlp=direct_otlp)


def sdk_disabled() -> bool:
    """Whether ``OTEL_SDK_DISABLED`` is set to true."""
    return os.environ.get(environment_variables.OTEL_SDK_DISABLED, "").strip().lower() == "true"


def exporter_names(signal: str) -> list[str]:
    """Return the entry points of the exporters of traces, metrics or logs; OTLP when none is named.

    The variables are read by the SDK's own functions, so that they mean what they always mean.
    """
    from otel_dbevents.exporters.setup import exporter_names

    return exporter_names(signal)

"""The exporters that ``OTEL_*`` name, alone: for whoever sends itself and looks at the answer."""

import os
from typing import Any

from otel_dbevents.exporters.signals import SIGNALS, SetupError
from otel_dbevents.misread import reason


def exporters_by_signal(*, direct_otlp: bool = True) -> dict[str, list[Any]]:
    """Return the exporters of ``traces``, ``metrics`` and ``logs``, made as the SDK makes them.

    With ``direct_otlp`` those of spans over OTLP have our encoding. Raises `SetupError` where a
    variable is wrong, or names what does not send, as Prometheus' reader of metrics.
    """
    from opentelemetry.sdk import _configuration as sdk

    from otel_dbevents.exporters.direct import encode_directly
    from otel_dbevents.exporters.setup import exporter_names

    signals = list(SIGNALS.values())
    try:
        kinds = sdk._import_exporters(*(exporter_names(signal) for signal in signals))
        found = {
            signal: [kind() for kind in those.values()]  # type: ignore[attr-defined]
            for signal, those in zip(signals, kinds, strict=True)
        }
    except Exception as error:  # noqa: BLE001 - whatever a variable holds
        said = f"{type(error).__name__}: {reason(error)}"
        raise SetupError(f"the exporters could not be set up from OTEL_*: {said}") from None
    for each in (one for those in found.values() for one in those):
        if not hasattr(each, "export"):
            name = os.environ.get("OTEL_METRICS_EXPORTER", "")
            raise SetupError(f"OTEL_METRICS_EXPORTER={name} does not send: set it to otlp or none")
    if direct_otlp:
        for each in found["traces"]:
            encode_directly(each)
    return found

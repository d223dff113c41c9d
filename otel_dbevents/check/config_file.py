"""An ``OTEL_CONFIG_FILE``: whether it is valid, and which exporters it makes.

Its exporters are made as the SDK would make them, by the functions of its own package, which is
experimental: where those are elsewhere some day, it is said that no endpoint was tried.
"""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from otel_dbevents.check import report
from otel_dbevents.check.report import Finding, short
from otel_dbevents.misread import UnusableFileError, load_file, reason

_TOPIC: Final = "telemetry"
_MAKERS: Final = {
    "traces": ("tracer_provider", "_create_span_exporter"),
    "metrics": ("meter_provider", "_create_push_metric_exporter"),
    "logs": ("logger_provider", "_create_log_record_exporter"),
}
"""By signal: its part of the file, which the module that reads it is named after, and the maker."""


class Made(NamedTuple):
    """An exporter that the file makes, or why it cannot be made."""

    signal: str
    name: str
    exporter: Any
    error: str = ""


def read(path: str) -> tuple[Finding, Any]:
    """Return what is said of the file, and what stands in it; None where that cannot be used."""
    try:
        model = load_file(path)
    except ImportError:
        mend = "pip install opentelemetry-configuration"
        return Finding(_TOPIC, "wrong", "OTEL_CONFIG_FILE is set and cannot be read", mend), None
    except UnusableFileError as error:
        return Finding(_TOPIC, "wrong", short(error), "correct the file"), None
    if getattr(model, "disabled", None):
        text = "OTEL_CONFIG_FILE says disabled: nothing is emitted"
        return Finding(_TOPIC, "warning", text, "take `disabled: true` out of the file"), None
    return Finding(_TOPIC, "ok", "OTEL_CONFIG_FILE is valid; it says where telemetry goes"), model


def exporters(model: Any, signal: str) -> Iterator[Made]:
    """Make the exporters of a signal. Raises `LookupError` where it is not known how."""
    part, maker = _MAKERS[signal]
    provider = getattr(model, part, None)
    if provider is None:
        return
    try:
        make = getattr(import_module(f"opentelemetry.configuration._{part}"), maker)
        asked = list(_asked(provider))
    except (ImportError, AttributeError) as error:
        raise LookupError(part) from error
    for name, exporter in asked:
        try:
            yield Made(signal, name, make(exporter) if name != "pull" else None)
        except Exception as error:  # noqa: BLE001 - what a file asks for may not be there
            yield Made(signal, name, None, short(reason(error)))


def _asked(provider: Any) -> Iterator[tuple[str, Any]]:
    """Return what the file says of each exporter of a provider, and what it calls it."""
    stages: Sequence[Any] = getattr(provider, "processors", None) or provider.readers
    for stage in stages:
        for kind in ("batch", "simple", "periodic", "pull"):
            found = getattr(stage, kind, None)
            if found is not None:
                yield _named(kind, found.exporter)


def _named(kind: str, exporter: Any) -> tuple[str, Any]:
    """Return an exporter with its name. One over OTLP is not waited for longer than others."""
    if kind == "pull":
        return kind, exporter
    for name, value in vars(exporter).items():
        if value is not None and name != "additional_properties":
            if name in ("otlp_http", "otlp_grpc"):
                value.timeout = int(report.PATIENCE * 1000)
            return name, exporter
    return next(iter(exporter.additional_properties), ""), exporter

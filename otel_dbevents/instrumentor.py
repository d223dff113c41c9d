"""The entry point ``dbevents``: how ``opentelemetry-instrument`` and ``OTEL_CONFIG_FILE`` find us.

The only module that needs the package opentelemetry-instrumentation, which whoever loads this
entry point has.
"""

import logging
from collections.abc import Collection
from typing import Any, Final

from opentelemetry.instrumentation import instrumentor as opentelemetry

from otel_dbevents.compat import UnsupportedVersionError

_ARGUMENTS: Final = (
    "tracer_provider",
    "meter_provider",
    "logger_provider",
    "propagator",
    "request_hook",
    "response_hook",
    "span_filter",
    "engine_filter",
)
"""What `otel_dbevents.instrument` takes beside the engine and the settings."""
_log = logging.getLogger("otel_dbevents")


class DbEventsInstrumentor(opentelemetry.BaseInstrumentor):  # type: ignore[misc, name-defined]
    """Turns `otel_dbevents.instrument` on and off, as OpenTelemetry's tools ask for it.

    ``instrument()`` takes what `otel_dbevents.instrument` takes, and each setting by its name
    (``slow_query_ms=200``): so come the options under ``instrumentation/development: python:
    dbevents:`` of an ``OTEL_CONFIG_FILE``.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what must be installed for this to be of use."""
        return ("sqlalchemy >= 2.0.10",)

    def _instrument(self, **options: Any) -> None:
        try:
            self._turn_on(options)
        except (ValueError, UnsupportedVersionError, ImportError) as error:
            # Raised, it would keep OpenTelemetry from loading the instrumentors after this one.
            _log.error("otel_dbevents is off, the application runs on without it: %s", error)

    def _uninstrument(self, **_: Any) -> None:
        from otel_dbevents.pipeline import uninstrument

        uninstrument()

    @staticmethod
    def _turn_on(options: dict[str, Any]) -> None:
        from otel_dbevents.compat import check_versions

        check_versions()
        from otel_dbevents.config import Config
        from otel_dbevents.pipeline import instrument

        given = {name: options.pop(name, None) for name in _ARGUMENTS}
        engine, config = options.pop("engine", None), options.pop("config", None)
        if config is not None and options:
            raise ValueError(f"give either config or {', '.join(options)}, not both")
        config = config or Config.from_mapping(options)
        if config.enabled:
            instrument(engine, config=config, **given)

"""The providers that a pipeline tells, and what is known of them by now."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider


class Providers(NamedTuple):
    """Where spans, metrics and log records go: what was given, else the global ones."""

    tracer: Any
    meter: Any
    logger: Any

    @classmethod
    def of(cls, tracer: Any = None, meter: Any = None, logger: Any = None) -> "Providers":
        """Return them; a global one that the application has still to set is the API's proxy."""
        return cls(
            tracer or trace.get_tracer_provider(),
            meter or metrics.get_meter_provider(),
            logger or get_logger_provider(),
        )

    def in_force(self) -> Mapping[str, Any]:
        """Return them by name, the global one in the place of the tracers' proxy."""
        tracer = self.tracer
        if isinstance(tracer, trace.ProxyTracerProvider):
            tracer = trace.get_tracer_provider()
        return {"tracer": tracer, "logger": self.logger, "meter": self.meter}

    def service(self) -> str:
        """Return the service's name, as the provider in force by now has it."""
        resource = getattr(self.in_force()["tracer"], "resource", None)
        return str(getattr(resource, "attributes", {}).get("service.name", ""))

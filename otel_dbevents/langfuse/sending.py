"""Sending: a pipeline's chosen spans to Langfuse by an exporter of ours, where it is asked for."""

from collections.abc import Mapping
from threading import Lock
from typing import Any

from opentelemetry import trace

from otel_dbevents import ways
from otel_dbevents.config import Config, ConfigError
from otel_dbevents.exporters import SetupError
from otel_dbevents.exporters.destination import Destination
from otel_dbevents.exporters.langfuse import Attached, attach


class Sending:
    """Sends the chosen spans of a tracer provider, from when there is one until `close`.

    Raises `ConfigError` where Langfuse's keys or address are missing or wrong, or its client sends
    the same spans.
    """

    def __init__(self, config: Config) -> None:
        self._timeout_s = config.flush_timeout_ms / 1000
        self._attached: Attached | None = None
        self._beginning = Lock()
        try:
            self._destination = Destination.from_environment()
        except SetupError as error:
            raise ConfigError(
                f"OTEL_DBEVENTS_LANGFUSE_EXPORT is on, but {error}; or turn it off"
            ) from None
        try:
            ways.take("exporter", self)
        except ways.TwoWaysError as error:
            raise ConfigError(str(error)) from None

    def begin(self, provider: Any) -> None:
        """Send from now on; of the API's stand-in what the application has set in its place.

        While there is none nothing is done: call it again. Twice is harmless.
        """
        if isinstance(provider, trace.ProxyTracerProvider):
            provider = trace.get_tracer_provider()
        if self._attached is not None or isinstance(provider, trace.ProxyTracerProvider):
            return
        if self._beginning.acquire(blocking=False):  # else another thread does it
            try:
                if self._attached is None:
                    self._attached = attach(provider, self._destination, self._timeout_s)
            finally:
                self._beginning.release()

    @property
    def lost(self) -> Mapping[str, int]:
        """How many spans did not arrive, by reason."""
        return {} if self._attached is None else self._attached.lost

    def close(self, timeout: float) -> None:
        """Send what is left, in ``timeout`` seconds, and leave the provider. Twice is harmless."""
        if self._attached is not None:
            self._attached.detach(timeout)
        ways.leave("exporter", self)

"""The signals that are exported, and what it is when they cannot be set up."""

from typing import Final

SIGNALS: Final = {"tracer": "traces", "meter": "metrics", "logger": "logs"}
"""The kinds of providers, and the signal of each."""


class SetupError(RuntimeError):
    """OpenTelemetry could not be set up from its variables. The message says why."""

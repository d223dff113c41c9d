"""The settings: read once, checked at the start, and refused with a message that names the mend.

In: keyword arguments, else ``OTEL_DBEVENTS_*`` variables, else the defaults. Out: one frozen
`Config`. This is the only room that reads our part of the environment; ``OTEL_*`` belongs to
the OpenTelemetry SDK.

Each setting is declared in its group: `observing`, `health`, `telling`, `langfuse`, `bus`.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import PrivateAttr, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from otel_dbevents.config.bus import BusSettings
from otel_dbevents.config.conflicts import refuse_conflicts
from otel_dbevents.config.errors import ConfigError, explained, taken_by
from otel_dbevents.config.health import HealthSettings, RecoverySettings
from otel_dbevents.config.langfuse import LangfuseSettings
from otel_dbevents.config.names import PREFIX, variable, warn_of_unknown
from otel_dbevents.config.observing import ObservingSettings
from otel_dbevents.config.telling import TellingSettings
from otel_dbevents.config.values import HISTORY, MEMORY, EventLogTarget, Langfuse, read_rates
from otel_dbevents.events import Environment

__all__ = [
    "PREFIX",
    "Config",
    "ConfigError",
    "EventLogTarget",
    "Langfuse",
    "Origin",
    "takes",
    "variable",
]

Origin: TypeAlias = Literal["argument", "environment", "default"]
"""Where a setting's value came from."""


class Config(  # pydantic takes the last group first: settings are listed from `enabled` on
    BusSettings,
    RecoverySettings,
    LangfuseSettings,
    TellingSettings,
    HealthSettings,
    ObservingSettings,
):
    """How the pipeline behaves. Frozen; each argument may also be an ``OTEL_DBEVENTS_*`` variable.

    An argument goes before its variable, and the variable before the default. Raises `ConfigError`
    when a value is not allowed or an argument is not known; all that is wrong is told at once.
    """

    model_config = SettingsConfigDict(
        defer_build=False,
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    _given: frozenset[str] = PrivateAttr(default=frozenset())
    _told: ClassVar[set[str]] = set()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise explained(error, type(self), frozenset(values)) from None
        self._given = frozenset(values)
        refuse_conflicts(self)
        warn_of_unknown(os.environ, type(self).model_fields, self._told)

    @classmethod
    def be_quiet_of(cls, variables: Iterable[str]) -> None:
        """Log no complaint of these variables: whoever asks tells of them in a way of its own."""
        cls._told.update(variables)

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> "Config":
        """Make settings of plain options, such as those of an ``OTEL_CONFIG_FILE``.

        An option without a value (None) is taken as not given.
        """
        return cls(**{name: value for name, value in options.items() if value is not None})

    def history_for(self, environment: Environment) -> int:
        """Return how many events the bus remembers in this environment."""
        if self.history is not None:
            return self.history
        return 0 if environment is Environment.PRODUCTION else HISTORY

    def rates(self) -> Mapping[str, float]:
        """Return the events a second that are told, by type; empty: all are."""
        return {} if self.rate_limit is None else dict(read_rates(self.rate_limit))

    @property
    def ships(self) -> bool:
        """Whether events go to a Redis, and telemetry is made elsewhere."""
        return self.bus_url != MEMORY

    def signing_keys(self) -> tuple[str, str]:
        """Return the current key and the previous one; empty where there is none."""
        current, previous = self.signing_key, self.signing_key_previous
        return (
            "" if current is None else current.get_secret_value(),
            "" if previous is None else previous.get_secret_value(),
        )

    def shown(self, name: str) -> Any:
        """Return the value of the setting ``name`` as it may be shown: without any secret."""
        value = getattr(self, name)
        if isinstance(value, SecretStr):
            return "set, and not shown"
        return _plain_url(value) if name == "bus_url" else value

    def origin(self, name: str) -> Origin:
        """Return where the value of the setting ``name`` came from."""
        if name in self._given:
            return "argument"
        return "environment" if name in self.model_fields_set else "default"


def takes(name: str) -> str:
    """Say which values the setting ``name`` takes."""
    return taken_by(name, Config)


def _plain_url(url: str) -> str:
    """Return a URL without user, password and options."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"

"""What a setting's value may be: the kinds, and the refusal of what is none of them.

A refusal's own words reach nobody: `ConfigError` says what the setting takes instead.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr

from otel_dbevents.events import EVENT_TYPES, Environment

MEMORY: Final = "memory://"
HISTORY: Final = 1000
"""How many events the bus remembers where nothing is set, outside production."""
LEAST_KEY_BYTES: Final = 16
DAY_MS: Final = 86_400_000
_EVENTS = frozenset(kind.__name__ for kind in EVENT_TYPES)


class Langfuse(StrEnum):
    """What goes to Langfuse of the database work within an LLM trace; outside of one, nothing."""

    OFF = "off"
    SUMMARY = "summary"
    SLOW_AND_ERRORS = "slow_and_errors"
    ALL = "all"


class EventLogTarget(StrEnum):
    """Where domain events are written as log lines, beside their OTLP form or in its place."""

    OFF = "off"
    STDOUT = "stdout"
    STDERR = "stderr"
    LOGGING = "logging"


def is_quoted(value: object) -> bool:
    """Whether a text stands in quotes, as a file that is no shell's hands it on."""
    return isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"


def checked_number(value: object) -> object:
    """Refuse a truth value, which pydantic takes for 0 or 1."""
    if isinstance(value, bool):
        raise ValueError("a truth value is not a number")
    return value


def as_mode(value: object) -> object:
    """Return a text as the modes are written."""
    return value.strip().lower() if isinstance(value, str) else value


def as_environment(value: object) -> object:
    """Return the environment that a text names."""
    return Environment(value) if isinstance(value, str) else value


def checked_bus_url(value: object) -> object:
    """Refuse what is no URL of a bus. The message has nothing of it: it may hold a password."""
    if not isinstance(value, str):
        raise ValueError("no text")
    parts = urlsplit(value.strip())
    is_redis = parts.scheme in ("redis", "rediss") and parts.port != 0 and bool(parts.netloc)
    if not (is_redis or value == MEMORY or (parts.scheme == "unix" and parts.path)):
        raise ValueError("no URL of a bus")
    return value.strip()


def checked_key(value: object) -> object:
    """Refuse a key that is too short."""
    if isinstance(value, str) and len(value.encode()) < LEAST_KEY_BYTES:
        raise ValueError("too short")
    return value


def checked_rates(value: object) -> object:
    """Refuse what is no list of rates."""
    if isinstance(value, str):
        for name, rate in read_rates(value):
            if (name != "*" and name not in _EVENTS) or not 0 < rate <= 1e9:
                raise ValueError("no rate of an event")
    return value


def read_rates(text: str) -> Iterator[tuple[str, float]]:
    """Return each event's name and how many of it a second."""
    for part in text.split(","):
        name, _, rate = part.partition("=")
        yield name.strip(), float(rate.strip().removesuffix("/s"))


NUMBER: Final = BeforeValidator(checked_number)
Milliseconds = Annotated[float, Field(ge=0, le=DAY_MS, allow_inf_nan=False), NUMBER]
Seconds = Annotated[float, Field(ge=0.01, le=86_400, allow_inf_nan=False), NUMBER]
Key = Annotated[SecretStr | None, BeforeValidator(checked_key)]
Count = Annotated[int, Field(ge=0, le=1_000_000), NUMBER]

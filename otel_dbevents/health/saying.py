"""What an event says of whether a database is there."""

from enum import Enum, auto
from typing import Any, Final

from otel_dbevents.events import (
    ConnectionInvalidated,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    Event,
)


class Says(Enum):
    """What an event says of the database."""

    NOTHING = auto()
    THERE = auto()
    """It gave a connection, or answered a check."""
    AWAY = auto()
    """It was not reached, or a connection to it was lost: others may be broken too."""
    REFUSES = auto()
    """It is there and gives no connection; those that there are are good."""
    LOCKED = auto()
    """It does not take the password. To ask again could lock the account."""


TYPES: Final[tuple[type[Event], ...]] = (
    ConnectionInvalidated,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
)
"""What says anything."""

_LOCKED: Final = frozenset({"1045", "1698", "28000", "28P01"})
_REFUSES: Final = frozenset({"1040", "1049", "1203", "1226", "3D000", "53300"})
"""SQLSTATEs, and numbers of MySQL's: too many connections, no such database."""
_LOCKED_WORDS: Final = "authentication failed"
_REFUSES_WORDS: Final = ("too many connections", "database does not exist")
"""The fixed words that a failed connection is told in; some drivers give no code."""


def says(event: Event) -> Says:
    """Return what an event says of its database."""
    match event:
        case DatabaseConnectionEstablished():
            return Says.THERE
        case DatabaseConnectionFailed():
            code = "" if event.failure is None else event.failure.status_code
            return _refusal(code, event.error_message)
        case DatabaseHealthCheckCompleted(was_answered=True):
            return Says.THERE
        case DatabaseHealthCheckCompleted(was_answered=False):
            return _refusal(str((event.details or {}).get("error.type", "")))
        case ConnectionInvalidated() if event.failure and event.failure.is_disconnect:
            return Says.AWAY
    return Says.NOTHING


def took_ns(event: Any) -> int:
    """Return how long that took which an event tells the end of, in nanoseconds."""
    if isinstance(event, DatabaseHealthCheckCompleted):
        return int(event.latency_ms * 1e6)
    return max(0, getattr(event, "duration_ns", 0))


def _refusal(code: str, words: str = "") -> Says:
    if code in _LOCKED or _LOCKED_WORDS in words:
        return Says.LOCKED
    if code in _REFUSES or any(each in words for each in _REFUSES_WORDS):
        return Says.REFUSES
    return Says.AWAY

"""What an application gives for an event: settled, or refused with the values that are taken."""

from datetime import datetime, timedelta
from enum import StrEnum
from time import time_ns
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import force_setattr

from otel_dbevents.events.event import EPOCH
from otel_dbevents.redaction import redact

LARGEST: Final = 2**63 - 1
"""The wire's and OpenTelemetry's largest integer."""
_E = TypeVar("_E", bound=StrEnum)
_MICROSECOND = timedelta(microseconds=1)


def settle_kind(event: Struct, name: str, kind: type[_E], value: object) -> None:
    """Put the enum's member for a member or its text, or refuse with the values it takes."""
    if isinstance(value, kind):
        return
    try:
        member = kind(value)  # type: ignore[arg-type]
    except ValueError:
        allowed = ", ".join(kind)
        raise ValueError(f"{name} takes one of {allowed}; got {described(value)}") from None
    force_setattr(event, name, member)


def check_count(name: str, value: object) -> None:
    """Refuse what is no whole number, or too large for the wire."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise ValueError(f"{name} takes a whole number, 0 or more; got {described(value)}")


def checked_milliseconds(name: str, value: object) -> float:
    """Return the number as a float, or refuse what is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST:
        return float(value)
    raise ValueError(f"{name} takes milliseconds, 0 or more; got {described(value)}")


def described(value: object) -> str:
    """Describe a refused value in an error: short, and without a secret in it."""
    plain = isinstance(value, str | float) or (isinstance(value, int) and abs(value) <= LARGEST)
    return redact(repr(value))[:100] if plain else type(value).__name__


def settle_time(event: Any, given: datetime | None) -> None:
    """Make ``timestamp`` and ``end_time_ns`` tell one moment; now, when neither is given.

    Where both are given and differ by more than what a `datetime` cannot hold, ``timestamp`` is
    right.
    """
    end: Any = event.end_time_ns
    check_count("end_time_ns", end)
    if given is None:
        end = end or time_ns()
    elif not isinstance(given, datetime):
        raise ValueError(f"timestamp takes a datetime; got {described(given)}")
    elif given.utcoffset() is None:
        raise ValueError(f"timestamp takes a datetime with a time zone; got {given}: add tzinfo")
    else:
        microseconds = (given - EPOCH) // _MICROSECOND
        if not 0 <= microseconds <= LARGEST // 1_000:
            raise ValueError(f"timestamp takes a time from 1970 to 2262; got {given}")
        if microseconds != end // 1_000:
            end = microseconds * 1_000
    force_setattr(event, "end_time_ns", end)
    force_setattr(event, "timestamp", EPOCH + timedelta(0, 0, end // 1_000))

"""Ways: by which our spans reach Langfuse from this process. There is one, or each arrives twice.

Twice they would be counted twice there, and paid for. So whoever sends them takes the way first,
as long as it lives; a second one is refused.
"""

import threading
import weakref
from typing import Any, Final, Literal, TypeAlias

from otel_dbevents.forks import hold

Way: TypeAlias = Literal["filter", "exporter"]
"""Through Langfuse's own client, by the filter it was given; or by an exporter of ours."""

_MENDS: Final[dict[Way, str]] = {
    "filter": "Langfuse's client was given langfuse_filter() and sends our spans already: make the "
    "client without it, or unset OTEL_DBEVENTS_LANGFUSE_EXPORT",
    "exporter": "OTEL_DBEVENTS_LANGFUSE_EXPORT is on and sends our spans already: unset it, or "
    "make Langfuse's client without langfuse_filter()",
}
_taken: Final[dict[Way, "weakref.WeakSet[Any]"]] = {
    "filter": weakref.WeakSet(),
    "exporter": weakref.WeakSet(),
}
_lock = threading.RLock()
hold(lambda: (_lock,))


class TwoWaysError(ValueError):
    """Our spans would reach Langfuse twice. The message says by what, and the mend."""


def take(way: Way, taker: object) -> None:
    """Take a way for as long as ``taker`` lives, or until it is left.

    Raises `TwoWaysError` while the other way is taken.
    """
    other: Way = "exporter" if way == "filter" else "filter"
    with _lock:
        if list(_taken[other]):
            raise TwoWaysError(_MENDS[other])
        _taken[way].add(taker)


def leave(way: Way, taker: object) -> None:
    """Leave a way. Twice is harmless."""
    with _lock:
        _taken[way].discard(taker)

"""Quota: how many observations of ours a trace may have in Langfuse, where each is paid for."""

import threading
from collections import OrderedDict
from enum import Enum
from typing import Final

from otel_dbevents.forks import in_child

_TRACES: Final = 1_000
_RESERVED: Final = 5


class Grant(Enum):
    """Whether there was one left for a trace: none, one, or its last."""

    NONE = 0
    ONE = 1
    LAST = 2


class Quota:
    """Grants each trace ``most``; a fifth of them is kept for what is notable.

    So that the many do not use up what the slow and the failed that come later need. The latest
    1,000 traces are kept in mind. Safe to be used by many threads. A forked child begins anew.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._usual = most - most // _RESERVED
        self._begin_anew()
        in_child(self._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._taken: OrderedDict[bytes, int] = OrderedDict()
        self.refused = 0
        """How many were refused so far, of all traces."""

    def take(self, trace_id: bytes, is_notable: bool) -> Grant:
        """Take one of a trace's, if it has one left for such."""
        most = self._most if is_notable else self._usual
        with self._lock:
            taken = self._taken.pop(trace_id, 0)
            if taken >= most:
                self._taken[trace_id] = taken
                self.refused += 1
                return Grant.NONE
            self._taken[trace_id] = taken + 1
            if len(self._taken) > _TRACES:
                self._taken.popitem(last=False)
            return Grant.LAST if taken + 1 == most else Grant.ONE

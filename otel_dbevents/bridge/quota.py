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
        self._lock = threading.Lock()
        self._traces: OrderedDict[bytes, _Trace] = OrderedDict()

    def take(self, trace_id: bytes, is_notable: bool) -> Grant:
        """Take one of a trace's, if it has one left for such."""
        most = self._most if is_notable else self._usual
        with self._lock:
            trace = self._trace(trace_id)
            if trace.taken >= most:
                trace.left_out += 1
                return Grant.NONE
            trace.taken += 1
            return Grant.LAST if trace.taken == most else Grant.ONE

    def left_out(self, trace_id: bytes) -> int:
        """Return how many of a trace were refused so far."""
        with self._lock:
            trace = self._traces.get(trace_id)
            return 0 if trace is None else trace.left_out

    def _trace(self, trace_id: bytes) -> "_Trace":
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = _Trace()
            if len(self._traces) > _TRACES:
                self._traces.popitem(last=False)
        else:
            self._traces.move_to_end(trace_id)
        return trace


class _Trace:
    """What a trace has had."""

    __slots__ = ("left_out", "taken")

    def __init__(self) -> None:
        self.taken = 0
        self.left_out = 0

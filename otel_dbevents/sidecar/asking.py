"""Asking: whether the collector would take something, at the start and while there is nothing.

In: the exporters. Out: empty requests, by these exporters, so with the addresses, headers and TLS
of all else; and what the answers say of the collector.

An empty request may be refused where a real one is not. So a refusal of the request itself is an
answer of a collector that is there; and one that says that we are at the wrong place (401, 404) is
not believed of a collector that has taken telemetry, and never an empty request.
"""

from time import monotonic
from typing import Final

from otel_dbevents.bus.redis.connecting import Backoff
from otel_dbevents.sidecar.outlets import Outlets

_WITHIN_S: Final = 2.0
_AWAY: Final = frozenset(
    {
        *("", "408", "429", "502", "503", "504"),
        *("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED"),
    }
)
"""Answers of a collector that takes nothing now, whatever it is sent; empty: there is none."""
_NOT_HERE: Final = frozenset(
    {
        *("401", "403", "404", "405", "407"),
        *("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"),
    }
)
"""Answers of what does not know us, or is no collector; and so is each redirection."""


class Asking:
    """Asks the collectors of all exporters whose answers can be heard; true where there are any.

    One thread uses it, the one that sends.
    """

    def __init__(self, outlets: Outlets, every_s: float) -> None:
        self._outlets, self._every_s = outlets, every_s
        self._at = 0.0
        self._backoff = Backoff(min(1.0, every_s), 10.0)

    def __bool__(self) -> bool:
        return bool(self._outlets.askable)

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask."""
        return bool(self) and monotonic() >= self._at

    def ask(self) -> str:
        """Ask, and return the signal of the first that would not be taken; empty: all would be.

        Two seconds at most are given to each answer.
        """
        for signal, exporter in self._outlets.askable:
            if not self._is_there(signal, exporter):
                self._at = monotonic() + max(self._backoff.next(), self._outlets.last.wait_s)
                return signal
        return ""

    def was_answered(self) -> None:
        """Take note that a collector took something, or was heard to be there: all is well."""
        self._at = monotonic() + self._every_s
        self._backoff.reset()

    def _is_there(self, signal: str, exporter: object) -> bool:
        if self._outlets.ask(signal, exporter, _WITHIN_S):
            return True
        code = self._outlets.code
        if code in _NOT_HERE or code[:1] == "3":
            return self._outlets.takes_but_empty(exporter)
        return code not in _AWAY

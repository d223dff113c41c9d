"""Words: what a sidecar's work says in the log: each trouble once a minute, and its end."""

import logging
from time import monotonic
from typing import Final

_SAY_AGAIN_S: Final = 60.0
_log = logging.getLogger("otel_dbevents.sidecar")


class Words:
    """Says what is wrong, now and then, and when it is over. One thread uses it."""

    def __init__(self) -> None:
        self._silent: dict[str, float] = {}
        self.down = set[str]()
        """Which of Redis and the collector was said to be away."""

    def say(self, about: str, text: str, *words: object) -> bool:
        """Say it, unless it was said in the last minute."""
        now = monotonic()
        if now < self._silent.get(about, 0.0):
            return False
        self._silent[about] = now + _SAY_AGAIN_S
        _log.warning(text, *words)
        return True

    def is_back(self, who: str, since: float, text: str) -> None:
        """Say that it is, where it was said that it is not."""
        if who in self.down:
            self.down.discard(who)
            _log.info("%s, after %.0f s", text, monotonic() - since)

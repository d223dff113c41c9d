"""Judging on the worker that ships: what is found out of a batch is found out once, for both.

The judges come first. While Redis takes nothing, and the worker waits for it, they judge what waits
in the buffer, which is not taken out.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from otel_dbevents.drafts import Mixed
from otel_dbevents.judges import Judges
from otel_dbevents.swallowing import Swallowing

_log = logging.getLogger("otel_dbevents.judges")


class Judging:
    """Has the judges look at each item once. Never raises. For one thread.

    ``waiting`` returns what the thread would be brought next.
    """

    def __init__(self, judges: Judges, waiting: Callable[[], Sequence[Any]]) -> None:
        self._judges, self._waiting = judges, waiting
        self._seen: dict[int, Any] = {}
        """What was judged while it waited, by identity; kept, so that no other is taken for it."""
        self._swallowing = Swallowing("judges", _log)

    @property
    def errors(self) -> int:
        """How often judging failed."""
        return self._swallowing.errors

    def take(self, batch: Sequence[Any]) -> None:
        """Judge what was brought."""
        seen = self._seen
        if seen:
            batch = Mixed(
                item for item in batch if seen.pop(id(_event_or_draft(item)), None) is None
            )
            if batch:  # it came after all that had waited: of that the rest gave way
                seen.clear()
        try:
            if batch:
                self._judges.take(batch)
        except Exception as error:  # noqa: BLE001 - what is judged is shipped all the same
            self._swallowing.caught(error, "%d events could not be judged", len(batch))

    def look_ahead(self) -> None:
        """Judge what waits, and tell of what has ended."""
        try:
            waiting = self._waiting()
            self._judges.settle_quiet()
        except Exception as error:  # noqa: BLE001 - it is judged when it is brought
            self._swallowing.caught(error, "what waits could not be judged")
            return
        told = {id(each): each for each in map(_event_or_draft, waiting)}
        seen, self._seen = self._seen, {}
        self.take(Mixed(item for item in waiting if id(_event_or_draft(item)) not in seen))
        self._seen = told


def _event_or_draft(item: Any) -> Any:
    return item[0] if type(item) is tuple else item

"""An outage's events as a timeline: what changed is a line, what went on like that is counted."""

from collections.abc import Iterator

from rich.text import Text

from otel_dbevents import events as ev
from otel_dbevents.demo.event_line import FLOODS, event_line

_SILENT = (*FLOODS, ev.TransactionCommitted)
_CONNECTION = (ev.DatabaseConnectionEstablished, ev.DatabaseConnectionFailed)


class Timeline:
    """Takes events in their order, and gives the lines to print."""

    def __init__(self) -> None:
        self._state: dict[str, str] = {}
        self._more: dict[str, int] = {}
        """How many events were like the last one that had a line, by what they are about."""

    def lines(self, event: ev.Event) -> Iterator[Text]:
        """Give the lines of one event: none, where nothing changed by it."""
        if isinstance(event, _SILENT):
            return
        about, state = _about(event)
        if about:
            if self._state.get(about) == state:
                self._more[about] = self._more.get(about, 0) + 1
                return
            yield from self._rest(about)
            self._state[about] = state
        yield event_line(event)

    def rest(self) -> Iterator[Text]:
        """Give what was counted and is not told yet."""
        for about in list(self._more):
            yield from self._rest(about)

    def _rest(self, about: str) -> Iterator[Text]:
        more = self._more.pop(about, 0)
        if more:
            yield Text(f"{'':16}and {more} more: {self._state[about]}", style="dim")


def _about(event: ev.Event) -> tuple[str, str]:
    """Return what an event is about and what it says of that; nothing where each has its line."""
    if isinstance(event, ev.DatabaseHealthCheckCompleted):
        return "health", f"health {event.status}"
    return ("connection", event.event_type) if isinstance(event, _CONNECTION) else ("", "")

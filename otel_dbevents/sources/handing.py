"""Whom a source hands its events to: who publishes them, now or later, and who enters them."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from otel_dbevents.drafts import Draft
from otel_dbevents.events import Event, LlmContext

Publish: TypeAlias = Callable[[Event, Any], None]
"""Takes an event and the OpenTelemetry context of the call that it tells of."""

Defer: TypeAlias = Callable[[Draft], None]
"""Takes what an event will be made of."""


class Ledger(Protocol):
    """Where events of LLM work are entered just before they are published."""

    def cause(self) -> LlmContext:
        """Return which generation causes what happens now."""
        ...

    def enter(self, event: Event, cause: LlmContext | None = None) -> None:
        """Enter an event and have it say what caused it: ``cause``, else the one of now."""
        ...


FindLedger: TypeAlias = Callable[[Any], Ledger | None]
"""Returns the ledger for an OpenTelemetry context; None outside LLM work. Never raises."""


def no_ledger(_context: Any) -> None:
    """Find none."""


def at_once(publish: Publish) -> Defer:
    """Return what makes events at once, where nobody takes drafts."""

    def defer(draft: Draft) -> None:
        for event in draft.events():
            publish(event, draft.context)

    return defer

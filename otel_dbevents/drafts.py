"""Drafts: events that are still to be made of what was noted of them.

The application's thread notes values that it has at hand, and goes on. Whoever first needs the
event makes it: a worker of the bus, mostly, for a batch at a time. Everybody else finds that one
made.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

from msgspec import Struct
from msgspec.structs import astuple

from otel_dbevents.events import Event

Span: TypeAlias = tuple[bytes, bytes, int, str]
"""The fields of a `TraceParent`, where none is made."""


class _Makeable(Struct, gc=False, eq=False, kw_only=True):
    made: tuple[Event, ...] | None = None


class Draft(_Makeable, gc=False, eq=False):
    """What was noted of an event, or of two that came together.

    Its fields are values that nobody changes any more.
    """

    kinds: ClassVar[tuple[type[Event], ...]]
    """What it is a draft of, in this order: who has subscribed to any of that gets it."""

    is_plain: ClassVar[bool] = False
    """Whether it is of one event, and its fields are the event's, which has beside them an id, the
    parent of the context, and no more."""

    context: Any
    """The OpenTelemetry context of the call that it tells of."""

    def events(self) -> tuple[Event, ...]:
        """Return the events, always the same ones; empty where they cannot be made.

        Two threads must not ask at a time that nobody has asked before.
        """
        if self.made is None:
            self.made = self.make()
        return self.made

    @staticmethod
    def span_in(context: Any) -> Span | None:
        """Return the fields of the parent that events have which were noted in this context."""
        raise NotImplementedError  # pragma: no cover - abstract

    def make(self) -> tuple[Event, ...]:
        """Make the events. Never raises."""
        raise NotImplementedError  # pragma: no cover - abstract

    @classmethod
    def make_all(cls, drafts: Sequence[Any], _found: dict[int, Any]) -> None:
        """Make the events of drafts of this class, of which none are made yet. Never raises.

        ``_found`` is what was found out for other classes' drafts of the batch.
        """
        for draft in drafts:
            draft.events()


class Alike(list[Any]):
    """Plain drafts of one type, one or more: whoever takes them needs not look at each."""

    _columns: Sequence[tuple[Any, ...]] | None = None

    @property
    def columns(self) -> Sequence[tuple[Any, ...]]:
        """What they said of each field when this was first asked, in the fields' order."""
        if self._columns is None:
            self._columns = [*zip(*map(astuple, self), strict=True)]
        return self._columns

    def part(self, first: int, end: int) -> "Alike":
        """Return those from the place ``first`` on, before ``end``: they are not asked anew."""
        found = Alike(self[first:end])
        found._columns = [column[first:end] for column in self.columns]
        return found

"""Drafts: events that are still to be made of what was noted of them.

The application's thread notes values that it has at hand, and goes on. Whoever first needs the
event makes it: a worker of the bus, mostly, for a batch at a time. Everybody else finds that one
made.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import astuple

from otel_dbevents.events import Event

PART: Final = 100
"""So many go into one entry of a stream at most: what they have in common is found for these."""
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
    def spans_in(contexts: Sequence[Any]) -> "Within":
        """Return the parents that events have which were noted in these contexts."""
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


class Within(NamedTuple):
    """Under which spans drafts were noted."""

    numbers: Sequence[int]
    """For each draft its span's number, counted from one as they came; 0: under none."""
    spans: Sequence[Span]
    """No two are equal."""
    starts: Sequence[int]
    """Where another context begins."""


class Alike(list[Any]):
    """Plain drafts of one type, one or more: whoever takes them needs not look at each.

    What was found out of all at once is kept: it is the same for all who are given them.
    """

    _columns: Mapping[str, Sequence[Any]] | None = None
    _within: Within | None = None
    _parts: "Sequence[Alike]" = ()

    @property
    def kind(self) -> type[Draft]:
        """Of which type they are."""
        kind: type[Draft] = type(self[0])
        return kind

    @property
    def columns(self) -> Mapping[str, Sequence[Any]]:
        """What they said of each field when this was first asked."""
        if self._columns is None:
            told = zip(*map(astuple, self), strict=True)
            self._columns = dict(zip(type(self[0]).__struct_fields__, told, strict=True))
        return self._columns

    @property
    def within(self) -> Within:
        """Under which spans they were noted."""
        if self._within is None:
            self._within = type(self[0]).spans_in(self.columns["context"])
        return self._within

    @property
    def parts(self) -> "Sequence[Alike]":
        """The same in parts of `PART` at most."""
        if len(self) <= PART:
            return (self,)
        if not self._parts:
            self._parts = [Alike(self[at : at + PART]) for at in range(0, len(self), PART)]
        return self._parts


class Part:
    """Some items of a batch, in their order, and by their classes.

    The items are events with their contexts, and plain drafts.
    """

    __slots__ = ("alike", "deliveries", "items", "places")

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items
        self.deliveries: list[Any] = []
        """What is no draft."""
        self.alike: list[Alike] = []
        self.places: dict[type[Any], list[int]] = {}
        """Where those of a class are, in the order in which they came. Deliveries are tuples."""
        members: dict[type[Any], list[Any]] = {}
        place = 0
        for kind, run in groupby(items, type):
            these = [*run]
            end = place + len(these)
            if kind not in members:
                members[kind], self.places[kind] = [], []
            members[kind] += these
            self.places[kind] += range(place, end)
            place = end
        for kind, those in members.items():
            if kind is tuple:
                self.deliveries = those
            else:
                self.alike.append(Alike(those))


class Mixed(list[Any]):
    """A batch of events with their contexts, and plain drafts of one or several types."""

    _parts: Sequence[Part] = ()

    @property
    def parts(self) -> Sequence[Part]:
        """The same in parts of `PART` at most."""
        if not self._parts:
            self._parts = [Part(self[at : at + PART]) for at in range(0, len(self), PART)]
        return self._parts

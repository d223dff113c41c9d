"""Tables: what the events of one body refer to, each once, by a number counted from one; 0: none.

Most objects come again and again: they are known by which they are, and compared only where that
is another. Who numbers them keeps them: no other may come to the place of one that is known so.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from otel_dbevents.drafts import Within
from otel_dbevents.events import TraceParent


class Table:
    """The different objects of one ``kind``. With its first it is ``told`` of.

    Parents may come as the tuples of their fields, and are kept as such.
    """

    def __init__(self, kind: type[Struct], told: "list[Table]") -> None:
        self.kind, self._told = kind, told
        self.things: list[Any] = []
        """In the order of their numbers."""
        self._numbers: dict[int, int] = {id(None): 0}
        """By identity."""
        self._known: dict[Any, int] = {}
        """By value, as soon as there are two: to hash one takes as long as to write it."""

    @property
    def rows(self) -> Sequence[tuple[Any, ...]]:
        """The objects' fields."""
        return self.things if self.kind is TraceParent else [*map(astuple, self.things)]

    def numbers(self, values: Sequence[Any]) -> Sequence[int]:
        """Return the values' numbers; one where all are equal."""
        if values.count(values[0]) == len(values):
            values = values[:1]
        found: list[int] = []
        numbers, last, number = self._numbers, None, 0
        for value in values:
            if value is not last:  # most are what the last one was
                last, known = value, numbers.get(id(value))
                if known is None:
                    known = numbers[id(value)] = self._number(value)
                number = known
            found.append(number)
        return one_or_all(found)

    def numbers_of(self, spans: Within) -> Sequence[int]:
        """Return the numbers of parents that were numbered by others; one where all are equal."""
        if not self.things and spans.spans:
            self._told.append(self)
            self.things += spans.spans
            return one_or_all(spans.numbers)
        known = [0, *map(self._number, spans.spans)]
        return one_or_all([known[number] for number in spans.numbers])

    def _number(self, thing: Any) -> int:
        if thing is None:
            return 0
        things, known = self.things, self._known
        if self.kind is TraceParent and type(thing) is not tuple:
            thing = astuple(thing)
        if not things:
            self._told.append(self)
            things.append(thing)
            return 1
        if not known:
            known |= {each: number for number, each in enumerate(things, 1)}
        number = known.setdefault(thing, len(things) + 1)
        if number > len(things):
            things.append(thing)
        return number


def one_or_all(numbers: Sequence[int]) -> Sequence[int]:
    """Return one of these, where they are equal."""
    first = numbers[0]
    return numbers[:1] if numbers[-1] == first and numbers.count(first) == len(numbers) else numbers

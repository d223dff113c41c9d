"""Tables: what the events of one body refer to, each once, by a number counted from one; 0: none.

Most objects come again and again: they are known by which they are, and compared only where that
is another. Who numbers them keeps them: no other may come to the place of one that is known so.
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from otel_dbevents.drafts import Span
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

    def numbers(self, values: Sequence[Any]) -> list[int]:
        """Return the values' numbers; one where all are equal."""
        if values.count(values[0]) == len(values):
            values = values[:1]
        numbers, found, last, number = self._numbers, list[int](), None, 0
        for value in values:
            if value is not last:  # most are what the last one was
                last, known = value, numbers.get(id(value))
                if known is None:
                    known = numbers[id(value)] = self._number(value)
                number = known
            found.append(number)
        return one_or_all(found)

    def numbers_in(
        self, contexts: Sequence[Any], span_in: Callable[[Any], Span | None]
    ) -> list[int]:
        """Return the numbers of the parents in these contexts; one where all are equal."""
        numbers, found, last, number = self._numbers, list[int](), None, 0
        for context in contexts:
            if context is not last:
                last, known = context, numbers.get(id(context))
                if known is None:
                    known = numbers[id(context)] = self._number(span_in(context))
                number = known
            found.append(number)
        return one_or_all(found)

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
            known[things[0]] = 1
        number = known.setdefault(thing, len(things) + 1)
        if number > len(things):
            things.append(thing)
        return number


def one_or_all(numbers: list[int]) -> list[int]:
    """Return one of these, where they are equal."""
    first = numbers[0]
    return numbers[:1] if numbers[-1] == first and numbers.count(first) == len(numbers) else numbers

"""The numbers of many turns: all of them, or a sample of so many that memory stays small."""

import random
from array import array
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

MOST: Final = 100_000
"""Turns of a group whose numbers are kept: of more, each has the same chance to be among them."""


class Row(NamedTuple):
    """One turn's times in nanoseconds; below 0 = not known."""

    start: int
    duration: int
    model: int
    busy: int
    share_ppm: int
    """Millionths."""
    queries: int

    @property
    def rest(self) -> int:
        """What neither the model nor the database was at work in, as far as is known."""
        return max(0, self.duration - self.model - max(0, self.busy))


class Sample:
    """Rows, in columns of 8 bytes each."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._columns = [array("q") for _ in Row._fields]
        self._random = random.Random(0)  # noqa: S311 - the same report each time, no secret
        self.count = 0
        """How many rows were put in."""

    def put(self, row: Row) -> None:
        """Keep a row, perhaps in another one's place."""
        self.count += 1
        if self.count <= self._most:
            for column, number in zip(self._columns, row, strict=True):
                column.append(number)
            return
        place = self._random.randrange(self.count)
        if place < self._most:
            for column, number in zip(self._columns, row, strict=True):
                column[place] = number

    @property
    def sampled(self) -> bool:
        """Whether not all are kept."""
        return self.count > self._most

    def rows(self) -> Iterator[Row]:
        """Return those that are kept, in the order of their start."""
        return iter(sorted(map(Row._make, zip(*self._columns, strict=True))))


def milliseconds(nanoseconds: Sequence[int]) -> list[float]:
    """Return the same times in milliseconds."""
    return [each / 1e6 for each in nanoseconds]

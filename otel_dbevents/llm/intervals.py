"""Intervals: how long something was busy, when what it was busy with may overlap."""

from bisect import bisect_left
from typing import Final

_MOST: Final = 512


class Intervals:
    """The union of intervals of time, in nanoseconds. Its memory is bounded.

    Of more than 512 gaps the older half is closed: what is added later and lies before them counts
    no more. So the sum may be too small then, and is never too large.
    """

    __slots__ = ("_closed_ns", "_ends", "_floor", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._closed_ns = 0
        self._floor = 0

    def add(self, start: int, end: int) -> None:
        """Add an interval; they may come in any order."""
        start = max(start, self._floor)
        if end <= start:
            return
        starts, ends = self._starts, self._ends
        # Those from `first` up to `last` touch it, and become one with it.
        first = bisect_left(ends, start)
        last = first
        while last < len(starts) and starts[last] <= end:
            last += 1
        if first < last:
            start, end = min(start, starts[first]), max(end, ends[last - 1])
        starts[first:last], ends[first:last] = [start], [end]
        if len(starts) > _MOST:
            self._close()

    @property
    def total_ns(self) -> int:
        """How long the union is."""
        return self._closed_ns + sum(self._ends) - sum(self._starts)

    def _close(self) -> None:
        half = len(self._starts) // 2
        self._closed_ns += sum(self._ends[:half]) - sum(self._starts[:half])
        self._floor = self._ends[half - 1]
        del self._starts[:half], self._ends[:half]

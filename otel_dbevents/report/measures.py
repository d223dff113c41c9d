"""What is counted in a report: medians, percentiles, and time in which something was going on."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from otel_dbevents.report.model import Interval

Number = TypeVar("Number", int, float)


def median(numbers: Sequence[float]) -> float | None:
    """Return the middle one; the mean of both where there are two; None of none."""
    if not numbers:
        return None
    ordered, middle = sorted(numbers), len(numbers) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def percentile(numbers: Sequence[Number], percent: int) -> Number | None:
    """Return the smallest of them that so many percent do not exceed; None of none."""
    if not numbers:
        return None
    rank = -(-len(numbers) * percent // 100)
    return sorted(numbers)[max(1, rank) - 1]


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same time in intervals that neither touch nor overlap, in their order."""
    found: list[Interval] = []
    for start, end in sorted(each for each in intervals if each[1] > each[0]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def covered(intervals: Iterable[Interval], within: Interval | None = None) -> int:
    """Return for how long at least one of them lasts, of the time ``within`` alone if given."""
    if within is not None:
        low, high = within
        intervals = ((max(low, start), min(high, end)) for start, end in intervals)
    return sum(end - start for start, end in merged(intervals))

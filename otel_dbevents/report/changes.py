"""Since when a prompt's turns have been slower, or faster, in the database."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from otel_dbevents.report.findings import Change
from otel_dbevents.report.measures import median
from otel_dbevents.report.model import Prompt
from otel_dbevents.report.sample import Row

FEWEST: Final = 5
"""Turns on each side."""
LEAST_NS: Final = 5_000_000
"""By which the medians differ."""
CHUNKS: Final = 24
"""In so many steps a shift is looked for."""


def changes(groups: Sequence[tuple[Prompt, Sequence[Row]]]) -> tuple[Change, ...]:
    """Return what changed, in order of time. `findings.RULES` says what counts as a change.

    Each group comes with the turns of which the database's numbers are known, in their order.
    """
    found: list[Change] = []
    names: dict[str, list[tuple[Prompt, Sequence[Row]]]] = defaultdict(list)
    for prompt, rows in groups:
        if (shift := _shift(prompt, rows)) is not None:
            found.append(shift)
        if prompt.name and len(rows) >= FEWEST:
            names[prompt.name].append((prompt, rows))
    for versions in names.values():
        found.extend(_between(sorted(versions, key=lambda each: (each[1][0].start, each[0]))))
    return tuple(sorted(found, key=lambda each: (each.since_ns, each.after, each.kind)))


def _between(versions: Sequence[tuple[Prompt, Sequence[Row]]]) -> Iterator[Change]:
    """Compare each version with the one before it."""
    for (before, earlier), (after, later) in pairwise(versions):
        one, two = _busy(earlier), _busy(later)
        if _differ(one, two, 1.5):
            yield Change("version", before, after, later[0].start, one / 1e6, two / 1e6)


def _shift(prompt: Prompt, rows: Sequence[Row]) -> Change | None:
    """Find the moment within one version from which on its turns are other ones."""
    best: tuple[float, float, float] | None = None
    for chunk in range(1, CHUNKS):
        place = len(rows) * chunk // CHUNKS
        if min(place, len(rows) - place) < FEWEST:
            continue
        before, after = _busy(rows[:place]), _busy(rows[place:])
        ratio = max(before, after) / max(1.0, min(before, after))
        if _differ(before, after, 2.0) and (best is None or ratio > best[0]):
            best = ratio, before, after
    if best is None:
        return None
    middle = (best[1] + best[2]) / 2
    place = _place(rows, middle, rises=best[2] > best[1])
    earlier, later = rows[:place], rows[place:]
    if min(len(earlier), len(later)) < FEWEST or not _apart(earlier, later, middle):
        return None
    one, two = _busy(earlier) / 1e6, _busy(later) / 1e6
    return Change("shift", prompt, prompt, later[0].start, one, two)


def _place(rows: Sequence[Row], middle: float, *, rises: bool) -> int:
    """Return where to part the rows, so that the fewest are on the wrong side of the middle."""
    wrong = sum((row.busy > middle) != rises for row in rows)
    fewest, place = wrong, 0
    for number, row in enumerate(rows, 1):
        wrong += 1 if (row.busy > middle) == rises else -1
        if wrong < fewest:
            fewest, place = wrong, number
    return place


def _apart(before: Sequence[Row], after: Sequence[Row], middle: float) -> bool:
    """Whether four of five turns lie on their side of the middle."""
    low, high = (before, after) if _busy(before) < _busy(after) else (after, before)
    lower = sum(row.busy <= middle for row in low) / len(low)
    higher = sum(row.busy > middle for row in high) / len(high)
    return _differ(_busy(low), _busy(high), 2.0) and min(lower, higher) >= 0.8


def _busy(rows: Sequence[Row]) -> float:
    return median([row.busy for row in rows]) or 0.0


def _differ(one: float, other: float, times: float) -> bool:
    low, high = min(one, other), max(one, other)
    return high - low >= LEAST_NS and high >= low * times

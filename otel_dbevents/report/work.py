"""What the database did, as the roll-ups on LLM spans say it, and as database spans do."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from otel_dbevents.report import keys
from otel_dbevents.report.keys import nanoseconds, number, text, whole
from otel_dbevents.report.kinds import is_folded, is_query, longest, query_text, runs, time_of
from otel_dbevents.report.measures import covered
from otel_dbevents.report.model import Query, Repetition, Span, Work

REPEATED: Final = 10
"""So many runs of one statement under one span are a repetition."""

_REPEATED: Final = re.compile(r"(\d+) x (.+?)(?: at ((?:(?! at ).)+:\d+))?", re.DOTALL)


def has_roll_up(span: Span) -> bool:
    """Whether the span says what the database did below it."""
    return whole(span.attributes, keys.QUERY_COUNT) is not None


def rolled_up(span: Span) -> Work:
    """Return what a span's roll-up says."""
    found = span.attributes
    busy, time = nanoseconds(found, keys.BUSY_MS), nanoseconds(found, keys.TIME_MS)
    if busy is None:
        share = number(found, keys.SHARE)
        busy = time or 0 if share is None else round(share * span.duration_ns)
    return Work(
        busy_ns=busy,
        time_ns=busy if time is None else time,
        query_count=whole(found, keys.QUERY_COUNT) or 0,
        error_count=whole(found, keys.ERROR_COUNT) or 0,
    )


def added(works: Iterable[Work], most_ns: int) -> Work:
    """Return several as one: not busier than the time in which it was, as they may overlap."""
    works = list(works)
    return Work(
        busy_ns=min(most_ns, sum(each.busy_ns for each in works)),
        time_ns=sum(each.time_ns for each in works),
        query_count=sum(each.query_count for each in works),
        error_count=sum(each.error_count for each in works),
    )


def spans_work(spans: Sequence[Span], most_ns: int) -> Work:
    """Return what database spans come to. A folded one was busy for its statements' time only."""
    whole_ones = [
        (each.start_ns, each.start_ns + time_of(each)) for each in spans if not is_folded(each)
    ]
    folded = sum(time_of(each) for each in spans if is_folded(each))
    return Work(
        busy_ns=min(most_ns, covered(whole_ones) + folded),
        time_ns=sum(time_of(each) for each in spans),
        query_count=count_of(spans),
        error_count=sum(each.failed for each in spans),
    )


def count_of(spans: Iterable[Span]) -> int:
    """Return how many statements these spans stand for."""
    return sum(runs(each) for each in spans if is_query(each))


def queries_of(spans: Iterable[Span], rolled: Iterable[Span]) -> tuple[Query, ...]:
    """Return the statements that database spans show, and the slowest that roll-ups name."""
    found: dict[str, Query] = {}
    for span in filter(is_query, spans):
        said = query_text(span)
        known = found.get(said, Query(said, 0, 0, 0))
        found[said] = Query(
            said,
            slowest_ns=max(known.slowest_ns, longest(span)),
            count=(known.count or 0) + runs(span),
            time_ns=(known.time_ns or 0) + time_of(span),
        )
    for span in rolled:
        said = text(span.attributes, keys.SLOWEST_QUERY)
        slowest = nanoseconds(span.attributes, keys.SLOWEST_MS)
        if said and slowest is not None and not _is_among(said, found):
            found[said] = Query(said, slowest)
    return tuple(found.values())


def _is_among(said: str, found: Iterable[str]) -> bool:
    """Whether a roll-up's text, which may have been cut, is one of these."""
    start = said[:-1].rstrip() if said.endswith("…") else said
    return any(each.startswith(start) for each in found)


def repetitions_of(spans: Iterable[Span], rolled: Iterable[Span]) -> tuple[Repetition, ...]:
    """Return what ran again and again: as the roll-ups say, which know the place, else spans."""
    told = [text(each.attributes, keys.REPEATED_QUERY) for each in rolled]
    matches = [match for said in told if (match := _REPEATED.fullmatch(said))]
    if matches:
        return tuple(Repetition(each[2], int(each[1]), each[3] or "") for each in matches)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    places: dict[str, str] = {}
    for span in filter(is_query, spans):
        said = query_text(span)
        counts[span.parent_id, said] += runs(span)
        if place := _place(span):
            places[said] = place
    return tuple(
        Repetition(said, count, places.get(said, ""))
        for (_, said), count in counts.items()
        if count >= REPEATED
    )


def _place(span: Span) -> str:
    path, line = text(span.attributes, keys.FILE), whole(span.attributes, keys.LINE)
    return f"{path.rpartition('/')[2]}:{line}" if path and line else ""

"""The statements that took the most, and those that ran again and again, over many turns."""

from typing import Final, TypeVar

from otel_dbevents.report.findings import Repeated, TopQuery
from otel_dbevents.report.model import Part, Query, Repetition

Number = TypeVar("Number", int, float)

MOST: Final = 2_000
"""So many different ones are kept; then the lighter half goes."""
LONGEST: Final = 500
"""Characters of a statement."""


class Tops:
    """Adds up parts of turns, by statement."""

    def __init__(self) -> None:
        self._queries: dict[str, TopQuery] = {}
        self._repeated: dict[tuple[str, str], Repeated] = {}

    def add(self, part: Part) -> None:
        """Add what one turn's part says."""
        for query in part.queries:
            self._add_query(query)
        for repetition in part.repetitions:
            self._add_repetition(repetition)
        if len(self._queries) > MOST:
            kept = sorted(self._queries.values(), key=_weight)[: MOST // 2]
            self._queries = {each.text: each for each in kept}
        if len(self._repeated) > MOST:
            worst = sorted(self._repeated.values(), key=_often)[: MOST // 2]
            self._repeated = {(each.text, each.place): each for each in worst}

    def queries(self, top: int) -> tuple[TopQuery, ...]:
        """Return those that took the most time; where that is not known, had the slowest run."""
        return tuple(sorted(self._queries.values(), key=_weight)[:top])

    def repeated(self, top: int) -> tuple[Repeated, ...]:
        """Return those that ran most often within one turn."""
        return tuple(sorted(self._repeated.values(), key=_often)[:top])

    def _add_query(self, query: Query) -> None:
        said, known = _short(query.text), self._queries.get(_short(query.text))
        slowest, count, time = query.slowest_ns / 1e6, query.count, query.time_ns
        self._queries[said] = TopQuery(
            said,
            turns=1 + (known.turns if known else 0),
            slowest_ms=max(slowest, known.slowest_ms if known else 0),
            count=_sum(known.count if known else None, count),
            time_ms=_sum(known.time_ms if known else None, None if time is None else time / 1e6),
        )

    def _add_repetition(self, each: Repetition) -> None:
        key = _short(each.text), each.place
        known = self._repeated.get(key)
        self._repeated[key] = Repeated(
            *key,
            turns=1 + (known.turns if known else 0),
            most=max(each.count, known.most if known else 0),
        )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _sum(one: Number | None, other: Number | None) -> Number | None:
    return other if one is None else one if other is None else one + other


def _weight(query: TopQuery) -> tuple[float, str]:
    return -(query.time_ms or query.slowest_ms), query.text


def _often(repeated: Repeated) -> tuple[int, int, str, str]:
    return -repeated.most, -repeated.turns, repeated.text, repeated.place

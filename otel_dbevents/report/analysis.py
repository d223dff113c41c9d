"""Turns, one after the other, to a report: by prompt, version and model, and all together."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from otel_dbevents.report.changes import changes
from otel_dbevents.report.findings import Group, Report, Spread, Verdict
from otel_dbevents.report.measures import median, percentile
from otel_dbevents.report.model import Part, Prompt, Turn
from otel_dbevents.report.sample import MOST, Row, Sample, milliseconds
from otel_dbevents.report.tops import Tops

MOST_NAMES: Final = 20
MOST_GROUPS: Final = 1_000
"""So many are told apart; turns of further ones are in the total only."""


Wanted: TypeAlias = Callable[[Turn, Prompt], bool]
"""Whether a turn counts, and for which of its prompts."""


class Analysis:
    """Adds up turns. Its memory does not grow with them beyond so many."""

    def __init__(self, wanted: Wanted, most_rows: int = MOST) -> None:
        self._wanted = wanted
        self._most_rows = most_rows
        self._total = _Turns(None, most_rows)
        self._groups: dict[Prompt, _Turns] = {}
        self._not_told: set[Prompt] = set()
        self._names: set[str] = set()
        self._seen = self._rolled_up = self._unplaced = 0

    def add(self, turn: Turn) -> None:
        """Add a turn to its prompts' numbers, and to those of all, as far as it is wanted."""
        self._seen += 1
        if len(self._names) < MOST_NAMES:
            self._names.update(part.prompt.name for part in turn.parts if part.prompt.name)
        parts = [part for part in turn.parts if self._wanted(turn, part.prompt)]
        if not parts:
            return
        self._rolled_up += turn.rolled_up
        self._unplaced += turn.work is not None and any(part.work is None for part in parts)
        everything = Part(Prompt(), turn.model_ns, turn.work, turn.queries, turn.repetitions)
        self._total.add(turn, everything, turn.share)
        for part in parts:
            if (group := self._group(part.prompt)) is not None:
                group.add(turn, part, turn.share if len(turn.parts) == 1 else None)

    def _group(self, prompt: Prompt) -> "_Turns | None":
        if prompt not in self._groups and len(self._groups) >= MOST_GROUPS:
            if len(self._not_told) < MOST_GROUPS:
                self._not_told.add(prompt)
            return None
        return self._groups.setdefault(prompt, _Turns(prompt, self._most_rows))

    def report(self, source: str, *, spans: int = 0, late: int = 0, top: int = 5) -> Report:
        """Return what there is to say, with so many of the slowest queries for each."""
        members = _in_order(self._groups.values())
        return Report(
            source=source,
            spans=spans,
            late=late,
            seen=self._seen,
            names=tuple(sorted(self._names)),
            rolled_up=self._rolled_up,
            total=self._total.group(top) if self._total.sample.count else None,
            groups=tuple(each.group(top) for each in members),
            changes=changes([(each.prompt or Prompt(), list(each.known())) for each in members]),
            unplaced=self._unplaced,
            not_told=len(self._not_told),
        )


class _Turns:
    """The turns of one group."""

    def __init__(self, prompt: Prompt | None, most_rows: int) -> None:
        self.prompt = prompt
        self.sample = Sample(most_rows)
        self.tops = Tops()
        self.first_ns = self.last_ns = 0
        self.busy_ns = self.known_count = self.failures = self.failed_turns = self.incomplete = 0

    def add(self, turn: Turn, part: Part, share: float | None) -> None:
        work, start = part.work, turn.start_ns
        self.first_ns = min(self.first_ns or start, start)
        self.last_ns = max(self.last_ns, start)
        if work is None:
            self.sample.put(Row(start, turn.duration_ns, part.model_ns, -1, -1, -1))
            return
        if share is None:
            share = work.busy_ns / turn.duration_ns if turn.duration_ns else 0.0
        ppm = round(min(1.0, share) * 1e6)
        self.sample.put(
            Row(start, turn.duration_ns, part.model_ns, work.busy_ns, ppm, work.query_count)
        )
        self.busy_ns += work.busy_ns
        self.known_count += 1
        self.failures += work.error_count
        self.failed_turns += work.error_count > 0
        self.incomplete += not turn.complete and work.query_count > 0
        self.tops.add(part)

    def known(self) -> Iterable[Row]:
        """Return the turns whose database numbers are there, in order."""
        return (row for row in self.sample.rows() if row.busy >= 0)

    def group(self, top: int) -> Group:
        rows = list(self.sample.rows())
        known = [row for row in rows if row.busy >= 0]
        return Group(
            prompt=self.prompt,
            first_ns=self.first_ns,
            last_ns=self.last_ns,
            turns=self.sample.count,
            known=self.known_count,
            duration=_spread(milliseconds([row.duration for row in rows])) or Spread(0, 0),
            model=_spread(milliseconds([row.model for row in rows])) or Spread(0, 0),
            database=_spread(milliseconds([row.busy for row in known])),
            rest=_spread(milliseconds([row.rest for row in known])),
            share=_spread([row.share_ppm / 1e6 for row in known]),
            queries=_spread([row.queries for row in known]),
            failures=self.failures,
            failed_turns=self.failed_turns,
            typical=_typical(known),
            slow=_slow(known),
            top_queries=self.tops.queries(top),
            incomplete=self.incomplete,
            repeated=self.tops.repeated(top),
            sampled=self.sample.sampled,
        )


def _spread(numbers: Sequence[float]) -> Spread | None:
    middle, high = median(numbers), percentile(numbers, 95)
    return None if middle is None or high is None else Spread(middle, high)


def _typical(rows: Sequence[Row]) -> Verdict | None:
    """Return the largest of the three medians."""
    return _largest(
        median([row.model for row in rows]) or 0,
        median([row.busy for row in rows]) or 0,
        median([row.rest for row in rows]) or 0,
    )


def _slow(rows: Sequence[Row]) -> Verdict | None:
    """Return what most of the time of the slowest 5 % went to."""
    slow = sorted(rows, key=lambda row: -row.duration)[: -(-len(rows) // 20)]
    return _largest(
        sum(row.model for row in slow),
        sum(row.busy for row in slow),
        sum(row.rest for row in slow),
    )


def _largest(model: float, database: float, rest: float) -> Verdict | None:
    everything = model + database + rest
    if not everything:
        return None
    if database >= max(model, rest):
        return Verdict("database", database / everything)
    if model >= rest:
        return Verdict("model", model / everything)
    return Verdict("rest", rest / everything)


def _in_order(groups: Iterable[_Turns]) -> list[_Turns]:
    """Return prompts by their database time, the most first; each one's versions by their start."""
    groups = list(groups)
    times: dict[str, int] = {}
    for each in groups:
        name = each.prompt.name if each.prompt else ""
        times[name] = times.get(name, 0) + each.busy_ns

    def place(each: _Turns) -> tuple[int, bool, str, int, Prompt]:
        prompt = each.prompt or Prompt()
        return -times[prompt.name], not prompt.name, prompt.name, each.first_ns, prompt

    return sorted(groups, key=place)

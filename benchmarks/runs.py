"""Several whole runs after one another: what each found, the worst of them, how far they differ.

A ratio holds where it holds in every run. Limits are for instructions; CPU times are told beside
them, and judge nothing.
"""

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from benchmarks.limits import LIMITS, Limit, what_of
from benchmarks.result import Kind, Part, Result, Row, Spread, Table

COLUMNS: tuple[tuple[str, Part, str], ...] = (
    ("ours", "thread", "caller"),
    ("ours", "process", "process"),
    ("ours, OTLP", "process", "process, OTLP"),
    ("ours, shipped", "process", "process, Redis"),
    ("ours, unsampled", "thread", "caller, unsampled"),
    ("ours, unsampled", "process", "process, unsampled"),
)
"""What is told of each scene: a variant, which part of what it adds, and how that is called."""
_PARTS: tuple[Part, ...] = ("thread", "process")


@dataclass(frozen=True)
class Ratio:
    """What ``ours`` adds as a share of what ``of`` adds, as each run found it."""

    scene: str
    part: Part
    ours: str
    of: str
    kind: Kind
    runs: tuple[float, ...]
    budget: float | None = None
    limit: float | None = None
    """None where nothing is held to one: of times, and where there is none."""

    @property
    def what(self) -> str:
        return what_of(self.scene, self.part, self.ours, self.of)

    @property
    def best(self) -> float:
        return min(self.runs)

    @property
    def worst(self) -> float:
        return max(self.runs)

    @property
    def spread(self) -> float:
        return self.worst - self.best

    @property
    def range(self) -> str:
        """From the best to the worst, as two decimals, or one of them where they are the same."""
        best, worst = f"{self.best:.2f}", f"{self.worst:.2f}"
        return worst if best == worst else f"{best} to {worst}"

    @property
    def ok(self) -> bool:
        return self.limit is None or self.worst <= self.limit

    @property
    def verdict(self) -> str:
        """Whether it is within its limit and its budget, and in how many of the runs."""
        number = len(self.runs)
        for bound, said in ((self.limit, "OVER THE LIMIT"), (self.budget, "over the budget")):
            over = sum(bound is not None and ratio > bound for ratio in self.runs)
            if over:
                return f"{said} in {over} of {number}" if number > 1 else said
        return f"within the budget in all {number}" if number > 1 else "within the budget"


@dataclass(frozen=True)
class Runs:
    """All runs of one command. They were asked for the same, so their tables are alike."""

    results: Sequence[Result]

    @property
    def ok(self) -> bool:
        """Whether each limit was kept in each run."""
        return all(limit.ok for result in self.results for limit in result.limits)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Which there are, with what is judged first."""
        found = [table.kind for table in self.results[0].tables]
        return tuple(sorted(found, key="CPU time".__eq__))

    def tables(self, kind: Kind) -> list[Table]:
        """Return each run's table of a kind."""
        return [table for run in self.results for table in run.tables if table.kind == kind]

    def budgets(self, limits: Sequence[Limit] = LIMITS) -> list[Ratio]:
        """Return what has a budget, of each kind that was measured."""
        return [
            Ratio(each.scene, each.part, each.ours, each.of, kind, ratios, each.budget, bound)
            for each in limits
            for kind in self.kinds
            if (ratios := _all(each.ratio(table) for table in self.tables(kind)))
            for bound in (None if kind == "CPU time" else each.limit,)
        ]

    def ratios(self, kind: Kind) -> list[Ratio]:
        """Return what of each scene is in `COLUMNS`."""
        tables = self.tables(kind)
        return [
            Ratio(scene, part, variant, first.reference, kind, ratios)
            for scene in tables[0].scenes
            for variant, part, _ in COLUMNS
            if (first := tables[0].row(scene, variant))
            and (ratios := _all(_ratio(table.row(scene, variant), part) for table in tables))
        ]

    def together(self) -> Result:
        """Make one result of all: the medians of the runs, and from the lowest to the highest."""
        first = self.results[0]
        return replace(
            first, tables=tuple(_together(self.tables(kind)) for kind in self.kinds), limits=()
        )

    def to_json(self) -> str:
        ratios = [ratio for kind in self.kinds for ratio in self.ratios(kind)]
        return json.dumps(
            {
                "ok": self.ok,
                "budgets": [_told(ratio) | {"verdict": ratio.verdict} for ratio in self.budgets()],
                "ratios": [_told(ratio) for ratio in ratios],
                "runs": [asdict(result) for result in self.results],
            },
            indent=2,
        )


def _told(ratio: Ratio) -> dict[str, object]:
    return asdict(ratio) | {"worst": ratio.worst, "spread": ratio.spread}


def _ratio(row: Row | None, part: Part) -> float | None:
    return None if row is None else row.ratio(part)


def _all(ratios: Iterator[float | None]) -> tuple[float, ...]:
    """Return them, or nothing where one is missing: a run without it could not have held."""
    found = tuple(ratios)
    known = tuple(ratio for ratio in found if ratio is not None)
    return known if len(known) == len(found) else ()


def _together(tables: Sequence[Table]) -> Table:
    scenes = {
        scene: [
            _middle(rows) for rows in zip(*(each.scenes[scene] for each in tables), strict=True)
        ]
        for scene in tables[0].scenes
    }
    return replace(tables[0], scenes=scenes, rounds=sum(table.rounds for table in tables))


def _middle(rows: Sequence[Row]) -> Row:
    thread = [row.thread.median for row in rows]
    process = [row.process.median for row in rows]
    ratios = [_all(row.ratio(part) for row in rows) for part in _PARTS]
    return Row(
        rows[0].variant,
        rows[0].reference,
        Spread(min(thread), statistics.median(thread), max(thread)),
        Spread(min(process), statistics.median(process), max(process)),
        *(statistics.median(each) if each else None for each in ratios),
    )

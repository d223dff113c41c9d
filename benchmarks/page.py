"""What several runs found, in Markdown, between the two marks of a page."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.result import Kind, Part, Table
from benchmarks.runs import COLUMNS, Ratio, Runs
from benchmarks.scenes import SCENES

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
PER_SECOND = (100, 1_000, 5_000)
"""Queries a second in one process."""
KINDS: dict[Kind, str] = {
    "instructions": "Instructions, in a process that has done all scenes",
    "instructions, alone": "Instructions, in a process that did this scene alone",
    "CPU time": "CPU time, in a process that has done all scenes",
}
TIMES: tuple[tuple[str, Part, str], ...] = (
    ("contrib", "thread", "caller: contrib"),
    ("ours", "thread", "caller: ours"),
    ("contrib, OTLP", "process", "process, OTLP: contrib"),
    ("ours, OTLP", "process", "process, OTLP: ours"),
    ("ours, shipped", "process", "process, to Redis: ours"),
)
CORE: tuple[tuple[str, Part, str], ...] = (
    ("contrib, OTLP", "process", "contrib, OTLP"),
    ("ours, OTLP", "process", "ours, OTLP"),
    ("ours, shipped", "process", "ours, to Redis"),
    ("ours, unsampled", "process", "ours, unsampled"),
    ("ours", "thread", "of it ours on the callers' threads"),
)


def write(path: Path, runs: Runs) -> None:
    """Put what was measured between the marks of the page; make a page if there is none."""
    before, after = parts(path)
    path.write_text(f"{before}{BEGIN}\n{section(runs)}\n{END}{after}")


def parts(path: Path) -> tuple[str, str]:
    """Return what is before and behind the marks. Raises `ValueError` where a page lacks them."""
    if not path.exists():
        return "", "\n"
    before, begun, rest = path.read_text().partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"{path.name} has no {BEGIN} and {END} to write between")
    return before, after


def section(runs: Runs) -> str:
    """Return all of it."""
    return "\n".join(_lines(runs))


def _lines(runs: Runs) -> Iterator[str]:
    number = len(runs.results)
    said = ", ".join(f"{name} {each}" for name, each in runs.results[0].versions.items())
    yield f"Measured on {datetime.now(UTC):%Y-%m-%d}: {said}."
    yield f"{f'{number} runs, one after the other' if number > 1 else 'One run'}. {_rounds(runs)}"
    yield from ("", "### The budgets", "")
    yield from _budgets(runs.budgets(), number)
    for kind in (kind for kind in KINDS if kind in runs.kinds):
        yield from ("", f"### {KINDS[kind]}", "")
        yield from _scenes(runs.ratios(kind))
    for table in runs.together().tables:
        if table.kind == "CPU time":
            yield from ("", "### Microseconds of CPU for one operation", "")
            yield from _microseconds(table)
            if "held" in table.scenes:
                yield from ("", "### Of one core, for queries on held connections", "")
                yield from _core(table)


def _rounds(runs: Runs) -> str:
    timed = [table.rounds for table in runs.results[0].tables if table.kind == "CPU time"]
    return f"CPU times are medians of {timed[0]} rounds in each." if timed else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(cells: Sequence[str]) -> Iterator[str]:
    yield _row(cells)
    yield f"|{'---|' * len(cells)}"


def _budgets(ratios: Sequence[Ratio], number: int) -> Iterator[str]:
    runs = [f"run {each}" for each in range(1, number + 1)]
    yield from _head(
        ["what is added, as a share", "of", *runs, "worst", "spread", "budget", "holds"]
    )
    before = ""
    for ratio in ratios:
        what, kind = ratio.what, ratio.kind
        numbers = [f"{each:.3f}" for each in (*ratio.runs, ratio.worst, ratio.spread)]
        budget = f"{ratio.budget:.3f}"
        yield _row(["" if what == before else what, kind, *numbers, budget, ratio.verdict])
        before = what


def _scenes(ratios: Sequence[Ratio]) -> Iterator[str]:
    yield from _head(["", *(title for _, _, title in COLUMNS)])
    found = {(ratio.scene, ratio.ours, ratio.part): ratio.range for ratio in ratios}
    for scene in dict.fromkeys(ratio.scene for ratio in ratios):
        cells = [found.get((scene, variant, part), "") for variant, part, _ in COLUMNS]
        yield _row([SCENES[scene].title, *cells])


def _microseconds(table: Table) -> Iterator[str]:
    yield from _head(["", "itself", *(title for _, _, title in TIMES)])
    for scene, rows in table.scenes.items():
        added = [_added(table, scene, variant, part) for variant, part, _ in TIMES]
        numbers = [rows[0].thread.median, *added]
        yield _row(
            [SCENES[scene].title, *("" if each is None else f"{each:.1f}" for each in numbers)]
        )


def _core(table: Table) -> Iterator[str]:
    yield from _head(["queries a second", *(title for _, _, title in CORE)])
    for rate in PER_SECOND:
        added = [_added(table, "held", variant, part) for variant, part, _ in CORE]
        shares = ["" if each is None else f"{each * rate / 1e6:.2%}" for each in added]
        yield _row([f"{rate:,}", *shares])


def _added(table: Table, scene: str, variant: str, part: Part) -> float | None:
    row = table.row(scene, variant)
    return None if row is None else float(getattr(row, part).median)

"""A result as text, for a terminal."""

from collections.abc import Iterator, Sequence

from benchmarks.result import Held, Result, Row, Spread, Table
from benchmarks.runs import COLUMNS, Ratio, Runs
from benchmarks.scenes import SCENES


def text_of(result: Result) -> str:
    """Return all tables and limits of a result."""
    return "\n".join(_lines(result))


def _lines(result: Result) -> Iterator[str]:
    yield ", ".join(f"{name} {number}" for name, number in result.versions.items())
    for table in result.tables:
        yield from _table(table)
    if result.limits:
        yield ""
        yield "Instructions against the limits (benchmarks/limits.py)"
        yield from (_held(held) for held in result.limits)


def text_of_runs(runs: Runs) -> str:
    """Return what the runs found, beside each other."""
    return "\n".join(_lines_of_runs(runs))


def _lines_of_runs(runs: Runs) -> Iterator[str]:
    yield ", ".join(f"{name} {number}" for name, number in runs.results[0].versions.items())
    yield f"{len(runs.results)} runs, one after the other, each in processes of its own"
    budgets = runs.budgets()
    if budgets:
        yield ""
        yield "Ratios that have a budget, in each run. Instructions, alone: of a process that did"
        yield "nothing else. Instructions are held to the limits of benchmarks/limits.py; CPU time"
        yield "is told, and judges nothing."
        yield from _budgets(budgets)
    for kind in runs.kinds:
        yield ""
        yield f"{kind}: what ours adds, as a share of what contrib{_AS} adds, best to worst run"
        yield from _scenes(runs.ratios(kind))


def _budgets(ratios: Sequence[Ratio]) -> Iterator[str]:
    numbers = "".join(f"{f'run {each + 1}':>8}" for each in range(len(ratios[0].runs)))
    heads = f"{'worst':>8}{'spread':>8}{'budget':>8}{'limit':>8}"
    yield f"    {'':20}{numbers}{heads}"
    before = ""
    for ratio in ratios:
        if ratio.what != before:
            yield f"  {ratio.what}"
        before = ratio.what
        said = "".join(f"{each:8.3f}" for each in (*ratio.runs, ratio.worst, ratio.spread))
        limit = "" if ratio.limit is None else f"{ratio.limit:.3f}"
        yield f"    {ratio.kind:20}{said}{ratio.budget:8.3f}{limit:>8}  {ratio.verdict}"


def _scenes(ratios: Sequence[Ratio]) -> Iterator[str]:
    yield f"  {'':44}" + "".join(f"{title:>19}" for _, _, title in COLUMNS)
    found = {(ratio.scene, ratio.ours, ratio.part): ratio.range for ratio in ratios}
    for scene in dict.fromkeys(ratio.scene for ratio in ratios):
        cells = [found.get((scene, variant, part), "") for variant, part, _ in COLUMNS]
        yield f"  {SCENES[scene].title:44}" + "".join(f"{cell:>19}" for cell in cells)


def _table(table: Table) -> Iterator[str]:
    yield ""
    if table.unit == "us":
        yield f"CPU microseconds per operation: median of {table.rounds} rounds (quartiles)"
    else:
        where = "did nothing else" if table.alone else "did all of these, one after the other"
        yield f"Thousands of instructions per operation, by callgrind, in processes that {where}"
    yield f"x: what it adds, as a share of what contrib{_AS} adds"
    for name, rows in table.scenes.items():
        yield ""
        yield f"{SCENES[name].title}: bare {_number(rows[0].thread.median, table)}; added:"
        yield f"  {'':24}{'callers':>9}{'':18}{'x':>7}  {'process':>9}{'':18}{'x':>7}"
        yield from (_row(row, table) for row in rows[1:])


_AS = " (unsampled, or over OTLP, as the row is)"


def _row(row: Row, table: Table) -> str:
    thread = f"{_spread(row.thread, table)}{_ratio(row.thread_ratio)}"
    process = f"{_spread(row.process, table)}{_ratio(row.process_ratio)}"
    return f"  {row.variant:24}{thread}  {process}"


def _spread(spread: Spread, table: Table) -> str:
    quartiles = ""
    if spread.low != spread.high:
        quartiles = f"({_number(spread.low, table)} to {_number(spread.high, table)})"
    return f"{_number(spread.median, table):>9} {quartiles:17}"


def _number(value: float, table: Table) -> str:
    return f"{value:.1f}" if table.unit == "us" else f"{value / 1000:.1f}"


def _ratio(ratio: float | None) -> str:
    return f"{'':7}" if ratio is None else f"{ratio:7.2f}"


def _held(held: Held) -> str:
    verdict = "within the budget" if held.measured <= held.budget else "over the budget"
    if not held.ok:
        verdict = "OVER THE LIMIT"
    numbers = f"{held.measured:6.3f}  limit {held.limit:6.3f}  budget {held.budget:6.3f}"
    return f"  {held.what:88}{held.kind:20}{numbers}  {verdict}"

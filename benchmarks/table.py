"""A result as text, for a terminal."""

from collections.abc import Iterator

from benchmarks.result import Held, Result, Row, Spread, Table
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


def _table(table: Table) -> Iterator[str]:
    yield ""
    if table.unit == "us":
        yield f"CPU microseconds per operation: median of {table.rounds} rounds (quartiles)"
    else:
        yield "Thousands of instructions per operation, counted by callgrind"
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
    numbers = f"{held.measured:6.3f}  limit {held.limit:5.2f}  budget {held.budget:5.2f}"
    return f"  {held.what:88}{numbers}  {verdict}"

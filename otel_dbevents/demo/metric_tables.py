"""The metrics as rich tables: a line for each query, each pool, each database, and the rest."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from otel_dbevents.demo.metrics import Point

MOST_QUERIES = 5
_DURATION = "db.client.operation.duration"
_ROWS = "db.client.response.returned_rows"
_CONNECTION = "db.client.connection."
_TRANSACTIONS = "dbevents.transactions"
_POOL = {
    "idle": "idle",
    "used": "used",
    "max": "max",
    "timeouts": "timeouts",
    "waits, mean": "wait_time",
    "uses, mean": "use_time",
    "opened, mean": "create_time",
}
"""Columns of the pools' table, and the metric or connection state that each shows."""
_DATABASE = {
    "status": "database.connection.status",
    "attempts": "database.connection.attempts",
    "failures": "database.connection.failures",
    "committed": "committed",
    "commit failed": "commit_failed",
    "rolled back": "rolled_back",
    "released": "released",
}
"""Columns of the databases' table, and the metric or transaction outcome that each shows."""
_NONE = "\N{MIDDLE DOT}"
_TIMES = "\N{MULTIPLICATION SIGN}"


def metric_tables(points: Sequence[Point]) -> Iterator[Table]:
    """Yield the tables; none is left out of them but the lost events, which have a line."""
    kinds: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        kinds[_kind(point.metric)].append(point)
    yield _queries(kinds["query"])
    yield _pools(kinds["pool"])
    yield _databases(kinds["database"])
    if kinds["other"]:
        yield _others(kinds["other"])


def _kind(metric: str) -> str:
    if metric in (_DURATION, _ROWS):
        return "query"
    if metric.startswith(_CONNECTION):
        return "pool"
    return "database" if metric in (*_DATABASE.values(), _TRANSACTIONS) else "other"


def _queries(points: Sequence[Point]) -> Table:
    """Return a line for each kind of call: the failed ones first, then by the time they took."""
    table = _table(_DURATION, "count", "rows", "mean ms", "max ms", "total ms")
    rows = _summed(point for point in points if point.metric == _ROWS)
    calls = _summed(point for point in points if point.metric == _DURATION)
    most_time_first = sorted(calls, key=lambda call: (not call[1], -calls[call].value))
    for call in most_time_first[:MOST_QUERIES]:
        point, (summary, error) = calls[call], call
        numbers = (point.mean * 1e3, point.max * 1e3, point.value * 1e3)
        returned = f"{rows[call].value:,}" if call in rows else _NONE
        name = Text.assemble(summary, (f"  {error}", "red"))
        table.add_row(name, str(point.count), returned, *(f"{one:,.2f}" for one in numbers))
    if rest := [calls[call] for call in most_time_first[MOST_QUERIES:]]:
        count, seconds = sum(point.count for point in rest), sum(point.value for point in rest)
        name = Text(f"and {len(rest)} more that took less", "dim")
        table.add_row(name, str(count), "", "", "", f"{seconds * 1e3:,.2f}")
    return table


def _summed(points: Iterable[Point]) -> dict[tuple[str, str], Point]:
    """Return the points by what was called and how it failed, whatever else tells them apart."""
    calls: dict[tuple[str, str], Point] = {}
    for point in points:
        found = point.attributes
        operation = f"{found.get('db.operation.name', '')} {found.get('db.namespace', '')}"
        summary = found.get("db.query.summary") or operation.strip()
        call = str(summary), str(found.get("error.type", ""))
        calls[call] = calls[call] + point if call in calls else point
    return calls


def _pools(points: Sequence[Point]) -> Table:
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    for point in points:
        name = str(point.attributes.get("db.client.connection.pool.name", ""))
        state = point.attributes.get("db.client.connection.state")
        mean = f"{point.count} {_TIMES} {point.mean * 1e3:.1f} ms"
        shown = mean if point.count else f"{point.value:g}"
        cells[name][state or point.metric.removeprefix(_CONNECTION)] = shown
    return _filled(_table("by pool", *_POOL), _POOL, cells)


def _databases(points: Sequence[Point]) -> Table:
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for point in points:
        outcome = point.attributes.get("dbevents.transaction.outcome")
        sums[str(point.attributes.get("db.namespace", ""))][outcome or point.metric] += point.value
    cells = {
        name: {column: f"{value:g}" for column, value in numbers.items()}
        for name, numbers in sums.items()
    }
    table = _table("by database", *_DATABASE)
    return _filled(table, _DATABASE, cells)


def _filled(
    table: Table, columns: Mapping[str, str], cells: Mapping[str, Mapping[str, str]]
) -> Table:
    for name, found in sorted(cells.items()):
        table.add_row(name, *(found.get(column, _NONE) for column in columns.values()))
    return table


def _others(points: Sequence[Point]) -> Table:
    table = _table("and", "value")
    for point in sorted(points, key=lambda one: one.metric):
        about = ", ".join(str(value) for value in point.attributes.values())
        mean = f"{point.count} {_TIMES} {point.mean:,.4g} {point.unit}"
        name = Text.assemble(point.metric, "  ", (about, "dim"))
        table.add_row(name, mean if point.count else f"{point.value:,.4g}")
    return table


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold", expand=True)
    table.add_column(first, no_wrap=True, overflow="ellipsis", ratio=1)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table

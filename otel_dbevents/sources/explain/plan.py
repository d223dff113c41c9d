"""Plans: how each database is asked for one, and what of its answer may leave the process.

A plan holds the values that the statement was run with, as parts of its conditions. What is kept is
named here: kinds of nodes, tables, indexes, costs and numbers of rows; conditions and keys go
through the text analyser, which leaves no literal. All else is left out.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from otel_dbevents.sources.text import analyze

Rows: TypeAlias = Sequence[Sequence[Any]]

_LONGEST = 8_000
_DEEPEST = 100


class Way(NamedTuple):
    """How one kind of database is asked."""

    prefix: str
    """Stands before the statement."""
    read: Callable[[Rows], Iterator[str]]
    """Makes lines without values of the rows that came."""


def render(way: Way, rows: Rows) -> str:
    """Return the plan as text, without values, at most 8,000 characters of whole lines.

    Raises what `json` raises, or `ValueError`, for an answer that is no plan.
    """
    lines, room = [], _LONGEST
    for line in way.read(rows):
        room -= len(line) + 1
        if room < 4:
            lines.append("...")
            break
        lines.append(line)
    if not lines:
        raise ValueError("no plan came")
    return "\n".join(lines)


def masked(condition: str, dialect: str) -> str:
    """Return a condition without literals."""
    return analyze(f"SELECT {condition}", dialect=dialect).text.removeprefix("SELECT").strip()


_PG_DETAILS: Final = (
    "Index Cond", "Recheck Cond", "TID Cond", "Hash Cond", "Merge Cond", "Join Filter", "Filter",
    "One-Time Filter", "Order By", "Sort Key", "Presorted Key", "Group Key", "Cache Key",
)  # fmt: skip


def _postgresql(rows: Rows) -> Iterator[str]:
    """Read ``EXPLAIN (FORMAT JSON)``; drivers give it as text or decoded."""
    for each in _decoded(rows):
        yield from _postgresql_node(each["Plan"], 0)


def _postgresql_node(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    indent = "  " * depth
    yield f"{indent}{_postgresql_title(node)}"
    for key in _PG_DETAILS:
        found = node.get(key)
        if found is not None:
            parts = found if isinstance(found, list) else [found]
            yield f"{indent}  {key}: " + ", ".join(masked(str(p), "postgresql") for p in parts)
    if depth < _DEEPEST:
        for child in node.get("Plans", ()):
            yield from _postgresql_node(child, depth + 1)


def _postgresql_title(node: Mapping[str, Any]) -> str:
    title = str(node["Node Type"])
    if node.get("Partial Mode", "Simple") != "Simple":
        title = f"{node['Partial Mode']} {title}"
    if node.get("Join Type", "Inner") != "Inner":
        title += f" ({node['Join Type']})"
    if "Subplan Name" in node:
        title = f"{node['Subplan Name']}: {title}"
    if "Index Name" in node:
        title += f" using {node['Index Name']}"
    source = next(
        (node[key] for key in ("Relation Name", "CTE Name", "Function Name") if key in node), ""
    )
    if source:
        alias = node.get("Alias", source)
        title += f" on {source}" if alias == source else f" on {source} {alias}"
    return (
        f"{title} (cost={node['Startup Cost']:.2f}..{node['Total Cost']:.2f}"
        f" rows={node['Plan Rows']:.0f} width={node['Plan Width']:.0f})"
    )


_VIRTUAL = re.compile(r"(?<= VIRTUAL TABLE INDEX )\d+:.*", re.DOTALL)


def _sqlite(rows: Rows) -> Iterator[str]:
    """Read ``EXPLAIN QUERY PLAN``: id, parent, unused, text. SQLite writes ``?`` for each value.

    What a virtual table's module says of its index is left out, as it may say anything.
    """
    depths: dict[Any, int] = {}
    for number, parent, _, detail in rows:
        depth = depths[number] = min(_DEEPEST, depths.get(parent, -1) + 1)
        yield "  " * depth + _VIRTUAL.sub("?", str(detail))


_MY_FACTS: Final = frozenset((
    "select_id", "table_name", "access_type", "possible_keys", "key", "key_length",
    "used_key_parts", "ref", "index_name", "cost", "query_cost", "read_cost", "eval_cost",
    "prefix_cost", "rows", "rows_examined_per_scan", "rows_produced_per_join", "filtered",
    "estimated_rows", "estimated_total_cost", "using_index", "using_filesort",
    "using_temporary_table", "using_join_buffer", "join_type", "dependent", "cacheable", "message",
))  # fmt: skip
_MY_SKIPPED: Final = _MY_FACTS | {"cost_info"}
_MY_DETAILS: Final = re.compile(r"(?:\w+_)?condition|(?:sort|group)_key|filter")
_MY_SUBQUERY: Final = re.compile(r"(?:subquery|select)#(\d+)")
"""A name in a condition that would else be read as the beginning of a comment."""
_MY_PARTS: Final = re.compile(r"[a-z][a-z_0-9-]*")


def _mysql(rows: Rows) -> Iterator[str]:
    """Read ``EXPLAIN FORMAT=JSON`` of MySQL and MariaDB, which name most things alike."""
    yield from _mysql_part("", _decoded(rows), 0)


def _mysql_part(name: str, part: Any, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if isinstance(part, list):
        for each in part:
            yield from _mysql_part(name, each, depth)
        return
    if not isinstance(part, dict):
        return
    indent = "  " * depth
    if name:
        facts = [f"{key}={_mysql_fact(part[key])}" for key in part if key in _MY_FACTS]
        yield f"{indent}{name}" + (f" ({' '.join(facts)})" if facts else "")
    for key, value in part.items():
        if _MY_DETAILS.fullmatch(key) and isinstance(value, str):
            condition = _MY_SUBQUERY.sub(r"subquery_\1", value)
            yield f"{indent}  {key}: {masked(condition, 'mysql')}"
        elif key not in _MY_SKIPPED and _MY_PARTS.fullmatch(key):
            yield from _mysql_part(key, value, depth + bool(name))


def _mysql_fact(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def _decoded(rows: Rows) -> Any:
    answer = rows[0][0]
    return json.loads(answer) if isinstance(answer, str | bytes) else answer


_SQLITE: Final = Way("EXPLAIN QUERY PLAN ", _sqlite)
_MYSQL: Final = Way("EXPLAIN FORMAT=JSON ", _mysql)

WAYS: Final[Mapping[str, Way]] = {
    "postgresql": Way("EXPLAIN (FORMAT JSON) ", _postgresql),
    "sqlite": _SQLITE,
    "libsql": _SQLITE,
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}
"""By ``dialect.name``. libSQL and Turso answer as SQLite does."""

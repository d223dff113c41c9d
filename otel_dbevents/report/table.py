"""A report on a terminal: a table as wide as there is room, and what is to be said below it."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap
from typing import Final, NamedTuple

from otel_dbevents.report import shown
from otel_dbevents.report.findings import RULES, Group, Report
from otel_dbevents.report.shown import plain

_BOLD, _RED, _GREEN, _YELLOW, _FAINT = "1", "31", "32", "33", "2"
_LONGEST: Final = 40
"""Columns that a cell takes at most."""
_NARROW: Final = 24
"""Characters that the first column has at least."""


class _Column(NamedTuple):
    title: str
    told: Callable[[Group], str]
    keep: int
    """Where there is no room, the lowest goes first."""


def _name(group: Group) -> str:
    return plain(group.prompt.label) if group.prompt else "all turns"


def _model(group: Group) -> str:
    return plain(group.prompt.model or shown.DASH) if group.prompt else ""


_COLUMNS: Final = (
    _Column("prompt", _name, 9),
    _Column("model", _model, 5),
    _Column("turns", lambda group: f"{group.turns:,}", 6),
    _Column("turn", lambda group: shown.times(group.duration), 1),
    _Column("database", lambda group: shown.times(group.database), 8),
    _Column("share", lambda group: shown.shares(group.share), 4),
    _Column("queries", lambda group: shown.numbers(group.queries), 2),
    _Column("failed", shown.failures, 0),
    _Column("typically", lambda group: shown.verdict(group.typical), 7),
    _Column("when slow", lambda group: shown.verdict(group.slow), 3),
)


def table(report: Report, *, width: int = 120, coloured: bool = False) -> str:
    """Return the report for people; each line at most ``width`` wide, but for the narrowest."""
    width = max(60, width)
    lines: list[str] = [_paint("Where the time of LLM turns went", _BOLD, coloured)]
    if report.total is not None:
        first, last = shown.moment(report.total.first_ns), shown.moment(report.total.last_ns)
        lines += wrap(
            f"{plain(report.source)}: {shown.turns(report.total.turns)} from {first} to {last} "
            "UTC. Two numbers are median / P95.",
            width,
        )
        groups = [*report.groups, *([report.total] if len(report.groups) != 1 else [])]
        lines += ["", *_rows(groups, width, coloured)]
    lines += _changes(report, width, coloured)
    for group in report.groups:
        lines += _details(group, width, coloured)
    lines += _notes(report, width, coloured)
    return "\n".join(lines) + "\n"


def _rows(groups: Sequence[Group], width: int, coloured: bool) -> Iterator[str]:
    columns = list(_COLUMNS)
    while True:
        cells = [[column.title for column in columns]]
        cells += [[_cut(column.told(group), _LONGEST) for column in columns] for group in groups]
        widths = [max(map(_wide, cell)) for cell in zip(*cells, strict=True)]
        spare = width - sum(widths) - 2 * (len(widths) - 1)
        if spare >= 0 or len(columns) == 1 or widths[0] + spare >= _NARROW:
            break
        columns.remove(min(columns, key=lambda column: column.keep))
    widths[0] = max(_NARROW // 2, widths[0] + min(0, spare))
    for number, row in enumerate(cells):
        line = "  ".join(
            _fitted(cell, room, left=column.title in ("prompt", "model"))
            for cell, room, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        yield _paint(line, _BOLD, coloured) if number == 0 else line


def _changes(report: Report, width: int, coloured: bool) -> Iterator[str]:
    if not report.changes:
        return
    yield from ("", _paint("What changed", _BOLD, coloured))
    for each in report.changes:
        said = plain(shown.change(each))
        colour = _RED if each.slower else _GREEN
        yield from (_paint(line, colour, coloured) for line in _listed(said, width))


def _details(group: Group, width: int, coloured: bool) -> Iterator[str]:
    if not group.top_queries and not group.repeated:
        return
    model = f", {_model(group)}" if group.prompt and group.prompt.model else ""
    title = f"{_cut(_name(group) + model, width - 13)}: its queries"
    yield from ("", _paint(title, _BOLD, coloured))
    for query in group.top_queries:
        most = f"at most {shown.duration(query.slowest_ms)}"
        if query.count is None:
            often = f"the slowest one in {shown.turns(query.turns)}, how often it ran is not known"
        else:
            often = f"{query.count:,} x in {shown.turns(query.turns)}"
            often += f", {shown.duration(query.time_ms)} in all"
        yield from _listed(f"{often}, {most}: {plain(query.text)}", width)
    for each in group.repeated:
        place = f" at {plain(each.place)}" if each.place else ""
        said = f"N+1: up to {each.most:,} x within a turn, in {shown.turns(each.turns)}{place}: "
        lines = _listed(said + plain(each.text), width)
        yield from (_paint(line, _YELLOW, coloured) for line in lines)


def _notes(report: Report, width: int, coloured: bool) -> Iterator[str]:
    if caveats := shown.caveats(report):
        yield from ("", _paint("What these numbers do not say", _BOLD, coloured))
        for each in caveats:
            yield from _listed(each, width)
    yield ""
    for line in wrap(" ".join(RULES[each] for each in ("turn", "rest", "typical", "slow")), width):
        yield _paint(line, _FAINT, coloured)


def _listed(said: str, width: int) -> list[str]:
    room = width if _wide(said) <= len(said) else width // 2
    return wrap(said, room, initial_indent="  ", subsequent_indent="    ", max_lines=4)


def _paint(text: str, colour: str, coloured: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if coloured and text else text


def _wide(text: str) -> int:
    """Return how many columns a text takes: two for each wide character, none for an accent."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def _cut(text: str, room: int) -> str:
    if _wide(text) <= room:
        return text
    while text and _wide(text) > room - 1:
        text = text[:-1]
    return text + "…"


def _fitted(text: str, room: int, *, left: bool) -> str:
    text = _cut(text, room)
    space = " " * (room - _wide(text))
    return text + space if left else space + text

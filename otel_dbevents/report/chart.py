"""A report's picture: for each prompt where the time of its turns went, and how long they take."""

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Final

from otel_dbevents.report import shown
from otel_dbevents.report.findings import Group
from otel_dbevents.report.shown import plain

MOST: Final = 40
"""Bars; further prompts are in the table only."""
_WIDTH, _LEFT, _RIGHT, _TOP, _STEP = 1080, 280, 120, 58, 46
_PARTS: Final = (("model", "model"), ("database", "database"), ("rest", "rest"))


def chart(groups: Sequence[Group]) -> str:
    """Return an SVG: a bar as long as the three medians together, and a mark at the turn's P95."""
    drawn = groups[:MOST]
    if not drawn:
        return ""
    longest = max(max(sum(_medians(each)), each.duration.p95) for each in drawn) or 1.0
    step = _round(longest / 5)
    end = step * ceil(longest / step)
    height = _TOP + _STEP * len(drawn) + 30
    title = "Where the time of a turn went, by prompt: medians of model, database and rest, and P95"
    return "\n".join(
        (
            f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="chart-title">',
            f'<title id="chart-title">{title}</title>',
            *_legend(),
            *_grid(step, end, height),
            *(line for place, each in enumerate(drawn) for line in _bar(each, place, end)),
            "</svg>",
        )
    )


def _medians(group: Group) -> tuple[float, float, float]:
    """Return the medians of what is known: the model alone where the database is not."""
    model = group.model.median
    if group.database is None or group.rest is None:
        return model, 0.0, 0.0
    return model, group.database.median, group.rest.median


def _legend() -> Iterator[str]:
    x = _LEFT
    for kind, said in _PARTS:
        yield f'<rect class="bar-{kind}" x="{x}" y="6" width="14" height="14" rx="2"/>'
        yield f'<text x="{x + 20}" y="18">{said}</text>'
        x += 110
    yield f'<path class="tick" d="M{x + 4} 4v18"/>'
    yield f'<text x="{x + 14}" y="18">P95 of the turn</text>'


def _grid(step: float, end: float, height: int) -> Iterator[str]:
    for number in range(round(end / step) + 1):
        x = _x(number * step, end)
        yield f'<path class="grid" d="M{x:.1f} {_TOP - 12}V{height - 24}"/>'
        said = shown.duration(number * step) if number else "0"
        yield f'<text class="small" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{said}</text>'


def _bar(group: Group, place: int, end: float) -> Iterator[str]:
    y = _TOP + place * _STEP
    name = plain(group.prompt.label if group.prompt else "all turns")
    model = plain(group.prompt.model if group.prompt else "")
    yield f"<g><title>{escape(_told(group, name, model))}</title>"
    yield f'<text x="{_LEFT - 12}" y="{y + 12}" text-anchor="end">{escape(_cut(name, 36))}</text>'
    yield f'<text class="small" x="{_LEFT - 12}" y="{y + 28}" text-anchor="end">'
    yield f"{escape(_cut(model, 30))}{' · ' if model else ''}{shown.turns(group.turns)}</text>"
    start = 0.0
    for (kind, _), ms in zip(_PARTS, _medians(group), strict=True):
        if ms > 0:
            x, wide = _x(start, end), _x(start + ms, end) - _x(start, end)
            yield f'<rect class="bar-{kind}" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="26"/>'
        start += ms
    mark = _x(group.duration.p95, end)
    yield f'<path class="tick" d="M{mark:.1f} {y - 4}v34"/>'
    behind = max(mark, _x(start, end)) + 8
    share = "not known" if group.share is None else shown.percent(group.share.median)
    yield f'<text x="{behind:.1f}" y="{y + 18}">database {share}</text></g>'


def _told(group: Group, name: str, model: str) -> str:
    """Return what a bar says, in words."""
    return (
        f"{name}{f', {model}' if model else ''}: {shown.turns(group.turns)}, median / P95: turn "
        f"{shown.times(group.duration)}, model {shown.times(group.model)}, database "
        f"{shown.times(group.database)}, rest {shown.times(group.rest)}"
    )


def _x(ms: float, end: float) -> float:
    return _LEFT + ms / end * (_WIDTH - _LEFT - _RIGHT)


def _round(step: float) -> float:
    """Return 1, 2 or 5 times a power of ten: the smallest that is not below."""
    power = 10.0 ** floor(log10(step))
    return float(next(power * each for each in (1, 2, 5, 10) if power * each >= step * 0.999))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

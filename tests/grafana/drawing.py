"""Panels drawn as SVG from a dashboard's JSON and the stores' answers. Not Grafana's own drawing.

What is taken from the JSON: kinds, titles, places, questions, units, thresholds, names of columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import floor, isfinite, log10
from typing import Any

PALETTE = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#37872d", "#fade2a")
COLOURS = {
    "green": "#56a64b",
    "yellow": "#e0b400",
    "orange": "#ff780a",
    "red": "#e02f44",
    "blue": "#5794f2",
    "transparent": "none",
}
LINE, PAD = 16, 10
MOST_NAMED = 4


@dataclass(frozen=True)
class Answer:
    """One series of an answer: its name, its labels, and its points in time order."""

    name: str
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Box:
    """Where a panel's contents go."""

    x: float
    y: float
    width: float
    height: float


def text(
    x: float,
    y: float,
    said: str,
    kind: str = "text",
    size: int = 12,
    anchor: str = "start",
    paint: str = "",
) -> str:
    at = f'x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}"'
    how = f'fill="{paint}"' if paint else f'class="{kind}"'
    return f"<text {how} {at}>{escape(said)}</text>"


def bar(x: float, y: float, width: float, height: float, paint: str, strong: float = 1.0) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {at} fill="{paint}" fill-opacity="{strong:.2f}"/>'


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """Write a number in Grafana's units that our dashboards use."""
    if not isfinite(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.{1 if decimals is None else decimals}f}%"
    if unit == "s" and abs(value) < 1:
        return f"{value * 1000:.3g} ms" if value else "0 s"
    number = f"{value:.{decimals}f}" if decimals is not None else f"{value:.3g}"
    if decimals is None and abs(value) >= 1000:
        number = f"{value:,.0f}"
    return number + {"s": " s", "ops": " ops/s"}.get(unit, "")


def colour(value: float, limits: Mapping[str, Any] | None) -> str:
    """Return the colour of the highest threshold that a value has reached."""
    found = "green"
    for step in (limits or {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return COLOURS[found]


def stat(panel: Mapping[str, Any], answers: Sequence[Answer], box: Box) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    series = answers[0].points if answers else []
    last = next((value for _, value in reversed(series) if isfinite(value)), float("nan"))
    if panel["options"]["graphMode"] == "area" and len(series) > 1:
        low = Box(box.x, box.y + box.height * 0.6, box.width, box.height * 0.4)
        top = max([value for _, value in series if isfinite(value)] or [1]) or 1
        yield _path(series, low, 0, top, _span(answers), colour(last, defaults["thresholds"]), 0.15)
    names = (defaults.get("mappings") or [{"options": {}}])[0]["options"]
    named = names.get(f"{last:.0f}" if isfinite(last) else "")
    said = named["text"] if named else shown(last, defaults["unit"], defaults.get("decimals"))
    fill = COLOURS[named["color"]] if named else colour(last, defaults["thresholds"])
    middle = box.x + box.width / 2
    yield text(middle, box.y + box.height * 0.45, said, "", 28, "middle", fill)


def series(panel: Mapping[str, Any], answers: Sequence[Answer], box: Box) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    named = [each for each in answers if any(isfinite(v) for _, v in each.points)]
    named.sort(key=lambda each: -max(v for _, v in each.points if isfinite(v)))
    legend = min(len(named), MOST_NAMED)
    plot = Box(box.x + 52, box.y + 4, box.width - 60, box.height - 26 - LINE * legend)
    values = [v for each in named for _, v in each.points if isfinite(v)] or [1.0]
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    if stacked:
        named = list(_stacked(named))
        values = [v for each in named for _, v in each.points]
    limits = _lines(defaults)
    low = min([0.0, *values]) if defaults.get("min") != 0 else 0.0
    top = max([*values, *(at for at, _ in limits if at <= 3 * max(values))]) or 1.0
    top += (top - low) * 0.06
    yield from _grid(plot, low, top, defaults["unit"])
    for at, paint in limits:
        if at <= top:
            y = plot.y + plot.height * (1 - (at - low) / (top - low))
            line = f'd="M{plot.x} {y:.1f}h{plot.width}" stroke="{paint}"'
            yield f'<path {line} stroke-dasharray="6 4"/>'
    fill = defaults["custom"]["fillOpacity"] / 100 if len(named) < 3 or stacked else 0.0
    order = list(enumerate(named))
    painted = {
        each["matcher"]["options"]: COLOURS[how["value"]["fixedColor"]]
        for each in panel["fieldConfig"]["overrides"]
        for how in each["properties"]
        if how["id"] == "color"
    }
    for number, each in reversed(order) if stacked else order:
        paint = painted.get(each.name, PALETTE[number % len(PALETTE)])
        yield _path(each.points, plot, low, top, _span(answers), paint, fill)
    for number, each in order[:legend]:
        last = next((v for _, v in reversed(each.points) if isfinite(v)), 0.0)
        y = box.y + box.height - LINE * (legend - number) + 10
        paint = painted.get(each.name, PALETTE[number % len(PALETTE)])
        yield bar(box.x + 8, y - 6, 12, 4, paint)
        yield text(box.x + 26, y, cut(each.name, box.width - 100), "faint", 11)
        if not stacked:
            yield text(box.x + box.width - 8, y, shown(last, defaults["unit"]), "text", 11, "end")


def _lines(defaults: Mapping[str, Any]) -> list[tuple[float, str]]:
    if defaults["custom"]["thresholdsStyle"]["mode"] == "off":
        return []
    steps = defaults["thresholds"]["steps"]
    painted = [(step["value"], COLOURS[step["color"]]) for step in steps if step["value"]]
    return [(at, paint) for at, paint in painted if paint != "none"]


def _stacked(found: Sequence[Answer]) -> Iterator[Answer]:
    """Add up what is finite, from the first on: the last one drawn behind all others."""
    below: dict[float, float] = {}
    for each in found:
        for at, value in each.points:
            below[at] = below.get(at, 0.0) + (value if isfinite(value) else 0.0)
        yield Answer(each.name, each.labels, [(at, below[at]) for at, _ in each.points])


def _span(answers: Sequence[Answer]) -> tuple[float, float]:
    times = [at for each in answers for at, _ in each.points] or [0.0]
    return min(times), max([*times, min(times) + 1])


def _path(
    points: Sequence[tuple[float, float]],
    box: Box,
    low: float,
    top: float,
    span: tuple[float, float],
    paint: str,
    fill: float,
) -> str:
    start, end = span
    drawn, pen, before = [], "M", start
    gap = 2.5 * min([b - a for (a, _), (b, _) in pairwise(points)] or [end - start])
    for at, value in points:
        if at - before > gap:
            pen = "M"
        before = at
        if not isfinite(value):
            pen = "M"
            continue
        x = box.x + box.width * (at - start) / (end - start)
        y = box.y + box.height * (1 - (value - low) / (top - low))
        drawn.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    line = "".join(drawn)
    area = ""
    if fill and drawn and line.count("M") == 1:
        first, last = drawn[0][1:].split()[0], drawn[-1][1:].split()[0]
        bottom = box.y + box.height * (1 - (0 - low) / (top - low))
        area = f'<path d="{line}L{last} {bottom:.1f}L{first} {bottom:.1f}Z" fill="{paint}" '
        area += f'fill-opacity="{fill:.2f}" stroke="none"/>'
    return f'{area}<path d="{line}" stroke="{paint}" stroke-width="1.4" fill="none"/>'


def _grid(box: Box, low: float, top: float, unit: str) -> Iterator[str]:
    rough = (top - low) / 4
    size = 10 ** floor(log10(rough))
    step = next(size * n for n in (1, 2, 5, 10) if size * n >= rough)
    at = floor(low / step) * step
    while at <= top:
        if at >= low - 1e-12:
            y = box.y + box.height * (1 - (at - low) / (top - low))
            yield f'<path class="grid" d="M{box.x} {y:.1f}h{box.width}"/>'
            yield text(box.x - 6, y + 4, shown(at, unit), "faint", 10, "end")
        at += step


def states(panel: Mapping[str, Any], answers: Sequence[Answer], box: Box) -> Iterator[str]:
    names = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    start, end = _span(answers)
    tall = min(44.0, (box.height - 10) / max(1, len(answers)))
    for number, each in enumerate(answers):
        y = box.y + 4 + number * tall
        yield text(box.x + 8, y + tall / 2 + 4, cut(each.name, 110), "text", 11)
        left, wide = box.x + 130, box.width - 140
        for (at, value), (after, _) in zip(
            each.points, [*each.points[1:], (end, 0.0)], strict=True
        ):
            x = left + wide * (at - start) / (end - start)
            length = wide * (after - at) / (end - start) + 0.5
            paint = COLOURS[names[f"{value:.0f}"]["color"]]
            yield bar(x, y + 3, length, tall - 8, paint, 0.75)


def heatmap(panel: Mapping[str, Any], answers: Sequence[Answer], box: Box) -> Iterator[str]:
    """Draw cumulative buckets as the counts between their boundaries."""
    rows = sorted(answers, key=lambda each: float(each.labels["le"]))
    counts: list[list[tuple[float, float]]] = []
    for above, each in enumerate(rows):
        below = dict(rows[above - 1].points) if above else {}
        counts.append([(at, max(0.0, v - below.get(at, 0.0))) for at, v in each.points])
    most = max([v for row in counts for _, v in row if isfinite(v)] or [1.0]) or 1.0
    start, end = _span(answers)
    plot = Box(box.x + 60, box.y + 4, box.width - 70, box.height - 14)
    tall = plot.height / max(1, len(rows))
    for number, row in enumerate(counts):
        y = plot.y + plot.height - (number + 1) * tall
        label = rows[number].labels["le"]
        label = label if label == "+Inf" else shown(float(label), "s")
        yield text(plot.x - 6, y + 8, label, "faint", 10, "end")
        wide = plot.width / max(1, len(row))
        for at, value in row:
            if value > 0 and isfinite(value):
                x = plot.x + (plot.width - wide) * (at - start) / (end - start)
                strong = 0.15 + 0.85 * (value / most) ** 0.5
                yield bar(x, y, wide, tall - 1, "#ff780a", strong)


def table(
    panel: Mapping[str, Any], columns: Sequence[str], rows: Sequence[Sequence[Any]], box: Box
) -> Iterator[str]:
    said = {each["matcher"]["options"]: each for each in panel["fieldConfig"]["overrides"]}
    wide = [
        float(max([8, len(name) + 1, *(min(len(str(row[n])) + 1, 40) for row in rows)]))
        if name not in said
        else float(max(9, len(name) + 1))
        for n, name in enumerate(columns)
    ]
    scale = (box.width - 16) / sum(wide)
    lefts = [box.x + 8 + scale * sum(wide[:number]) for number in range(len(columns))]
    for left, name in zip(lefts, columns, strict=True):
        yield text(left, box.y + 12, name, "faint", 11)
    for line, row in enumerate(rows[: int((box.height - 20) / 22)]):
        y = box.y + 32 + line * 22
        yield f'<path class="grid" d="M{box.x + 8} {y + 6}h{box.width - 16}"/>'
        for left, name, value, share in zip(lefts, columns, row, wide, strict=True):
            yield from _cell(said.get(name), value, left, y, share * scale)


def _cell(
    override: Mapping[str, Any] | None, value: Any, x: float, y: float, wide: float
) -> Iterator[str]:
    if override is None:
        yield text(x, y, cut(str(value), wide))
        return
    how = {each["id"]: each["value"] for each in override["properties"]}
    if "mappings" in how:
        named = how["mappings"][0]["options"].get(f"{value:.0f}", {"text": "-", "color": "yellow"})
        yield text(x, y, named["text"], paint=COLOURS[named["color"]])
        return
    number, limits = shown(value, how["unit"], how.get("decimals")), how.get("thresholds")
    yield text(x, y, number, paint=colour(value, limits) if limits and isfinite(value) else "")


def lines(found: Sequence[str], box: Box) -> Iterator[str]:
    for number, said in enumerate(found[: int(box.height / LINE)]):
        yield text(
            box.x + 8, box.y + 12 + number * LINE, cut(said, box.width - 16, 6.7), "code", 11
        )


def cut(said: str, wide: float, letter: float = 6.2) -> str:
    most = max(4, int(wide / letter))
    return said if len(said) <= most else said[: most - 1] + "…"

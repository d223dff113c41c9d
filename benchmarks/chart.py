"""A result as a picture: an SVG that needs nothing else, on a ground of its own.

Ours against contrib's, which is 1: on the caller's thread and in the whole process. Instructions
where they were counted, since they come out the same again; else times.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from benchmarks.result import Part, Result, Row, Table
from benchmarks.scenes import SCENES

WIDTH, LEFT, PANEL, GAP, TOP, STEP = 1070, 360, 300, 60, 96, 34
GROUND, TEXT, FAINT = "#292929", "#c5c8c6", "#868887"
OURS, CONTRIB, EMPTY = "#68a0b3", "#cc555a", "#d0b344"
BESIDE = ("ours, unsampled", "ours, OTLP")
"""Drawn for the first scene only."""
PARTS: tuple[tuple[Part, str], ...] = (("thread", "caller's thread"), ("process", "whole process"))


@dataclass(frozen=True)
class Line:
    """One line of the picture: ours, and the empty listeners' beside it."""

    label: str
    ours: Row
    empty: Row | None


def svg_of(result: Result) -> str:
    """Draw what was counted, or else timed. Raises `ValueError` where there is neither."""
    if not result.tables:
        raise ValueError("nothing was measured, so there is nothing to draw")
    table = next((each for each in result.tables if each.unit == "instructions"), result.tables[0])
    lines = list(_lines(table))
    height = TOP + len(lines) * STEP + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="14">',
        f"<title>{escape(_title(table))}</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="{GROUND}"/>',
        _text(24, 32, _title(table), size=17),
        *_labels(lines),
    ]
    for number, (part, heading) in enumerate(PARTS):
        parts += _panel(lines, part, heading, LEFT + number * (PANEL + GAP))
    said = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    parts += [_text(24, height - 16, said, FAINT, size=11), "</svg>"]
    return "\n".join(parts) + "\n"


def _title(table: Table) -> str:
    unit = "instructions" if table.unit == "instructions" else "CPU time"
    return f"What instrumentation adds to one operation: {unit}, as a share of contrib's"


def _lines(table: Table) -> Iterator[Line]:
    for scene, rows in table.scenes.items():
        title, empty = SCENES[scene].title, table.row(scene, "two empty listeners")
        for row in rows:
            if row.variant == "ours":
                yield Line(title, row, empty)
            elif scene == "held" and row.variant in BESIDE:
                yield Line(f"{title}, {row.variant[6:]}", row, None)


def _labels(lines: list[Line]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield _text(LEFT - 14, TOP + number * STEP + 21, line.label, anchor="end")


def _panel(lines: list[Line], part: Part, heading: str, x: int) -> Iterator[str]:
    ratios = [line.ours.ratio(part) or 0.0 for line in lines]
    scale = (PANEL - 50) / max(1.2, *ratios)
    bottom = TOP + len(lines) * STEP
    yield _text(x, TOP - 32, heading, size=15)
    yield f'<path d="M{x} {TOP - 4}V{bottom}" stroke="{FAINT}"/>'
    at = x + scale
    yield f'<path d="M{at:.1f} {TOP - 4}V{bottom}" stroke="{CONTRIB}" stroke-dasharray="4 3"/>'
    yield _text(at, TOP - 10, "contrib = 1", CONTRIB, size=12, anchor="middle")
    for number, (line, ratio) in enumerate(zip(lines, ratios, strict=True)):
        y, long = TOP + number * STEP + 6, max(1.0, ratio * scale)
        yield f'<rect x="{x}" y="{y}" width="{long:.1f}" height="20" rx="2" fill="{OURS}"/>'
        empty = line.empty.ratio(part) if line.empty else None
        if empty is not None and empty > 0:
            tick = x + empty * scale
            long = max(long, empty * scale)  # the number stands behind both
            yield f'<path d="M{tick:.1f} {y - 3}v26" stroke="{EMPTY}" stroke-width="3"/>'
        yield _text(x + long + 8, y + 15, f"{ratio:.2f}")
    if part == "thread":
        yield f'<path d="M{x} {bottom + 12}v14" stroke="{EMPTY}" stroke-width="3"/>'
        yield _text(x + 8, bottom + 24, "two empty listeners", EMPTY, size=12)


def _text(
    x: float, y: float, said: str, fill: str = TEXT, size: int = 14, anchor: str = "start"
) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size}" text-anchor="{anchor}"'
    return f"<text {at}>{escape(said)}</text>"

"""A trace as a rich table: the tree, what is worth knowing of each span, and when it ran."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from rich.table import Table
from rich.text import Text

from otel_dbevents.demo.tree import Line, attributes, ended, lines, started

BAR = 19


def trace_panel(
    trace: Sequence[ReadableSpan], near: Sequence[ReadableSpan], *, bars: bool
) -> Table:
    """Return a trace as a tree; its bars lie on the time that all the spans ``near`` it took."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=42, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=28, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=8, no_wrap=True, justify="right")
    window = min(map(started, near)), max(map(ended, near))
    names = {span.context.span_id: span.name for span in near}
    for line in lines(trace):
        name = Text.assemble("  ", (line.branch, "dim"), (line.span.name, _style(line.span)))
        if line.count > 1:
            name.append(f" \N{MULTIPLICATION SIGN} {line.count}", "bold yellow")
        bar = _bar(line, window) if bars else Text()
        grid.add_row(name, _notes(line, names), in_ms(line.duration_ns), bar)
    return grid


def in_ms(nanoseconds: int) -> str:
    """Return a duration with as many decimals as matter."""
    number = nanoseconds / 1e6
    decimals = 2 if number < 1 else 1 if number < 100 else 0
    return f"{number:,.{decimals}f} ms"


def _style(span: ReadableSpan) -> str:
    if span.status.status_code is StatusCode.ERROR:
        return "bold red"
    found = attributes(span)
    if "db.system.name" in found:
        return "green"
    return "magenta" if found.get("gen_ai.operation.name") == "chat" else "bold"


def _notes(line: Line, names: dict[int, str]) -> Text:
    """Return what is worth knowing about a span: its error, its rows, its tokens."""
    found = attributes(line.span)
    holders = [names.get(link.context.span_id, "another span") for link in line.span.links]
    if holders:
        return Text(f"held by {', '.join(holders)}", "red")
    if "error.type" in found:
        return Text(str(found["error.type"]).rpartition(".")[2], "red")
    notes = []
    if "db.operation.batch.size" in found:
        notes.append(f"batch of {found['db.operation.batch.size']:,}")
    if rows := line.total("db.response.returned_rows"):
        notes.append(f"{rows:,} row{'s' if rows > 1 else ''}")
    if line.count > 1:
        notes.append(f"longest {in_ms(line.longest_ns)}")
    if "gen_ai.usage.input_tokens" in found:
        read, written = (found[f"gen_ai.usage.{side}_tokens"] for side in ("input", "output"))
        notes.append(f"{read} tokens in, {written} out")
    return Text(", ".join(notes), "dim")


def _bar(line: Line, window: tuple[int, int]) -> Text:
    """Return a bar that lies where the span lies in the window's time."""
    begin, end = window
    scale = BAR / max(end - begin, 1)
    first = min(int((line.start_ns - begin) * scale), BAR - 1)
    length = max(round((line.end_ns - line.start_ns) * scale), 1)
    length = min(length, BAR - first)
    rest = BAR - first - length
    return Text.assemble(
        ("\N{MIDDLE DOT}" * first, "dim"),
        ("\N{BOX DRAWINGS HEAVY HORIZONTAL}" * length, _style(line.span)),
        ("\N{MIDDLE DOT}" * rest, "dim"),
    )

"""What each prompt caused, as rich text: one prompt with and without it, and all with a verdict."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from otel_dbevents.demo.prompts import DATABASE, MODEL, Cause, Prompt, roll_up_of
from otel_dbevents.demo.trace_panel import in_ms, trace_panel
from otel_dbevents.demo.tree import ended, started

BAR = 12
STYLES = {DATABASE: "bold red", MODEL: "magenta"}
_INDENT = 12
_LONGEST = 100 - _INDENT
_DOT = " \N{MIDDLE DOT} "


def contrast(prompt: Prompt, *, bars: bool) -> RenderableType:
    """Show one prompt as Langfuse has it without us, and what is said in it with us."""
    spans = prompt.llm_spans
    busiest = max(
        (span for span in spans if span.name.startswith("execute_tool")),
        key=lambda span: roll_up_of(span).get("db_busy_ms", 0.0),
    )
    roll_up = roll_up_of(busiest)
    return Group(
        Text(f"  {prompt.question}", "bold"),
        Text("\n  without: how long it took, and not why", "dim"),
        trace_panel(spans, spans, bars=bars),
        Text("\n  with: the same observation says why", "dim"),
        trace_panel([busiest], spans, bars=bars),
        *_below([Text(f"database: {in_short(roll_up, ended(busiest) - started(busiest))}")]),
        *_below(_why(roll_up, prompt.cause)),
    )


def verdicts(prompts: Sequence[Prompt]) -> Iterator[RenderableType]:
    """Yield a line for each prompt, those that the database held up first, and why it did."""
    heading = ("  held by", "the database", "", "prompt", "queries, time in the database of all")
    yield _row(*(Text(cell, "dim") for cell in heading))
    for prompt in sorted(prompts, key=lambda each: (each.verdict != DATABASE, -each.share)):
        yield _line(prompt)
        if prompt.verdict == DATABASE:
            yield from _below(_why(prompt.roll_up, prompt.cause))


def in_short(roll_up: Mapping[str, Any], duration_ns: int) -> str:
    """Return how many queries there were, and how much of the time, in one line."""
    if not roll_up:
        return "no database work"
    count = roll_up["db_query_count"]
    busy = in_ms(round(roll_up["db_busy_ms"] * 1e6))
    said = f"{count:,} quer{'y' if count == 1 else 'ies'}{_DOT}{busy} of {in_ms(duration_ns)}"
    errors = roll_up.get("db_error_count")
    return f"{said}{_DOT}{errors} failed" if errors else said


def _line(prompt: Prompt) -> Table:
    style = STYLES.get(prompt.verdict, "bold")
    full = round(prompt.share * BAR)
    return _row(
        Text(f"  {prompt.verdict.upper()}", style),
        Text.assemble(
            ("\N{BOX DRAWINGS HEAVY HORIZONTAL}" * full, style),
            ("\N{MIDDLE DOT}" * (BAR - full), "dim"),
        ),
        f"{prompt.share:.0%}",
        prompt.question,
        Text(in_short(prompt.roll_up, prompt.duration_ns), "dim"),
    )


def _row(*cells: RenderableType) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=_INDENT - 1)
    grid.add_column(width=BAR, no_wrap=True)
    grid.add_column(width=4, justify="right")
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(no_wrap=True, justify="right")
    grid.add_row(*cells)
    return grid


def _why(roll_up: Mapping[str, Any], cause: Cause | None) -> Iterator[Text]:
    """Yield what held it up, and which call of the model that came of."""
    if repeated := roll_up.get("db_repeated_query"):
        yield _fitting(str(repeated), "yellow")
    elif slowest := roll_up.get("db_slowest_query"):
        took = in_ms(round(roll_up["db_slowest_ms"] * 1e6))
        yield _fitting(f"slowest {took}: {slowest}", "yellow")
    else:
        yield Text("no query ran: the time went into getting a connection", "yellow")
    if cause is not None:
        turn = f", call {cause.turn} of {cause.of}" if cause.of > 1 else ""
        yield Text(f"caused by {cause.name}{turn} ({cause.generation})", "dim")


def _fitting(said: str, style: str) -> Text:
    """Return a line; where it is too long it is the middle that goes: the end says where."""
    said = " ".join(said.split())
    if len(said) > _LONGEST:
        end = said.rpartition(" at ")[2] if " at " in said else ""
        end = f" at {end}" if end else ""
        said = said[: _LONGEST - len(end) - 2] + " \N{HORIZONTAL ELLIPSIS}" + end
    return Text(said, style)


def _below(lines: Iterable[Text]) -> Iterator[Padding]:
    return (Padding(line, (0, 0, 0, _INDENT)) for line in lines)

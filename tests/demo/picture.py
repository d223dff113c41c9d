"""The README's picture of one prompt in Langfuse, drawn from what a run of the demo sent there.

    python -m tests.demo.picture docs/langfuse.svg

It is not Langfuse's page. Its rows are the observations that Langfuse would store, with their
types, names, times and metadata; the upper half leaves out what otel_dbevents adds.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

from tests.demo.running import environment
from tests.langfuse.observation import Observation
from tests.langfuse.server import langfuse_server

WIDTH, MARGIN, STEP = 1070, 28, 34
NAMES, BARS, LENGTH, TIMES = 132, 430, 500, 946
GROUND, PANEL, TEXT, FAINT, DATABASE = "#1f2328", "#2b3036", "#d5d9dd", "#8d959e", "#e5705f"
COLOURS = {"SPAN": "#7d9cc0", "AGENT": "#a58bd0", "GENERATION": "#c77fb0", "TOOL": "#c9a24d"}
REPEATED = "db_repeated_query"
TOLD = ("db_query_count", "db_time_ms", "db_share", "db_slowest_ms")
CODE = {"size": 13, "family": "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"}
_LONGEST = 88


def prompt_of(observations: Sequence[Observation]) -> list[Observation]:
    """Return the trace of the prompt that asked the database again and again, from the top down."""
    found = {each.trace_id for each in observations if REPEATED in each.metadata}
    (trace_id,) = found
    trace = [each for each in observations if each.trace_id == trace_id]
    return sorted(trace, key=lambda each: (each.span.start_time_unix_nano, -each.end_ms))


def svg_of(observations: Sequence[Observation]) -> str:
    """Draw the prompt, without and with what otel_dbevents says of it."""
    trace = prompt_of(observations)
    before = list(_half(trace, 70, "Before: the tool was slow. Why?", added=False))
    low = 70 + 58 + len(trace) * STEP + 14
    after = list(_half(trace, low, "After: the same observations, with otel_dbevents", added=True))
    height = low + 58 + len(trace) * STEP + 132
    said = "drawn from the observations that one run of otel-dbevents demo sent to Langfuse"
    question = next(each.input for each in trace if each.name == "question")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' font-family="system-ui, sans-serif" font-size="14">',
            "<title>One prompt in Langfuse, before and after</title>",
            f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{GROUND}"/>',
            _text(MARGIN, 40, f"“{question}”", size=18),
            *before,
            *after,
            _text(MARGIN, height - 16, f"{said} (client {version('langfuse')})", FAINT, 11),
            "</svg>",
            "",
        ]
    )


def _half(trace: Sequence[Observation], top: int, heading: str, *, added: bool) -> Iterator[str]:
    tool = next(each for each in trace if each.type == "TOOL")
    height = 50 + len(trace) * STEP + (96 if added else 0)
    size = f'width="{WIDTH - 28}" height="{height}"'
    yield f'<rect x="14" y="{top - 8}" {size} rx="8" fill="{PANEL}"/>'
    yield _text(MARGIN, top + 18, heading, DATABASE if added else TEXT, 15)
    y = top + 36
    for each in trace:
        yield from _row(each, trace, y, added=added and each is tool)
        y += STEP
        if added and each is tool:
            yield from _metadata(each, y)
            y += 96


def _row(each: Observation, trace: Sequence[Observation], y: int, *, added: bool) -> Iterator[str]:
    begin, end = trace[0].span.start_time_unix_nano, max(_end(other) for other in trace)
    scale = LENGTH / max(end - begin, 1)
    x = BARS + (each.span.start_time_unix_nano - begin) * scale
    long = max((_end(each) - each.span.start_time_unix_nano) * scale, 3)
    colour = COLOURS[each.type]
    yield _text(MARGIN, y + 16, each.type, colour, 11)
    yield _text(NAMES + 16 * _depth(each, trace), y + 16, each.name)
    yield _bar(x, y + 2, long, colour)
    if added:
        share = float(each.metadata["db_share"])
        yield _bar(x, y + 2, long * share, DATABASE)
        yield _text(x + 10, y + 17, f"{share:.0%} in the database", GROUND, 13, weight=600)
    yield _text(TIMES, y + 16, f"{each.end_ms - each.start_ms:,} ms", FAINT, 13)


def _metadata(each: Observation, y: int) -> Iterator[str]:
    """Write what is stored, as it is stored; only the middle of a long query is left out."""
    yield f'<path d="M{NAMES - 8} {y + 4}v84" stroke="{DATABASE}" stroke-width="2"/>'
    yield _text(NAMES, y + 22, "   ".join(f"{key} {each.metadata[key]}" for key in TOLD), **CODE)
    repeated, _, place = each.metadata[REPEATED].rpartition(" at ")
    if len(repeated) > _LONGEST:
        repeated = repeated[: _LONGEST - 2] + " …"
    yield _text(NAMES, y + 50, f"{REPEATED} {repeated}", **CODE)
    yield _text(NAMES, y + 78, f"at {place}", DATABASE, **CODE)


def _depth(each: Observation, trace: Sequence[Observation]) -> int:
    parents = {other.id: other.parent_id for other in trace}
    depth, at = 0, each.parent_id
    while at in parents:
        depth, at = depth + 1, parents[at]
    return depth


def _end(each: Observation) -> int:
    end: int = each.span.end_time_unix_nano
    return end


def _text(
    x: float, y: float, said: str, fill: str = TEXT, size: int = 14, **more: str | int
) -> str:
    named = {"font-size": size} | {f"font-{key}": value for key, value in more.items()}
    also = " ".join(f'{key}="{value}"' for key, value in named.items())
    at = f'x="{x:.1f}" y="{y:.1f}" fill="{fill}" {also} xml:space="preserve"'
    return f"<text {at}>{escape(said)}</text>"


def _bar(x: float, y: float, long: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{long:.1f}" height="20" rx="3" fill="{fill}"/>'


def main(file: str) -> None:
    """Run the demonstration against a stand-in for Langfuse, and draw what arrived."""
    with langfuse_server() as server:
        command = [sys.executable, "-m", "otel_dbevents", "demo", "--json"]
        told = environment(**server.variables)
        subprocess.run(command, env=told, check=True, stdout=subprocess.DEVNULL)
        Path(file).write_text(svg_of(server.observations), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

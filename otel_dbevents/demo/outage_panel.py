"""What was seen, alerted and recovered, in a few lines."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from otel_dbevents.demo.alerts import verdicts
from otel_dbevents.demo.metrics import Point
from otel_dbevents.demo.outage import Outage

_STYLES = {"firing": "red", "pending": "yellow", "silent": "green"}


def outage_panel(outage: Outage) -> list[RenderableType]:
    """Return the summary, then what the alert rules would have said. Fits 80 columns."""
    grid = Table.grid(padding=(0, 2))
    for what, text in _seen(outage):
        grid.add_row(f"  {what}", text)
    rules = Table.grid(padding=(0, 2))
    for each in verdicts(outage):
        said = Text.assemble((each.said, _STYLES[each.said]), f" {each.note}".rstrip())
        rules.add_row(f"    {each.rule}", said)
        rules.add_row("", Text(each.condition, style="dim"))
    title = Text("  Rules of deploy/prometheus, on this run's metrics (no Prometheus ran):", "dim")
    return [grid, "", title, rules]


def _seen(outage: Outage) -> list[tuple[str, Text]]:
    refused = ", ".join(f"{number} {name}" for name, number in outage.refused.most_common())
    sold = Text.assemble(
        (f"{outage.sold_before} sales", "green"),
        ", then ",
        (refused or "no error", "red" if refused else "green"),
        ", then ",
        (f"{outage.sold_after} sales", "green"),
    )
    moments = (outage.before, outage.away, outage.after)
    opened = (_value(each, "db.client.connection.count") for each in moments)
    status = (_value(each, "database.connection.status") for each in moments)
    return [
        ("the application", sold),
        ("the server", Text(f"killed, and started again after {outage.killed_s:.1f} s")),
        ("what was told", Text(_told(outage))),
        ("health", _health(outage)),
        ("open connections", Text(" -> ".join(f"{each:g}" for each in opened))),
        ("connection.status", Text(" -> ".join(f"{each:g}" for each in status))),
    ]


def _told(outage: Outage) -> str:
    recovered = outage.recovered
    if recovered is None:
        return "no recovery"
    return (
        f"recovered after {recovered.duration_ns / 1e9:.1f} s and "
        f"{recovered.failed_attempts} refused attempts, checks among them"
    )


def _health(outage: Outage) -> Text:
    text = Text()
    for status, several in groupby(each.status for each in outage.health):
        style = "green" if status == "healthy" else "yellow" if status == "degraded" else "red"
        text.append(f"{' -> ' if text else ''}{status} x {len([*several])}", style)
    return text


def _value(points: Sequence[Point], metric: str) -> float:
    return sum(point.value for point in points if point.metric == metric)

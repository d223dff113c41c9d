"""The demonstration on a terminal: events and trees as they come, tables, and the verdicts."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from otel_dbevents.demo.event_line import FLOODS, advice, event_line
from otel_dbevents.demo.metric_tables import metric_tables
from otel_dbevents.demo.metrics import Point
from otel_dbevents.demo.outage import Outage
from otel_dbevents.demo.outage_panel import outage_panel
from otel_dbevents.demo.prompt_panel import contrast, verdicts
from otel_dbevents.demo.prompts import Prompt, prompts_of
from otel_dbevents.demo.scenes import OUTAGE, Exchange, Scene
from otel_dbevents.demo.telemetry import Sent
from otel_dbevents.demo.timeline import Timeline
from otel_dbevents.demo.trace_panel import trace_panel
from otel_dbevents.demo.tree import by_trace, ended, started
from otel_dbevents.demo.tree import trace_id as trace_id_of
from otel_dbevents.events import Event

if TYPE_CHECKING:
    from otel_dbevents.demo.through_redis import Compared

WIDTH = 100
ABOUT = """
A text-to-SQL assistant answers questions about a shop. Its language model is a scripted stand-in;
the database, and whatever goes wrong with it, is real. Every tree, event and number below comes
out of this run, by way of otel_dbevents and the OpenTelemetry SDK. The point is at the end: who
held each prompt up, the model or the database, and what to mend.\
"""
ABOUT_OUTAGE = """\
  A shop sells twenty times a second. Its database, a process of its own, gets
  a SIGKILL, and is started again a little later. Health checks (every 0.3 s)
  and recovery are on. Look for: one line for each change, not for each error;
  how long it was away; what the alert rules would have said.
"""
NAMES = {
    "traces": "spans",
    "metrics": "metric points",
    "logs": "log records",
    "observations": "observations",
}
"""What a signal consists of."""
NEXT = (
    ("in your application", "import otel_dbevents.auto"),
    ("to your Langfuse", "LANGFUSE_PUBLIC_KEY=... LANGFUSE_SECRET_KEY=... otel-dbevents demo"),
    ("to your collector", "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 otel-dbevents demo"),
    ("all of it, on this machine", "docker compose --env-file deploy/langfuse.env up --build"),
    ("per prompt and version", "otel-dbevents report --langfuse --since 7d"),
    ("what is emitted, limits", "README.md"),
)


class TerminalView:
    """Prints what happens, as it happens."""

    def __init__(self, console: Console, only: Collection[str] = ()) -> None:
        self._console = console
        self._only = only
        self._print = console.print
        self._number = 0
        self._flood: Counter[str] = Counter()
        self._traces: list[tuple[str, str]] = []
        self._prompts: list[Prompt] = []
        self._timeline: Timeline | None = None
        """While the second act is played."""

    def opening(self) -> None:
        """Print what this is."""
        self._console.quiet = bool(self._only)
        self._print(Text(ABOUT, style="dim"))

    def scene_begins(self, scene: Scene) -> None:
        """Print the scene's title."""
        self._number += 1
        self._console.quiet = bool(self._only) and scene.name not in self._only
        self._heading(f"{self._number}  {scene.title}")
        self._print(Text(f"  Look for: {scene.look_for}.", style="dim"))

    def event(self, event: Event) -> None:
        """Print an event, or count it when there are many of its kind."""
        if self._timeline is not None:
            self._lines(self._timeline.lines(event))
            return
        if isinstance(event, FLOODS):
            self._flood[event.event_type] += 1
            return
        line = event_line(event)
        line.truncate(self._console.width, overflow="ellipsis")
        self._print(line)
        mend = advice(event)
        if mend is not None:
            self._print(Padding(mend, (0, 0, 0, 16)))

    def outage_begins(self) -> None:
        """Print the second act's title."""
        self._console.quiet = bool(self._only) and OUTAGE not in self._only
        self._heading("Second act: the database is killed, and comes back")
        self._print(Text(ABOUT_OUTAGE, style="dim"))
        self._timeline = Timeline()

    def outage_ends(self, outage: Outage, spans: Sequence[ReadableSpan]) -> None:
        """Print what is left of the timeline, then what was seen, alerted and recovered."""
        del spans  # some forty that are alike
        if self._timeline is not None:
            self._lines(self._timeline.rest())
        self._timeline = None
        self._print()
        for each in outage_panel(outage):
            self._print(each)

    def _lines(self, lines: Iterable[Text]) -> None:
        for line in lines:
            line.truncate(self._console.width, overflow="ellipsis")
            self._print(line)

    def scene_ends(self, exchanges: Sequence[Exchange], spans: Sequence[ReadableSpan]) -> None:
        """Print each trace with what was said in it."""
        said = {exchange.trace_id: exchange for exchange in exchanges}
        traces = by_trace(spans)
        for trace_id, trace in traces.items():
            self._print()
            if trace_id in said:
                self._exchange(said[trace_id])
            self._print(trace_panel(trace, spans, bars=self._console.width >= WIDTH))
        asked = [span for span in spans if span.parent is None and trace_id_of(span) in said]
        self._overlap(asked)
        for exchange in exchanges:
            if exchange.trace_id not in traces:
                self._print()
                self._exchange(exchange)
                self._print(Text("  (the sampler left this trace out)", style="dim"))
        self._traces += [(one.question or one.answer, one.trace_id) for one in exchanges]
        if not self._console.quiet:
            self._prompts += prompts_of(exchanges, spans)

    def _exchange(self, exchange: Exchange) -> None:
        if exchange.question:
            self._print(Text.assemble(("  you        ", "dim"), exchange.question))
        self._print(Text.assemble(("  assistant  ", "dim"), exchange.answer))

    def _overlap(self, roots: Sequence[ReadableSpan]) -> None:
        """Say so when traces ran at the same time."""
        took = sum(ended(root) - started(root) for root in roots) / 1e6
        elapsed = (max(map(ended, roots)) - min(map(started, roots))) / 1e6 if roots else 0.0
        if took > elapsed:
            text = f"{len(roots)} traces at a time: {took:,.0f} ms in {elapsed:,.0f} ms"
            self._print("", Text(f"  {text}", style="dim"), sep="\n")

    def metrics(self, points: Sequence[Point], lost: int) -> None:
        """Print the metrics as tables, then the verdicts."""
        self._console.quiet = bool(self._only)
        self._heading("Metrics of this run")
        for table in metric_tables(points):
            self._print(table)
            self._print()
        counts = ", ".join(f"{count} {name}" for name, count in self._flood.most_common())
        self._print(
            Padding(Text(f"events beside those above: {counts}", style="dim"), (0, 0, 0, 1))
        )
        style = "red" if lost else "green"
        self._print(Text.assemble(" events lost on the way: ", (str(lost), style)))
        self._console.quiet = False
        self._verdicts()

    def _verdicts(self) -> None:
        """Print what each prompt caused, and of the worst N+1 what one would see without."""
        repeating = [each for each in self._prompts if "db_repeated_query" in each.roll_up]
        if repeating:
            self._heading("One prompt in Langfuse, without and with otel_dbevents")
            worst = max(repeating, key=lambda each: each.share)
            self._print(contrast(worst, bars=self._console.width >= WIDTH))
        if self._prompts:
            self._heading("Model or database? What Langfuse gets, on spans that it has anyway")
            for line in verdicts(self._prompts):
                self._print(line)

    def compared(self, compared: "Compared") -> None:
        """Print what came out of the sidecar, beside what was made here."""
        self._heading("The same run through Redis, in a sidecar's process")
        size = compared.bytes / max(1, compared.events)
        self._print(
            f"  {compared.events} events shipped in {compared.entries} entries, {compared.bytes:,} "
            f"bytes in Redis: {size:,.0f} for each event (less when there are many at a time)"
        )
        grid = Table("", "in the application", "by the sidecar", box=None, padding=(0, 2))
        for what, number in compared.here.items():
            grid.add_row(what, str(number), str(compared.there[what]))
        self._print(grid)
        verdict = Text("  the same, in each field of each span", "green")
        if not compared.same:
            verdict = Text(f"  NOT THE SAME: {compared.different} spans differ", "red")
        self._print(verdict)

    def sending(self) -> None:
        """Print that the exporters are at work: it may take them some seconds."""
        self._console.quiet = False
        self._heading("Exporters")

    def closing(self, sent: Sequence[Sent]) -> None:
        """Print what the exporters did, with the traces' ids to look up, and what comes next."""
        for one in sent:
            self._print(Padding(_outcome(one), (0, 0, 0, 2)))
        if any(one.taken for one in sent if one.signal == "traces"):
            for title, trace_id in self._traces:
                self._print(Text.assemble((f"  {trace_id}  ", "cyan"), title))
        self._heading("What to look at next")
        grid = Table.grid(padding=(0, 2))
        for what, how in NEXT:
            grid.add_row(f"  {what}", Text(how, "cyan"))
        self._print(grid)

    def _heading(self, title: str) -> None:
        self._print()
        self._print(Rule(Text(title, style="bold"), align="left", style="dim"))


def _outcome(sent: Sent) -> Text:
    """Return what became of a signal: taken, or refused and why."""
    to = f"{NAMES[sent.signal]} by {sent.exporter}"
    to += f" to {sent.endpoint}" if sent.endpoint else ""
    if sent.refused:
        return Text(f"NOT SENT: {sent.refused} of {sent.total} {to}: {sent.reason}", "red")
    if sent.reason:
        return Text(f"NOT SENT: {to}: {sent.reason}", "red")
    return Text(f"{sent.taken} {to}", "green")

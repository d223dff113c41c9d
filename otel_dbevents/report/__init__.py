"""What prompts cost in the database, over a run's spans or a Langfuse project's observations.

What enters: spans of any source (`files`, `langfuse`, `jaeger`, `finished`), reduced to `Span`.
What leaves: a `Report`, shown by `table` on a terminal, by `page` in a browser, by `document` to
programs.
What is promised: every source is read as it comes and memory stays within bounds; what the model
was asked and answered is not read; a number that the data do not say is not there.

    from otel_dbevents.report import report, spans_of_finished, table

    print(table(report(spans_of_finished(exporter.get_finished_spans()))))
"""

from collections.abc import Callable, Iterable

from otel_dbevents.report.analysis import Analysis
from otel_dbevents.report.document import document
from otel_dbevents.report.findings import Report
from otel_dbevents.report.finished import spans_of_finished
from otel_dbevents.report.model import Prompt, Span, Turn
from otel_dbevents.report.sources import SourceError
from otel_dbevents.report.table import table
from otel_dbevents.report.traces import Traces
from otel_dbevents.report.turns import turns_of

__all__ = ["Report", "SourceError", "Span", "document", "report", "spans_of_finished", "table"]


def report(
    spans: Iterable[Span],
    *,
    source: str = "this process",
    since_ns: int | None = None,
    until_ns: int | None = None,
    wanted: Callable[[Prompt], bool] | None = None,
    top: int = 5,
) -> Report:
    """Read all spans, once, and return what they come to.

    Turns that start before ``since_ns``, or at ``until_ns`` or later (nanoseconds since 1970), do
    not count, nor do prompts that are not ``wanted`` (None: all are). Whatever the source raises is
    raised.
    """

    def counts(turn: Turn, prompt: Prompt) -> bool:
        started = turn.start_ns
        late = until_ns is not None and started >= until_ns
        early = since_ns is not None and started < since_ns
        return not late and not early and (wanted is None or wanted(prompt))

    traces, analysis = Traces(), Analysis(counts)
    for trace in traces.gather(spans):
        for turn in turns_of(trace):
            analysis.add(turn)
    return analysis.report(source, spans=traces.spans, late=traces.late, top=top)

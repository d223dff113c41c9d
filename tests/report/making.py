"""Spans for tests: single ones by hand, and a run of an assistant made by the real SDK.

Of the run everything is fixed: ids, times, numbers. What is in it:

- `support` v6, then v7, one generation and one tool a turn; v7 asks for the customers one by one,
  so its turns are slow in the database, and from its thirtieth on one query in each fails;
- `planner` v2 and `answer` v4 in one turn, two models, the tool between them: its database spans
  are kept and name their cause;
- turns of a model alone, without a prompt's name, which did nothing in the database.
"""

import random
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from otel_dbevents.report import keys
from otel_dbevents.report.model import Span

MS = 1_000_000
START_NS = 1_764_000_000 * 1_000_000_000
"""2025-11-24 16:00 UTC."""
CUSTOMERS = "SELECT customers.id, customers.name FROM customers WHERE customers.id = ?"
ORDERS = (
    "SELECT orders.id, orders.total FROM orders WHERE orders.customer_id = ? ORDER BY orders.id"
)


def span(
    span_id: str,
    start_ms: float,
    end_ms: float,
    parent: str = "",
    attributes: Mapping[str, Any] | None = None,
    *,
    trace: str = "t1",
    scope: str = "langfuse-sdk",
    failed: bool = False,
) -> Span:
    """Return a span, as every source makes them."""
    return Span(
        trace,
        span_id,
        parent,
        span_id,
        scope,
        round(start_ms * MS),
        round(end_ms * MS),
        failed,
        keys.kept(attributes or {}),
    )


def generation(
    span_id: str,
    start_ms: float,
    end_ms: float,
    parent: str = "",
    prompt: str = "",
    version: str = "",
    model: str = "m",
    **more: Any,
) -> Span:
    """Return a generation of Langfuse."""
    said = {
        keys.TYPE: "generation",
        keys.PROMPT_NAME: prompt,
        keys.PROMPT_VERSION: version,
        keys.MODEL: model,
    }
    found = {key: value for key, value in said.items() if value}
    return span(span_id, start_ms, end_ms, parent, {**found, **more.pop("also", {})}, **more)


def query(
    span_id: str,
    start_ms: float,
    end_ms: float,
    parent: str = "",
    text: str = "SELECT 1",
    cause: str = "",
    **more: Any,
) -> Span:
    """Return a database span of a statement."""
    said = {keys.SYSTEM_NAME: "sqlite", keys.QUERY_TEXT: text, keys.CAUSE: cause}
    found = {key: value for key, value in said.items() if value}
    return span(
        span_id,
        start_ms,
        end_ms,
        parent,
        {**found, **more.pop("also", {})},
        scope="otel_dbevents",
        **more,
    )


def roll_up(
    count: int,
    busy_ms: float,
    time_ms: float | None = None,
    *,
    errors: int = 0,
    share: float | None = None,
    slowest: tuple[float, str] | None = None,
    repeated: str = "",
) -> dict[str, Any]:
    """Return the attributes of a roll-up, as they stand on an LLM span."""
    found: dict[str, Any] = {
        keys.QUERY_COUNT: count,
        keys.BUSY_MS: busy_ms,
        keys.TIME_MS: busy_ms if time_ms is None else time_ms,
    }
    if share is not None:
        found[keys.SHARE] = share
    if errors:
        found[keys.ERROR_COUNT] = errors
    if slowest is not None:
        found[keys.SLOWEST_MS], found[keys.SLOWEST_QUERY] = slowest
    if repeated:
        found[keys.REPEATED_QUERY] = repeated
    return found


class _Ids(IdGenerator):
    """Ids one after the other, for a run that is the same each time."""

    def __init__(self) -> None:
        self._last = 0

    def generate_span_id(self) -> int:
        self._last += 1
        return self._last

    def generate_trace_id(self) -> int:
        self._last += 1
        return self._last


class _Run:
    """Makes a run's spans, in the order in which they end."""

    def __init__(self, provider: TracerProvider) -> None:
        self._llm = provider.get_tracer("langfuse-sdk", "5.0.4")
        self._database = provider.get_tracer("otel_dbevents", "1.0")
        self._random = random.Random(11)
        self.now = START_NS

    def took(self, typical_ms: float) -> int:
        """Return a time about as long, in nanoseconds."""
        return round(typical_ms * self._random.lognormvariate(0, 0.35) * MS)

    def span(self, name: str, parent: Any, start: int, attributes: Mapping[str, Any]) -> Any:
        """Start a span of LLM work."""
        context = set_span_in_context(parent) if parent is not None else None
        return self._llm.start_span(name, context, start_time=start, attributes=dict(attributes))

    def query(self, parent: Any, start: int, took: int, text: str, cause: Any, **also: Any) -> None:
        """Make a database span."""
        made = self._database.start_span(
            " ".join(text.split()[:1]),
            set_span_in_context(parent),
            kind=SpanKind.CLIENT,
            start_time=start,
            attributes={
                keys.SYSTEM_NAME: "postgresql",
                keys.QUERY_TEXT: text,
                "dbevents.llm": True,
                keys.CAUSE: f"{cause.get_span_context().span_id:016x}",
                **also,
            },
        )
        made.end(start + took)


def support(run: _Run, version: str, number: int, runs: int) -> None:
    """Make one turn of `support`: a generation, a tool with its queries, a generation."""
    start = run.now
    model = {
        keys.TYPE: "generation",
        keys.PROMPT_NAME: "support",
        keys.PROMPT_VERSION: int(version),
        keys.MODEL: "gpt-4o-mini",
    }
    turn = run.span("support turn", None, start, {keys.TYPE: "agent"})
    at = start + run.took(8)
    asks = run.span("ask", turn, at, model)
    at += run.took(420)
    asks.end(at)
    tool = run.span("find customer", turn, at, {keys.TYPE: "tool"})
    failed = version == "7" and number >= 30
    busy = sum(run.took(6.5) for _ in range(runs)) + run.took(12)
    tool.set_attributes(_told(runs, busy, failed))
    at += busy + run.took(5)
    tool.end(at)
    answers = run.span("answer", turn, at, model)
    at += run.took(380)
    answers.end(at)
    at += run.took(4)
    turn.set_attributes({**_told(runs, busy, failed), keys.SHARE: round(busy / (at - start), 3)})
    turn.end(at)
    run.now = at + run.took(60_000)


def _told(runs: int, busy: int, failed: bool) -> dict[str, Any]:
    return roll_up(
        runs + 1,
        round(busy / MS, 3),
        errors=int(failed),
        slowest=(round(busy / runs / MS, 3), CUSTOMERS),
        repeated=f"{runs} x {CUSTOMERS} at retrieval.py:88" if runs >= 10 else "",
    )


def planned(run: _Run) -> None:
    """Make a turn of two prompts, with its database spans."""
    start = run.now
    turn = run.span("report turn", None, start, {keys.TYPE: "agent"})
    plans = run.span(
        "plan",
        turn,
        start,
        {
            keys.TYPE: "generation",
            keys.PROMPT_NAME: "planner",
            keys.PROMPT_VERSION: 2,
            keys.MODEL: "o4",
        },
    )
    at = start + run.took(900)
    plans.end(at)
    tool = run.span("orders", turn, at, {keys.TYPE: "tool"})
    began = at
    for number in range(3):
        took = run.took(45)
        run.query(tool, at, took, CUSTOMERS if number == 0 else ORDERS, plans)
        at += took
    busy = at - began
    tool.end(at)
    answers = run.span(
        "answer",
        turn,
        at,
        {
            keys.TYPE: "generation",
            keys.PROMPT_NAME: "answer",
            keys.PROMPT_VERSION: 4,
            keys.MODEL: "gpt-4o-mini",
        },
    )
    at += run.took(600)
    answers.end(at)
    turn.set_attributes(
        {**roll_up(3, round(busy / MS, 3)), keys.SHARE: round(busy / (at - start), 3)}
    )
    turn.end(at)
    run.now = at + run.took(60_000)


def bare(run: _Run) -> None:
    """Make a generation that nothing is around, and that did nothing in the database."""
    made = run.span(
        "chat", None, run.now, {"gen_ai.operation.name": "chat", "gen_ai.request.model": "o4"}
    )
    made.set_status(Status(StatusCode.OK))
    at = run.now + run.took(300)
    made.end(at)
    run.now = at + run.took(60_000)


def play(provider: TracerProvider) -> None:
    """Make the run's spans on a provider, whose ids should be those of `run_ids`."""
    run = _Run(provider)
    for number in range(40):
        support(run, "6", number, runs=2 + number % 3)
        if number % 4 == 0:
            planned(run)
        if number % 10 == 0:
            bare(run)
    for number in range(40):
        support(run, "7", number, runs=60 + number % 40)


def run_ids() -> IdGenerator:
    """Return the ids of a run."""
    return _Ids()


@cache
def finished_run() -> tuple[ReadableSpan, ...]:
    """Return all spans of the run."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(id_generator=run_ids(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    play(provider)
    provider.shutdown()
    return exporter.get_finished_spans()


def ended(spans: Iterator[Any]) -> int:
    """Return how many there are, having taken all."""
    return sum(1 for _ in spans)

"""What Langfuse gets to know of the database work that each prompt caused.

All of it is read from the attributes of the finished spans: nothing is measured here.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from otel_dbevents.config import Config, Langfuse
from otel_dbevents.demo.scenes import Exchange
from otel_dbevents.demo.tree import attributes, by_trace, ended, started
from otel_dbevents.llm.keys import GEN_AI_OPERATION, LANGFUSE_SCOPE, METADATA

DATABASE, MODEL, REST = "database", "model", "rest"
_CAUSE = METADATA + "db_caused_by_generation"


@dataclass(frozen=True, slots=True)
class Cause:
    """The call of the model that most of a prompt's database work came of."""

    generation: str
    """Its span id, 16 hexadecimal digits."""
    name: str
    turn: int
    """Which of the trace's calls it was, from 1 on."""
    of: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question, and what its database work was."""

    question: str
    trace: Sequence[ReadableSpan]
    """All spans of its trace, in the order they started."""
    roll_up: Mapping[str, Any]
    """What the agent's span says, by the names that Langfuse shows: ``db_query_count`` ..."""
    cause: Cause | None

    @property
    def agent(self) -> ReadableSpan:
        """The span of the whole answer."""
        return next(span for span in self.trace if _operation(span) == "invoke_agent")

    @property
    def duration_ns(self) -> int:
        """How long the answer took."""
        return ended(self.agent) - started(self.agent)

    @property
    def share(self) -> float:
        """The part of that time in which the database was at work, or waited for: 0 to 1."""
        return float(self.roll_up.get("db_share", 0.0))

    @property
    def verdict(self) -> str:
        """Who had most of the time: `DATABASE`, `MODEL`, or all else, which is `REST`."""
        chats = (span for span in self.trace if _operation(span) == "chat")
        model = sum(ended(chat) - started(chat) for chat in chats)  # one after the other
        database = round(self.roll_up.get("db_busy_ms", 0.0) * 1e6)
        parts = {DATABASE: database, MODEL: model, REST: self.duration_ns - database - model}
        return max(parts, key=lambda part: parts[part])

    @property
    def llm_spans(self) -> list[ReadableSpan]:
        """The spans that Langfuse gets without us: all but the database's."""
        return [span for span in self.trace if not _is_database(span)]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        cause = self.cause
        return {
            "question": self.question,
            "trace_id": f"{self.agent.context.trace_id:032x}",
            "duration_ms": self.duration_ns / 1e6,
            "verdict": self.verdict,
            "roll_up": dict(self.roll_up),
            "caused_by": cause and {"generation": cause.generation, "name": cause.name},
        }


def prompts_of(exchanges: Sequence[Exchange], spans: Sequence[ReadableSpan]) -> Iterator[Prompt]:
    """Yield what was asked, with what its spans say; what the sampler left out is not there.

    Nothing with ``OTEL_DBEVENTS_LANGFUSE=off``: the spans say nothing then, which is not a verdict.
    """
    if Config().langfuse is Langfuse.OFF:
        return
    traces = by_trace(spans)
    for exchange in exchanges:
        trace = traces.get(exchange.trace_id, [])
        for agent in trace:
            if _operation(agent) == "invoke_agent":
                yield Prompt(exchange.question, trace, roll_up_of(agent), _cause_of(trace))


def roll_up_of(span: ReadableSpan) -> dict[str, Any]:
    """Return what a span says of the database work below it, as Langfuse shows it."""
    return {
        key.removeprefix(METADATA): _shown(value, span)
        for key, value in attributes(span).items()
        if key.startswith(METADATA + "db_")
    }


def _shown(value: Any, span: ReadableSpan) -> Any:
    """Return a value as it was before it was encoded for Langfuse's own spans."""
    scope = span.instrumentation_scope
    if isinstance(value, str) and scope and scope.name.startswith(LANGFUSE_SCOPE):
        return json.loads(value)
    return value


def _cause_of(trace: Sequence[ReadableSpan]) -> Cause | None:
    spent: Counter[str] = Counter()
    for span in trace:
        cause = attributes(span).get(_CAUSE)
        if cause is not None:
            spent[cause] += ended(span) - started(span)
    chats = [span for span in trace if _operation(span) == "chat"]
    for generation, _ in spent.most_common(1):
        for turn, chat in enumerate(chats, start=1):
            if f"{chat.context.span_id:016x}" == generation:
                return Cause(generation, chat.name, turn, len(chats))
    return None


def _operation(span: ReadableSpan) -> Any:
    return attributes(span).get(GEN_AI_OPERATION)


def _is_database(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == "otel_dbevents"

"""What a span is: LLM work, a generation, or database work."""

from typing import Final

from otel_dbevents.llm import kinds
from otel_dbevents.llm.kinds import is_llm_scope
from otel_dbevents.report import keys
from otel_dbevents.report.keys import nanoseconds, text, whole
from otel_dbevents.report.model import Prompt, Span

_CONVENTIONS: Final = (
    keys.TYPE,
    keys.GENAI_OPERATION,
    keys.OPENINFERENCE_KIND,
    keys.REQUEST_TYPE,
)
_MARKS: Final = (keys.LLM_MARK, keys.OPENINFERENCE_KIND, keys.TRACELOOP_KIND)


def is_database(span: Span) -> bool:
    """Whether it is a span of database work, also as an observation of its own."""
    found = span.attributes
    return (
        span.scope == "otel_dbevents"
        or keys.SYSTEM_NAME in found
        or keys.OLD_SYSTEM in found
        or keys.DB_SYSTEM in found
    )


def is_moment(span: Span) -> bool:
    """Whether it only marks a moment, as a domain event does that is told beside the query."""
    return text(span.attributes, keys.TYPE).lower() == "event"


def is_llm(span: Span) -> bool:
    """Whether it is a span of LLM work: of a turn, an agent, a tool, a generation.

    What only marks a moment is none, else a stray one would pass for a turn.
    """
    if is_database(span) or is_moment(span):
        return False
    return is_llm_scope(span.scope) or any(key in span.attributes for key in _MARKS)


def is_generation(span: Span) -> bool:
    """Whether a model was at work in it.

    What its convention calls it decides; where none does, a model's name and a Langfuse prompt.
    """
    found = span.attributes
    if any(key in found for key in _CONVENTIONS):
        return kinds.is_generation(span)
    return not is_database(span) and (keys.MODEL in found or keys.PROMPT_NAME in found)


def is_query(span: Span) -> bool:
    """Whether a database span is that of a statement, not of a commit or a connection."""
    found = span.attributes
    return keys.QUERY_TEXT in found or keys.QUERY_SUMMARY in found


def prompt_of(span: Span) -> Prompt:
    """Return the prompt and the model of a generation."""
    found = span.attributes
    name = text(found, keys.PROMPT_NAME) or text(found, keys.GENAI_PROMPT)
    version = text(found, keys.PROMPT_VERSION) if name else ""
    model = next(filter(None, (text(found, key) for key in keys.MODELS)), "")
    return Prompt(name, version, model)


def query_text(span: Span) -> str:
    """Return what a statement's span says of it: its text, else its summary, else its name."""
    found = span.attributes
    for key in (keys.QUERY_TEXT, keys.QUERY_SUMMARY):
        if said := text(found, key):
            return said
    return span.name


def is_folded(span: Span) -> bool:
    """Whether a statement's span stands for many, in whose time other things went on as well."""
    return keys.FOLDED_COUNT in span.attributes or keys.QUERY_COUNT in span.attributes


def runs(span: Span) -> int:
    """Return how many statements a statement's span stands for."""
    found = span.attributes
    return whole(found, keys.FOLDED_COUNT) or whole(found, keys.QUERY_COUNT) or 1


def time_of(span: Span) -> int:
    """Return the database's time of a span, with that for reading its rows, in nanoseconds.

    Langfuse keeps whole milliseconds only: an observation says its exact time.
    """
    found = span.attributes
    exact = nanoseconds(found, keys.EXACT_MS)
    if exact is not None:
        return exact
    folded = nanoseconds(found, keys.FOLDED_DURATION, 1_000_000_000)
    reading = nanoseconds(found, keys.FETCH_DURATION, 1_000_000_000) or 0
    return (span.duration_ns if folded is None else folded) + reading


def longest(span: Span) -> int:
    """Return the time of the longest statement that a span stands for, in nanoseconds."""
    told = nanoseconds(span.attributes, keys.FOLDED_LONGEST, 1_000_000_000)
    return time_of(span) // runs(span) if told is None else told

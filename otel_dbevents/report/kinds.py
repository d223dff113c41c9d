"""What a span is: LLM work, a generation, or database work."""

from typing import Final

from otel_dbevents.report import keys
from otel_dbevents.report.keys import number, text, whole
from otel_dbevents.report.model import Prompt, Span

_SCOPES: Final = (
    "langfuse-sdk",
    "openinference",
    "opentelemetry.instrumentation.openai",
    "opentelemetry.instrumentation.anthropic",
    "opentelemetry.instrumentation.langchain",
    "opentelemetry.instrumentation.bedrock",
    "opentelemetry.instrumentation.vertexai",
    "opentelemetry.instrumentation.google_generativeai",
    "opentelemetry.instrumentation.llamaindex",
    "traceloop",
    "langsmith",
    "haystack",
    "litellm",
    "ai",
)
_GENERATIONS: Final = {
    keys.TYPE: {"generation", "embedding"},
    keys.GENAI_OPERATION: {"chat", "text_completion", "generate_content", "embeddings"},
    keys.OPENINFERENCE_KIND: {"llm", "embedding"},
    keys.REQUEST_TYPE: {"chat", "completion", "embedding"},
}
_MARKS: Final = (
    keys.LLM_MARK,
    keys.TYPE,
    keys.OPENINFERENCE_KIND,
    keys.TRACELOOP_KIND,
    keys.PROMPT_NAME,
    keys.QUERY_COUNT,
)


def is_database(span: Span) -> bool:
    """Whether it is a span of database work, also as an observation of its own."""
    found = span.attributes
    return (
        span.scope == "otel_dbevents"
        or keys.SYSTEM_NAME in found
        or keys.OLD_SYSTEM in found
        or keys.DB_SYSTEM in found
    )


def is_llm(span: Span) -> bool:
    """Whether it is a span of LLM work: of a turn, an agent, a tool, a generation.

    What only marks a moment is none, else a stray one would pass for a turn.
    """
    if is_database(span) or text(span.attributes, keys.TYPE).lower() == "event":
        return False
    scope = span.scope
    return any(key in span.attributes for key in _MARKS) or any(
        scope == each or scope.startswith(f"{each}.") for each in _SCOPES
    )


def is_generation(span: Span) -> bool:
    """Whether a model was at work in it.

    What its convention calls it decides; where none does, a model's name and a Langfuse prompt.
    """
    said = [
        (text(span.attributes, key).lower(), names)
        for key, names in _GENERATIONS.items()
        if key in span.attributes
    ]
    if said:
        return any(name in names for name, names in said)
    return not is_database(span) and (
        keys.MODEL in span.attributes or keys.PROMPT_NAME in span.attributes
    )


def is_query(span: Span) -> bool:
    """Whether a database span is that of a statement, not of a commit or a connection."""
    found = span.attributes
    if text(found, keys.TYPE).lower() == "event":  # a domain event, told beside the query
        return False
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


def runs(span: Span) -> int:
    """Return how many statements a statement's span stands for: more than one where it folded."""
    return max(1, whole(span.attributes, keys.FOLDED_COUNT) or 1)


def time_of(span: Span) -> int:
    """Return the database's time of a span, with that for reading its rows, in nanoseconds.

    A folded span is longer than the statements it stands for, and says their time. Langfuse keeps
    whole milliseconds only: an observation says its exact time.
    """
    found = span.attributes
    exact = keys.nanoseconds(found, keys.EXACT_MS)
    if exact is not None:
        return exact
    folded = keys.nanoseconds(found, keys.FOLDED_DURATION, 1_000_000_000)
    reading = keys.nanoseconds(found, keys.FETCH_DURATION, 1_000_000_000) or 0
    return (span.duration_ns if folded is None else folded) + reading


def longest(span: Span) -> int:
    """Return the time of the longest statement that a span stands for, in nanoseconds."""
    if (seconds := number(span.attributes, keys.FOLDED_LONGEST)) is not None:
        return round(seconds * 1e9)
    return time_of(span)

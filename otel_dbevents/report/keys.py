"""The attribute keys that a report reads, and reading their values from whatever they became."""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

METADATA: Final = "langfuse.observation.metadata."

# The roll-up on LLM spans.
QUERY_COUNT: Final = METADATA + "db_query_count"
TIME_MS: Final = METADATA + "db_time_ms"
BUSY_MS: Final = METADATA + "db_busy_ms"
SHARE: Final = METADATA + "db_share"
ERROR_COUNT: Final = METADATA + "db_error_count"
SLOWEST_MS: Final = METADATA + "db_slowest_ms"
SLOWEST_QUERY: Final = METADATA + "db_slowest_query"
REPEATED_QUERY: Final = METADATA + "db_repeated_query"
# Database spans.
CAUSE: Final = METADATA + "db_caused_by_generation"
EXACT_MS: Final = METADATA + "db_duration_ms"
DB_SYSTEM: Final = METADATA + "db_system"
SYSTEM_NAME: Final = "db.system.name"
OLD_SYSTEM: Final = "db.system"
QUERY_TEXT: Final = "db.query.text"
QUERY_SUMMARY: Final = "db.query.summary"
FOLDED_COUNT: Final = "dbevents.folded.count"
FOLDED_DURATION: Final = "dbevents.folded.duration"
FOLDED_LONGEST: Final = "dbevents.folded.longest"
FETCH_DURATION: Final = "dbevents.fetch.duration"
FILE: Final = "code.file.path"
LINE: Final = "code.line.number"
# LLM spans: what they are.
TYPE: Final = "langfuse.observation.type"
PROMPT_NAME: Final = "langfuse.observation.prompt.name"
PROMPT_VERSION: Final = "langfuse.observation.prompt.version"
MODEL: Final = "langfuse.observation.model.name"
GENAI_OPERATION: Final = "gen_ai.operation.name"
GENAI_PROMPT: Final = "gen_ai.prompt.name"
OPENINFERENCE_KIND: Final = "openinference.span.kind"
TRACELOOP_KIND: Final = "traceloop.span.kind"
REQUEST_TYPE: Final = "llm.request.type"
MODELS: Final = (MODEL, "gen_ai.request.model", "gen_ai.response.model", "llm.model_name")
"""The first that is there is the model: what was asked for, rather than what answered."""

READ: Final = frozenset(
    {
        *(QUERY_COUNT, TIME_MS, BUSY_MS, SHARE, ERROR_COUNT),
        *(SLOWEST_MS, SLOWEST_QUERY, REPEATED_QUERY, CAUSE, EXACT_MS, DB_SYSTEM),
        *(SYSTEM_NAME, OLD_SYSTEM, QUERY_TEXT, QUERY_SUMMARY),
        *(FOLDED_COUNT, FOLDED_DURATION, FOLDED_LONGEST, FETCH_DURATION, FILE, LINE),
        *(TYPE, PROMPT_NAME, PROMPT_VERSION, GENAI_OPERATION, GENAI_PROMPT),
        *(OPENINFERENCE_KIND, TRACELOOP_KIND, REQUEST_TYPE, *MODELS),
    }
)
"""All that is kept of a span's attributes: what the model was asked and answered never is."""

LLM: Final = ("gen_ai.", "llm.")
"""Any attribute under these makes a span one of LLM work, too."""

LLM_MARK: Final = "report.llm"
"""Stands for attributes under `LLM` that are not kept."""


def kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a report reads of a span's attributes."""
    found = {key: attributes[key] for key in READ.intersection(attributes)}
    if any(key.startswith(LLM) for key in attributes):
        found[LLM_MARK] = True
    return found


def text(attributes: Mapping[str, Any], key: str) -> str:
    """Return a text, decoded where it was encoded as JSON; empty where there is none."""
    value = attributes.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            decoded = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
        return decoded if isinstance(decoded, str) else value
    return value


def number(attributes: Mapping[str, Any], key: str) -> float | None:
    """Return a number, also one that came as a text; None for what is none, or is below 0."""
    value = attributes.get(key)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        value = value.strip().strip('"')
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and found >= 0 else None


def whole(attributes: Mapping[str, Any], key: str) -> int | None:
    """Return a number that counts."""
    found = number(attributes, key)
    return None if found is None else int(found)


def nanoseconds(attributes: Mapping[str, Any], key: str, unit: int = 1_000_000) -> int | None:
    """Return a time; ``unit`` is how many nanoseconds one of it is."""
    found = number(attributes, key)
    return None if found is None else round(found * unit)

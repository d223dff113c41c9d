"""The attribute keys that a report reads, and reading their values from whatever they became."""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from otel_dbevents.bridge import attributes as at
from otel_dbevents.llm import keys as llm

METADATA: Final = llm.METADATA

# The roll-up on LLM spans. On a database span the count is that of the queries that folded into it.
QUERY_COUNT: Final = llm.QUERY_COUNT
TIME_MS: Final = llm.TIME_MS
BUSY_MS: Final = llm.BUSY_MS
SHARE: Final = llm.SHARE
ERROR_COUNT: Final = llm.ERROR_COUNT
SLOWEST_MS: Final = llm.SLOWEST_MS
SLOWEST_QUERY: Final = llm.SLOWEST_QUERY
REPEATED_QUERY: Final = llm.REPEATED_QUERY
# Database spans.
CAUSE: Final = at.CAUSED_BY
EXACT_MS: Final = at.METADATA_DURATION_MS
DB_SYSTEM: Final = at.METADATA_SYSTEM
SYSTEM_NAME: Final = at.DB_SYSTEM_NAME
OLD_SYSTEM: Final = "db.system"
QUERY_TEXT: Final = at.DB_QUERY_TEXT
QUERY_SUMMARY: Final = at.DB_QUERY_SUMMARY
FOLDED_COUNT: Final = at.FOLDED_COUNT
FOLDED_DURATION: Final = at.FOLDED_DURATION
FOLDED_LONGEST: Final = at.FOLDED_LONGEST
FETCH_DURATION: Final = at.FETCH_DURATION
FILE: Final = at.CODE_FILE_PATH
LINE: Final = at.CODE_LINE_NUMBER
# LLM spans: what they are.
TYPE: Final = llm.LANGFUSE_TYPE
PROMPT_NAME: Final = llm.LANGFUSE_PROMPT_NAME
PROMPT_VERSION: Final = llm.LANGFUSE_PROMPT_VERSION
MODEL: Final = "langfuse.observation.model.name"
GENAI_OPERATION: Final = llm.GEN_AI_OPERATION
GENAI_PROMPT: Final = "gen_ai.prompt.name"
OPENINFERENCE_KIND: Final = llm.OPENINFERENCE_KIND
TRACELOOP_KIND: Final = llm.TRACELOOP_KIND
REQUEST_TYPE: Final = llm.LLM_REQUEST_TYPE
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

LLM: Final = ("gen_ai.", "llm.", "langfuse.observation.")
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

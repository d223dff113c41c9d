"""Kinds: which spans are LLM spans, which of them are a model's answers, and what these say.

Judged by what anybody may read of a span: its scope and its attributes.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from otel_dbevents.events import LlmContext
from otel_dbevents.llm import keys

_GENERATIONS: Final = (
    (keys.LANGFUSE_TYPE, frozenset({"generation", "embedding"})),
    (
        keys.GEN_AI_OPERATION,
        frozenset({"chat", "text_completion", "generate_content", "embeddings"}),
    ),
    (keys.OPENINFERENCE_KIND, frozenset({"llm", "embedding"})),
    (keys.LLM_REQUEST_TYPE, frozenset({"chat", "completion", "embedding"})),
)
"""Who says first what a span is has said it."""
_LONGEST: Final = 200
_NONE: Final[Mapping[str, Any]] = {}


def attributes_of(span: Any) -> Mapping[str, Any]:
    """Return the span's attributes, to be read only; empty where it does not show them."""
    try:  # the SDK's own, without a view and a lock for each look
        found: Mapping[str, Any] = span._attributes._dict
    except AttributeError:
        return getattr(span, "attributes", None) or _NONE
    return found


def scope_of(span: Any) -> tuple[str, str]:
    """Return name and version of the span's instrumentation scope; empty where it has none."""
    scope = getattr(span, "instrumentation_scope", None)
    return ("", "") if scope is None else (scope.name or "", scope.version or "")


def public_key_of(span: Any) -> str | None:
    """Return the public key of the Langfuse client that made the span; None where none did."""
    scope = getattr(span, "instrumentation_scope", None)
    said = getattr(scope, "attributes", None) or _NONE
    key = said.get(keys.LANGFUSE_PUBLIC_KEY) if scope_of(span)[0] == keys.LANGFUSE_SCOPE else None
    return key if isinstance(key, str) else None


@lru_cache(maxsize=1024)
def is_llm_scope(name: str) -> bool:
    """Whether all spans of this instrumentation scope are LLM spans."""
    return name.startswith(keys.LANGFUSE_SCOPE) or any(
        name == scope or name.startswith(scope + ".") for scope in keys.SCOPES
    )


def is_llm(span: Any) -> bool:
    """Whether it is an LLM span, as far as it says by now. Quick, as it is asked of every span."""
    scope = getattr(span, "instrumentation_scope", None)
    if scope is not None and is_llm_scope(scope.name or ""):
        return True
    return not keys.USUAL.isdisjoint(attributes_of(span))


def is_generation(span: Any) -> bool:
    """Whether it is a model's answer: what a prompt was given to."""
    attributes = attributes_of(span)
    for key, generations in _GENERATIONS:
        said = attributes.get(key)
        if isinstance(said, str) and said:
            return said.lower() in generations
    return False


def told_of(span: Any, span_id: bytes, *, prompt: bool) -> LlmContext:
    """Return what is told of a generation; with ``prompt`` its prompt and session too."""
    name, environment = _text(getattr(span, "name", "")), environment_of(span)
    if not prompt:
        return LlmContext(span_id, name, environment=environment)
    said = attributes_of(span)
    session = said.get(keys.SESSION_ID) or said.get(keys.GEN_AI_CONVERSATION)
    return LlmContext(
        span_id,
        name,
        _text(said.get(keys.LANGFUSE_PROMPT_NAME)),
        _text(said.get(keys.LANGFUSE_PROMPT_VERSION)),
        _text(session),
        environment,
    )


def environment_of(span: Any) -> str:
    """Return what Langfuse files the span under; empty where it does not say it."""
    return _text(attributes_of(span).get(keys.LANGFUSE_ENVIRONMENT))


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)[:_LONGEST]

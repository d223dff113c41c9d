"""What Langfuse would show of a span: the rules of its ingestion, as far as they concern us.

The rules are those of server 4.16 (golden table in `test_observation.py`), and the decoding of
metadata that servers from 4.59 on do for spans of Langfuse's SDK 5.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TYPES = [
    "span",
    "generation",
    "event",
    "embedding",
    "agent",
    "tool",
    "chain",
    "retriever",
    "guardrail",
    "evaluator",
]
_OPENINFERENCE = {"LLM": "GENERATION", "RERANKER": "SPAN", "PROMPT": "SPAN"}
_OPERATIONS = {
    "chat": "GENERATION",
    "completion": "GENERATION",
    "text_completion": "GENERATION",
    "generate_content": "GENERATION",
    "generate": "GENERATION",
    "embeddings": "EMBEDDING",
    "execute_tool": "TOOL",
    "invoke_agent": "AGENT",
    "create_agent": "AGENT",
}
_MODELS = (
    "langfuse.observation.model.name",
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.model_name",
    "model",
)
_LEVELS = {"info": "DEFAULT", "warn": "WARNING", "fatal": "ERROR"}
_IN_OUT = (
    ("langfuse.observation.input", "langfuse.observation.output"),
    ("prompt", "all_messages_events"),
    ("events", "events"),
    ("traceloop.entity.input", "traceloop.entity.output"),
    ("input.value", "output.value"),
    ("input", "output"),
    ("tool_arguments", "tool_response"),
    ("gen_ai.input.messages", "gen_ai.output.messages"),
    ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
)
_TAKEN = {key for pair in _IN_OUT for key in pair} - {"tool_arguments", "tool_response"}
_METADATA = ("langfuse.observation.metadata.", "langfuse.trace.metadata.", "langfuse.metadata.")
_USER = ("langfuse.user.id", "user.id")
_SESSION = ("langfuse.session.id", "session.id", "gen_ai.conversation.id")
_ENVIRONMENT = ("langfuse.environment", "deployment.environment.name", "deployment.environment")
_TAGS = ("langfuse.trace.tags", "langfuse.tags", "tag.tags")
_NAMES = ("gen_ai.tool.name", "logfire.msg")


@dataclass(frozen=True)
class Observation:
    """A span as Langfuse stores it. Times are whole milliseconds since the epoch, floored.

    ``metadata``: what can be filtered by has its own key, and all values are texts; what else the
    span said is in ``attributes``, ``resourceAttributes`` and ``scope``. ``input`` and ``output``
    are the texts as they were sent. ``span`` is the protobuf message.
    """

    id: str
    trace_id: str
    parent_id: str | None
    type: str
    name: str
    level: str
    status_message: str | None
    start_ms: int
    end_ms: int
    environment: str
    input: Any
    output: Any
    metadata: Mapping[str, Any]
    user_id: str | None
    session_id: str | None
    trace_name: str | None
    tags: tuple[str, ...]
    version: str | None
    release: str | None
    model: str | None
    is_app_root: bool
    prompt_name: str | None
    prompt_version: str | None
    usage: Mapping[str, int]
    span: Any = field(repr=False)

    @property
    def is_root(self) -> bool:
        return self.parent_id is None or self.is_app_root


def observation_of(span: Any, resource: Any, scope: Any, *, decodes: bool = True) -> Observation:
    """Return what Langfuse would make of these three protobuf messages.

    ``decodes``: the server is 4.59 or newer, which takes the metadata of its SDK 5 for JSON.
    """
    said, about = plain(span.attributes), plain(resource.attributes)
    given, output = _in_out(said)
    return Observation(
        id=span.span_id.hex(),
        trace_id=span.trace_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        type=_type(said),
        name=str(_first(said, _NAMES) or span.name),
        level=_level(said, span),
        status_message=said.get("langfuse.observation.status_message")
        or span.status.message
        or None,
        start_ms=span.start_time_unix_nano // 1_000_000,
        end_ms=span.end_time_unix_nano // 1_000_000,
        environment=_environment(said, about),
        input=given,
        output=output,
        metadata=_metadata(said, about, scope, decodes and _is_sdk_5(scope)),
        user_id=_first(said, _USER),
        session_id=_first(said, _SESSION),
        trace_name=said.get("langfuse.trace.name"),
        tags=tuple(_first(said, _TAGS) or ()),
        version=said.get("langfuse.version") or about.get("service.version"),
        release=said.get("langfuse.release") or about.get("langfuse.release"),
        model=_first(said, _MODELS),
        is_app_root=str(said.get("langfuse.internal.is_app_root")).lower() == "true",
        prompt_name=said.get("langfuse.observation.prompt.name"),
        prompt_version=_text(said.get("langfuse.observation.prompt.version")),
        usage=_usage(said),
        span=span,
    )


def observations_of(request: Any, *, decodes: bool = True) -> list[Observation]:
    """Return what Langfuse would make of an ``ExportTraceServiceRequest``, in its order."""
    return [
        observation_of(span, each.resource, scoped.scope, decodes=decodes)
        for each in request.resource_spans
        for scoped in each.scope_spans
        for span in scoped.spans
    ]


def plain(attributes: Any) -> dict[str, Any]:
    """Return a message's attributes as plain values."""
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return plain(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _first(said: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((said[key] for key in keys if said.get(key)), None)


def _type(said: Mapping[str, Any]) -> str:
    wanted = str(said.get("langfuse.observation.type", "")).lower()
    if wanted in _TYPES:
        return wanted.upper()
    kind = str(said.get("openinference.span.kind", "")).upper()
    if kind:
        return _OPENINFERENCE.get(kind, kind if kind.lower() in _TYPES else "SPAN")
    operation = _OPERATIONS.get(str(said.get("gen_ai.operation.name", "")))
    if operation:
        return operation
    if _first(said, ("gen_ai.tool.name", "gen_ai.tool.call.id")):
        return "TOOL"
    return "GENERATION" if _first(said, _MODELS) else "SPAN"


def _level(said: Mapping[str, Any], span: Any) -> str:
    level = said.get("langfuse.observation.level")
    if level:
        return _LEVELS.get(str(level).lower(), str(level).upper())
    return "ERROR" if span.status.code == 2 else "DEFAULT"


def _environment(said: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    for key in _ENVIRONMENT:
        found = said.get(key) or about.get(key)
        if found:
            name = str(found).lower()
            is_well = re.fullmatch(r"(?!langfuse)[a-z0-9_-]{1,40}", name)
            return name if is_well else "default"
    return "default"


def _in_out(said: Mapping[str, Any]) -> tuple[Any, Any]:
    for keys in _IN_OUT:
        given, output = (said.get(key) for key in keys)
        if keys[0] == "events":
            continue
        if given or output:
            return given, output
    return None, None


def _metadata(
    said: Mapping[str, Any], about: Mapping[str, Any], scope: Any, decodes: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in said.items():
        for prefix in _METADATA:
            if key.startswith(prefix):
                found[key.removeprefix(prefix)] = _stored(value, decodes)
    if not scope.name.startswith("langfuse-sdk"):
        rest = {key: _text(value) for key, value in said.items() if key not in _TAKEN}
        found["attributes"] = rest
    found["resourceAttributes"] = dict(about)
    found["scope"] = {"name": scope.name, "version": scope.version, **plain(scope.attributes)}
    return found


def _stored(value: Any, decodes: bool) -> str | None:
    if decodes and isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return _text(value)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _is_sdk_5(scope: Any) -> bool:
    major = re.match(r"\d+", scope.version)
    return bool(scope.name.startswith("langfuse-sdk") and major and int(major[0]) >= 5)


def _usage(said: Mapping[str, Any]) -> dict[str, int]:
    details = said.get("langfuse.observation.usage_details")
    if details:
        return dict(json.loads(details))
    prefix = "gen_ai.usage."
    return {key.removeprefix(prefix): n for key, n in said.items() if key.startswith(prefix)}

"""Jaeger with the project's own configuration, and its query API read back as plain dicts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.ports import free_ports
from tests.services.process import Process
from tests.services.tools import JAEGER, REPOSITORY, require
from tests.services.web import answers, get, get_json

Span = dict[str, Any]

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")


@dataclass(frozen=True)
class Jaeger:
    """A running Jaeger. After `process.kill()` its traces are gone; the ports stay the same.

    A span that was stored twice and is the same to the last bit it shows once.
    """

    process: Process
    otlp_grpc: str
    """host:port for OTLP by gRPC."""
    query: str
    """The query API's URL; /api/v3 is below it."""

    def trace(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace, in order of their start; empty when there is none."""
        return _spans(get_json(f"{self.query}/api/v3/traces/{trace_id}"))

    def traces(self, service: str, limit: int = 100_000) -> dict[str, list[Span]]:
        """Return a service's traces: spans in order of their start, by trace id."""
        found: dict[str, list[Span]] = {}
        for span in _spans(get_json(f"{self.query}/api/v3/traces", _question(service, limit))):
            found.setdefault(span["trace_id"], []).append(span)
        return found

    def services(self) -> list[str]:
        """Return the names of all services that Jaeger has spans of."""
        return sorted(get_json(f"{self.query}/api/v3/services")["services"] or [])

    def everything(self, service: str) -> bytes:
        """Return what Jaeger answers when asked for a service's traces, unparsed."""
        return get(f"{self.query}/api/v3/traces", **_question(service, 100_000))


def _question(service: str, limit: int) -> dict[str, str]:
    return {
        "query.service_name": service,
        "query.start_time_min": "2000-01-01T00:00:00Z",
        "query.start_time_max": "2100-01-01T00:00:00Z",
        "query.num_traces": str(limit),
    }


@contextmanager
def jaeger(directory: Path, *, start: bool = True) -> Iterator[Jaeger]:
    """Run Jaeger with deploy/jaeger/jaeger.yaml on free ports."""
    binary = require(JAEGER)
    otlp, query, query_grpc, health = (f"127.0.0.1:{port}" for port in free_ports(4))
    settings = {
        "JAEGER_OTLP_GRPC_ENDPOINT": otlp,
        "JAEGER_QUERY_HTTP_ENDPOINT": query,
        "JAEGER_QUERY_GRPC_ENDPOINT": query_grpc,
        "JAEGER_HEALTH_ENDPOINT": health,
    }
    config = REPOSITORY / "deploy" / "jaeger" / "jaeger.yaml"
    process = Process(
        "jaeger",
        [binary, f"--config={config}"],
        directory,
        lambda: answers(f"http://{health}/status") and answers(f"http://{query}/api/v3/services"),
        settings,
    )
    if start:
        process.start()
    try:
        yield Jaeger(process, otlp, f"http://{query}")
    finally:
        process.stop()


def _spans(answer: Any) -> list[Span]:
    """Flatten Jaeger's OTLP JSON; times become integers, attributes plain values."""
    spans = [
        _span(span, _attributes(resource.get("resource", {})), scope.get("scope", {}))
        for resource in ((answer or {}).get("result") or {}).get("resourceSpans", [])
        for scope in resource["scopeSpans"]
        for span in scope.get("spans", [])  # it leaves empty ones where it hid a duplicate
    ]
    return sorted(spans, key=lambda span: (span["start_ns"], -span["end_ns"]))


def _span(span: dict[str, Any], resource: dict[str, Any], scope: dict[str, Any]) -> Span:
    status = span.get("status", {})
    return {
        "trace_id": span["traceId"],
        "span_id": span["spanId"],
        "parent_id": span.get("parentSpanId") or None,
        "name": span["name"],
        "kind": _KINDS[span.get("kind", 0)],
        "start_ns": int(span["startTimeUnixNano"]),
        "end_ns": int(span["endTimeUnixNano"]),
        "attributes": _attributes(span),
        "status": _STATUSES[status.get("code", 0)],
        "status_message": status.get("message", ""),
        "events": [
            {
                "name": event.get("name", ""),
                "time_ns": int(event["timeUnixNano"]),
                "attributes": _attributes(event),
            }
            for event in span.get("events", [])
        ],
        "links": [(link["traceId"], link["spanId"]) for link in span.get("links", [])],
        "resource": resource,
        "scope": scope.get("name", ""),
        "scope_version": scope.get("version", ""),
    }


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: _value(each["value"]) for each in holder.get("attributes", [])}


def _value(value: dict[str, Any]) -> Any:
    """Return OTLP's tagged value as Python's own."""
    if not value:
        return None
    ((kind, content),) = value.items()
    match kind:
        case "intValue":
            return int(content)
        case "arrayValue":
            return [_value(each) for each in content.get("values", [])]
        case "kvlistValue":
            return {each["key"]: _value(each["value"]) for each in content.get("values", [])}
        case _:
            return content

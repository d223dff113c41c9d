"""The demonstration for programs: the same facts as one JSON document."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan

from otel_dbevents.demo.alerts import verdicts
from otel_dbevents.demo.metrics import Point
from otel_dbevents.demo.outage import Outage
from otel_dbevents.demo.prompts import prompts_of
from otel_dbevents.demo.scenes import OUTAGE, Exchange, Scene
from otel_dbevents.demo.telemetry import Sent
from otel_dbevents.demo.tree import attributes, ended, started, trace_id
from otel_dbevents.events import Event

if TYPE_CHECKING:
    from otel_dbevents.demo.through_redis import Compared


class Report:
    """Gathers what happens. It prints nothing; `document` is what there is to print."""

    def __init__(self) -> None:
        self._scenes: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        self._metrics: list[dict[str, Any]] = []
        self._lost = 0
        self._prompts: list[dict[str, Any]] = []
        self._more: dict[str, Any] = {}

    def scene_begins(self, scene: Scene) -> None:
        """Start gathering for a scene."""
        self._events = []
        self._scenes.append({"name": scene.name, "title": scene.title, "events": self._events})

    def event(self, event: Event) -> None:
        """Gather an event."""
        self._events.append(event.to_dict())

    def scene_ends(self, exchanges: Sequence[Exchange], spans: Sequence[ReadableSpan]) -> None:
        """Gather what was asked, its spans in the order they started, and what they say of it."""
        self._scenes[-1]["exchanges"] = [
            {"question": one.question, "answer": one.answer, "trace_id": one.trace_id}
            for one in exchanges
        ]
        self._scenes[-1]["spans"] = [_span(span) for span in sorted(spans, key=started)]
        self._prompts += [prompt.to_dict() for prompt in prompts_of(exchanges, spans)]

    def outage_begins(self) -> None:
        """Start gathering for the second act."""
        self._events = []
        title = "The database is killed, and comes back"
        self._scenes.append({"name": OUTAGE, "title": title, "events": self._events})

    def outage_ends(self, outage: Outage, spans: Sequence[ReadableSpan]) -> None:
        """Gather what was seen of it."""
        self._scenes[-1]["exchanges"] = []
        self._scenes[-1]["spans"] = [_span(span) for span in sorted(spans, key=started)]
        self._more["outage"] = {
            "sold_before": outage.sold_before,
            "refused": dict(outage.refused),
            "sold_after": outage.sold_after,
            "killed_s": outage.killed_s,
            "health": [str(each.status) for each in outage.health],
            "alerts": [verdict._asdict() for verdict in verdicts(outage)],
        } | {
            when: [point.to_dict() for point in points]
            for when, points in (("before", outage.before), ("away", outage.away))
        }

    def metrics(self, points: Sequence[Point], lost: int) -> None:
        """Gather the metrics."""
        self._metrics = [point.to_dict() for point in points]
        self._lost = lost

    def compared(self, compared: "Compared") -> None:
        """Gather what came out of the sidecar."""
        self._more["sidecar"] = compared.to_dict()

    def sending(self) -> None:
        """Nothing is gathered here: what became of it is known when it is over."""

    def document(self, sent: Iterable[Sent]) -> dict[str, Any]:
        """Return everything that was gathered, as plain values."""
        return {
            "scenes": self._scenes,
            "prompts": self._prompts,
            "metrics": self._metrics,
            "events_lost": self._lost,
            "sent": [one.to_dict() for one in sent],
            **self._more,
        }


def _span(span: ReadableSpan) -> dict[str, Any]:
    scope = span.instrumentation_scope
    return {
        "name": span.name,
        "kind": span.kind.name,
        "scope": scope.name if scope else "",
        "trace_id": trace_id(span),
        "span_id": f"{span.context.span_id:016x}",
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "start_ns": started(span),
        "duration_ns": ended(span) - started(span),
        "status": span.status.status_code.name,
        "description": span.status.description,
        "attributes": attributes(span),
        "events": [
            {"name": event.name, "attributes": dict(event.attributes or {})}
            for event in span.events
        ],
        "links": [f"{link.context.span_id:016x}" for link in span.links],
    }

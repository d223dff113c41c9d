"""The guard never waits; a parent is as OpenTelemetry says it; what is gone is forgotten."""

import gc
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_dbevents import swallowing
from otel_dbevents.living import Living
from otel_dbevents.sources.caller import parent_of
from otel_dbevents.sources.guarding import Guard


@pytest.mark.swallows
def test_the_garbage_collector_may_come_in_while_an_error_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when it finds a result that nobody closed, and that result's last event fails too."""
    guard, noted = Guard(), threading.Event()

    def came_through(error: BaseException) -> str:
        if str(error) == "one":
            gc.collect()
        return type(error).__name__

    def collected(_phase: str, _info: Any) -> None:
        if threading.current_thread() is thread:
            guard.caught(ValueError("another"))

    def note() -> None:
        try:
            raise ValueError("one")
        except ValueError as error:
            guard.caught(error)
        noted.set()

    monkeypatch.setattr(swallowing, "came_through", came_through)
    thread = threading.Thread(target=note, daemon=True)
    gc.callbacks.append(collected)
    try:
        thread.start()
        assert noted.wait(30), "it waits for itself"
    finally:
        gc.callbacks.remove(collected)
    thread.join()
    assert guard.errors > 1


class _Foreign(trace.NonRecordingSpan):
    """A span whose context is of a type of its own."""

    def get_span_context(self) -> Any:
        there = super().get_span_context()
        names = ("trace_id", "span_id", "trace_flags", "trace_state", "is_valid")
        return SimpleNamespace(**{name: getattr(there, name) for name in names})


def _span_context(trace_id: int = 1, span_id: int = 2, **more: Any) -> trace.SpanContext:
    return trace.SpanContext(trace_id, span_id, is_remote=False, **more)


_STATE = trace.TraceState([("vendor", "told"), ("other", "1")])
_SPANS = {
    "the SDK's": TracerProvider().get_tracer("application").start_span("request"),
    "unsampled": TracerProvider(sampler=ALWAYS_OFF).get_tracer("application").start_span("request"),
    "sampled": trace.NonRecordingSpan(_span_context(trace_flags=trace.TraceFlags(1))),
    "with a state": trace.NonRecordingSpan(_span_context(trace_state=_STATE)),
    "with an empty state": trace.NonRecordingSpan(_span_context(trace_state=trace.TraceState())),
    "the largest ids": trace.NonRecordingSpan(_span_context(2**128 - 1, 2**64 - 1)),
    "invalid": trace.NonRecordingSpan(_span_context(0, 0)),
    "OpenTelemetry's own invalid one": trace.INVALID_SPAN,
    "foreign": _Foreign(_span_context(trace_state=_STATE, trace_flags=trace.TraceFlags(3))),
}


@pytest.mark.parametrize("before", [None, *_SPANS])
@pytest.mark.parametrize("name", _SPANS)
def test_the_parent_is_what_opentelemetry_says_of_the_span(name: str, before: str | None) -> None:
    if before is not None:  # what was found out of another span has no part in it
        parent_of(trace.set_span_in_context(_SPANS[before], Context()))
    context = trace.set_span_in_context(_SPANS[name], Context())
    there = trace.get_current_span(context).get_span_context()
    for _ in range(2):
        parent = parent_of(context)
        assert (parent is not None) is there.is_valid
        if parent is not None:
            assert parent.trace_id == there.trace_id.to_bytes(16, "big")
            assert parent.span_id == there.span_id.to_bytes(8, "big")
            assert parent.trace_flags == int(there.trace_flags)
            assert type(parent.trace_flags) is int
            assert parent.trace_state == there.trace_state.to_header()


def test_a_context_with_no_span_or_something_else_in_its_place_has_no_parent() -> None:
    assert parent_of(Context()) is None
    no_span: Any = "no span"
    assert parent_of(trace.set_span_in_context(no_span, Context())) is None


def test_what_is_collected_is_no_longer_among_the_living() -> None:
    living, kept = Living(), [_Thing() for _ in range(20)]
    dropped = _Thing()
    for thing in (*kept, dropped, *kept):
        living.add(thing)
    assert living.all() == [*kept, dropped]
    del thing, dropped
    gc.collect()
    assert living.all() == kept
    assert len(living.references) == len(kept)


def test_what_was_discarded_may_die_while_somebody_walks_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unheard = list[object]()
    monkeypatch.setattr(sys, "unraisablehook", unheard.append)
    living, thing = Living[_Thing](), _Thing()
    living.add(thing)
    (walked,) = living.references
    living.discard(thing)
    del thing
    gc.collect()
    assert walked() is None
    assert living.all() == []
    assert not unheard


class _Thing:
    pass

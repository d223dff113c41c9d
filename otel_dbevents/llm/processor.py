"""The span processor that sees LLM spans start, on as many tracer providers as there are.

Langfuse and others of its kind may have a provider of their own, that nobody else knows of. What
they all do is to add a span processor to it: so the SDK's `TracerProvider.add_span_processor` is
wrapped while anybody listens, and given back afterwards.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, ClassVar, Final, TypeAlias

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import get_current_span

from otel_dbevents.forks import hold
from otel_dbevents.living import Living
from otel_dbevents.llm.keys import USUAL
from otel_dbevents.llm.kinds import attributes_of, is_llm, is_llm_scope
from otel_dbevents.swallowing import Swallowing

_OURS: Final = "otel_dbevents"
_LLM_PACKAGES: Final = frozenset({"langfuse", "openinference", "phoenix", "traceloop"})
"""Whose processors are for LLM spans."""
_LANGFUSE_CLIENTS: Final = "langfuse._client.resource_manager"


class Watching(SpanProcessor):
    """Tells of the spans of others that start and end. It exports nothing."""

    silent_for: ClassVar = frozenset({_OURS})
    """The scopes whose spans it has nothing to do with, from their start to their end."""

    def __init__(
        self,
        started: Callable[[Any, Context | None], None],
        ended: Callable[[ReadableSpan], None],
        guard: Swallowing,
    ) -> None:
        self._tell_started, self._tell_ended = started, ended
        self._guard = guard
        self._followed: Living[Any] = Living()
        self._plain: Any = None
        """The latest parent that was no LLM span, when it was looked at."""
        self.known: Mapping[int, Any] = {}
        """The spans of LLM work that are open, by their ids."""
        self.is_on = False
        """Whether anybody wants to be told."""
        self.awaits_provider = False
        """Whether the application has still to set its global provider."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Tell of a span that starts, where that may be of LLM work. Never raises.

        Every span of the application comes by here: most have no LLM work around them.
        """
        if not self.is_on:
            return
        try:
            scope = span.instrumentation_scope
            name = "" if scope is None else scope.name
            if name == _OURS:
                return
            if (
                self.known
                or is_llm_scope(name)
                or not USUAL.isdisjoint(attributes_of(span))
                or self._is_below_llm(span, parent_context)
            ):
                self._tell_started(span, parent_context)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            self._guard.caught(error, "a span was not taken note of")

    def on_end(self, span: ReadableSpan) -> None:
        """Tell of a span that has ended, where any of LLM work is open. Never raises."""
        if not self.known or not self.is_on:
            return
        try:
            self._tell_ended(span)
        except Exception as error:  # noqa: BLE001 - it is within the application's call
            self._guard.caught(error, "the end of a span was not taken note of")

    def _is_below_llm(self, span: Span, parent_context: Context | None) -> bool:
        """Whether it begins right below an LLM span that nobody told us of.

        The span above is looked at once: most begin below the one that those before began below.
        """
        parent = span.parent
        if parent is None or parent is self._plain:
            return False
        if is_llm(get_current_span(parent_context)):
            return True
        self._plain = parent
        return False

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Say that it is done: in older SDKs the processors after it are not flushed otherwise."""
        return True

    def begin(self) -> None:
        """Be told from now on, also of providers that LLM spans are made on without us."""
        self.is_on = True
        with _lock:
            _listen(self)
        for provider in _langfuse_providers():
            self.follow(provider)

    def end(self) -> None:
        """Be told no more, and leave all providers. Twice is harmless."""
        self.is_on = False
        with _lock:
            _unlisten(self)
        for multi in self._followed.all():
            self._followed.discard(multi)
            # One of another kind keeps us, and we do nothing.
            with suppress(AttributeError), multi._lock:
                there = multi._span_processors
                multi._span_processors = tuple(each for each in there if each is not self)

    def follow(self, provider: Any) -> None:
        """Be told of what a provider's tracers start. Twice is harmless; never raises.

        ``provider`` may also be what a provider, or a span, passes on to its processors.
        """
        try:
            multi = getattr(provider, "_active_span_processor", provider)
            there = getattr(multi, "_span_processors", None)
            known = there if isinstance(there, tuple) else self._followed.all()
            if hasattr(multi, "add_span_processor") and not (
                any(each is self or each is multi for each in known)
            ):
                multi.add_span_processor(self)
                self._followed.add(multi)
        except Exception as error:  # noqa: BLE001 - a provider of anybody's may raise anything
            self._guard.caught(error, "LLM spans of a tracer provider are not seen")

    def added(self, provider: TracerProvider, processor: object) -> None:
        """Follow a provider that somebody added a processor for LLM spans to. Never raises.

        Any processor will do while the application has no global provider yet: this may become it.
        """
        try:
            is_for_llm = type(processor).__module__.partition(".")[0] in _LLM_PACKAGES
            if self.is_on and (is_for_llm or self.awaits_provider):
                self.follow(provider)
        except Exception as error:  # noqa: BLE001 - it is within the application's call
            self._guard.caught(error, "LLM spans of a tracer provider may not be seen")


def _langfuse_providers() -> Iterator[Any]:
    """Give the providers of Langfuse's clients that there are; the package is not imported."""
    manager = getattr(sys.modules.get(_LANGFUSE_CLIENTS), "LangfuseResourceManager", None)
    for client in list(getattr(manager, "_instances", {}).values()):
        provider = getattr(client, "tracer_provider", None)
        if provider is not None:
            yield provider


_lock = threading.RLock()
hold(lambda: (_lock,))
_Add: TypeAlias = Callable[[TracerProvider, SpanProcessor], None]
_ADD: Final = "add_span_processor"
_listening: tuple[Watching, ...] = ()
_installed: tuple[_Add, _Add] | None = None
"""`TracerProvider.add_span_processor` as it was and as we made it, while anybody listens."""


def _listen(watching: Watching) -> None:
    global _installed, _listening
    if watching not in _listening:
        _listening = (*_listening, watching)
    if _installed is None:
        original: Any = TracerProvider.add_span_processor
        ours: Any = _telling(original)
        setattr(TracerProvider, _ADD, ours)
        _installed = original, ours


def _unlisten(watching: Watching) -> None:
    global _installed, _listening
    _listening = tuple(each for each in _listening if each is not watching)
    current: Any = TracerProvider.add_span_processor
    if not _listening and _installed is not None and current is _installed[1]:
        setattr(TracerProvider, _ADD, _installed[0])
        _installed = None


def _telling(original: _Add) -> _Add:
    @wraps(original)
    def add_span_processor(self: TracerProvider, span_processor: SpanProcessor) -> None:
        original(self, span_processor)
        for watching in _listening:
            watching.added(self, span_processor)

    return add_span_processor

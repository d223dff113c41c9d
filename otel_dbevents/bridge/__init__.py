"""Bridge: events become telemetry.

In: batches of events, each with the context of the call it tells of, on a worker
(`Bridge.consume`); single events on the application's thread (`Bridge.on_open_span`). Out: spans,
metrics and log records through OpenTelemetry's providers.

Promised: an event that cannot be told, or a processor that raises, costs only its own telemetry,
of that one signal, and is counted in `Bridge.lost`. Metrics count every event, whatever filter or
sampler drops its span, and whatever span it is folded into. A log record and an exemplar point to
the event's own span where it has one, else to the span that was current.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from opentelemetry import trace
from opentelemetry._logs import LoggerProvider, get_logger_provider
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter_provider
from opentelemetry.trace import TracerProvider

from otel_dbevents.bridge import inherited
from otel_dbevents.bridge.filtering import Filtering, SpanFilter
from otel_dbevents.bridge.flow import Flow, ReadFlow
from otel_dbevents.bridge.folding import Folding
from otel_dbevents.bridge.gathering import Seen
from otel_dbevents.bridge.logs import EVENT_NAMES, OPEN_SPAN_TYPES, Logs, add_to_open_span
from otel_dbevents.bridge.metrics import Metrics
from otel_dbevents.bridge.objective import Objective, ReadStandings, Standing
from otel_dbevents.bridge.observations import Observations, Shown
from otel_dbevents.bridge.spans import Spans
from otel_dbevents.bridge.telling import Delivery, Telling
from otel_dbevents.events import Event, PoolReading
from otel_dbevents.forks import in_child
from otel_dbevents.swallowing import Swallowing

__all__ = [
    "EVENT_NAMES",
    "OPEN_SPAN_TYPES",
    "Bridge",
    "Flow",
    "Objective",
    "Shown",
    "SpanFilter",
    "Standing",
]

_log = logging.getLogger(__name__)
_CLOSE_S: Final = 2.0
_SLOW_NS: Final = 500_000_000


def _no_pools() -> Iterable[PoolReading]:
    return ()


def _no_losses() -> Mapping[str, int]:
    return {}


class Bridge:
    """Tells events to OpenTelemetry.

    Each provider may be None (that signal is off), the API's own no-op, or the API's proxy that
    stands there until the application sets one: then it is used from the next batch on.

    - ``read_pools`` is called when metrics are collected, for each pool's numbers at that moment.
    - ``read_lost`` is called then too, for the events lost before they came here, by reason.
    - ``read_flow`` likewise, for what waits and what is limited; None: nothing is.
    - ``seen`` takes the durations of all queries that the metrics have; see `has_metrics`.
    - ``objective`` is among the bounds of the histograms; ``read_standings`` is called when metrics
      are collected, for how each database holds it.
    - ``min_duration_ns``: a shorter call has no span, unless it failed or took at least
      ``slow_query_ns`` (0: no exception for slow ones).
    - ``require_parent``: what would be a trace of its own has no span, failed or not.
    - ``span_filter``: takes a query's event and says whether it has a span. Where it raises, the
      span is made; that is counted in `filter_errors` and logged.
    - ``fold_after``: so many runs of one statement under one span have spans of their own; those
      after them fold (`bridge.folding`). 0: each has its own.
    - ``wait_span_ns``: from how long a wait for a connection (its opening apart) has a span.
    - ``shown``: which spans Langfuse is shown as observations of their own, within LLM traces.
    - ``spans``, ``metrics``, ``logs``: False switches the signal off, as None for its provider.

    Times are nanoseconds. Instruments cannot be taken out of a meter: after `close` they report
    nothing and hold nothing of this bridge.
    """

    filter_errors: int
    """How often ``span_filter`` raised, or did not say yes or no."""
    is_unheard: bool = False
    """Whether there was no provider of any signal yet when the last events came."""
    open_span_types: tuple[type[Event], ...] = OPEN_SPAN_TYPES
    """The types that `on_open_span` is for."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
        logger_provider: LoggerProvider | None,
        *,
        read_pools: Callable[[], Iterable[PoolReading]] = _no_pools,
        read_lost: Callable[[], Mapping[str, int]] = _no_losses,
        read_flow: ReadFlow | None = None,
        seen: Seen | None = None,
        objective: Objective = Objective(),  # noqa: B008 - it is immutable
        read_standings: ReadStandings | None = None,
        min_duration_ns: int = 0,
        require_parent: bool = False,
        span_filter: SpanFilter | None = None,
        slow_query_ns: int = _SLOW_NS,
        fold_after: int = 0,
        wait_span_ns: int = 1_000_000,
        shown: Shown | None = None,
        spans: bool = True,
        metrics: bool = True,
        logs: bool = True,
    ) -> None:
        self._read_pools, self._read_lost = read_pools, read_lost
        self._read_flow, self._seen = read_flow, seen
        self._objective, self._read_standings = objective, read_standings
        self._min_duration_ns, self._slow_query_ns = min_duration_ns, slow_query_ns
        self._require_parent, self._wait_span_ns = require_parent, wait_span_ns
        self._span_filter, self._fold_after = span_filter, fold_after
        self._observations = (
            None
            if shown is None or shown.is_nothing
            else Observations(shown, slow_ns=slow_query_ns)
        )
        self._tracer_provider = tracer_provider if spans else None
        self._meter_provider = meter_provider if metrics else None
        self._logger_provider = logger_provider if logs else None
        self._spans: Spans | None = None
        self._folding: Folding | None = None
        self._filtering: Filtering | None = None
        self._metrics: Metrics | None = None
        self._logs: Logs | None = None
        self._telling = self._telling_to()
        self._swallowing = Swallowing("bridge", _log)
        self._is_closed = False
        self._is_complete = False
        self._begin()
        self._take_providers()
        in_child(self._begin_anew)

    @property
    def lost(self) -> Mapping[str, int]:
        """How often an event could not be told, by reason.

        ``span_error``, ``metric_error``, ``log_error``: that signal raised; ``closed``: it came
        after `close`; ``langfuse_quota``: it is not shown there, as its trace had had its quota.
        """
        left_out = 0 if self._observations is None else self._observations.left_out
        return {**self._lost, "langfuse_quota": left_out} if left_out else dict(self._lost)

    @property
    def has_own_ids(self) -> bool:
        """Whether a span has the ids of its event, so that they are known before it is made."""
        return self._spans is not None and self._spans.has_own_ids

    @property
    def has_metrics(self) -> bool:
        """Whether there is a meter provider by now, and metrics are made."""
        return self._metrics is not None

    def consume(self, batch: Sequence[Delivery]) -> None:
        """Tell a batch of events. What telling one of them raises is counted in `lost`."""
        if self._is_closed:
            self._count("closed", len(batch))
            return
        if not self._is_complete:
            self._take_providers()
            self.is_unheard = not (self._spans or self._metrics or self._logs)
        spans = self._spans
        if spans is not None:
            spans.look()
        self._telling.tell_all(batch)
        if self._folding is not None:
            self._folding.settle_ended(len(batch))
        if spans is not None:
            self._settle_spans(spans)

    def count(self, batch: Sequence[Delivery]) -> None:
        """Have the metrics count a batch, which has no spans and no log records."""
        if not self._is_complete:
            self._take_providers()
        self._telling.count(batch)

    def measure_turn(
        self, duration_ns: int, busy_ns: int, queries: int, errors: int, context: Context
    ) -> None:
        """Have the metrics count a turn of LLM work, on the thread that ends it.

        Times are nanoseconds; ``busy_ns`` is what it waited for the database. May raise what the
        meter provider's own raise.
        """
        metrics = self._metrics
        if metrics is not None:
            metrics.turns.record(duration_ns, busy_ns, queries, errors, context)

    def settle(self, timeout: float = -1) -> bool:
        """Tell what is held back: the queries that fold. Call it when nothing more comes for now.

        False when another thread was telling for longer than ``timeout`` seconds (-1: for ever).
        """
        settled = self._folding is None or self._folding.settle(timeout)
        if self._spans is not None:
            self._settle_spans(self._spans)
        return settled

    def on_open_span(self, event: Event, context: Context | None) -> None:
        """Add an event of `open_span_types` to the span in ``context``, if it is recording.

        Called on the application's thread, while its span is open.
        """
        if not self._is_closed:
            add_to_open_span(event, context)

    def close(self, timeout: float = _CLOSE_S) -> None:
        """Tell what is held back, within ``timeout`` seconds, and report nothing more.

        May be called twice.
        """
        self.settle(timeout)
        self._is_closed = True
        self._settle_metrics()
        if self._metrics is not None:
            self._metrics.close()
        self._spans, self._metrics, self._logs = None, None, None
        self._folding = self._filtering = None
        self._telling = self._telling_to()
        self._read_pools, self._read_lost = _no_pools, _no_losses
        self._read_flow = self._seen = self._read_standings = None

    def _begin(self) -> None:
        """Begin to count at nothing."""
        self._lock = threading.RLock()
        self._lost: dict[str, int] = {}
        self.filter_errors = 0

    def _begin_anew(self) -> None:
        """Begin at nothing in a forked child: what was told and lost before is the parent's."""
        self._begin()
        if self._spans is not None:
            self._spans.begin_anew()
        meters = _settled(self._meter_provider, get_meter_provider)
        if self._metrics is not None and meters is not None:
            self._metrics.begin_anew()
            inherited.forget(meters)

    def _settle_spans(self, spans: Spans) -> None:
        lost = spans.settle()
        if lost:
            self._count("span_error", lost)

    def _settle_metrics(self) -> None:
        if self._metrics is not None:
            self._metrics.settle(self._metric_failed)

    def _metric_failed(self) -> None:
        """Count and log the error that is being handled."""
        self._count("metric_error", 1)
        self._log("could not record a number (metric_error)")

    def _failed(self, reason: str, event: Event, number: int = 1) -> None:
        """Count the error that is being handled; log it, at most once a minute."""
        self._count(reason, number)
        self._log("could not tell of %s (%s)", event.event_type, reason)

    def _filter_failed(self, event: Event) -> None:
        """Count and log the filter's error that is being handled. Nothing is lost by it."""
        with self._lock:
            self.filter_errors += 1
        self._log("span_filter failed on a %s, which has a span therefore", event.event_type)

    def _log(self, message: str, *words: str) -> None:
        error = sys.exception()
        if error is not None:
            self._swallowing.caught(error, message, *words)

    def _count(self, reason: str, number: int) -> None:
        with self._lock:
            self._lost[reason] = self._lost.get(reason, 0) + number

    def _all_lost(self) -> Mapping[str, int]:
        counts = dict(self._read_lost())
        for reason, number in self.lost.items():
            counts[reason] = counts.get(reason, 0) + number
        return counts

    def _take_providers(self) -> None:
        """Start each signal whose provider is there by now."""
        with self._lock:
            tracers = _settled(self._tracer_provider, trace.get_tracer_provider)
            if tracers is not None and self._spans is None:
                self._take_tracers(tracers)
            meters = _settled(self._meter_provider, get_meter_provider)
            if meters is not None and self._metrics is None:
                self._metrics = Metrics(
                    meters,
                    read_pools=self._read_pools,
                    read_lost=self._all_lost,
                    read_flow=self._read_flow,
                    seen=self._seen,
                    objective=self._objective,
                    read_standings=self._read_standings,
                )
            loggers = _settled(self._logger_provider, get_logger_provider)
            if loggers is not None and self._logs is None:
                self._logs = Logs(loggers)
            self._telling = self._telling_to()
            self._is_complete = (
                (tracers or self._tracer_provider) is tracers
                and (meters or self._meter_provider) is meters
                and (loggers or self._logger_provider) is loggers
            )

    def _take_tracers(self, tracers: TracerProvider) -> None:
        """Set up the way to the spans: the filter first, then folding, then their making."""
        self._spans = Spans(
            tracers,
            min_duration_ns=self._min_duration_ns,
            require_parent=self._require_parent,
            slow_query_ns=self._slow_query_ns,
            wait_span_ns=self._wait_span_ns,
            observations=self._observations,
        )
        if self._fold_after:
            self._folding = Folding(
                self._spans,
                after=self._fold_after,
                fast_ns=self._slow_query_ns or _SLOW_NS,
                failed=partial(self._failed, "span_error"),
            )
        if self._span_filter is not None:
            self._filtering = Filtering(
                (self._folding or self._spans).record,
                self._span_filter,
                slow_ns=self._slow_query_ns,
                failed=self._filter_failed,
            )

    def _telling_to(self) -> Telling:
        """Return what tells to the signals that there are by now."""
        before = self._filtering or self._folding or self._spans
        return Telling(
            self._spans,
            self._folding,
            None if before is None else before.record,
            self._metrics,
            self._logs,
            failed=self._failed,
            metric_failed=self._metric_failed,
        )


_P = TypeVar("_P")


def _settled(provider: _P | None, get_current: Callable[[], _P]) -> _P | None:
    """Return the provider; for the API's proxy the one behind it, None while there is none."""
    if provider is None or not _is_proxy(provider):
        return provider
    current = get_current()
    return None if _is_proxy(current) else current


def _is_proxy(provider: object) -> bool:
    """Tell whether it is one of the API's stand-ins; only the tracers' has a public name."""
    kind = type(provider)
    return kind.__module__.startswith("opentelemetry.") and "Proxy" in kind.__name__

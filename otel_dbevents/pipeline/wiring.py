"""The pipeline: its parts made, joined, drained and closed."""

import atexit
import logging
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import iscoroutinefunction
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.context import Context
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import TextMapPropagator

from otel_dbevents.bridge import (
    OPEN_SPAN_TYPES,
    Bridge,
    Flow,
    SpanFilter,
)
from otel_dbevents.bus import EventBus, Subscription
from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.bus.subscription import MemorySubscription
from otel_dbevents.compat import warn_if_contrib_active
from otel_dbevents.config import Config, EventLogTarget, Langfuse
from otel_dbevents.ending import ending
from otel_dbevents.event_log import EventLog
from otel_dbevents.exporters import lost as lost_in_export
from otel_dbevents.judges import Judges
from otel_dbevents.llm import RollUp, shared
from otel_dbevents.pipeline.draining import FLUSH_S, drain_before
from otel_dbevents.pipeline.health import Health
from otel_dbevents.pipeline.parts import (
    environment_of,
    explainer_of,
    limiter_of,
    objective_of,
    scores_of,
    sending_of,
    shown_of,
)
from otel_dbevents.sources.around import RequestHook, ResponseHook, Wishes
from otel_dbevents.sources.caller import is_recording
from otel_dbevents.sources.engine import AnyEngine, EngineFilter, EngineSource
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.handing import FindLedger, no_ledger
from otel_dbevents.sources.libsql.client import ClientSource, is_client
from otel_dbevents.sources.watch import Notice

if TYPE_CHECKING:
    from otel_dbevents.bus.redis.sender import Sender

_MS = 1_000_000
_log = logging.getLogger("otel_dbevents")


class Pipeline:
    """Engines to telemetry, in this process.

    Providers that are not given are the global ones. ``bus`` may be given to share it, else an
    in-memory bus of the pipeline's own is made and closed with it. The other arguments are those of
    `instrument`. Raises `TypeError` for a hook or filter that is no plain function, and
    `ConfigError` where the way to Langfuse that is asked for cannot be gone.
    """

    def __init__(
        self,
        *,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        logger_provider: Any = None,
        config: Config | None = None,
        bus: EventBus | None = None,
        propagator: TextMapPropagator | None = None,
        request_hook: RequestHook | None = None,
        response_hook: ResponseHook | None = None,
        span_filter: SpanFilter | None = None,
        engine_filter: EngineFilter | None = None,
    ) -> None:
        functions = {
            "request_hook": request_hook,
            "response_hook": response_hook,
            "span_filter": span_filter,
            "engine_filter": engine_filter,
        }
        _check_functions(functions)
        self.config = config = config or Config()
        self._sending = sending_of(config)
        self.tracer_provider = tracer_provider or trace.get_tracer_provider()
        self.meter_provider = meter_provider or metrics.get_meter_provider()
        self.logger_provider = logger_provider or get_logger_provider()
        propagator = propagator or get_global_textmap()
        self._arguments: Mapping[str, Any] = {
            "tracer_provider": self.tracer_provider,
            "meter_provider": self.meter_provider,
            "logger_provider": self.logger_provider,
            "config": config,
            "propagator": propagator,
            **functions,
        }
        self.environment = config.environment or environment_of(self.tracer_provider)
        self.bus: EventBus = bus or MemoryBus(
            history=config.history_for(self.environment),
            capacity=config.buffer_size,
            synchronous=config.synchronous,
        )
        self._owns_bus = bus is None
        self._restore: list[Callable[[], None]] = []
        self.explainer = explainer_of(config)
        self.scores = scores_of(config)
        self.turns = None if config.langfuse is Langfuse.OFF else shared
        self.sender = self._ships(config)
        self._limiter = limiter_of(config)
        wishes = Wishes(
            propagator if config.sqlcommenter else None,
            request_hook,
            response_hook,
            lambda: self.sender is not None or self.bridge.has_own_ids,
        )
        self.source, self.clients = self._make_sources(wishes, engine_filter)
        self.health = Health(config, self.environment, self.bus, self.source, self.clients)
        self.bridge = self._make_bridge(span_filter)
        if self.turns is not None and config.metrics:
            self._restore.append(
                self.turns.on_turn_measured(partial(_measure, weakref.ref(self.bridge)))
            )
        if self._sending is not None:
            self._sending.begin(self.tracer_provider)
        self.judges = Judges(
            self.bus.publish,
            slow_query_ns=int(config.slow_query_ms * _MS),
            repeated_queries=config.repeated_queries,
        )
        self.event_log = self._writes(config)
        takes_drafts = self._takes_drafts()
        take = takes_drafts or self.bus.subscribe
        judge = self.judges.take if takes_drafts else self.judges.consume
        self._telling = take(self._consume, name="bridge", idle=self.bridge.settle)
        self._subscriptions = [
            self._telling,
            take(judge, *self.judges.types, name="judges", idle=self.judges.settle_quiet),
            self._subscribe_open_spans(),
        ]
        if (recovery := self.health.recovery) is not None:
            self._subscriptions.append(
                self.bus.subscribe(recovery.consume, *recovery.types, name="recovery")
            )
        if self.event_log is not None:
            log = self.event_log
            self._subscriptions.append(
                self.bus.subscribe(log.consume, *log.types, name="event-log")
            )
        if self.sender is not None and config.buffer_bytes:
            self.sender.on_wait = partial(self._keep_within, config.buffer_bytes, self.sender)
        self._missed_by_others: dict[int, int] = {}
        self._looked_again = False
        for provider in (self.tracer_provider, self.meter_provider, self.logger_provider):
            self._restore += drain_before(provider, self._drain)
        self._closed = False
        self._at_exit = partial(_drain_at_exit, weakref.ref(self))
        atexit.register(self._at_exit)

    def _make_sources(
        self, wishes: Wishes, wants: EngineFilter | None
    ) -> tuple[EngineSource, ClientSource]:
        config, publish = self.config, self.bus.publish
        notice = Notice(
            config.capture_error_messages,
            int(config.slow_query_ms * _MS),
            config.repeated_queries,
            (config.logs and self.sender is None) or config.event_log is not EventLogTarget.OFF,
        )
        ledger: FindLedger = no_ledger
        if self.turns is not None:
            ledger = partial(self.turns.ledger, prompt=config.langfuse_prompt)
            if self.scores is not None:
                self._restore.append(self.turns.on_turn_end(self.scores.take))
        engines = EngineSource(
            publish,
            from_finalizer=self.bus.publish_from_finalizer,
            defer=self.bus.publish_draft if isinstance(self.bus, MemoryBus) else None,
            ledger=ledger,
            environment=self.environment,
            notice=notice,
            wishes=wishes,
            explainer=self.explainer,
            wants=wants,
        )
        clients = ClientSource(publish, environment=self.environment, notice=notice, ledger=ledger)
        return engines, clients

    def _make_bridge(self, span_filter: SpanFilter | None) -> Bridge:
        config, is_told_here = self.config, self.sender is None
        if span_filter is not None and not is_told_here:
            _log.warning("span_filter is not asked: the sidecar makes the spans")
        has_flow = not is_told_here or self._limiter is not None
        return Bridge(
            self.tracer_provider,
            self.meter_provider,
            self.logger_provider,
            read_pools=self.source.pools,
            read_lost=self.lost,
            read_flow=self._flow if has_flow else None,
            seen=self.health.windows.take if is_told_here else None,
            objective=objective_of(config),
            read_standings=self.health.standings,
            min_duration_ns=int(config.min_duration_ms * _MS),
            require_parent=config.require_parent,
            span_filter=span_filter,
            slow_query_ns=int(config.slow_query_ms * _MS),
            fold_after=0 if config.synchronous else config.fold_after,
            shown=shown_of(config),
            spans=config.spans and is_told_here,
            metrics=config.metrics,
            logs=config.logs and is_told_here,
        )

    def attach(self, engine: AnyEngine | None = None) -> None:
        """Listen to ``engine``, or to every engine there is and will be. Twice is harmless.

        A client of the package ``libsql_client`` is taken too; with no argument, every one.
        """
        if engine is None or not is_client(engine):
            self.source.attach(engine)
        if engine is None or is_client(engine):
            self.clients.attach(engine)
        self.health.begin()
        if self.turns is not None:
            repeated, look_anew = self.config.repeated_queries, self.source.look_anew
            self.turns.join(look_anew, self.tracer_provider, repeated)

    def detach(self, engine: AnyEngine | None = None) -> None:
        """Listen no longer to ``engine``, which may be a client, or to any. Twice is harmless."""
        if engine is None or not is_client(engine):
            self.source.detach(engine)
        if engine is None or is_client(engine):
            self.clients.detach(engine)

    def lost(self) -> Mapping[str, int]:
        """Return how many events were lost, by reason, but for those that the bridge counts itself.

        ``queue_full``: dropped before they became telemetry; ``handler_queue_full``: a judge or
        handler missed them; ``span_…`` and ``log_…``: lost on the way out of our own processors;
        ``source_error``: errors of ours.
        """
        lost = dict(self.bus.lost)
        dropped = lost.pop("queue_full", 0)
        # Read after the sum, which may have grown meanwhile; a count must not shrink.
        here = self._telling.lost.get("queue_full", 0)
        process = os.getpid()
        elsewhere = max(dropped - here, self._missed_by_others.get(process, 0))
        self._missed_by_others = {process: elsewhere}
        lost |= {"queue_full": here} if here else {}
        lost |= {"handler_queue_full": elsewhere} if elsewhere else {}
        lost |= {"source_error": guard.errors} if guard.errors else {}
        lost |= lost_in_export(self.tracer_provider, self.logger_provider)
        for asked_for in (
            self.explainer,
            self.scores,
            self._sending,
            self.sender,
            self.event_log,
        ):
            lost |= {} if asked_for is None else asked_for.lost
        return lost

    def flush(self, timeout: float = FLUSH_S) -> bool:
        """Make telemetry of all that was published. False when ``timeout`` seconds ran out.

        Plans that were asked for are waited for, for half of the time that is left at the most.
        It does not make the exporters export: ``force_flush`` of the providers does both.
        """
        deadline = monotonic() + timeout
        settled = self.bus.flush(timeout)
        self.judges.settle()
        if self.explainer is not None:
            settled = self.explainer.settle((deadline - monotonic()) / 2) and settled
        settled = self.bus.flush(max(0.0, deadline - monotonic())) and settled
        if self.turns is not None:
            self.turns.settle()
        if self.scores is not None:
            settled = self.scores.settle(max(0.0, deadline - monotonic())) and settled
        return self.bridge.settle(max(0.0, deadline - monotonic())) and settled

    def close(self, timeout: float = 2.0) -> bool:
        """Let go of all engines, flush, and stop, in ``timeout`` seconds. Twice is harmless."""
        if self._closed:
            return True
        deadline = monotonic() + timeout
        self._closed = True
        self.health.close()
        atexit.unregister(self._at_exit)
        self.detach()
        done = self.flush(timeout)
        if self.turns is not None:
            self.turns.leave(self.source.look_anew)
        if self.explainer is not None:
            self.explainer.close()
        if self.scores is not None:
            self.scores.close()
        for restore in self._restore:
            restore()
        for subscription in self._subscriptions:
            subscription.cancel()
        if self._owns_bus:
            done = self.bus.close(max(0.0, deadline - monotonic())) and done
        if self.sender is not None:
            done = self.sender.finish(max(0.0, deadline - monotonic())) and done
        self.bridge.close(max(0.0, deadline - monotonic()))
        if self._sending is not None:
            self._sending.close(max(0.0, deadline - monotonic()))
        return done

    def _takes_drafts(self) -> Callable[..., Subscription] | None:
        """Return what subscribes without need of events, where neither bridge nor limit has it."""
        if self.sender is None or self._limiter is not None:
            return None
        return self.bus.subscribe_drafts if isinstance(self.bus, MemoryBus) else None

    def _subscribe_open_spans(self) -> Subscription:
        tell = self.bridge.on_open_span
        if isinstance(self.bus, MemoryBus):
            return self.bus.subscribe_inline(tell, *OPEN_SPAN_TYPES, wanted=is_recording)
        return self.bus.subscribe_inline(tell, *OPEN_SPAN_TYPES)

    def _consume(self, batch: Sequence[Any]) -> None:
        """Hand a batch to the bridge; with the first, look for what was turned on after us.

        What is shipped may be drafts, see `_takes_drafts`.
        """
        if not self._looked_again:
            self._looked_again = True
            warn_if_contrib_active()
        if self._sending is not None:
            self._sending.begin(self.tracer_provider)
        whole = batch
        if self._limiter is not None:
            batch, limited = self._limiter.split(batch)
            if limited:
                self.bridge.count(limited)
        self.health.awake()
        if self.sender is None:
            self.bridge.consume(batch)
        else:
            self.bridge.consume(())  # it has the pools' numbers and the losses to tell
            self.sender.consume(batch)
        if self.sender is not None or not self.bridge.has_metrics:
            self.health.windows.take_events(whole)
        if self.turns is not None:
            self.turns.settle()

    def _flow(self) -> Flow:
        """Return what waits and what was limited, for the metrics."""
        limited = None if self._limiter is None else self._limiter.limited
        telling = self._telling
        if self.sender is None or not isinstance(telling, MemorySubscription):
            return Flow(limited)
        buffer = telling.buffer
        return Flow(limited, len(buffer), buffer.capacity, self.sender.blocked_s)

    def _keep_within(self, most_bytes: int, sender: "Sender") -> None:
        """While Redis takes nothing, let the oldest give way beyond so many bytes of events."""
        telling = self._telling
        if isinstance(telling, MemorySubscription):
            while len(telling.buffer) * sender.mean_bytes > most_bytes:
                telling.buffer.trim()

    def _ships(self, config: Config) -> "Sender | None":
        """Return what ships the events, where the bus is on Redis; else they are told here."""
        if not config.ships:
            return None
        from otel_dbevents.shipping import Description, sender_of

        return sender_of(
            config, Description(config, shown_of(config), self._in_force, objective_of(config))
        )

    def _writes(self, config: Config) -> EventLog | None:
        """Return what writes the events as log lines, where that was asked for."""
        target = config.event_log
        if target is EventLogTarget.OFF:
            return None
        return EventLog(str(target), service=self._service, limiter=limiter_of(config))

    def _service(self) -> str:
        """Return the service's name, as the provider in force by now has it."""
        resource = getattr(self._in_force()["tracer"], "resource", None)
        return str(getattr(resource, "attributes", {}).get("service.name", ""))

    def _in_force(self) -> Mapping[str, Any]:
        """Return the providers, the global ones in the place of the API's proxies."""
        tracers = self.tracer_provider
        if isinstance(tracers, trace.ProxyTracerProvider):
            tracers = trace.get_tracer_provider()
        return {"tracer": tracers, "logger": self.logger_provider, "meter": self.meter_provider}

    def _drain(self, timeout: float) -> None:
        """Flush, within ``timeout`` seconds; when the process ends, in what is left of its time."""
        self.flush(min(timeout, ending.at_most(self.config.flush_timeout_ms / 1000)))


def _drain_at_exit(reference: "weakref.ref[Pipeline]") -> None:
    """Drain, and close nothing: the last export reads the pools and the counts of losses."""
    pipeline = reference()
    if pipeline is None:
        return
    timeout = pipeline.config.flush_timeout_ms / 1000
    pipeline.flush(ending.time_left(timeout))
    if pipeline.sender is not None:
        pipeline.sender.finish(ending.time_left(timeout))


def _measure(
    reference: "weakref.ref[Bridge]", lasted_ns: int, found: RollUp, context: Context
) -> None:
    """Have the metrics count a turn of LLM work."""
    bridge = reference()
    if bridge is not None:
        numbers = found.busy_ns, found.query_count, found.error_count
        bridge.measure_turn(lasted_ns, *numbers, context)


def _check_functions(given: Mapping[str, object]) -> None:
    for name, function in given.items():
        if function is not None and (not callable(function) or iscoroutinefunction(function)):
            raise TypeError(f"{name} takes a plain function; got {function!r}")

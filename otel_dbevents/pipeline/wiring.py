"""The pipeline: its parts made, joined, drained and closed."""

import atexit
import logging
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from inspect import iscoroutinefunction
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator

from otel_dbevents.bridge import OPEN_SPAN_TYPES, Bridge, Flow, SpanFilter
from otel_dbevents.bus import EventBus, Subscription
from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.config import Config, EventLogTarget, Langfuse
from otel_dbevents.ending import ending
from otel_dbevents.exporters import lost as lost_in_export
from otel_dbevents.judges import Judges
from otel_dbevents.llm import RollUp, shared
from otel_dbevents.pipeline.draining import FLUSH_S, drain_at_exit, drain_before
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
from otel_dbevents.pipeline.providers import Providers
from otel_dbevents.pipeline.telling import Telling
from otel_dbevents.sources.around import RequestHook, ResponseHook, Wishes
from otel_dbevents.sources.caller import is_recording
from otel_dbevents.sources.choosing import EngineFilter
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.finding import AnyEngine
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.handing import FindLedger, no_ledger
from otel_dbevents.sources.libsql.client import ClientSource, is_client
from otel_dbevents.sources.watch import Notice

if TYPE_CHECKING:
    from otel_dbevents.bus.redis.sender import Sender
    from otel_dbevents.event_log import EventLog

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
        self._telling: Telling | None = None  # metrics may be read before there is one
        self.config = config = config or Config()
        self._sending = sending_of(config)
        self._providers = Providers.of(tracer_provider, meter_provider, logger_provider)
        self.tracer_provider, self.meter_provider, self.logger_provider = self._providers
        if propagator is None and config.sqlcommenter:
            propagator = _global_propagator()
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
        self.sender = self._ships()
        self._limiter = limiter_of(config)
        wishes = Wishes(
            propagator if config.sqlcommenter else None,
            request_hook,
            response_hook,
            lambda: self.sender is not None or self.bridge.has_own_ids,
        )
        self.source, self.clients = self._make_sources(wishes, engine_filter)
        self.health = Health(config, self.environment, self.bus, self.source, self.clients)
        self.event_log = self._writes()  # the bridge's metrics ask for its losses at once
        self.bridge = self._make_bridge(span_filter)
        self.judges = Judges(
            self.bus.publish,
            slow_query_ns=int(config.slow_query_ms * _MS),
            repeated_queries=config.repeated_queries,
        )
        self._listen_to_turns()
        if self._sending is not None:
            self._sending.begin(self.tracer_provider)
        self._telling = self._tell()
        self._subscriptions = [self._telling.subscription, *self._subscribe_others()]
        for provider in self._providers:
            self._restore += drain_before(provider, self._drain)
        self._closed = False
        self._at_exit = partial(drain_at_exit, weakref.ref(self))
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
            ledger = self.turns.ledgers(prompt=config.langfuse_prompt)
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
            *self._providers,
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
        lost = {} if self._telling is None else self._telling.lost()
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
        """Let go of all engines, flush, and stop, in ``timeout`` seconds. Twice is harmless.

        What Ctrl-C or a job's time limit interrupts goes on when it is called again; what is not
        flushed by then, the end of the process flushes.
        """
        if self._closed:
            return True
        deadline = monotonic() + timeout
        self.health.close()
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
        atexit.unregister(self._at_exit)
        self._closed = True
        return done

    def _listen_to_turns(self) -> None:
        """Have the turns of LLM work measured, and scored where that is wanted."""
        if self.turns is None:
            return
        if self.scores is not None:
            self._restore.append(self.turns.on_turn_end(self.scores.take))
        if self.config.metrics:
            measure = partial(_measure, weakref.ref(self.bridge))
            self._restore.append(self.turns.on_turn_measured(measure))

    def _tell(self) -> Telling:
        sending, turns, takes_drafts = self._sending, self.turns, self._takes_drafts()
        telling = Telling(
            self.bus,
            self.bridge,
            self.health,
            sender=self.sender,
            limiter=self._limiter,
            subscribe=takes_drafts,
            judges=self.judges if takes_drafts else None,
            before=None if sending is None else partial(sending.begin, self.tracer_provider),
            after=None if turns is None else turns.settle,
        )
        telling.keep_within(self.config.buffer_bytes)
        return telling

    def _subscribe_others(self) -> list[Subscription]:
        """Bring the events to all but the telling."""
        judges, subscribe = self.judges, self.bus.subscribe
        subscriptions = [self._subscribe_open_spans()]
        if not self._takes_drafts():
            idle = judges.settle_quiet
            judged = subscribe(judges.consume, *judges.types, name="judges", idle=idle)
            subscriptions.append(judged)
        if (recovery := self.health.recovery) is not None:
            subscriptions.append(subscribe(recovery.consume, *recovery.types, name="recovery"))
        if (log := self.event_log) is not None:
            subscriptions.append(subscribe(log.consume, *log.types, name="event-log"))
        return subscriptions

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

    def _flow(self) -> Flow:
        return Flow() if self._telling is None else self._telling.flow()

    def _ships(self) -> "Sender | None":
        """Return what ships the events, where the bus is on Redis; else they are told here."""
        config, in_force = self.config, self._providers.in_force
        if not config.ships:
            return None
        from otel_dbevents.shipping import Description, sender_of

        return sender_of(
            config, Description(config, shown_of(config), in_force, objective_of(config))
        )

    def _writes(self) -> "EventLog | None":
        """Return what writes the events as log lines, where that was asked for."""
        target, service = self.config.event_log, self._providers.service
        if target is EventLogTarget.OFF:
            return None
        from otel_dbevents.event_log import EventLog

        return EventLog(str(target), service=service, limiter=limiter_of(self.config))

    def _drain(self, timeout: float) -> None:
        """Flush, within ``timeout`` seconds; when the process ends, in what is left of its time."""
        self.flush(min(timeout, ending.at_most(self.config.flush_timeout_ms / 1000)))


def _measure(
    reference: "weakref.ref[Bridge]", lasted_ns: int, found: RollUp, context: Context
) -> None:
    """Have the metrics count a turn of LLM work."""
    bridge = reference()
    if bridge is not None:
        numbers = found.busy_ns, found.query_count, found.error_count
        bridge.measure_turn(lasted_ns, *numbers, context)


def _global_propagator() -> TextMapPropagator:
    """Return the global one, made of ``OTEL_PROPAGATORS`` by the import."""
    from opentelemetry.propagate import get_global_textmap

    return get_global_textmap()


def _check_functions(given: Mapping[str, object]) -> None:
    for name, function in given.items():
        if function is not None and (not callable(function) or iscoroutinefunction(function)):
            raise TypeError(f"{name} takes a plain function; got {function!r}")

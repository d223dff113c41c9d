"""Tellers: for each producer a bridge and providers of its own, with that producer's resource.

In: entries. Out: finished spans, log records and metrics, collected and not sent: what is sent, and
when it counts as sent, is the caller's.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from otel_dbevents.bridge import Bridge
from otel_dbevents.bus.redis.entries import Entry
from otel_dbevents.bus.redis.reader import Held
from otel_dbevents.shipping import Origin, read_origin
from otel_dbevents.sidecar.keeping import KeptRecords, KeptSpans
from otel_dbevents.swallowing import Swallowing

_MOST: Final = 500
_MOST_KNOWN: Final = 2_000
_INSTANCE: Final = "service.instance.id"
_swallowing: Final = Swallowing("sidecar: telling", logging.getLogger("otel_dbevents.sidecar"))
_UNKNOWN: Final = Origin({"service.name": "unknown_service"})


class Made(msgspec.Struct):
    """What was made and is to be sent."""

    spans: list[ReadableSpan] = msgspec.field(default_factory=list)
    records: list[Any] = msgspec.field(default_factory=list)
    metrics: list[Any] = msgspec.field(default_factory=list)
    """The SDK's ``ResourceMetrics``."""


class Teller:
    """Tells what one process of one application did.

    Args:
        origin: what that application says of itself.
        instance: names the numbers' source, as several sidecars tell of one process's events.
        preferences: temporality and aggregation, as the exporter of metrics wants them.
        sampler: asked where the application's own is not known; None: the environment's.

    """

    def __init__(
        self,
        origin: Origin,
        instance: str,
        preferences: tuple[Any, Any],
        sampler: Sampler | None,
    ) -> None:
        resource = Resource(origin.resource, origin.schema_url)
        self.instance = instance
        self._made = Made()
        self.lost: Counter[str] = Counter()
        """Events of that process that never came, by reason: a metric of its own tells it."""
        self.is_dirty = False
        """Whether its numbers changed since they were last collected."""
        self._tracers = TracerProvider(
            sampler=_sampler_of(origin) or sampler, resource=resource, shutdown_on_exit=False
        )
        self._tracers.add_span_processor(KeptSpans(self._made.spans))
        self._loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._loggers.add_log_record_processor(KeptRecords(self._made.records))
        self._reader = InMemoryMetricReader(*preferences)
        itself = Resource({**origin.resource, _INSTANCE: instance}, origin.schema_url)
        self._meters = MeterProvider([self._reader], resource=itself, shutdown_on_exit=False)
        self._bridge = Bridge(
            self._tracers,
            self._meters,
            self._loggers,
            read_lost=lambda: self.lost,
            min_duration_ns=origin.min_duration_ns,
            slow_query_ns=origin.slow_query_ns,
            require_parent=origin.require_parent,
            fold_after=origin.fold_after,
            shown=origin.shown,
            objective=origin.objective,
            spans=origin.spans,
            metrics=origin.metrics,
            logs=origin.logs,
        )

    def tell(self, held: Held) -> None:
        """Tell an entry's events."""
        if held.events:
            self._bridge.consume([(event, None) for event in held.events])
            self.is_dirty = True

    def lose(self, counts: Mapping[str, int]) -> None:
        """Count events that never came."""
        self.lost.update(counts)
        self.is_dirty = True

    def collect(self, into: Made) -> None:
        """Hand over what was made since the last time."""
        self._bridge.settle()
        for made, given in (
            (self._made.spans, into.spans),
            (self._made.records, into.records),
        ):
            given.extend(made)
            made.clear()
        if self.is_dirty:
            self.is_dirty = False
            found = self._reader.get_metrics_data()
            into.metrics.extend(found.resource_metrics if found is not None else ())

    def close(self) -> None:
        """Let go of everything. What was not collected is gone."""
        self._bridge.close()
        for provider in (self._tracers, self._meters, self._loggers):
            provider.shutdown()


class Tellers:
    """The tellers of all producers; at most 500, beyond which the one heard of longest ago goes.

    ``name`` is the sidecar's own, part of the numbers' source.
    """

    def __init__(self, name: str, preferences: tuple[Any, Any], sampler: Sampler | None) -> None:
        self._name, self._preferences, self._sampler = name, preferences, sampler
        self._all: OrderedDict[tuple[str, bytes], Teller] = OrderedDict()
        self._known: OrderedDict[str, Entry] = OrderedDict()
        self._ended: set[str] = set()
        self._generation = 0
        self.unreadable = 0
        """How many producers said something of themselves that cannot be read."""

    def tell(self, those: Sequence[Held]) -> list[Held]:
        """Tell the entries' events, each as its producer's; return those that could not be told."""
        failed: list[Held] = []
        for held in those:
            try:
                self._of(held.entry).tell(held)
            except Exception as error:  # noqa: BLE001 - one producer's must not cost the others'
                failed.append(held)
                _swallowing.caught(error, "an entry could not be told")
            if not held.entry.count:
                self._ended.add(held.entry.line)
        return failed

    def lose(self, line: str, counts: Mapping[str, int]) -> None:
        """Count events of a process that never came."""
        for (of, _), teller in self._all.items():
            if of == line:
                teller.lose(counts)
                return
        if line in self._known:
            self._of(self._known[line]).lose(counts)

    def lose_of(self, entry: Entry, counts: Mapping[str, int]) -> None:
        """Count events of an entry that was read and cannot be told."""
        self._of(entry).lose(counts)

    @property
    def is_dirty(self) -> bool:
        """Whether there are numbers that were not collected."""
        return any(teller.is_dirty for teller in self._all.values())

    def collect(self) -> Made:
        """Hand over what was made since the last time."""
        made = Made()
        for teller in self._all.values():
            teller.collect(made)
        return made

    def forget_ended(self, unsettled: Container[str] = ()) -> None:
        """Let go of processes that have ended, once all of theirs was sent, and what is lost known.

        ``unsettled`` are the lines of which it is not.
        """
        ended = [key for key in self._all if key[0] in self._ended and key[0] not in unsettled]
        for key in ended:
            if not self._all[key].is_dirty:
                self._all.pop(key).close()
        self._ended &= {line for line, _ in self._all}
        quiet = [key for key, teller in self._all.items() if not teller.is_dirty]
        for key in quiet[: max(0, len(self._all) - _MOST)]:
            self._all.pop(key).close()

    def begin_anew(self) -> None:
        """Forget all that was told and not sent; numbers begin at nothing, under another name."""
        self.close()
        self._ended.clear()
        self._generation += 1

    def close(self) -> None:
        """Let go of all."""
        while self._all:
            self._all.popitem()[1].close()

    def _of(self, entry: Entry) -> Teller:
        key = entry.told_as, entry.source
        teller = self._all.get(key)
        if teller is None:
            origin = self._origin(entry)
            teller = Teller(origin, self._instance(entry, origin), self._preferences, self._sampler)
            self._all[key] = teller
            self._keep(entry)
        self._all.move_to_end(key)
        return teller

    def _instance(self, entry: Entry, origin: Origin) -> str:
        """Return a name of the numbers' source that no other of ours has.

        Processes may say that they are one instance: a parent and its forked children do.
        """
        said = origin.resource.get(_INSTANCE) or f"{entry.producer[:8]}-{entry.epoch}"
        name = f"{self._name}-{self._generation}" if self._generation else self._name
        others = {each.instance for each in self._all.values()}
        first = f"{said}@{name}"
        more = (f"{said}-{number}@{name}" for number in range(2, len(others) + 3))
        return next(each for each in (first, *more) if each not in others)

    def _keep(self, entry: Entry) -> None:
        """Keep who a process is, of which a loss may be told when its teller is gone."""
        self._known[entry.told_as] = replace(entry, body=b"")
        self._known.move_to_end(entry.told_as)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    def _origin(self, entry: Entry) -> Origin:
        try:
            return read_origin(entry.source)
        except ValueError:  # a newer one, or none: its events are told all the same
            self.unreadable += 1
            return _UNKNOWN


def _sampler_of(origin: Origin) -> Sampler | None:
    """Return a sampler that decides as the application's own; None where that is not known."""
    if origin.root_sampled is None:
        return None
    root = TraceIdRatioBased(min(1.0, max(0.0, origin.root_sampled)))
    return ParentBased(root) if origin.follows_parent else root

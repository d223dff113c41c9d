"""Feeding: a number's way into the SDK's aggregations, without the SDK's detour.

A series finds the streams it belongs to (one per reader and view) and in each the aggregation
that has its labels; the SDK makes both, by taking the first number itself. From then on numbers
are added to that aggregation as the SDK adds them: same locks, same order, same exemplars.
What may change meanwhile is looked at each time: a meter switched off, readers added and taken
away, aggregations that a collection threw away. Whether the SDK is one of which all this is true
is asked in `bridge.known`, before.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any, Final, TypeAlias
from weakref import ref

from opentelemetry.context import Context, get_current

from otel_dbevents.bridge import known

Add: TypeAlias = Callable[[float, int, Context, bool], None]
"""Takes a number, its time (ns since the epoch), its context, and whether it may be an exemplar."""

_NO_CONTEXT: Final = Context()
_NO_SWITCH: Final = type("_Enabled", (), {"is_enabled": True})()


class Sampling:
    """Asks the exemplar filter; once for a context where that alone decides."""

    def __init__(self, consumer: Any) -> None:
        self.consumer = consumer
        self._config = consumer._sdk_config
        chosen = self._config.exemplar_filter
        self._by_context = chosen if known.is_by_context(chosen) else None
        self._last: tuple[Any, ref[Context], bool] = (None, ref(_NO_CONTEXT), False)

    def takes(self, number: float, at_ns: int, labels: Any, context: Context) -> bool:
        """Tell whether this may become an exemplar."""
        chosen = self._config.exemplar_filter
        asked, last, answer = self._last
        if last() is context and asked is chosen:
            return answer
        answer = bool(chosen.should_sample(number, at_ns, labels, context))
        if chosen is self._by_context:
            self._last = (chosen, ref(context), answer)
        return answer


class Fed:
    """A series that knows its aggregations."""

    __slots__ = ("_cleaned", "_instrument", "_labels", "_plain", "_route", "_sampling", "_switch")

    def __init__(
        self, instrument: Any, plain: Callable[..., None], labels: Any, sampling: Sampling
    ) -> None:
        self._instrument, self._plain = instrument, plain
        self._labels, self._sampling = labels, sampling
        self._cleaned = known.Measurement(0, 0, instrument, _NO_CONTEXT, labels).attributes
        self._switch = getattr(instrument, "_meter_config", None) or _NO_SWITCH
        self._route: tuple[Any, tuple[Stream, ...]] = (None, ())

    def record(self, number: float, context: Context) -> None:
        """Add ``number`` to each stream. What the SDK refuses or ignores it is left to judge."""
        if not (self._switch.is_enabled and 0 <= number < math.inf):
            self._plain(number, self._labels, context)
            return
        sampling = self._sampling
        storages = sampling.consumer._reader_storages
        known_storages, streams = self._route
        if storages is not known_storages:
            streams = self._find_streams(storages)
        context = context or get_current()
        at_ns = time_ns()
        is_sampled = sampling.takes(number, at_ns, self._cleaned, context)
        for stream in streams:
            stream.add(number, at_ns, context, is_sampled)

    def _find_streams(self, storages: Mapping[Any, Any]) -> "tuple[Stream, ...]":
        instrument = self._instrument
        streams = tuple(
            Stream(match, instrument, self._cleaned)
            for storage in storages.values()
            for match in storage._get_or_init_view_instrument_match(instrument)
        )
        self._route = (storages, streams)
        return streams


class Stream:
    """A series in one reader, as one view has it."""

    __slots__ = ("_found", "_instrument", "_is_renewed", "_key", "_labels", "_match")

    def __init__(self, match: Any, instrument: Any, labels: Any) -> None:
        self._match, self._instrument, self._labels = match, instrument, labels
        self._is_renewed = getattr(match, "_reset_on_collect", False)
        self._key = known.key_of(match, labels)
        self._found: tuple[Any, Add] = (None, self._add_first)

    def add(self, number: float, at_ns: int, context: Context, is_sampled: bool) -> None:
        """Add a number to the aggregation.

        The SDK keeps an aggregation for good or throws all of a stream's away when it collects,
        under the stream's lock.
        """
        match = self._match
        if self._is_renewed:
            with match._lock:
                aggregations, add = self._found
                if aggregations is match._attributes_aggregation:
                    add(number, at_ns, context, is_sampled)
                    return
        else:
            aggregations, add = self._found
            if aggregations is match._attributes_aggregation:
                add(number, at_ns, context, is_sampled)
                return
        self._add_first(number, at_ns, context, is_sampled)

    def _add_first(self, number: float, at_ns: int, context: Context, is_sampled: bool) -> None:
        """Let the SDK add it, and remember where; nowhere, when labels of ours are too many."""
        aggregations = self._match._attributes_aggregation
        self._match.consume_measurement(self._measurement(number, at_ns, context), is_sampled)
        aggregation = aggregations.get(self._key)
        if aggregation is not None:
            self._found = (aggregations, self._add_of(aggregation))

    def _add_of(self, aggregation: Any) -> Add:
        """Return the cheapest way into ``aggregation`` that is exact."""
        if known.is_aligned_histogram(aggregation):
            return _histogram_add(aggregation, self._labels)

        def add(number: float, at_ns: int, context: Context, is_sampled: bool) -> None:
            aggregation.aggregate(self._measurement(number, at_ns, context), is_sampled)

        return add

    def _measurement(self, number: float, at_ns: int, context: Context) -> Any:
        """Return an SDK's measurement whose labels are clean already."""
        made = object.__new__(known.Measurement)
        made.__dict__.update(
            value=number,
            time_unix_nano=at_ns,
            instrument=self._instrument,
            context=context,
            attributes=self._labels,
        )
        return made


def _histogram_add(aggregation: Any, labels: Any) -> Add:
    """Return what adds to a histogram of fixed buckets, one exemplar for each of them."""
    lock, bounds, has_range = (
        aggregation._lock,
        aggregation._boundaries,
        aggregation._record_min_max,
    )
    reservoir = aggregation._reservoir
    exemplars = reservoir._reservoir_storage
    exemplars_lock = getattr(reservoir, "_lock", None) or lock

    def add(number: float, at_ns: int, context: Context, is_sampled: bool) -> None:
        bucket = bisect_left(bounds, number)
        with lock:
            counts = aggregation._value
            if counts is None:
                counts = aggregation._value = aggregation._get_empty_bucket_counts()
            counts[bucket] += 1
            aggregation._sum += number
            if has_range:
                if number < aggregation._min:
                    aggregation._min = number
                if number > aggregation._max:
                    aggregation._max = number
        if is_sampled:
            with exemplars_lock:
                exemplars[bucket].offer(number, at_ns, labels, context)

    return add

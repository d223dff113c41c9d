"""Streams: a series as one view of one reader has it, and the aggregation its numbers go to.

See `bridge.feeding` for who uses it.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import reduce
from itertools import repeat
from operator import add
from random import randrange
from time import time_ns
from typing import Any, Final, TypeAlias

from opentelemetry.context import Context

from otel_dbevents.bridge import known
from otel_dbevents.bridge.pointing import Place, Pointer, context_of

Call: TypeAlias = tuple[float, Place]
"""A number and what its exemplar points to."""

Samples: TypeAlias = dict[int, bool]
"""The exemplar filter's answers, by a context's id."""

Ask: TypeAlias = Callable[[float, Place], bool]
"""Asks the exemplar filter whether it takes a call."""

_AddAll: TypeAlias = Callable[[Any, Any, list[float], list[Place], Ask], None]
"""Adds numbers, with their places, to an aggregation that has these labels."""

_UNGUARDED: Final = nullcontext()


class Stream:
    """The aggregation of one series in one reader and view, found again when it is renewed.

    The SDK keeps an aggregation for good, or throws all of a stream's away when it collects,
    under the stream's lock.
    """

    __slots__ = ("_found", "_instrument", "_is_alone", "_is_renewed", "_key", "_labels", "_match")

    def __init__(self, match: Any, instrument: Any, labels: Any) -> None:
        self._match, self._instrument, self._labels = match, instrument, labels
        self._is_renewed = getattr(match, "_reset_on_collect", False)
        self._is_alone = match._view._attribute_keys is None
        self._key = known.key_of(match, labels)
        self._found: tuple[Any, Any, _AddAll | None] = (None, None, None)

    @property
    def takes_many(self) -> bool:
        """Whether numbers may be added together: no other series adds to the aggregation."""
        return self._is_alone and self._found[2] is not None

    @property
    def is_there(self) -> bool:
        """Whether the aggregation is the one that numbers go to now."""
        return self._found[0] is self._match._attributes_aggregation

    def add(self, number: float, at_ns: int, context: Context, is_sampled: bool) -> None:
        """Add a number, as the SDK would. ``at_ns`` is its time since the epoch."""
        match = self._match
        aggregations, aggregation, _ = self._found
        if self._is_renewed:
            measurement = self._measurement(number, at_ns, context)
            with match._lock:
                if aggregations is match._attributes_aggregation:
                    aggregation.aggregate(measurement, is_sampled)
                    return
        elif aggregation is not None:
            aggregation.aggregate(self._measurement(number, at_ns, context), is_sampled)
            return
        self._add_first(number, at_ns, context, is_sampled)

    def add_all(
        self, numbers: list[float], places: list[Place], samples: Samples, ask: Ask
    ) -> None:
        """Add the numbers of a batch, in their order.

        The exemplar filter is asked what is not in ``samples``, and its answers are put there.
        """
        match = self._match
        aggregations, aggregation, add_all = self._found
        if add_all is not None:
            wants = _wants(samples, ask)
            if not self._is_renewed:
                add_all(aggregation, self._labels, numbers, places, wants)
                return
            with match._lock:
                if aggregations is match._attributes_aggregation:
                    add_all(aggregation, self._labels, numbers, places, wants)
                    return
        for number, place in zip(numbers, places, strict=True):
            self.add(number, time_ns(), context_of(place), ask(number, place))

    def _add_first(self, number: float, at_ns: int, context: Context, is_sampled: bool) -> None:
        """Let the SDK add it, and remember where; nowhere, when labels of ours are too many."""
        aggregations = self._match._attributes_aggregation
        self._match.consume_measurement(self._measurement(number, at_ns, context), is_sampled)
        aggregation = aggregations.get(self._key)
        if aggregation is not None:
            self._found = (aggregations, aggregation, _way_of_many(aggregation))

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


def _way_of_many(aggregation: Any) -> _AddAll | None:
    if known.is_aligned_histogram(aggregation):
        return _add_to_histogram
    return _add_to_sum if known.is_plain_sum(aggregation) else None


def _wants(samples: Samples, ask: Ask) -> Ask:
    """Return what knows the filter's answers."""

    def wants(number: float, place: Place) -> bool:
        if type(place) is Pointer:  # the filter sees its flags, and no more
            return bool(place.above.flags & 1)
        answer = samples.get(id(place))
        if answer is None:
            answer = samples[id(place)] = ask(number, place)
        return answer

    return wants


def _add_to_sum(
    aggregation: Any, labels: Any, numbers: list[float], places: list[Place], wants: Ask
) -> None:
    """Add to a sum, under one lock; then offer one exemplar for all."""
    with aggregation._lock:
        before = aggregation._value
        aggregation._value = reduce(add, numbers, 0 if before is None else before)
    offered = [call for call in zip(numbers, places, strict=True) if wants(*call)]
    if offered:
        reservoir, at_ns = aggregation._reservoir, time_ns()
        with getattr(reservoir, "_lock", _UNGUARDED):  # newer ones have one
            chosen = _drawn(reservoir, offered)
            if chosen is not None:
                number, place = chosen
                bucket = reservoir._reservoir_storage[0]
                bucket.offer(number, at_ns, labels, context_of(place))


def _drawn(reservoir: Any, offered: list[Call]) -> Call | None:
    """Return the call that the reservoir takes last, were it offered all; None: it keeps its own.

    It keeps each of all that were ever offered as likely, for which one draw does.
    """
    before = reservoir._measurements_seen
    reservoir._measurements_seen = before + len(offered)
    chosen = randrange(before + len(offered)) - before  # noqa: S311 - as the SDK chooses
    return offered[chosen] if chosen >= 0 else None


def _add_to_histogram(
    aggregation: Any, labels: Any, numbers: list[float], places: list[Place], wants: Ask
) -> None:
    """Add to a histogram of fixed buckets, under one lock; then offer the exemplars."""
    least, most = min(numbers), max(numbers)
    buckets = _buckets(aggregation._boundaries, numbers, least, most)
    exemplars = _last_of_each_bucket(buckets, numbers, places, wants)
    with aggregation._lock:
        counts = aggregation._value
        if counts is None:
            counts = aggregation._value = aggregation._get_empty_bucket_counts()
        if isinstance(buckets, int):
            counts[buckets] += len(numbers)
        else:
            for bucket in buckets:
                counts[bucket] += 1
        # One by one, as the SDK does: `sum` may round less.
        aggregation._sum = reduce(add, numbers, aggregation._sum)
        if aggregation._record_min_max:
            aggregation._min = min(aggregation._min, least)
            aggregation._max = max(aggregation._max, most)
    if exemplars:
        at_ns = time_ns()
        for number, place in exemplars:
            aggregation._reservoir.offer(number, at_ns, labels, context_of(place))


def _buckets(
    bounds: Sequence[float], numbers: list[float], least: float, most: float
) -> list[int] | int:
    """Return each number's bucket; one for all where they have the same, as most batches' have."""
    first = bisect_left(bounds, least)
    if first == bisect_left(bounds, most):
        return first
    return [bisect_left(bounds, number) for number in numbers]


def _last_of_each_bucket(
    buckets: list[int] | int, numbers: list[float], places: list[Place], wants: Ask
) -> list[Call]:
    """Return the calls that the reservoir would still have, had it been offered all."""
    found: dict[int, Call] = {}
    most = 1 if isinstance(buckets, int) else len({*buckets})
    each: Iterable[int] = (
        repeat(buckets, len(numbers)) if isinstance(buckets, int) else reversed(buckets)
    )
    for bucket, number, place in zip(each, reversed(numbers), reversed(places), strict=True):
        if bucket not in found and wants(number, place):
            found[bucket] = number, place
            if len(found) == most:
                break
    return list(found.values())

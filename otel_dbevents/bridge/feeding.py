"""Feeding: a number's way into the SDK's aggregations, without the SDK's detour.

A series finds the streams it belongs to (one per reader and view) and in each the aggregation
that has its labels; the SDK makes both, by taking the first number itself. From then on numbers
are added to that aggregation as the SDK adds them: same locks, same order, same exemplars.
Numbers wait for the end of the worker's batch; those of a series whose streams all are histograms
of fixed buckets or sums, shared with no other series, are added in one go.
What may change meanwhile is looked at each time: a meter switched off, readers added and taken
away, aggregations that a collection threw away. Whether the SDK is one of which all this is true
is asked in `bridge.known`, before.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any, Final, TypeAlias

from opentelemetry.context import Context, get_current

from otel_dbevents.bridge import known
from otel_dbevents.bridge.pointing import Place, context_of
from otel_dbevents.bridge.streams import Samples, Stream

_NO_CONTEXT: Final = Context()
_NO_SWITCH: Final = type("_Enabled", (), {"is_enabled": True})()

Waiting: TypeAlias = "deque[tuple[Fed, float, Place]]"
"""Numbers of the batch that is being told; appended to and emptied by any thread."""


class Fed:
    """A series that knows its aggregations."""

    __slots__ = (
        "_cleaned",
        "_consumer",
        "_instrument",
        "_is_groupable",
        "_labels",
        "_plain",
        "_route",
        "_switch",
        "_waiting",
    )

    def __init__(
        self, instrument: Any, plain: Callable[..., None], labels: Any, waiting: Waiting
    ) -> None:
        self._instrument, self._plain = instrument, plain
        self._labels, self._waiting = labels, waiting
        self._consumer = known.consumer_of(instrument)
        self._cleaned = known.Measurement(0, 0, instrument, _NO_CONTEXT, labels).attributes
        self._switch = getattr(instrument, "_meter_config", None) or _NO_SWITCH
        self._route: tuple[Any, tuple[Stream, ...]] = (None, ())
        self._is_groupable = False

    def record(self, number: float, context: Place) -> None:
        """Leave ``number`` for the end of the batch."""
        self._waiting.append((self, number, context or get_current()))

    def can_be_grouped(self) -> bool:
        """Tell whether the order among this series and others does not matter now.

        It does where they share an aggregation, and where one has to be made: the SDK makes so
        many and no more.
        """
        return (
            self._is_groupable
            and self._route[0] is self._consumer._reader_storages
            and all(stream.is_there for stream in self._route[1])
        )

    def record_all(self, numbers: list[float], places: list[Place], samples: Samples) -> None:
        """Add a group that waited, of at least one number, each with its place.

        ``samples`` keeps the exemplar filter's answers.
        """
        storages, streams = self._route
        if storages is not self._consumer._reader_storages or not self._switch.is_enabled:
            for number, place in zip(numbers, places, strict=True):
                self.record_now(number, place)
            return
        # One that is no number hides in `min` and `max`, and shows in the sum.
        if not (min(numbers) >= 0 and max(numbers) < math.inf and sum(numbers) >= 0):
            for number, place in zip(numbers, places, strict=True):
                self.record_now(number, place)
            return
        chosen = self._consumer._sdk_config.exemplar_filter
        if not known.is_by_context(chosen):
            for number, place in zip(numbers, places, strict=True):
                self._add(streams, chosen, number, context_of(place))
            return

        def ask(number: float, place: Place) -> bool:
            answer: bool = chosen.should_sample(number, time_ns(), self._cleaned, context_of(place))
            return answer

        for stream in streams:
            stream.add_all(numbers, places, samples, ask)

    def record_now(self, number: float, place: Place) -> None:
        """Add it at once. What the SDK refuses or ignores, it is left to judge."""
        context = context_of(place)
        if not (self._switch.is_enabled and 0 <= number < math.inf):
            self._plain(number, self._labels, context)
            return
        storages = self._consumer._reader_storages
        known_storages, streams = self._route
        if storages is not known_storages:
            streams = self._find_streams(storages)
        self._add(streams, self._consumer._sdk_config.exemplar_filter, number, context)
        self._is_groupable = all(stream.takes_many for stream in streams)

    def _add(
        self, streams: tuple[Stream, ...], chosen: Any, number: float, context: Context
    ) -> None:
        at_ns = time_ns()
        is_sampled = chosen.should_sample(number, at_ns, self._cleaned, context)
        for stream in streams:
            stream.add(number, at_ns, context, is_sampled)

    def _find_streams(self, storages: Mapping[Any, Any]) -> tuple[Stream, ...]:
        instrument = self._instrument
        streams = tuple(
            Stream(match, instrument, self._cleaned)
            for storage in storages.values()
            for match in storage._get_or_init_view_instrument_match(instrument)
        )
        self._route = (storages, streams)
        return streams


class Pair:
    """Two series that get their numbers together; they wait as one."""

    __slots__ = ("first", "second")

    def __init__(self, first: Fed, second: Fed) -> None:
        self.first, self.second = first, second

    def can_be_grouped(self) -> bool:
        """Tell whether both can be."""
        return self.first.can_be_grouped() and self.second.can_be_grouped()

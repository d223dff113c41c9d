"""Observable instruments that can be silenced, and made again.

The SDK keeps an instrument for as long as its meter lives, with the callback it was made with: a
second one of the same name is the first, and its callback is ignored. So the callback is ours,
for good, and reads all sources that are live: none, when every bridge was closed.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_dbevents.forks import hold

Source: TypeAlias = Callable[[], Iterable[Observation]]
"""What is read at collection."""


class _Sources:
    """The callback of one instrument: reads all that live bridges want read there."""

    def __init__(self) -> None:
        self.live: tuple[Source, ...] = ()

    def __call__(self, _options: CallbackOptions) -> Iterable[Observation]:
        for source in self.live:
            yield from source()


_lock = threading.RLock()
hold(lambda: (_lock,))
_sources_of: WeakKeyDictionary[Any, _Sources] = WeakKeyDictionary()
"""By instrument: the callback that the SDK has of it."""


class Observables:
    """The observable instruments of one bridge, and the way to silence them."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._opened: list[tuple[_Sources, Source]] = []

    def up_down(self, name: str, unit: str, text: str, source: Source) -> None:
        """Report a number of now that may go either way. ``source`` is read at collection."""
        self._open(self._meter.create_observable_up_down_counter, name, unit, text, source)

    def counter(self, name: str, unit: str, text: str, source: Source) -> None:
        """Report a total that only grows. ``source`` is read at collection."""
        self._open(self._meter.create_observable_counter, name, unit, text, source)

    def gauge(self, name: str, unit: str, text: str, source: Source) -> None:
        """Report a value that does not add up. ``source`` is read at collection."""
        self._open(self._meter.create_observable_gauge, name, unit, text, source)

    def close(self) -> None:
        """Report nothing more, and let go of the sources."""
        with _lock:
            for sources, source in self._opened:
                sources.live = tuple(live for live in sources.live if live is not source)
            self._opened.clear()

    def _open(
        self,
        create: Callable[..., Any],
        name: str,
        unit: str,
        text: str,
        source: Source,
    ) -> None:
        with _lock:
            mine = _Sources()
            instrument = create(name, callbacks=[mine], unit=unit, description=text)
            sources = _sources_of.setdefault(instrument, mine)
            sources.live += (source,)
            self._opened.append((sources, source))

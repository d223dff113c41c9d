"""Ending: a span's own ``end``, with something done right before it and right after.

It stands on the one span, in the place of its class's method, and goes when the span has ended.
"""

from time import time_ns
from typing import Any, Final, Protocol

from opentelemetry.sdk.trace import Span

_SDKS_END: Final = Span.end
_NOW: Final[Any] = (((), {}), ((None,), {}), ((), {"end_time": None}))
"""What it is called with to end a span now."""


class Watcher(Protocol):
    """Who is told of the ends of spans. Neither raises, as it is within the application's call."""

    def ending(self, span: Any, given: Any) -> Any:
        """Take a span that is about to end, at the time that was given; None: now."""
        ...

    def ended(self, ending: "Ending", found: Any) -> None:
        """Take what stood in for the end of a span that has ended, and what `ending` returned."""
        ...


class Ending:
    """Stands in for one span's ``end``."""

    __slots__ = ("_original", "_span", "_watcher")

    def __init__(self, span: Any, watcher: Watcher) -> None:
        self._span = span
        self._original = span.end
        self._watcher = watcher

    @classmethod
    def put_on(cls, span: Any, watcher: Watcher) -> None:
        """Have ``watcher`` told when the span ends. Twice is harmless.

        Raises `AttributeError` where the span takes no attributes.
        """
        there = span.__dict__.get("end")
        if not (isinstance(there, cls) and there._watcher is watcher):
            span.end = cls(span, watcher)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """End the span, with whatever it was called with.

        Where no time is given to the SDK's own, it is now: what is done here before that is not the
        span's.
        """
        given = arguments[0] if arguments else options.get("end_time")
        is_now = given is None and (arguments, options) in _NOW
        if is_now and getattr(self._original, "__func__", None) is _SDKS_END:
            given = time_ns()
            arguments, options = (given,), {}
        found = self._watcher.ending(self._span, given)
        try:
            return self._original(*arguments, **options)
        finally:
            self._watcher.ended(self, found)

    def take_off(self) -> None:
        """Let the span end without us from now on. Twice is harmless."""
        held = self._span.__dict__
        if held.get("end") is self:
            held.pop("end", None)

"""Ending: a span's own ``end``, with something done right before it and right after.

It stands on the one span, in the place of its class's method, and goes when the span has ended.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

Before: TypeAlias = Callable[[Any, int | None], Callable[[], None] | None]
"""Takes the span and the end that it was given; returns what is to be done after. Never raises."""


class Ending:
    """Stands in for one span's ``end``."""

    __slots__ = ("_before", "_original", "_span")

    def __init__(self, span: Any, before: Before) -> None:
        self._span = span
        self._original = span.end
        self._before = before

    @classmethod
    def put_on(cls, span: Any, before: Before) -> None:
        """Have ``before`` called when the span ends. Twice is harmless.

        Raises `AttributeError` where the span takes no attributes.
        """
        there = span.__dict__.get("end")
        if not (isinstance(there, cls) and there._before == before):
            span.end = cls(span, before)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """End the span, with whatever it was called with."""
        given = arguments[0] if arguments else options.get("end_time")
        after = self._before(self._span, given if isinstance(given, int) else None)
        try:
            return self._original(*arguments, **options)
        finally:
            if self._span.__dict__.get("end") is self:
                self._span.__dict__.pop("end", None)
            if after is not None:
                after()

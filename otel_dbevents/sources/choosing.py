"""Choosing: which engines are observed, where the application may have said so."""

import weakref
from collections.abc import Callable
from typing import TypeAlias

from sqlalchemy.engine import Dialect, Engine

from otel_dbevents.sources.guarding import guard

EngineFilter: TypeAlias = Callable[[Engine], bool]
"""Whether an engine is observed. Asked once for each, about an `AsyncEngine` by its sync engine."""


class Choice:
    """What a filter wants, but for engines that were let go of one by one.

    An engine goes by its dialect, which it and its option engines share.
    """

    def __init__(self, wants: EngineFilter | None) -> None:
        self._wants = wants
        self._verdicts: weakref.WeakKeyDictionary[Dialect, bool] = weakref.WeakKeyDictionary()
        """What the filter said."""
        self._left: weakref.WeakSet[Dialect] = weakref.WeakSet()

    def leave(self, engine: Engine) -> None:
        """Choose an engine no more, until it is taken again."""
        self._left.add(engine.dialect)

    def take(self, engine: Engine | None) -> None:
        """Choose an engine again that was left, or (None) each of them."""
        if engine is None:
            self._left.clear()
        else:
            self._left.discard(engine.dialect)

    def is_wanted(self, engine: Engine) -> bool:
        """Ask the filter, unless it was asked before. No lock may be held: it is anybody's."""
        if engine.dialect in self._left:
            return False
        verdict = self._verdicts.get(engine.dialect)
        if verdict is None:
            self._verdicts[engine.dialect] = False  # what the filter itself does with it
            verdict = self._verdicts[engine.dialect] = self._ask(engine)
        return verdict

    def _ask(self, engine: Engine) -> bool:
        if self._wants is None:
            return True
        try:
            wanted = self._wants(engine)
            if not isinstance(wanted, bool):
                raise TypeError("engine_filter returns True or False")
        except Exception as error:  # noqa: BLE001 - rather an engine too many than one missed
            guard.caught(error)
            return True
        return wanted

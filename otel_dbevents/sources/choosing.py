"""Choosing: which engines are observed, where the application may have said so."""

import threading
import weakref
from collections.abc import Callable
from typing import Final, TypeAlias

from sqlalchemy.engine import Dialect, Engine

from otel_dbevents.sources.guarding import guard

EngineFilter: TypeAlias = Callable[[Engine], bool]
"""Whether an engine is observed. Asked once for each, about an `AsyncEngine` by its sync engine."""

_PATIENCE_S: Final = 0.2
"""How long a thread waits for what the filter says to another."""


class Choice:
    """What a filter wants, but for engines that were let go of one by one.

    An engine goes by its dialect, which it and its option engines share.
    """

    def __init__(self, wants: EngineFilter | None) -> None:
        self._wants = wants
        self._verdicts: weakref.WeakKeyDictionary[Dialect, bool] = weakref.WeakKeyDictionary()
        """What the filter said."""
        self._asking: dict[int, _Asking] = {}
        """Who asks it now, by the dialect's identity."""
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

    def begin_anew(self) -> None:
        """Forget who asks, in a forked child."""
        self._asking.clear()

    def is_wanted(self, engine: Engine) -> bool:
        """Ask the filter, unless it was asked before or is being asked.

        No lock may be held: it is anybody's.
        """
        dialect = engine.dialect
        if dialect in self._left:
            return False
        if self._wants is None:
            return True
        verdict = self._verdicts.get(dialect)
        if verdict is None:
            mine = _Asking()
            asking = self._asking.setdefault(id(dialect), mine)
            if asking is mine:
                verdict = self._answer(engine, self._wants, mine)
            elif asking.thread != mine.thread:  # else the filter itself uses it
                asking.is_over.wait(_PATIENCE_S)
                verdict = self._verdicts.get(dialect)
        return bool(verdict)

    def _answer(self, engine: Engine, wants: EngineFilter, asking: "_Asking") -> bool:
        dialect = engine.dialect
        try:
            verdict = self._verdicts.get(dialect)  # it may have been asked this moment
            if verdict is None:
                verdict = self._verdicts[dialect] = _ask(engine, wants)
            return verdict
        finally:
            self._asking.pop(id(dialect), None)
            asking.is_over.set()


class _Asking:
    """A thread that asks the filter."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.is_over = threading.Event()


def _ask(engine: Engine, wants: EngineFilter) -> bool:
    try:
        wanted = wants(engine)
        if not isinstance(wanted, bool):
            raise TypeError("engine_filter returns True or False")
    except Exception as error:  # noqa: BLE001 - rather an engine too many than one missed
        guard.caught(error)
        return True
    return wanted

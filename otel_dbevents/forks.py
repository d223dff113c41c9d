"""What a forked child begins anew: only the forking thread is there, and locks stay as they were.

A lock that another thread of the parent held is held in the child for ever, and what the parent
counted, opened or put off is the parent's to tell. Each part of this package that has such state
says here what is to be done about it.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from inspect import ismethod
from time import monotonic
from typing import Any, Final, TypeAlias

_LONGEST_S: Final = 0.2
_log = logging.getLogger("otel_dbevents")

Locks: TypeAlias = Callable[[], Iterable[Any]]
"""Gives the locks that are to be held while the process forks."""
_Reference: TypeAlias = Callable[[], Callable[[], Any] | None]

_in_child: Final[list[_Reference]] = []
_to_hold: Final[list[_Reference]] = []
_held: Final[dict[int, list[Any]]] = {}
"""What each forking thread holds."""


def in_child(begin_anew: Callable[[], object]) -> None:
    """Have ``begin_anew`` called in each forked child, before anything else runs there.

    A method is called for as long as its object lives; it is not kept alive by this. What it raises
    is logged, on the level of debugging.
    """
    _keep(_in_child, begin_anew)


def hold(locks: Locks) -> None:
    """Have locks held while the process forks, so that what they guard is whole in the child.

    The fork waits for them, a fifth of a second at the most. In the child they are free. A method
    is asked for as long as its object lives.
    """
    _keep(_to_hold, locks)


def free(lock: object) -> None:
    """Free a lock in a forked child, whoever had it in the parent; others are left alone."""
    renew = getattr(lock, "_at_fork_reinit", None)
    if renew is not None:
        renew()


def _keep(those: list[_Reference], function: Callable[[], Any]) -> None:
    those.append(weakref.WeakMethod(function) if ismethod(function) else lambda: function)
    # No callback of a reference takes the dead ones out: it would run in an interpreter that ends.
    # One by one, and no new list in the place of this: another thread may add to it meanwhile.
    for reference in [each for each in tuple(those) if each() is None]:
        with suppress(ValueError):  # another thread took it out
            those.remove(reference)


def _call_all(those: list[_Reference], use: Callable[[Any], object]) -> None:
    """Call what is kept and is still there. Never raises: the application forks."""
    for reference in tuple(those):
        try:
            function = reference()
            if function is not None:
                use(function())
        except Exception:  # noqa: BLE001
            _log.debug("a part of us was not ready for a fork", exc_info=True)


def _before() -> None:
    until = monotonic() + _LONGEST_S
    held = _held[threading.get_ident()] = []

    def acquire(locks: Iterable[Any]) -> None:
        held.extend(each for each in locks if each.acquire(timeout=max(0, until - monotonic())))

    _call_all(_to_hold, acquire)


def _after_in_parent() -> None:
    for lock in reversed(_held.pop(threading.get_ident(), [])):
        lock.release()


def _after_in_child() -> None:
    for lock in _held.get(threading.get_ident(), []):
        free(lock)
    _held.clear()
    _call_all(_to_hold, lambda locks: [*map(free, locks)])
    _call_all(_in_child, lambda _: None)


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has no fork
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )

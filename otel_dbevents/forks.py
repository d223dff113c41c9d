"""What a forked child begins anew: only the forking thread is there, and locks stay as they were.

A lock that another thread of the parent held is held in the child for ever, and what the parent
counted, opened or put off is the parent's to tell. Each part of this package that has such state
says here what is to be done about it.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable
from inspect import ismethod
from typing import Any, Final

_LONGEST_S: Final = 1.0
_in_child: Final[list[Callable[[], Callable[[], object] | None]]] = []
_before: Final[list["_Held"]] = []
_log = logging.getLogger("otel_dbevents")


def in_child(begin_anew: Callable[[], object]) -> None:
    """Have ``begin_anew`` called in each forked child, before anything else runs there.

    A method is called for as long as its object lives; it is not kept alive by this. What it raises
    is logged, on the level of debugging.
    """
    # No callback of a reference takes the dead ones out: it would run in an interpreter that ends.
    _in_child[:] = [reference for reference in _in_child if reference() is not None]
    _in_child.append(weakref.WeakMethod(begin_anew) if ismethod(begin_anew) else lambda: begin_anew)


def hold(lock: Any) -> None:
    """Have a lock held while the process forks, so that what it guards is whole in the child.

    The fork waits for it, one second at the most. In the child it is free, whoever had it.
    """
    _before.append(_Held(lock))


def free(lock: object) -> None:
    """Free a lock in a forked child, whoever had it in the parent; others are left alone."""
    renew = getattr(lock, "_at_fork_reinit", None)
    if renew is not None:
        renew()


class _Held:
    """A lock that is held while a thread forks."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._holder = 0

    def acquire(self) -> None:
        if self._lock.acquire(timeout=_LONGEST_S):
            self._holder = threading.get_ident()

    def release(self) -> None:
        if self._holder == threading.get_ident():
            self._holder = 0
            self._lock.release()


def _acquire() -> None:
    for held in _before:
        held.acquire()


def _release() -> None:
    for held in _before:
        held.release()


def _after_in_child() -> None:
    for held in _before:
        held._holder = 0
        free(held._lock)
    for reference in tuple(_in_child):
        try:
            begin_anew = reference()
            if begin_anew is not None:
                begin_anew()
        except Exception:  # noqa: BLE001 - the child is the application's
            _log.debug("a part of us did not begin anew in a forked child", exc_info=True)


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has no fork
    os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_after_in_child)

"""How a worker is woken: by a queue that suits the threads that there are."""

import sys
from queue import SimpleQueue
from typing import Any, TypeAlias

Signals: TypeAlias = SimpleQueue[bool]
"""Wakes a worker; True: without gathering a batch first. A put cannot wait for itself, whatever
it interrupts: an event may be published by an object that is collected anywhere."""


def new_signals() -> Signals:
    """Return a queue that a worker started now can wait on.

    Where gevent has taken the threads over, before or after we were imported, the worker is a
    greenlet: if it waited on the interpreter's own queue, the application would wait with it.
    """
    green: Any = _gevents_queue()
    signals: Signals = SimpleQueue() if green is None else green()
    return signals


def suits(signals: Signals) -> bool:
    """Whether a worker that is started now can wait on this queue."""
    return type(signals) is type(new_signals())


def _gevents_queue() -> Any:
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return None
    from gevent.queue import SimpleQueue as GreenQueue

    return GreenQueue

"""Threads of our own: none keeps a process alive, nor what the application had in its context."""

import contextvars
import sys
import threading
from collections.abc import Callable
from typing import Any


def new_thread(name: str, target: Callable[..., object], *arguments: Any) -> threading.Thread:
    """Return a daemon thread that is still to be started. It begins in an empty context.

    From Python 3.14 on a thread may take its starter's along, and does in a free-threaded
    interpreter: ours would keep for ever what is in it, which mostly is a request.
    """
    empty = {"context": contextvars.Context()} if sys.version_info >= (3, 14) else {}
    options: dict[str, Any] = {"name": name, "daemon": True, **empty}
    return threading.Thread(target=target, args=arguments, **options)


def begin(thread: threading.Thread) -> None:
    """Start a thread. Raises what `threading.Thread.start` does, or what a signal's handler raised.

    Where that came just after the thread had begun, ``start`` takes it out of a list a second time,
    and raises a `KeyError` in the place of what it was.
    """
    try:
        thread.start()
    except KeyError as error:
        raise (error.__context__ or error) from None

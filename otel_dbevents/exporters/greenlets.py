"""Exports under gevent, which looks a collector's name up on a thread of its own."""

import sys
from typing import Any


def look_up_here() -> None:
    """Have names looked up by this thread itself, where gevent could begin none for it.

    Python 3.12 begins no thread once the process ends, and gevent needs one more for each
    name that is looked up while another is not put away yet: all that a program had would be lost
    with its last export. While a name is looked up here the other greenlets stand still; they end,
    too.
    """
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        return
    try:
        monkey.get_original("_thread", "start_new_thread")(int, ())
    except RuntimeError:
        from gevent import get_hub
        from gevent.resolver.blocking import Resolver

        hub: Any = get_hub()
        hub.resolver = Resolver()

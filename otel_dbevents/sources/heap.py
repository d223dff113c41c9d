"""All objects of some types that there are, found without harm to what other threads do."""

import gc
from collections.abc import Iterable
from typing import Any


def objects_of(kinds: Iterable[type[Any]]) -> list[Any]:
    """Return the objects whose type is one of these; subclasses' are not among them.

    Not by `gc.get_objects`: among all objects are tuples that another thread is only just filling,
    and while we hold one of those it cannot grow: that thread fails ("bad argument to internal
    function"). An object refers to its type, so those that refer to it are asked for; what is
    looked at for that is not held.
    """
    wanted = tuple(kinds)
    return [found for found in gc.get_referrers(*wanted) if type(found) in wanted]

"""Handing: how spans that have ended reach the processors: a whole batch at once, where it can be.

The SDK's batch processor does the same for each span, which costs more than the span; where it is
the SDK's as it is known here, and has room, the batch goes straight into its queue. Another
processor may say that it takes many: its class's ``on_end`` has ``for_all``, a function of the
processor and a list of spans that have ended, all of them sampled.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import Any, Final, TypeAlias

from opentelemetry.sdk.trace.export import BatchSpanProcessor

Take: TypeAlias = Callable[[list[Any]], None]
"""Takes spans that have ended, all of them sampled, the oldest first."""

_ON_END: Final = "context trace_flags sampled _batch_processor emit"
_EMIT: Final = (
    "_shutdown _logger info _exporting _pid os getpid _bsp_reset_once do_once _at_fork_reinit"
    " len _queue _max_queue_size warning appendleft _max_export_batch_size _worker_awaken set"
    " is_set _metrics drop_items"
)


def takers_of(processors: Sequence[object]) -> tuple[Take, ...] | None:
    """Return what to hand batches of sampled spans to; None where each is to be told alone."""
    takers = [_taker_of(processor) for processor in processors]
    return None if None in takers else tuple(takers)  # type: ignore[arg-type]


def _taker_of(processor: Any) -> Take | None:
    kind = type(processor)
    if "on_end" in getattr(processor, "__dict__", {"on_end": None}):
        return None
    for_all = getattr(getattr(kind, "on_end", None), "for_all", None)
    if for_all is not None:
        return partial(for_all, processor)
    if kind is BatchSpanProcessor and _mentions_only(kind.on_end, _ON_END):
        batches = getattr(processor, "_batch_processor", None)
        emit = getattr(type(batches), "emit", None)
        if _mentions_only(emit, _EMIT) and "emit" not in vars(batches):
            return partial(_put, batches, processor.on_end)
    return None


def _put(batches: Any, on_end: Callable[[Any], None], spans: list[Any]) -> None:
    """Put spans into the queue of the SDK's batch processor; what is unusual, it does itself."""
    queue = batches._queue
    if (
        batches._shutdown
        or batches._pid != os.getpid()
        or len(queue) + len(spans) > batches._max_queue_size
    ):
        for span in spans:
            on_end(span)
        return
    queue.extendleft(spans)
    if len(queue) >= batches._max_export_batch_size:
        batches._worker_awaken.set()


def _mentions_only(function: Any, names: str) -> bool:
    """Whether a function does nothing that is not known: see `bridge.known`."""
    return type(function) is FunctionType and {*function.__code__.co_names} <= {*names.split()}

"""Measurements that a forked child inherits: they are the parent's, which tells them itself.

The SDK starts its readers again in a child, and leaves them what was measured before: counted on
there, it would be told by both. Its locks stay as they were, too: one that the parent's worker or
reader held at that moment would hold ours, and every collection, for ever.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from otel_dbevents.bridge import attributes as at
from otel_dbevents.forks import free


def forget(meter_provider: object) -> None:
    """Begin our instruments at nothing, and free the locks of all, in a forked child.

    Other instruments' numbers are the application's and stay. The SDK has no public way; what is
    not found, as in a provider of another make, is left alone. The mapping of storages is replaced,
    as where a reader is added: by that `bridge.feeding` sees that it has to look for its streams
    anew. Else it would go on adding to those that nobody reads any more.
    """
    consumer = getattr(meter_provider, "_measurement_consumer", None)
    free(getattr(consumer, "_lock", None))
    storages: Mapping[Any, Any] = getattr(consumer, "_reader_storages", {})
    for reader, storage in storages.items():
        free(getattr(reader, "_export_lock", None))
        free(getattr(storage, "_lock", None))
        matches: dict[Any, list[Any]] = getattr(storage, "_instrument_view_instrument_matches", {})
        for instrument, streams in list(matches.items()):
            if _is_ours(instrument):
                del matches[instrument]
            for stream in streams:
                for held in _locked(stream):
                    free(getattr(held, "_lock", None))
    if consumer is not None and storages:
        consumer._reader_storages = dict(storages)


def _is_ours(instrument: Any) -> bool:
    scope = getattr(instrument, "instrumentation_scope", None)
    return getattr(scope, "name", "") == at.SCOPE


def _locked(stream: Any) -> Iterator[Any]:
    """Give what a stream locks: itself, its cells, and their reservoirs of exemplars."""
    yield stream
    cells: Mapping[Any, Any] = getattr(stream, "_attributes_aggregation", {})
    for cell in cells.values():
        yield cell
        yield getattr(cell, "_reservoir", None)

"""Shipping: events that are there become entries of a stream, in batches as the bus brings them."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from benchmarks.sidecar.load import description
from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.entries import Unpacker, verified
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.events import AnyEvent, Event

BATCH = 512
"""As many as the bus brings at once."""
PACKED = 100
KEY = "a key of the benchmark's, long enough"

Ship = Callable[[Sequence[Event]], None]


def _one_by_one(url: str, stream: str) -> Ship:
    """Make each event an entry of one field, a hundred of them in a pipeline."""
    client, encode = connect(url), msgspec.msgpack.Encoder().encode

    def ship(events: Sequence[Event]) -> None:
        for first in range(0, len(events), PACKED):
            pipe = client.pipeline(transaction=False)
            for event in events[first : first + PACKED]:
                pipe.execute_command(
                    "XADD", stream, "MAXLEN", "~", 10_000_000, "*", "d", encode(event)
                )
            pipe.execute()

    return ship


def _packed(url: str, stream: str) -> Ship:
    """Make a hundred events an entry, encoded as a list by one call, and a batch a pipeline."""
    client, encode = connect(url), msgspec.msgpack.Encoder().encode

    def ship(events: Sequence[Event]) -> None:
        for begun in range(0, len(events), BATCH):
            batch = events[begun : begun + BATCH]
            pipe = client.pipeline(transaction=False)
            for first in range(0, len(batch), PACKED):
                body = encode(batch[first : first + PACKED])
                pipe.execute_command("XADD", stream, "MAXLEN", "~", 10_000_000, "*", "d", body)
            pipe.execute()

    return ship


def _ours(url: str, stream: str, keys: Keyring | None = None) -> Ship:
    sender = Sender(url, stream, source=description(), keys=keys, most_entries=10_000_000)

    def ship(events: Sequence[Event]) -> None:
        deliveries = [(event, None) for event in events]
        for first in range(0, len(events), BATCH):
            sender.consume(deliveries[first : first + BATCH])

    return ship


def _signed(url: str, stream: str) -> Ship:
    return _ours(url, stream, Keyring(KEY))


CEILING = "redis-py, 100 events an entry"
SHIPPERS: dict[str, Callable[[str, str], Ship]] = {
    CEILING: _packed,
    "redis-py, an event an entry": _one_by_one,
    "ours": _ours,
    "ours, signed": _signed,
}


def arrived(client: Any, stream: str) -> tuple[list[bytes], int]:
    """Return the ids of all events in a stream, and how many bytes Redis holds for it."""
    ids: list[bytes] = []
    unpacker, many, one = Unpacker(), _list.decode, _one.decode
    size = int(client.memory_usage(stream, samples=0) or 0)
    for _, fields in client.xrange(stream):
        if b"v" in fields:
            ids += [each.id for each in unpacker.unpack(verified(fields, stream, None))[0]]
        elif fields[b"d"][:1] == b"\xdc" or 0x90 <= fields[b"d"][0] < 0xA0:
            ids += [each.id for each in many(fields[b"d"])]
        else:
            ids.append(one(fields[b"d"]).id)
    return ids, size


_one = msgspec.msgpack.Decoder(AnyEvent)
_list = msgspec.msgpack.Decoder(list[AnyEvent])

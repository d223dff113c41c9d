"""Entries: what one message of the stream holds, and its events as bytes.

In: events, each encoded by `codec`. Out: entries of at most 100 events and 64 KiB (one event may be
larger), and the events back. A reader refuses an entry of a version that it does not know.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.codec import DecodeError, decode, encode_all
from otel_dbevents.events import AnyEvent, Event

VERSION: Final = b"1"
MOST_EVENTS: Final = 100
MOST_BYTES: Final = 64 * 1024
_MOST_KNOWN: Final = 4_096
_FIELDS: Final = (b"v", b"p", b"e", b"s", b"n", b"t", b"r", b"d")
"""Version, producer, epoch, first number, count, time, resource, events: all that is signed."""


class EntryError(ValueError):
    """It is no entry that can be taken. ``reason`` is a word for the dead letters."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A message of the stream. One without events says how far its producer has come."""

    producer: str
    """Names an application's pipeline; with ``epoch``, one process's."""
    epoch: str
    first: int
    """The number of its first event, counted from the epoch's beginning."""
    count: int
    sent_ns: int
    source: bytes
    """What the producer says of itself: each entry can be read by itself."""
    body: bytes
    again_of: str = ""
    """Of one that comes from the dead letters: the line of the entry that it was. Then it has a
    line of its own."""
    chosen: tuple[int, ...] = ()
    """Which events of the body it has; empty: all."""

    @property
    def line(self) -> str:
        """What its numbers belong to."""
        return f"{self.producer}:{self.epoch}"

    @property
    def told_as(self) -> str:
        """The line of the process that its events are of."""
        return self.again_of or self.line

    def fields(self, stream: str, keys: Keyring | None) -> list[bytes]:
        """Return names and values in turn, as XADD takes them, signed where there are keys."""
        values = [
            VERSION,
            self.producer.encode(),
            self.epoch.encode(),
            b"%d" % self.first,
            b"%d" % self.count,
            b"%d" % self.sent_ns,
            self.source,
            self.body,
        ]
        found = [part for pair in zip(_FIELDS, values, strict=True) for part in pair]
        if keys is not None:
            signature = keys.sign(_signed(stream, keys.key_id, values))
            found += [b"k", keys.key_id.encode(), b"g", signature]
        return found


def verified(
    fields: Mapping[bytes, bytes], stream: str, keys: Keyring | None, *, required: bool = False
) -> Entry:
    """Return the entry that these fields are.

    With ``keys`` its signature must be one of theirs; ``required`` says that there must be keys.
    Raises `EntryError`: ``version``, ``malformed``, ``unsigned``, ``unknown_key``, ``signature``.
    """
    if fields.get(b"v") != VERSION:
        raise EntryError("version" if b"v" in fields else "malformed")
    try:
        values = [fields[name] for name in _FIELDS]
        producer, epoch = values[1].decode(), values[2].decode()
        first, count, sent_ns = (_number(text) for text in values[3:6])
        entry = Entry(producer, epoch, first, count, sent_ns, values[6], values[7])
    except (KeyError, ValueError):
        raise EntryError("malformed") from None
    if keys is not None or required:
        _check_signature(fields, values, stream, keys)
    return entry


def pack(events: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Put encoded events together: how many, and one body for them."""
    held: list[bytes] = []
    size = 0
    for event in events:
        if held and (len(held) == MOST_EVENTS or size + len(event) > MOST_BYTES):
            yield len(held), _body(held)
            held, size = [], 0
        held.append(event)
        size += len(event)
    if held:
        yield len(held), _body(held)


def pack_all(events: Sequence[Event]) -> Iterator[tuple[int, bytes]]:
    """Encode events and put them together, as `pack` does, at less cost.

    Raises where an event cannot be encoded; what was given until then is whole.
    """
    at_once, done = MOST_EVENTS, 0
    while done < len(events):
        part = events[done : done + at_once]
        body = encode_all(part)
        if len(body) > MOST_BYTES and len(part) > 1:
            at_once = max(1, min(len(part) - 1, len(part) * MOST_BYTES // len(body)))
            continue
        yield len(part), body
        done += len(part)


class Unpacker:
    """Makes events of a body. What repeats in them (databases, statements) is one object.

    The bridge remembers what it knows of those by which objects they are.
    """

    def __init__(self) -> None:
        self._all = msgspec.msgpack.Decoder(list[AnyEvent])
        self._each = msgspec.msgpack.Decoder(list[msgspec.Raw])
        self._known: dict[Any, Any] = {}

    def unpack(self, entry: Entry) -> tuple[list[Event], list[int]]:
        """Return the entry's events, and the places in its body of those that cannot be read.

        Raises `EntryError` (``malformed``) where it does not hold as many as it says.
        """
        if not entry.count:
            return [], []
        bad: list[int] = []
        try:
            if entry.chosen:
                raise ValueError("not all of them are wanted")
            events: Sequence[Event] = self._all.decode(entry.body)
        except (ValueError, OverflowError, RecursionError):
            events, bad = self._one_by_one(entry)
        if len(events) + len(bad) != entry.count:
            raise EntryError("malformed")
        return [self._one_object(event) for event in events], bad

    def _one_by_one(self, entry: Entry) -> tuple[list[Event], list[int]]:
        events, bad = list[Event](), list[int]()
        try:
            raws = self._each.decode(entry.body)
        except (ValueError, RecursionError):
            raise EntryError("malformed") from None
        for place, raw in enumerate(raws):
            if entry.chosen and place not in entry.chosen:
                continue
            try:
                events.append(decode(raw))
            except DecodeError:
                bad.append(place)
        return events, bad

    def _one_object(self, event: Any) -> Event:
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        known = self._known.setdefault
        for name in ("database", "statement"):
            value = getattr(event, name, None)
            if value is not None:
                same = known(value, value)
                if same is not value:
                    force_setattr(event, name, same)
        found: Event = event
        return found


def _check_signature(
    fields: Mapping[bytes, bytes], values: Sequence[bytes], stream: str, keys: Keyring | None
) -> None:
    signature, name = fields.get(b"g", b""), fields.get(b"k", b"").decode(errors="replace")
    if not signature:
        raise EntryError("unsigned")
    if keys is None or not keys.knows(name):
        raise EntryError("unknown_key")
    if not keys.verifies(name, signature, _signed(stream, name, values)):
        raise EntryError("signature")


def _signed(stream: str, key: str, values: Sequence[bytes]) -> list[bytes]:
    return [stream.encode(), key.encode(), *values]


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise ValueError("no number")
    return int(text)


def _body(events: Sequence[bytes]) -> bytes:
    """Return a msgpack array of what is msgpack already."""
    number = len(events)
    head = bytes([0x90 | number]) if number < 16 else b"\xdc" + number.to_bytes(2, "big")
    return b"".join([head, *events])

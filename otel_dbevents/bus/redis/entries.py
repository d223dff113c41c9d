"""Entries: what one message of the stream holds, and its events as bytes.

In: events. Out: entries of at most 100 events and 64 KiB (one event may be larger), in columns
(`packing`), and the events back. A reader refuses an entry of a version that it does not know.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

from otel_dbevents.bus.redis.packing import encode_columns, encode_part
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.bus.redis.unpacking import BodyError, BodyReader
from otel_dbevents.codec import DecodeError, decode
from otel_dbevents.drafts import PART, Alike, Draft, Mixed, Part
from otel_dbevents.events import Event

VERSION: Final = b"2"
"""What is written. Entries of the versions before are read still."""
_READ: Final = (b"1", VERSION)
MOST_EVENTS: Final = PART
MOST_BYTES: Final = 64 * 1024
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
    version: bytes = VERSION
    """In which form its body is."""

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
            self.version,
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
    if fields.get(b"v") not in _READ:
        raise EntryError("version" if b"v" in fields else "malformed")
    try:
        values = [fields[name] for name in _FIELDS]
        producer, epoch = values[1].decode(), values[2].decode()
        first, count, sent_ns = (_number(text) for text in values[3:6])
        entry = Entry(
            producer, epoch, first, count, sent_ns, values[6], values[7], version=values[0]
        )
    except (KeyError, ValueError):
        raise EntryError("malformed") from None
    if keys is not None or required:
        _check_signature(fields, values, stream, keys)
    return entry


def pack_all(events: Sequence[Event | Draft]) -> Iterator[tuple[int, bytes]]:
    """Put events together: how many, and one body for them. Plain drafts are taken for theirs.

    Raises where an event cannot be encoded; what was given until then is whole.
    """
    if isinstance(events, Mixed):
        yield from _pack_parts(events.parts)
        return
    if isinstance(events, Alike) and len(events) > MOST_EVENTS:
        for each in events.parts:
            yield from pack_all(each)
        return
    at_once, done = MOST_EVENTS, 0
    while done < len(events):
        part = events if at_once >= len(events) else events[done : done + at_once]
        body = encode_columns(part)
        if len(body) > MOST_BYTES and len(part) > 1:
            at_once = max(1, min(len(part) - 1, len(part) * MOST_BYTES // len(body)))
            continue
        yield len(part), body
        done += len(part)


def _pack_parts(parts: Sequence[Part]) -> Iterator[tuple[int, bytes]]:
    for part in parts:
        body = encode_part(part)
        if len(body) <= MOST_BYTES or len(part.items) == 1:
            yield len(part.items), body
        else:
            yield from pack_all(without_contexts(part.items))


def without_contexts(items: Sequence[Any]) -> Sequence[Event | Draft]:
    """Return what was brought: of events with their contexts the events."""
    return [item[0] if isinstance(item, tuple) else item for item in items]


class Unpacker:
    """Makes events of a body. What repeats in them (databases, statements) is one object."""

    def __init__(self) -> None:
        self._bodies = BodyReader()
        self._read = {VERSION: self._bodies.read, b"1": self._singles}

    def unpack(self, entry: Entry) -> tuple[list[Event], list[int]]:
        """Return the entry's events, and the places in its body of those that cannot be read.

        Raises `EntryError` (``malformed``) where it does not hold as many as it says.
        """
        if not entry.count:
            return [], []
        found, bad = self.places(entry)
        if entry.chosen:
            found = {place: found[place] for place in entry.chosen if place in found}
            bad = [place for place in bad if place in entry.chosen]
        if len(found) + len(bad) != entry.count:
            raise EntryError("malformed")
        return [found[place] for place in sorted(found)], bad

    def places(self, entry: Entry) -> tuple[dict[int, Event], list[int]]:
        """Return all events of the entry's body by their places, and where unreadable ones are.

        Raises `EntryError` (``malformed``) where it is no body.
        """
        try:
            return self._read[entry.version](entry.body)
        except BodyError:
            raise EntryError("malformed") from None

    def _singles(self, body: bytes) -> tuple[dict[int, Event], list[int]]:
        """Read a body of the version 1: a list of what `codec.encode` gives."""
        found: dict[int, Event] = {}
        bad: list[int] = []
        try:
            raws = _singles.decode(body)
        except (ValueError, RecursionError):
            raise BodyError("it is no list") from None
        for place, raw in enumerate(raws):
            try:
                found[place] = self._one_object(decode(raw))
            except DecodeError:
                bad.append(place)
        return found, bad

    def _one_object(self, event: Any) -> Event:
        for name in ("database", "statement"):
            value = getattr(event, name, None)
            if value is not None:
                force_setattr(event, name, self._bodies.one_object(value))
        found: Event = event
        return found


_singles: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])


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

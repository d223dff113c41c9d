"""Dead letters: what was put aside, why, and the way back.

In: entries as they are stored, with a reason (`letter_fields`). Out: `Letter`, and for one that is
tried again the stored entry with an `Again` beside it, which says what of it is to go to whom. It
is signed like the entry, by whoever sends it back: else a copy of an old entry with a note of
its own would be told twice.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import time_ns
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from otel_dbevents.bus.redis.entries import Entry, EntryError
from otel_dbevents.bus.redis.group import seconds
from otel_dbevents.bus.redis.signing import Keyring

MOST: Final = 10_000
"""So many are kept, about: beyond it the oldest give way."""
_PAGE: Final = 100
_FRESH_S: Final = 86_400
_AGAIN: Final = (b"x", b"xk", b"xg")
"""What is beside a stored entry that comes again: the `Again`, the key's name, the signature."""

MENDS: Final[Mapping[str, str]] = {
    "signature": "it was changed on its way, or moved here: find out who can write to Redis",
    "unsigned": "give the application OTEL_DBEVENTS_SIGNING_KEY, the same as here",
    "unknown_key": "give both sides one OTEL_DBEVENTS_SIGNING_KEY (or _PREVIOUS), then retry",
    "stale": "it was signed a day before it came: a copy, or a clock that is wrong",
    "version": "update the sidecar to the application's otel_dbevents, then retry",
    "undecodable": "update the sidecar to the application's otel_dbevents, then retry",
    "malformed": "no entry of ours: has somebody else this stream? set OTEL_DBEVENTS_STREAM",
    "telling": "a fault of otel_dbevents: report it; retry after an update",
}
"""By reason: what mends it. Any other is a handler's error: the name of the exception."""


class Again(msgspec.Struct, array_like=True, frozen=True):
    """Says of an entry that it comes from the dead letters."""

    letter: str
    group: str
    """The group that is to have it; empty: all."""
    chosen: tuple[int, ...]
    at_ns: int


class Letter(msgspec.Struct, frozen=True):
    """A dead letter."""

    id: str
    reason: str
    stage: str
    """Where it died: ``read``, ``tell`` (to make telemetry of it) or ``handler``."""
    handler: str
    group: str
    """The group that it is kept for; empty: all."""
    tries: int
    entry_id: str
    """What the entry's id was in the stream."""
    chosen: tuple[int, ...]
    """Which of its events died; empty: the entry as a whole."""
    original: Mapping[bytes, bytes]
    """The entry as it was stored."""

    @property
    def at_s(self) -> float:
        """When it died, in seconds since the epoch, by Redis' clock."""
        return seconds(self.id.encode())

    @property
    def events(self) -> int:
        """How many events died with it, as far as it says."""
        said = self.original.get(b"n", b"")
        return len(self.chosen) or (int(said) if said.isdigit() and len(said) < 10 else 0)

    @property
    def mend(self) -> str:
        """What mends it."""
        return MENDS.get(self.reason, "mend the handler, then retry")

    @property
    def retry_fields(self) -> dict[bytes, bytes]:
        """The entry as it was stored, without a note of an earlier retry."""
        return {name: value for name, value in self.original.items() if name not in _AGAIN}


def name_of(stream: str) -> str:
    """Return the name of a stream's dead letters."""
    return f"{stream}:dead"


def letter_fields(
    id_: bytes,
    fields: Mapping[bytes, bytes],
    reason: str,
    *,
    stage: str = "read",
    handler: str = "",
    group: str = "",
    tries: int = 1,
    chosen: Iterable[int] = (),
) -> dict[bytes, bytes]:
    """Return what is stored of a dead letter."""
    return {
        b"reason": reason.encode(),
        b"stage": stage.encode(),
        b"handler": handler.encode(),
        b"group": group.encode(),
        b"tries": b"%d" % tries,
        b"id": id_,
        b"events": b",".join(b"%d" % place for place in chosen),
        b"original": msgspec.msgpack.encode(list(fields.items())),
    }


def read_letter(id_: bytes, fields: Mapping[bytes, bytes]) -> Letter:
    """Return the letter that is stored so. What it does not say is empty."""
    said = {name.decode(errors="replace"): value for name, value in fields.items()}
    try:
        pairs = msgspec.msgpack.decode(said.get("original", b""), type=list[tuple[bytes, bytes]])
    except ValueError:
        pairs = []
    word = {name: value.decode(errors="replace") for name, value in said.items()}
    places = word.get("events", "").split(",")
    return Letter(
        id_.decode(),
        word.get("reason", ""),
        word.get("stage", ""),
        word.get("handler", ""),
        word.get("group", ""),
        _number(word.get("tries", "")),
        word.get("id", ""),
        tuple(_number(place) for place in places if place),
        dict(pairs),
    )


class DeadLetters:
    """The dead letters of one stream. Its methods raise what the client raises.

    Args:
        client: of the Redis.
        stream: the stream's name.
        keys: sign what is sent back, as the sidecars will want it.
        most_entries: how long the stream may get.

    """

    def __init__(
        self, client: Any, stream: str, keys: Keyring | None = None, *, most_entries: int = 10_000
    ) -> None:
        self._client, self._stream, self._keys = client, stream, keys
        self._most_entries = most_entries
        self._name = name_of(stream)

    def all(self) -> Iterator[Letter]:
        """Return them one by one, the oldest first: those that there are when it is begun."""
        start, newest = b"-", self._client.xrevrange(self._name, "+", "-", 1)
        if not newest:
            return
        end = newest[0][0]
        while page := self._client.xrange(self._name, start, end, _PAGE):
            for id_, fields in page:
                yield read_letter(id_, fields)
            start = b"(" + page[-1][0]

    def find(self, id_: str) -> Letter | None:
        """Return the one of this id; None where there is none."""
        found = self._client.xrange(self._name, id_, id_, 1)
        return read_letter(*found[0]) if found else None

    def retry(self, letter: Letter) -> None:
        """Put the entry back into the stream, for those who are to have it, and drop the letter.

        Both or none.
        """
        again = Again(letter.id, letter.group, letter.chosen, time_ns())
        fields = with_again(letter.retry_fields, again, self._stream, self._keys)
        pipe = self._client.pipeline()
        pipe.xadd(self._stream, fields, maxlen=self._most_entries, approximate=True)
        pipe.xdel(self._name, letter.id)
        pipe.execute()

    def drop(self, letter: Letter) -> None:
        """Do away with it."""
        self._client.xdel(self._name, letter.id)


def with_again(
    fields: Mapping[bytes, bytes], again: Again, stream: str, keys: Keyring | None
) -> dict[bytes, bytes]:
    """Return the stored entry with what says that it comes again, signed where there are keys."""
    note = msgspec.msgpack.encode(again)
    found = {**fields, b"x": note}
    if keys is not None:
        found[b"xk"] = keys.key_id.encode()
        found[b"xg"] = keys.sign(_signed(stream, keys.key_id, note, fields))
    return found


def again_of(
    id_: bytes, fields: Mapping[bytes, bytes], entry: Entry, stream: str, keys: Keyring | None
) -> tuple[Entry, Again] | None:
    """Return the entry as it comes again, and what is said of that; None: it comes the first time.

    It has a line of its own, named for the letter, so that one retry is told once, though the
    entry's own numbers were settled long ago. Raises `EntryError` (``again``) for a note that
    is not signed by one of the keys, or was signed more than a day before it came.
    """
    note = fields.get(b"x")
    if note is None:
        return None
    name = fields.get(b"xk", b"").decode(errors="replace")
    original = {name: value for name, value in fields.items() if name not in _AGAIN}
    signature = fields.get(b"xg", b"")
    if keys is not None and not keys.verifies(
        name, signature, _signed(stream, name, note, original)
    ):
        raise EntryError("again")
    try:
        again = msgspec.msgpack.decode(note, type=Again)
    except ValueError:
        raise EntryError("again") from None
    if keys is not None and seconds(id_) - again.at_ns / 1e9 > _FRESH_S:
        raise EntryError("again")
    count = len(again.chosen) or entry.count
    made = replace(
        entry,
        producer="again",
        epoch=again.letter,
        first=0,
        count=count,
        again_of=entry.line,
        chosen=again.chosen,
    )
    return made, again


def _signed(stream: str, key: str, note: bytes, fields: Mapping[bytes, bytes]) -> Sequence[bytes]:
    parts = [part for name in sorted(fields) for part in (name, fields[name])]
    return [b"again", stream.encode(), key.encode(), note, *parts]


def _number(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 10 else 0

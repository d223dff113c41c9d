"""Verifying: whether an entry is whose it says, comes in time, and is for this group."""

from collections.abc import Mapping
from typing import Final

from otel_dbevents.bus.redis.dead import again_of
from otel_dbevents.bus.redis.entries import Entry, EntryError, verified
from otel_dbevents.bus.redis.group import seconds
from otel_dbevents.bus.redis.signing import Keyring

_OLDEST_S: Final = 86_400
"""An entry that was signed so long before Redis got it is a replay; a ledger is kept longer."""


class Verifier:
    """Says which entries a group may take.

    Args:
        stream: the stream's name.
        group: the group's.
        keys: verify the entries; then none without a signature is taken.
        required: take none that is not signed.

    """

    def __init__(self, stream: str, group: str, keys: Keyring | None, *, required: bool) -> None:
        self._stream, self._group = stream, group
        self._keys, self._required = keys, required

    def entry(self, id_: bytes, fields: Mapping[bytes, bytes]) -> Entry | None:
        """Return the entry, also one that comes again; None where that is for another group.

        Raises `EntryError` for one that must not be taken.
        """
        entry = verified(fields, self._stream, self._keys, required=self._required)
        found = again_of(id_, fields, entry, self._stream, self._keys)
        if found is not None:
            return found[0] if found[1].group in ("", self._group) else None
        if self._keys is not None and seconds(id_) - entry.sent_ns / 1e9 > _OLDEST_S:
            raise EntryError("stale")
        return entry

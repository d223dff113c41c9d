"""Signing: HMAC-SHA256 over the very bytes that are stored, by a key that both ends know.

It keeps others who can write to Redis from inventing, changing or moving entries. It does not keep
out who knows the key: an application that was taken over can sign.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

LEAST_KEY_BYTES: Final = 16
_LABEL: Final = b"otel-dbevents entry 1"
_KEY_ID_LABEL: Final = b"otel-dbevents key id"
_KEY_ID_DIGITS: Final = 12


class Keyring:
    """The keys of one stream: the current one signs, that and the previous one verify.

    With two keys the exchange of one has no gap: give the readers the new key as current and the
    old one as previous, then the producers the new one. Raises `ValueError` for a key of fewer
    than 16 bytes; its message has no part of the key.
    """

    def __init__(self, current: str, previous: str = "") -> None:
        self._keys: dict[str, bytes] = {}
        for key in filter(None, (current, previous)):
            secret = key.encode()
            if len(secret) < LEAST_KEY_BYTES:
                raise ValueError(f"a signing key has {LEAST_KEY_BYTES} bytes or more")
            self._keys.setdefault(key_id(secret), secret)
        if not current:
            raise ValueError("there is no current signing key")
        self.key_id = next(iter(self._keys))
        """The current key's name, which an entry bears. It does not tell the key."""

    def sign(self, parts: Iterable[bytes]) -> bytes:
        """Return the signature of these bytes in this order, by the current key."""
        return _digest(self._keys[self.key_id], parts)

    def verifies(self, name: str, signature: bytes, parts: Iterable[bytes]) -> bool:
        """Whether the key of this name made the signature of these bytes.

        Compared in a time that does not depend on where they differ.
        """
        secret = self._keys.get(name)
        return secret is not None and hmac.compare_digest(_digest(secret, parts), signature)

    def knows(self, name: str) -> bool:
        """Whether there is a key of this name."""
        return name in self._keys

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"


def key_id(secret: bytes) -> str:
    """Return a key's name: the same for the same key everywhere."""
    return hmac.digest(secret, _KEY_ID_LABEL, "sha256").hex()[:_KEY_ID_DIGITS]


def _digest(secret: bytes, parts: Iterable[bytes]) -> bytes:
    """Return the digest; each part goes with its length, so that none can lend a byte to the next.

    One copy of the parts, as they are hashed one after the other.
    """
    made = hmac.new(secret, _LABEL, hashlib.sha256)
    for part in parts:
        made.update(len(part).to_bytes(8, "big"))
        made.update(part)
    return made.digest()

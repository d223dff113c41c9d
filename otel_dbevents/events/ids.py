"""Identities: of events, and of the spans made of them. Random, and made anew in a forked child."""

import os
import random
from typing import Annotated, TypeAlias

from msgspec import Meta

_rng = random.Random()  # noqa: S311 - identifiers, not secrets; its own, so an application's seed() does not repeat them
_random_bits = _rng.getrandbits
_UUID4_KEEP = ~((0xF << 76) | (0x3 << 62)) & ((1 << 128) - 1)
_UUID4_SET = (0x4 << 76) | (0x2 << 62)
_MOST = 1024
_ALL_KEEP = int.from_bytes(_UUID4_KEEP.to_bytes(16) * _MOST)
_ALL_SET = int.from_bytes(_UUID4_SET.to_bytes(16) * _MOST)
if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has no fork
    os.register_at_fork(after_in_child=_rng.seed)

# What a decoder checks; making an event in the process costs nothing for it.
Id: TypeAlias = Annotated[bytes, Meta(min_length=16, max_length=16)]
SpanId: TypeAlias = Annotated[bytes, Meta(min_length=8, max_length=8)]


def new_id() -> bytes:
    """Return 16 random bytes that form a version 4 UUID (RFC 9562)."""
    return (_random_bits(128) & _UUID4_KEEP | _UUID4_SET).to_bytes(16)


def new_ids(number: int) -> list[bytes]:
    """Return so many ids, in one go."""
    digits = joined_ids(number)
    return [digits[at : at + 16] for at in range(0, len(digits), 16)]


def joined_ids(number: int) -> bytes:
    """Return so many ids as one string of bytes."""
    if number > _MOST:
        return joined_ids(_MOST) + joined_ids(number - _MOST)
    size, cut = 16 * number, 128 * (_MOST - number)
    return (_random_bits(8 * size) & _ALL_KEEP >> cut | _ALL_SET >> cut).to_bytes(size)


def span_id_of(event_id: bytes) -> int:
    """Return the id of the span made of an event: its last 8 bytes."""
    return int.from_bytes(event_id[8:], "big")


def trace_id_of(event_id: bytes) -> int:
    """Return the trace id of a root span made of an event: its id, bytes 0 and 8 exchanged.

    Samplers take the last 8 bytes for random (W3C Trace Context level 2 the last 7). Two bits of
    a UUID's byte 8 are fixed: with them in place a ratio sampler would keep none or all.
    """
    return int.from_bytes(event_id[8:9] + event_id[1:8] + event_id[:1] + event_id[9:], "big")
